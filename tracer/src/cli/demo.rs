//! `leaktrace demo`: the bundled server, traced.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{LiveArguments, args::DemoArguments, live};
use crate::{aggregate::SampleRate, bpf::WalkBy};

/// How long the demo runs when nobody can end it.
const UNATTENDED: Duration = Duration::from_secs(5);
/// How long the server may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts the server and traces it. Without root it starts itself again through sudo.
pub(super) fn run(arguments: &DemoArguments, verbose: u8) -> anyhow::Result<ExitCode> {
    if crate::bpf::preflight().is_err() && !rustix::process::geteuid().is_root() {
        return again_with_sudo();
    }
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let server = Server::start()?;
    let duration =
        arguments.duration.or(if on_terminal && arguments.format.is_none() { None } else { Some(UNATTENDED) });
    eprintln!("leaktrace: started a server with known leaks as process {}", server.0.id());
    let live = LiveArguments {
        growth: false,
        heap: false,
        fds: false,
        stale: Duration::from_secs(60),
        pids: vec![server.0.id()],
        program: Vec::new(),
        duration,
        interval: None,
        format: arguments.format,
        by: None,
        output: None,
        record: None,
        overwrite: false,
        only_record: false,
        top: 20,
        sort: None,
        min_age: Duration::ZERO,
        max_live: tracer_common::config::DEFAULT_MAX_LIVE,
        sample: SampleRate::default(),
        // It is there to be traced.
        max_overhead: Some(100.0),
        allocator: Vec::new(),
        fail_on: Vec::new(),
        on_alert: None,
        suppressions: None,
        metrics: None,
        force: false,
        empty_probes: false,
        provoke_panic: None,
        attach: None,
        unwind: WalkBy::default(),
        follow_forks: false,
    };
    live::run(&live, verbose)
}

fn again_with_sudo() -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("cannot find leaktrace's own executable")?;
    eprintln!("leaktrace: tracing needs root; running: sudo {} demo", own.display());
    let error = Command::new("sudo").arg("--").arg(own).args(std::env::args_os().skip(1)).exec();
    bail!("cannot run sudo: {error}; run the demo as root")
}

/// The server, ended with the demo.
struct Server(Child);

impl Server {
    /// Starts it and waits until it serves.
    fn start() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find leaktrace's own executable")?;
        let child = Command::new(own)
            .arg("demo-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the demo server")?;
        let mut server = Self(child);
        let mut line = String::new();
        let out = server.0.stdout.take().context("the demo server has no output")?;
        BufReader::new(out).read_line(&mut line).context("the demo server did not start")?;
        if line.trim() != crate::demo::READY {
            bail!("the demo server did not start");
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: it has a child of its own to wait for.
        drop(self.0.stdin.take());
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
