//! The bundled server that `leaktrace demo` traces: small, real, and leaky in known places.
//!
//! In: nothing; a second process is the world around it, over loopback TCP: its clients, and the billing service that it
//! connects to. Out: a process that grows. Both end when their standard input closes, so that they never outlive the demo.

mod billing;
mod client;
mod server;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the server prints once it serves.
pub const READY: &str = "ready";
/// The argument that runs [`surround`].
pub const SURROUNDINGS: &str = "demo-surroundings";
/// Descriptors that the server may have open: it takes some minutes to get near.
const NOFILE: u64 = 512;

/// Serves until standard input closes.
///
/// # Errors
/// When no loopback port can be had, or the process with the clients does not start.
pub fn serve() -> anyhow::Result<()> {
    // The name shown for it: without this it would be one more "leaktrace".
    name_this(c"demo-server");
    let nofile = limit_descriptors();
    let (listener, address) = listen()?;
    let (_surroundings, billing) = Surroundings::start(address)?;
    std::thread::spawn(move || server::run(&listener, billing, nofile));
    println!("{READY}");
    until_the_end()
}

/// Is the clients of the server at this address, and the billing service, whose address it prints.
///
/// # Errors
/// When no loopback port can be had.
pub fn surround(server: SocketAddr) -> anyhow::Result<()> {
    name_this(c"demo-clients");
    let (listener, address) = listen()?;
    std::thread::spawn(move || billing::run(&listener));
    println!("{address}");
    std::thread::spawn(move || client::run(server));
    until_the_end()
}

fn name_this(name: &std::ffi::CStr) {
    if let Err(error) = rustix::thread::set_name(name) {
        log::debug!("naming the demo: {error}");
    }
}

fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the demo cannot listen on loopback")?;
    let address = listener.local_addr().context("the demo has no address")?;
    Ok((listener, address))
}

/// Lowers the limit of open descriptors, and says what it is.
fn limit_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let nofile = current.unwrap_or(u64::MAX).min(NOFILE);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(nofile), maximum }) {
        log::debug!("lowering the limit of open files: {error}");
    }
    nofile
}

fn until_the_end() -> anyhow::Result<()> {
    std::io::stdout().flush().context("nobody waits for the demo")?;
    let mut rest = Vec::new();
    std::io::stdin().lock().read_to_end(&mut rest).context("waiting for the end of the demo")?;
    Ok(())
}

/// The other process, which ends with this one.
struct Surroundings(Child);

impl Surroundings {
    /// Starts it and says where billing listens.
    fn start(server: SocketAddr) -> anyhow::Result<(Self, SocketAddr)> {
        let own = std::env::current_exe().context("cannot find leaktrace's own executable")?;
        let mut command = Command::new(own);
        command.arg(SURROUNDINGS).arg(server.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut this = Self(command.spawn().context("cannot start the demo's clients")?);
        let mut line = String::new();
        let out = this.0.stdout.take().context("the demo's clients have no output")?;
        BufReader::new(out).read_line(&mut line).context("the demo's clients did not start")?;
        match line.trim().parse() {
            Ok(billing) => Ok((this, billing)),
            Err(_) => bail!("the demo's clients did not start"),
        }
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
