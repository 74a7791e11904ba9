//! Servers of several processes, as distributions ship them: nginx with its workers, PostgreSQL with a process for each
//! connection; and memcached with one process and several threads.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::{
    descriptors::proc,
    network::Network,
    process::children,
    report::Report,
    services::{Memcached, Nginx, Postgres},
    tracer::Tracer,
    wait_for,
};

const FOLLOWING: &[&str] = &["--follow-forks", "-v", "--duration", "600s"];

/// What a process says that it is, instead of its arguments.
fn title(report: &Report, pid: u32) -> Result<&str> {
    let [title] = &report.process(pid)?.cmdline[..] else { bail!("{:?}", report.process(pid)?) };
    Ok(title)
}

#[test]
fn nginx_and_its_workers() -> Result<()> {
    const REQUESTS: u64 = 31;

    let mut nginx = Nginx::start()?;
    let master = nginx.master();
    let old = nginx.workers()?;
    let mut tracer = Tracer::attach_with(master, FOLLOWING)?;
    for _ in 0..REQUESTS {
        nginx.request()?;
    }
    // Whatever they do for requests they have done once they are gone.
    nginx.reload()?;
    let new = nginx.workers()?;
    for worker in &new {
        tracer.wait_for_line(&format!("child {worker} of {master} is followed"))?;
    }
    let ended = tracer.interrupt()?;
    nginx.expect_well()?;
    let report = ended.report()?;
    report.check_arithmetic()?;
    ensure!(report.processes.len() == 1 + 2 * Nginx::WORKERS, "{:?}", report.processes);
    ensure!(title(&report, master)?.starts_with("nginx: master process"), "{:?}", report.processes);
    for worker in old.iter().chain(&new) {
        let process = report.process(*worker)?;
        let is_old = old.contains(worker);
        ensure!(process.parent == Some(master), "{process:?}");
        ensure!(process.state == if is_old { "exited" } else { "detached" }, "{process:?}");
        ensure!(title(&report, *worker)?.starts_with("nginx: worker process"), "{process:?}");
        ensure!(!is_old || process.counters.inuse_objects == 0, "nginx gives everything back: {process:?}");
    }
    let is_old = |tgid: u32| old.contains(&tgid);
    let created = report.sites.iter().filter(|site| is_old(site.tgid));
    let created = created.filter(|site| site.frames.iter().any(|frame| frame.is_in("ngx_http_create_request")));
    let created: u64 = created.map(|site| site.counters.alloc_objects).sum();
    ensure!(created == REQUESTS, "{created} requests were created:\n{report}");
    let fds = ended.descriptors()?;
    fds.check_arithmetic()?;
    let accepted = fds.sites.iter().filter(|site| is_old(site.tgid) && site.has("ngx_event_accept"));
    let (opened, open) = accepted.fold((0, 0), |(opened, open), site| (opened + site.opened, open + site.open));
    ensure!((opened, open) == (REQUESTS, 0), "{opened} connections, {open} of them open:\n{fds}");
    Ok(())
}

#[test]
fn nginx_s_workers_are_one_entry_of_the_text_report() -> Result<()> {
    let mut nginx = Nginx::start()?;
    let master = nginx.master();
    let options = [FOLLOWING, &["--format", "text"]].concat();
    let mut tracer = Tracer::attach_with(master, &options)?;
    // What new ones have set up is the same for each.
    nginx.reload()?;
    for worker in nginx.workers()? {
        tracer.wait_for_line(&format!("process {worker} has its probes"))?;
    }
    for _ in 0..31 {
        nginx.request()?;
    }
    let text = tracer.interrupt()?.text()?;
    nginx.expect_well()?;
    for worker in nginx.workers()? {
        let row = format!("nginx[{worker}] of {master} detached");
        let row = text.lines().find(|line| line.contains(&row)).with_context(|| format!("no {row}:\n{text}"))?;
        ensure!(row.ends_with("(nginx: worker process)"), "{row}");
    }
    ensure!(text.contains("(nginx: master process"), "{text}");
    ensure!(text.contains("(3 processes)\n"), "nothing of the workers is one:\n{text}");
    Ok(())
}

#[test]
fn postgresql_with_a_process_for_each_connection() -> Result<()> {
    const CONNECTIONS: usize = 7;

    let network = Network::new()?;
    let mut postgres = Postgres::start(&network)?;
    let postmaster = postgres.pid();
    let tracer = Tracer::attach_with(postmaster, FOLLOWING)?;
    for _ in 0..CONNECTIONS {
        postgres.run("create temporary table t as select n, repeat('x', 211) from generate_series(1, 1009) n")?;
    }
    // A backend ends after its client, and has no title in the end.
    let is_backend = |pid: &u32| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        title.is_ok_and(|title| title.is_empty() || title.starts_with("postgres: postgres"))
    };
    wait_for("the backends to end", || Ok((!children(postmaster)?.iter().any(is_backend)).then_some(())))?;
    let ended = tracer.interrupt()?;
    postgres.expect_well()?;
    let report = ended.report()?;
    report.check_arithmetic()?;
    ended.descriptors()?.check_arithmetic()?;
    let known = || report.processes.iter().filter(|process| process.parent == Some(postmaster));
    let backends = known().filter(|process| process.began_s > 0.0 && process.state == "exited");
    ensure!(backends.count() == CONNECTIONS, "{:?}", report.processes);
    let is_there = |title: &str| known().any(|process| process.cmdline.concat().starts_with(title));
    ensure!(is_there("postgres: checkpointer") && is_there("postgres: walwriter"), "{:?}", report.processes);
    Ok(())
}

#[test]
fn memcached_keeps_the_connections_that_are_open() -> Result<()> {
    const OPENED: u64 = 17;
    const CLOSED: u64 = 6;

    let memcached = Memcached::start()?;
    // One socket listens. Those that found out that it answers may be open yet.
    let connected = || -> Result<usize> {
        Ok(proc::open(memcached.pid())?.values().filter(|kind| *kind == "unix").count().saturating_sub(1))
    };
    wait_for("memcached to have no connection", || Ok((connected()? == 0).then_some(())))?;
    let tracer = Tracer::attach(memcached.pid())?;
    let mut connections = Vec::new();
    for _ in 0..OPENED {
        connections.push(memcached.connect()?);
    }
    connections.truncate(usize::try_from(OPENED - CLOSED)?);
    wait_for("memcached to close what it closes", || Ok((connected()? == connections.len()).then_some(())))?;
    let ended = tracer.interrupt()?;
    ended.report()?.check_arithmetic()?;
    let fds = ended.descriptors()?;
    fds.check_arithmetic()?;
    let socket = memcached.socket();
    let peer = fds.peer("inbound", socket.to_str().context("a path that is not text")?);
    let peer = peer.with_context(|| format!("no clients:\n{fds}"))?;
    ensure!((peer.opened, peer.closed, peer.open) == (OPENED, CLOSED, OPENED - CLOSED), "{peer:?}\n{fds}");
    let sites = fds.sites.iter().filter(|site| site.opened > 0);
    let (opened, closed) = sites.fold((0, 0), |(opened, closed), site| (opened + site.opened, closed + site.closed));
    ensure!((opened, closed) == (OPENED, CLOSED), "{fds}");
    Ok(())
}
