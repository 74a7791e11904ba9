use tracer_common::fd::FdKey;

use super::*;
use crate::aggregate::{Fd, FdKind, Tgid};

const STALE: Duration = Duration::from_secs(60);
const SECOND: u64 = 1_000_000_000;

fn endpoint(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().expect("an address"))
}

fn connected(fd: u32, file: u64, time_s: u64, to: &str) -> Connection {
    let turn = Turn::Connected { site: SiteId(7), sock: file + 1, to: Some(endpoint(to)) };
    Connection { tgid: Tgid(41), fd: Fd(fd), file, time_ns: time_s * SECOND, turn }
}

fn turn(fd: u32, file: u64, time_s: u64, turn: Turn) -> Connection {
    Connection { tgid: Tgid(41), fd: Fd(fd), file, time_ns: time_s * SECOND, turn }
}

fn surveyed(fd: u32, file: u64, socket: SurveyedSocket) -> SurveyedFd {
    SurveyedFd {
        key: FdKey { tgid: 41, fd },
        file,
        kind: FdKind::Tcp,
        detail: "".into(),
        origin: Origin::Site(SiteId(3)),
        born_ns: Some(SECOND),
        connected_by: None,
        socket: Some(socket),
    }
}

fn survey(time_s: u64, fds: Vec<SurveyedFd>) -> FdSurvey {
    FdSurvey { time_ns: time_s * SECOND, fds, ..FdSurvey::default() }
}

#[test]
fn connections_between_two_surveys_are_counted() {
    let mut peers = Peers::new(0);
    for fd in 3..10 {
        peers.apply(connected(fd, u64::from(fd) * 10, 1, "10.0.0.7:5432"));
    }
    for fd in 3..8 {
        peers.apply(turn(fd, u64::from(fd) * 10, 2, Turn::Closed));
    }
    let all = peers.snapshot(30 * SECOND);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].direction, all[0].service), (Direction::Outbound, Some("postgresql")));
    assert_eq!((all[0].opened, all[0].closed, all[0].open), (7, 5, 0));
    assert_eq!((all[0].opened_per_min, all[0].closed_per_min), (14.0, 10.0));
}

#[test]
fn rates_are_over_the_last_minute() {
    let mut peers = Peers::new(0);
    peers.apply(connected(3, 30, 1, "10.0.0.7:5432"));
    peers.snapshot(2 * SECOND);
    peers.snapshot(50 * SECOND);
    peers.apply(connected(4, 40, 80, "10.0.0.7:5432"));
    assert_eq!(peers.snapshot(100 * SECOND)[0].opened_per_min, 1.0);
    assert_eq!(peers.snapshot(200 * SECOND)[0].opened_per_min, 0.0);
}

#[test]
fn a_connect_that_goes_on_is_one_connection() {
    let mut peers = Peers::new(0);
    peers.apply(connected(3, 30, 1, "10.0.0.7:5432"));
    peers.apply(connected(3, 30, 2, "10.0.0.7:5432"));
    let all = peers.snapshot(3 * SECOND);
    assert_eq!((all[0].opened, all[0].closed), (1, 0));
    // Its number now is another connection's.
    peers.apply(connected(3, 31, 4, "10.0.0.7:5432"));
    let all = peers.snapshot(5 * SECOND);
    assert_eq!((all[0].opened, all[0].closed), (2, 1));
}

#[test]
fn clients_are_counted_by_the_address_they_came_to() {
    let mut peers = Peers::new(0);
    let accepted = |fd, file| turn(fd, file, 1, Turn::Accepted { site: SiteId(5), listener: Fd(3) });
    peers.apply(accepted(10, 100));
    peers.apply(accepted(11, 110));
    peers.apply(turn(11, 110, 1, Turn::Closed));
    assert!(peers.snapshot(SECOND).is_empty(), "the address is not known yet");
    let listener = SurveyedSocket {
        local: Some(endpoint("0.0.0.0:8080")),
        state: Some(TcpState::Listen),
        ..SurveyedSocket::default()
    };
    let client = SurveyedSocket {
        local: Some(endpoint("10.0.0.1:8080")),
        peer: Some(endpoint("10.0.0.9:40001")),
        state: Some(TcpState::CloseWait),
        hung_up: true,
        idle: Some(Duration::from_secs(61)),
        ..SurveyedSocket::default()
    };
    // One that was there before the attach besides.
    let fds = vec![surveyed(3, 30, listener), surveyed(10, 100, client.clone()), surveyed(12, 120, client)];
    peers.survey(&survey(2, fds), STALE);
    let all = peers.snapshot(3 * SECOND);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].direction, &all[0].endpoint), (Direction::Inbound, &endpoint("0.0.0.0:8080")));
    assert_eq!((all[0].opened, all[0].closed), (2, 1));
    assert_eq!((all[0].open, all[0].idle, all[0].close_wait), (2, 2, 2));
    peers.apply(accepted(13, 130));
    assert_eq!(peers.snapshot(4 * SECOND)[0].opened, 3);
}

#[test]
fn what_ended_unseen_is_closed_by_the_next_survey() {
    let mut peers = Peers::new(0);
    peers.apply(connected(3, 30, 1, "10.0.0.7:5432"));
    peers.apply(connected(4, 40, 9, "10.0.0.7:5432"));
    peers.survey(&survey(5, vec![]), STALE);
    let all = peers.snapshot(10 * SECOND);
    assert_eq!((all[0].opened, all[0].closed), (2, 1), "the later one began after the look");
}

#[test]
fn a_handshake_is_timed_by_its_socket() {
    let mut peers = Peers::new(0);
    // The answer may come before the call returns.
    peers.established(31, Duration::from_micros(70));
    peers.apply(connected(3, 30, 1, "10.0.0.7:5432"));
    let fd = surveyed(3, 30, SurveyedSocket::default());
    assert_eq!(peers.known(&fd).connect_latency, Some(Duration::from_micros(70)));
    peers.survey(&survey(2, vec![fd]), STALE);
    let all = peers.snapshot(3 * SECOND);
    assert_eq!((all[0].open, all[0].connect_latency), (1, Some(Duration::from_micros(70))));
    assert_eq!(all[0].sites, [(SiteId(3), 1)], "the site that opened the socket");
}

#[test]
fn an_announced_connection_counts_without_its_socket() {
    let mut peers = Peers::new(0);
    peers.apply(connected(3, 30, 1, "10.0.0.7:5432"));
    let ended = SurveyedFd { socket: None, ..surveyed(3, 30, SurveyedSocket::default()) };
    let file = SurveyedFd { socket: None, ..surveyed(4, 40, SurveyedSocket::default()) };
    peers.survey(&survey(2, vec![ended, file]), STALE);
    let all = peers.snapshot(3 * SECOND);
    assert_eq!((all.len(), all[0].open, all[0].closed), (1, 1, 0));
}
