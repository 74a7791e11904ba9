//! Sockets: which call made them, whom they lead to, and in what state they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::descriptors::{
    ONLY_DESCRIPTORS, Traced, observe,
    report::{FdReport, FdSite, OpenFd},
};
use leaktrace_tests::tracer::Tracer;

use super::descriptors::{check, start};

#[test]
fn sockets_by_every_call() -> Result<()> {
    check("sockets", &["sockets"])?;
    Ok(())
}

#[test]
fn accepted_ones() -> Result<()> {
    check("sockets", &["accepts"])?;
    Ok(())
}

#[test]
fn passed_in_messages() -> Result<()> {
    check("sockets", &["rights"])?;
    Ok(())
}

#[test]
fn an_accept_that_a_signal_interrupts() -> Result<()> {
    check("sockets", &["interrupted"])?;
    Ok(())
}

#[test]
fn connected_at_once_later_or_not_at_all() -> Result<()> {
    let Traced { report, .. } = check("sockets", &["connects"])?;
    expect_connections(&report)
}

fn opened_by<'a>(report: &'a FdReport, function: &str) -> Vec<&'a OpenFd> {
    let is_there = |site: Option<&FdSite>| site.is_some_and(|site| site.has(function));
    report.fds.iter().filter(|fd| is_there(report.site(fd.site))).collect()
}

/// What `sockets.c connects` has open in the end.
pub(crate) fn expect_connections(report: &FdReport) -> Result<()> {
    let [listener] = opened_by(report, "a_listener")[..] else { anyhow::bail!("not one listener:\n{report}") };
    ensure!(listener.state.as_deref() == Some("LISTEN") && listener.peer.is_none(), "{listener:?}");
    let address = listener.local.as_deref().context("the listener has no address")?;
    ensure!(address.starts_with("127.0.0.1:"), "it listens on {address}");

    // Seven blocking connects and five others, of which one was closed; two refused ones left.
    let clients: Vec<&OpenFd> = opened_by(report, "a_socket").into_iter().filter(|fd| fd.kind == "tcp").collect();
    let (connected, rest): (Vec<&OpenFd>, Vec<&OpenFd>) =
        clients.into_iter().partition(|fd| fd.peer.as_deref() == Some(address));
    ensure!(connected.len() == 11 && rest.len() == 3, "{} connected:\n{report}", connected.len());
    for fd in &connected {
        ensure!(fd.direction.as_deref() == Some("outbound"), "{fd:?}");
        ensure!(fd.state.as_deref() == Some("ESTABLISHED"), "{fd:?}");
        ensure!(report.site(fd.connected_by).is_some_and(|site| site.has("connected")), "{fd:?}\n{report}");
        ensure!(fd.connect_latency_s.is_some_and(|seconds| (0.0..60.0).contains(&seconds)), "{fd:?}");
    }
    ensure!(rest.iter().all(|fd| fd.state.as_deref() != Some("ESTABLISHED")), "{rest:?}");

    let servers = opened_by(report, "accepted4");
    ensure!(servers.len() == 12, "{report}");
    let closed_by_peer = servers.iter().filter(|fd| fd.state.as_deref() == Some("CLOSE_WAIT")).count();
    ensure!(closed_by_peer == 1, "{closed_by_peer} in CLOSE_WAIT:\n{report}");
    for fd in &servers {
        ensure!(fd.direction.as_deref() == Some("inbound") && fd.local.as_deref() == Some(address), "{fd:?}");
    }
    // 1,009 bytes went over each of seven, and 211 of them were read.
    let received: Vec<&&OpenFd> = servers.iter().filter(|fd| fd.rx_bytes == Some(1009)).collect();
    ensure!(received.len() == 7 && received.iter().all(|fd| fd.recv_queue == Some(1009 - 211)), "{received:?}");
    // The kernel counts the SYN among what was acknowledged, and not all of its versions do.
    let sent = connected.iter().filter(|fd| fd.tx_bytes.is_some_and(|bytes| (1009..=1010).contains(&bytes)));
    ensure!(sent.count() == 7 && connected.iter().all(|fd| fd.send_queue == Some(0)), "{connected:?}");

    let outbound = report.peer("outbound", address).context("no peer for the connects")?;
    ensure!((outbound.opened, outbound.closed, outbound.open) == (12, 1, 11), "{outbound:?}");
    let inbound = report.peer("inbound", address).context("no peer for the accepts")?;
    ensure!((inbound.opened, inbound.closed, inbound.open, inbound.close_wait) == (12, 0, 12, 1), "{inbound:?}");
    Ok(())
}

/// Thirteen clients, of which seven hung up: after the stale time they are signalled, with where they were accepted.
#[test]
fn connections_that_only_we_keep() -> Result<()> {
    /// The stale time, until the next look begins to count, and that look's own interval.
    const STALE_AND_SEEN: Duration = Duration::from_secs(2 + 1 + 2);

    let mut leaker = start("close_wait", &["13", "7"])?;
    let tracer = Tracer::attach_with(leaker.pid(), &[ONLY_DESCRIPTORS, &["--stale", "2s"]].concat())?;
    let ledger = observe(&mut leaker)?;
    // Not for luck: time is what is waited for.
    std::thread::sleep(STALE_AND_SEEN);
    let report = tracer.stop_for_descriptors()?;
    ledger.check(&report)?;
    let endpoint = format!(":{}", ledger.port.context("the program did not say its port")?);

    let stuck = |fd: &&OpenFd| fd.state.as_deref() == Some("CLOSE_WAIT");
    let servers = opened_by(&report, "accept_client");
    ensure!(servers.iter().copied().filter(stuck).count() == 7, "{report}");
    for fd in servers.into_iter().filter(stuck) {
        ensure!(fd.close_wait_s.is_some_and(|seconds| seconds >= 2.0), "{fd:?}");
    }
    let peer = report.peer("inbound", &endpoint).context("no peer for the clients")?;
    ensure!((peer.opened, peer.closed, peer.open, peer.close_wait) == (13, 0, 13, 7), "{peer:?}");
    ensure!(peer.idle == 13, "nothing was sent for longer than the stale time: {peer:?}");
    let [signal] = report.signals("close_wait")[..] else { anyhow::bail!("not one signal:\n{report}") };
    ensure!(signal.count == Some(7) && signal.oldest_s.is_some_and(|seconds| seconds >= 2.0), "{signal:?}");
    ensure!(report.site(signal.site).is_some_and(|site| site.has("accept_client")), "{signal:?}\n{report}");
    ensure!(signal.endpoint.as_deref().is_some_and(|text| text.ends_with(&endpoint)), "{signal:?}");
    leaker.finish()
}

/// Before the stale time is over, a hung-up connection is a state and no alarm.
#[test]
fn connections_that_have_just_been_left_are_not_signalled() -> Result<()> {
    let Traced { report, .. } = check("close_wait", &["13", "7"])?;
    ensure!(report.signals("close_wait").is_empty(), "{report}");
    Ok(())
}
