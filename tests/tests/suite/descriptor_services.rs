//! Services as people run them: a Node.js server that forgets connections to PostgreSQL, a Python program that forgets
//! connections to Redis, and the same without the mistake.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    descriptors::{ONLY_DESCRIPTORS, proc, report::FdReport},
    leaker::{Leaker, leakers_dir},
    network::Network,
    process::{Guarded, Lines},
    services::{Postgres, Redis, node_service},
    tracer::Tracer,
    wait_for,
};

use super::jit::{PerfMap, javascript, pythons};

/// Messages of each kind. Every one takes a connection, and an audit forgets it.
const READS: u64 = 31;
const WRITES: u64 = 29;
const AUDITS: u64 = 23;

/// The Node.js service, listening.
struct Service {
    process: Guarded,
    port: String,
    _map: PerfMap,
}

impl Service {
    fn start(folder: &Path, network: &Network, variant: &str) -> Result<Self> {
        let mut command = Command::new("node");
        // Interpreted functions have names too, then: it does not run for long enough to have many compiled.
        command.args(["--perf-basic-prof", "--interpreted-frames-native-stack"]);
        command.arg(folder.join("service.js")).args(["5432", variant]).current_dir(folder);
        network.enter(&mut command)?;
        let mut process = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let _map = PerfMap::of(process.pid());
        let mut output = Lines::read(process.child().stdout.take().context("no stdout")?);
        let line = output.next_line("the service to listen")?.context("the service ended")?;
        let port = line.strip_prefix("listening ").context("not a port")?.to_owned();
        Ok(Self { process, port, _map })
    }

    /// Sends it all messages, and waits until it has `open` connections with anyone.
    fn use_it(&self, folder: &Path, network: &Network, open: u64) -> Result<()> {
        let mut command = Command::new("node");
        command.arg(folder.join("client.js")).arg(&self.port);
        command.args([READS, WRITES, AUDITS].map(|count| count.to_string())).current_dir(folder).stdin(Stdio::null());
        network.enter(&mut command)?;
        let status = Guarded::spawn(&mut command)?.wait()?;
        ensure!(status.success(), "the client failed: {status}");
        wait_for("the service to close what it closes", || Ok((connections(self.process.pid())? == open).then_some(())))
    }
}

/// TCP sockets of a process, without the one that it listens on.
fn connections(pid: u32) -> Result<u64> {
    let sockets = proc::open(pid)?.into_values().filter(|kind| kind == "tcp").count();
    Ok(u64::try_from(sockets)?.saturating_sub(1))
}

/// Runs the service with all messages.
fn serve(variant: &str, open: u64) -> Result<FdReport> {
    let folder = node_service()?;
    let network = Network::new()?;
    let _postgres = Postgres::start(&network)?;
    let service = Service::start(&folder, &network, variant)?;
    let tracer = Tracer::attach_with(service.process.pid(), ONLY_DESCRIPTORS)?;
    service.use_it(&folder, &network, open)?;
    let report = tracer.stop_for_descriptors()?;
    report.check_arithmetic()?;
    Ok(report)
}

#[test]
fn node_forgets_connections_to_postgresql() -> Result<()> {
    let report = serve("leaky", AUDITS)?;
    let peer = report.peer("outbound", ":5432").with_context(|| format!("no database:\n{report}"))?;
    ensure!(peer.service.as_deref() == Some("postgresql"), "{peer:?}");
    let messages = READS + WRITES + AUDITS;
    ensure!((peer.opened, peer.closed, peer.open) == (messages, messages - AUDITS, AUDITS), "{peer:?}\n{report}");
    let mut named = 0;
    for fd in report.fds.iter().filter(|fd| fd.peer.as_deref().is_some_and(|peer| peer.ends_with(":5432"))) {
        let site = report.site(fd.site).with_context(|| format!("nobody opened {fd:?}\n{report}"))?;
        ensure!(javascript(&site.frames, "auditRecord").is_some(), "not in an audit: {site:?}");
        ensure!(fd.state.as_deref() == Some("ESTABLISHED") && fd.kind == "tcp", "{fd:?}");
        named += 1;
    }
    ensure!(named == AUDITS, "{named} connections:\n{report}");
    Ok(())
}

#[test]
fn node_that_closes_is_clean() -> Result<()> {
    let report = serve("fixed", 0)?;
    let peer = report.peer("outbound", ":5432").with_context(|| format!("no database:\n{report}"))?;
    let messages = READS + WRITES + AUDITS;
    ensure!((peer.opened, peer.closed, peer.open) == (messages, messages, 0), "{peer:?}\n{report}");
    ensure!(!report.fds.iter().any(|fd| fd.origin == "site" && fd.kind == "tcp"), "{report}");
    ensure!(report.signals.is_empty(), "{report}");
    Ok(())
}

/// The services and the programs do what is said of them, without leaktrace.
#[test]
fn the_services_leave_open_what_they_say() -> Result<()> {
    let folder = node_service()?;
    let network = Network::new()?;
    let _postgres = Postgres::start(&network)?;
    for (variant, open) in [("leaky", AUDITS), ("fixed", 0)] {
        Service::start(&folder, &network, variant)?.use_it(&folder, &network, open)?;
    }
    let _redis = Redis::start(&network)?;
    let (mut leaker, _map) = redis_client(&network)?;
    leaker.release_lines()?;
    ensure!(connections(leaker.pid())? + 1 == FORGOTTEN, "not as many as it forgets");
    leaker.finish()
}

const CLOSED: u64 = 31;
const FORGOTTEN: u64 = 17;

fn redis_client(network: &Network) -> Result<(Leaker, PerfMap)> {
    let python = pythons().into_values().next().context("no Python with -X perf: install Python 3.12 or newer")?;
    let mut command = Command::new(python);
    command.args(["-X", "perf"]).arg(leakers_dir().join("descriptors/redis_client.py"));
    command.args(["6379".to_owned(), CLOSED.to_string(), FORGOTTEN.to_string()]);
    network.enter(&mut command)?;
    let leaker = Leaker::start_program(&mut command)?;
    let map = PerfMap::of(leaker.pid());
    Ok((leaker, map))
}

#[test]
fn python_forgets_connections_to_redis() -> Result<()> {
    let network = Network::new()?;
    let _redis = Redis::start(&network)?;
    let (mut leaker, _map) = redis_client(&network)?;
    let tracer = Tracer::attach_with(leaker.pid(), ONLY_DESCRIPTORS)?;
    leaker.release_lines()?;
    let report = tracer.stop_for_descriptors()?;
    report.check_arithmetic()?;
    let peer = report.peer("outbound", ":6379").with_context(|| format!("no Redis:\n{report}"))?;
    ensure!(peer.service.as_deref() == Some("redis"), "{peer:?}");
    ensure!((peer.opened, peer.closed, peer.open) == (CLOSED + FORGOTTEN, CLOSED, FORGOTTEN), "{peer:?}\n{report}");
    let sites = report.sites.iter().filter(|site| site.has("forget_connection"));
    let (opened, open) = sites.fold((0, 0), |(opened, open), site| (opened + site.opened, open + site.open));
    ensure!((opened, open) == (FORGOTTEN, FORGOTTEN), "{opened} forgotten, {open} of them open:\n{report}");
    leaker.finish()
}
