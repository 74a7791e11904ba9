//! The bundled server that `leaktrace demo` traces: small, real, and leaky in known places.
//!
//! In: nothing; it is its own client, over loopback TCP. Out: a process that grows. It ends when its standard input
//! closes, so that it never outlives the demo.

mod client;
mod server;

use std::io::{Read as _, Write as _};

use anyhow::Context as _;

/// What the server prints once it serves.
pub const READY: &str = "ready";

/// Serves until standard input closes.
///
/// # Errors
/// When no loopback port can be had.
pub fn serve() -> anyhow::Result<()> {
    // The name shown for it: without this it would be one more "leaktrace".
    if let Err(error) = rustix::thread::set_name(c"demo-server") {
        log::debug!("naming the demo server: {error}");
    }
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", 0)).context("the demo server cannot listen on loopback")?;
    let address = listener.local_addr().context("the demo server has no address")?;
    std::thread::spawn(move || server::run(&listener));
    std::thread::spawn(move || client::run(address));
    println!("{READY}");
    std::io::stdout().flush().context("nobody waits for the demo server")?;
    let mut rest = Vec::new();
    std::io::stdin().lock().read_to_end(&mut rest).context("waiting for the end of the demo")?;
    Ok(())
}
