use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::{Direction, Fd, FdKind, FdLimits, Peer, Tgid},
    event::SurveyedSocket,
};

const SECOND: u64 = 1_000_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn inet(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().expect("an address and a port"))
}

fn described(open: Vec<OpenFd>) -> Descriptors {
    Descriptors { open: Arc::new(open), stale: seconds(60), ..Descriptors::default() }
}

fn fd(fd: u32, site: u32, age: Option<u64>, socket: Socket) -> OpenFd {
    OpenFd {
        tgid: Tgid(41),
        fd: Fd(fd),
        kind: FdKind::Tcp,
        detail: Arc::from(""),
        origin: Origin::Site(SiteId(site)),
        age: age.map(seconds),
        socket: Some(Box::new(socket)),
    }
}

fn signals(descriptors: &Descriptors) -> Vec<FdSignal> {
    FdHistory::default().signals(descriptors)
}

/// Descriptors of one site, as a survey has them: the numbers from `first` on, without sockets.
fn surveyed(site: u32, first: u32, count: u64) -> impl Iterator<Item = SurveyedFd> {
    (0..count).map(move |index| SurveyedFd {
        key: FdKey { tgid: 41, fd: first + index as u32 },
        file: 1_000 * u64::from(site) + index,
        kind: FdKind::File,
        detail: Arc::from(""),
        origin: Origin::Site(SiteId(site)),
        born_ns: None,
        connected_by: None,
        socket: None,
    })
}

/// A connection that has carried so many bytes.
fn connection(number: u32, file: u64, bytes: u64) -> SurveyedFd {
    let socket = SurveyedSocket { rx_bytes: Some(bytes / 2), tx_bytes: Some(bytes - bytes / 2), ..Default::default() };
    let one = surveyed(2, number, 1).next().expect("one");
    SurveyedFd { file, kind: FdKind::Tcp, origin: Origin::BeforeAttach, socket: Some(socket), ..one }
}

/// A survey each second: what one site has open, and the bytes that a connection has carried.
fn history(surveys: impl IntoIterator<Item = (u64, u64)>) -> FdHistory {
    let mut history = FdHistory::default();
    for (second, (open, bytes)) in surveys.into_iter().enumerate() {
        let fds: Vec<_> = surveyed(1, 100, open).chain([connection(7, 7, bytes)]).collect();
        history.push(second as u64 * SECOND, &fds);
    }
    history
}

fn growth(history: &FdHistory) -> Option<(f64, Duration, Option<SiteId>)> {
    history.signals(&described(Vec::new())).into_iter().find_map(|signal| match signal {
        FdSignal::Growth { per_min, over, site } => Some((per_min, over, site)),
        _ => None,
    })
}

#[test]
fn nothing_is_wrong_with_nothing() {
    assert_eq!(signals(&Descriptors::default()), []);
    assert_eq!(signals(&described(vec![fd(3, 1, None, Socket::default())])), []);
}

#[test]
fn the_limit_has_two_marks() {
    let mark = |open, nofile_soft| {
        let limits = FdLimits { nofile_soft, nofile_hard: 4_096, open };
        let descriptors = Descriptors { limits: Some(limits), ..Descriptors::default() };
        match signals(&descriptors)[..] {
            [] => None,
            [FdSignal::NearLimit { mark, limits: said }] if said == limits => Some(mark),
            ref others => panic!("{others:?}"),
        }
    };
    let marks = [0, 79, 80, 94, 95, 100, 101].map(|open| mark(open, 100));
    assert_eq!(marks, [None, None, Some(80), Some(80), Some(95), Some(95), Some(95)]);
    // Shares that are no whole percentages, and such as no binary fraction is.
    assert_eq!([816, 817, 819, 820].map(|open| mark(open, 1_024)), [None, None, None, Some(80)]);
    assert_eq!([56, 57].map(|open| mark(open, 60)), [Some(80), Some(95)]);
    assert_eq!((1..2_000).find(|twentieth| mark(twentieth * 19, twentieth * 20) != Some(95)), None);
    assert_eq!((1..2_000).find(|fifth| mark(fifth * 4, fifth * 5) != Some(80)), None);
    // A limit of nothing, and one that cannot be read.
    assert_eq!(mark(7, 0), None);
    assert_eq!(signals(&Descriptors { limits: None, ..Descriptors::default() }), []);
}

fn hung_up(millis: u64, direction: Option<Direction>) -> Socket {
    Socket {
        direction,
        local: Some(inet("192.0.2.1:8080")),
        peer: Some(inet("198.51.100.7:443")),
        state: Some(TcpState::CloseWait),
        close_wait: Some(Duration::from_millis(millis)),
        ..Socket::default()
    }
}

#[test]
fn who_has_hung_up_is_signalled_from_the_stale_time_on() {
    let of = |millis| signals(&described(vec![fd(3, 1, Some(90), hung_up(millis, None))]));
    assert_eq!(of(59_999), []);
    let expected = |millis| FdSignal::CloseWait {
        count: 1,
        oldest: Duration::from_millis(millis),
        site: Some(SiteId(1)),
        endpoint: Some(inet("198.51.100.7:443")),
    };
    assert_eq!(of(60_000), [expected(60_000)]);
    assert_eq!(of(60_001), [expected(60_001)]);
    // The other end is there.
    let open = Socket { close_wait: None, idle: Some(seconds(900)), ..hung_up(0, None) };
    assert_eq!(signals(&described(vec![fd(3, 1, Some(900), open)])), []);
}

#[test]
fn those_that_have_hung_up_are_counted_by_site_and_endpoint() {
    let mut open = Vec::new();
    for (site, count, direction) in
        [(1, 2, Some(Direction::Outbound)), (2, 3, Some(Direction::Inbound)), (1, 5, Some(Direction::Inbound))]
    {
        open.extend(
            (0..count).map(|index| fd(index, site, None, hung_up(60_000 + u64::from(index) * 1_000, direction))),
        );
    }
    // One that is too young for its group, and one from before.
    open.push(fd(90, 2, None, hung_up(59_000, Some(Direction::Inbound))));
    open.push(OpenFd { origin: Origin::BeforeAttach, ..fd(91, 0, None, hung_up(61_000, Some(Direction::Inbound))) });
    let (ours, theirs) = (inet("192.0.2.1:8080"), inet("198.51.100.7:443"));
    let expected = [
        (5, 64, Some(SiteId(1)), &ours),
        (3, 62, Some(SiteId(2)), &ours),
        (2, 61, Some(SiteId(1)), &theirs),
        (1, 61, None, &ours),
    ]
    .map(|(count, oldest, site, endpoint)| FdSignal::CloseWait {
        count,
        oldest: seconds(oldest),
        site,
        endpoint: Some(endpoint.clone()),
    });
    assert_eq!(signals(&described(open)), expected);
}

fn peer(opened: u64, closed: u64, open: u64, growing: bool) -> Peer {
    Peer {
        direction: Direction::Outbound,
        endpoint: inet("127.0.0.1:5432"),
        service: None,
        open,
        idle: 0,
        close_wait: 0,
        oldest: None,
        opened,
        closed,
        opened_per_min: 31.0,
        closed_per_min: 7.0,
        growing,
        connect_latency: None,
        sites: Vec::new(),
        connected_by: Vec::new(),
    }
}

#[test]
fn unreleased_connections_are_those_that_go_on_growing() {
    let of = |peer| signals(&Descriptors { peers: vec![peer], ..Descriptors::default() });
    let expected = FdSignal::Unreleased {
        direction: Direction::Outbound,
        endpoint: inet("127.0.0.1:5432"),
        opened_per_min: 31.0,
        closed_per_min: 7.0,
    };
    assert_eq!(of(peer(31, 7, 24, true)), std::slice::from_ref(&expected));
    assert_eq!(of(peer(12, 7, 5, true)), [expected]);
    assert_eq!(of(peer(31, 7, 24, false)), [], "a pool that filled");
    assert_eq!(of(peer(11, 7, 24, true)), [], "few");
    assert_eq!(of(peer(31, 7, 4, true)), [], "they are not open any more");
    assert_eq!(of(peer(7, 31, 24, true)), [], "more closed than opened: from before");
}

#[test]
fn growth_without_traffic() {
    // Two more each second.
    let (per_min, over, site) = growth(&history((0..31).map(|second| (100 + 2 * second, 0)))).expect("it grows");
    assert!((per_min - 120.0).abs() < 1e-9, "{per_min}");
    assert_eq!((over, site), (seconds(30), Some(SiteId(1))));
    // Traffic that is the same all along does not explain it.
    assert!(growth(&history((0..31).map(|second| (100 + 2 * second, 1_000 * second)))).is_some());
    // What was carried before the first survey is of another time.
    assert!(growth(&history((0..31).map(|second| (100 + 2 * second, 1_000_000 + 1_000 * second)))).is_some());
}

#[test]
fn growth_with_traffic_is_load() {
    assert_eq!(growth(&history((0..31).map(|second| (100 + 2 * second, 1_000 * second * second)))), None);
    // It begins in the middle.
    assert_eq!(
        growth(&history((0..31).map(|second: u64| (100 + 2 * second, 1_000 * second.saturating_sub(20))))),
        None
    );
}

/// Connections that come and go carry traffic too, each all its bytes.
#[test]
fn traffic_is_that_of_all_connections() {
    let of = |files: fn(u64) -> u64| {
        let mut history = FdHistory::default();
        for second in 0..31 {
            let connection = connection(7, files(second), if second < 20 { 1_000 } else { 5_000 });
            let fds: Vec<_> = surveyed(1, 100, 100 + 2 * second).chain([connection]).collect();
            history.push(second * SECOND, &fds);
        }
        growth(&history)
    };
    // Another one under the same number each second: five times the bytes in the second half.
    assert_eq!(of(|second| second), None);
    // The same: it carried 4,000 more, once.
    assert_eq!(of(|_| 0), None);
}

#[test]
fn a_short_history_says_nothing() {
    for surveys in 0..8 {
        assert_eq!(growth(&history((0..surveys).map(|second| (100 * (second + 1), 0)))), None, "{surveys} surveys");
    }
    assert!(growth(&history((0..9).map(|second| (100 * (second + 1), 0)))).is_some());
    // Two surveys, far apart: whether it grew all the time is not known.
    let mut history = FdHistory::default();
    for (second, open) in [(0, 10), (50, 1_000)] {
        history.push(second * SECOND, &surveyed(1, 100, open).collect::<Vec<_>>());
    }
    assert_eq!(growth(&history), None);
}

#[test]
fn a_few_more_are_no_growth() {
    assert_eq!(growth(&history((0..31).map(|second| (100 + second * 7 / 30, 0)))), None);
    assert!(growth(&history((0..31).map(|second| (100 + second * 8 / 30, 0)))).is_some());
}

#[test]
fn what_fills_once_or_churns_does_not_grow() {
    assert_eq!(growth(&history((0..61).map(|second| (100 + second.min(20) * 50, 0)))), None, "a pool");
    assert_eq!(growth(&history((0..61).map(|_| (100, 0)))), None);
    assert_eq!(growth(&history((0..61).map(|second| (100 + second % 7 * 50, 0)))), None, "ups and downs");
    assert_eq!(growth(&history((0..61).map(|second| (1_000 - second, 0)))), None);
    assert_eq!(growth(&history((0..61).map(|second| (100 + second.min(45) * 10, 0)))), None, "a slow pool");
    // Ups and downs on a leak: it is told from them, and its rate is its own.
    let (per_min, ..) = growth(&history((0..61).map(|second| (100 + second + second % 7 * 50, 0)))).expect("it grows");
    assert!((per_min - 60.0).abs() < 10.0, "{per_min}");
    // Others all the time, as many.
    let mut churning = FdHistory::default();
    for second in 0..61 {
        churning.push(second * SECOND, &surveyed(second as u32, 100 * second as u32, 50).collect::<Vec<_>>());
    }
    assert_eq!(growth(&churning), None);
}

#[test]
fn growth_is_over_when_the_minute_is() {
    let grown = |until: u64| history((0..until).map(|second| (100 + second.min(60), 0)));
    assert!(growth(&grown(61)).is_some());
    let (_, over, _) = growth(&history((0..300).map(|second| (100 + second, 0)))).expect("it grows");
    assert_eq!(over, seconds(60));
    assert_eq!(growth(&grown(90)), None);
}

#[test]
fn growth_names_the_site_that_grew_most() {
    let mut history = FdHistory::default();
    for second in 0..31 {
        let fds = surveyed(3, 0, 900).chain(surveyed(1, 1_000, second)).chain(surveyed(2, 2_000, 3 * second));
        history.push(second * SECOND, &fds.collect::<Vec<_>>());
    }
    assert_eq!(growth(&history).and_then(|(_, _, site)| site), Some(SiteId(2)));
    // Nobody's.
    let mut unseen = FdHistory::default();
    for second in 0..31 {
        let fds = surveyed(1, 0, 2 * second).map(|fd| SurveyedFd { origin: Origin::Unseen, ..fd });
        unseen.push(second * SECOND, &fds.collect::<Vec<_>>());
    }
    assert_eq!(growth(&unseen).map(|(_, _, site)| site), Some(None));
}

/// Surveys of one socket, a second apart, in these states; its file, and what is signalled at the end.
fn half_open(states: &[(u64, TcpState)]) -> Vec<FdSignal> {
    let mut history = FdHistory::default();
    let peer = Some(inet("203.0.113.9:443"));
    for (second, (file, state)) in states.iter().enumerate() {
        let mut fd = connection(7, *file, 0);
        fd.socket = Some(SurveyedSocket { peer: peer.clone(), state: Some(*state), ..Default::default() });
        history.push(second as u64 * SECOND, &[fd]);
    }
    let socket = Socket { peer, state: states.last().map(|(_, state)| *state), ..Socket::default() };
    // However old the socket is.
    history.signals(&described(vec![fd(7, 1, Some(900), socket)]))
}

#[test]
fn a_connect_that_nobody_answers_is_signalled_after_a_handshake_s_time() {
    use TcpState::{Closed, Established, SynSent};

    let expected = [FdSignal::HalfOpen { count: 1, oldest: seconds(3), endpoint: Some(inet("203.0.113.9:443")) }];
    assert_eq!(half_open(&[(5, SynSent); 4]), expected);
    assert_eq!(half_open(&[(5, SynSent); 3]), []);
    assert_eq!(half_open(&[(5, Closed), (5, Closed), (5, Closed), (5, Closed), (5, SynSent)]), [], "it has just begun");
    assert_eq!(half_open(&[(5, SynSent), (5, SynSent), (5, SynSent), (5, SynSent), (5, Established)]), []);
    assert_eq!(half_open(&[(5, SynSent), (5, SynSent), (5, Established), (5, SynSent)]), [], "another connect");
    assert_eq!(half_open(&[(5, SynSent), (5, SynSent), (6, SynSent), (6, SynSent)]), [], "another socket");
    assert_eq!(half_open(&[]), []);
}

#[test]
fn unanswered_connects_are_counted_by_endpoint() {
    let (one, other) = (inet("203.0.113.9:443"), inet("203.0.113.9:80"));
    let peers = [Some(&one), Some(&other), Some(&other), None];
    let mut history = FdHistory::default();
    for second in 0..5 {
        let fds: Vec<_> = (0..peers.len() as u32)
            .map(|number| {
                let mut fd = connection(number, u64::from(number), 0);
                fd.socket = Some(SurveyedSocket { state: Some(TcpState::SynSent), ..Default::default() });
                fd
            })
            .collect();
        // The first begins later.
        history.push(second * SECOND, if second == 0 { &fds[1..] } else { &fds });
    }
    let socket =
        |peer: Option<&Endpoint>| Socket { peer: peer.cloned(), state: Some(TcpState::SynSent), ..Socket::default() };
    let open = peers.iter().zip(0..).map(|(peer, number)| fd(number, 1, None, socket(*peer))).collect();
    let expected = [(2, 4, Some(other)), (1, 4, None), (1, 3, Some(one))]
        .map(|(count, oldest, endpoint)| FdSignal::HalfOpen { count, oldest: seconds(oldest), endpoint });
    assert_eq!(history.signals(&described(open)), expected);
}

#[test]
fn the_most_urgent_comes_first() {
    let limits = FdLimits { nofile_soft: 100, nofile_hard: 100, open: 97 };
    let descriptors = Descriptors {
        limits: Some(limits),
        peers: vec![peer(31, 7, 24, true)],
        ..described(vec![fd(3, 1, None, hung_up(90_000, None))])
    };
    let all = history((0..31).map(|second| (100 + 2 * second, 0))).signals(&descriptors);
    let names: Vec<&str> = all.iter().map(FdSignal::name).collect();
    assert_eq!(names, ["near_limit", "close_wait", "unreleased", "growth"]);
}

proptest! {
    #[test]
    fn without_growth_there_is_no_signal_of_it(
        mut opens in prop::collection::vec(0u64..200, 0..40),
        steps in prop::collection::vec(0u64..30 * SECOND, 40),
        bytes in prop::collection::vec(any::<u64>(), 40),
    ) {
        opens.sort_unstable_by(|a, b| b.cmp(a));
        let mut history = FdHistory::default();
        let mut now = 0;
        for ((open, step), bytes) in opens.into_iter().zip(steps).zip(bytes) {
            now += step;
            history.push(now, &surveyed(1, 100, open).chain([connection(7, bytes % 3, bytes)]).collect::<Vec<_>>());
            prop_assert_eq!(growth(&history), None);
        }
    }

    #[test]
    fn no_history_panics(
        surveys in prop::collection::vec((any::<u64>(), prop::collection::vec((0u32..9, 0u64..3, any::<u64>(), 0u8..4), 0..20)), 0..20),
        limits in any::<Option<(u64, u64)>>(),
        peers in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()), 0..4),
        ages in prop::collection::vec(any::<Option<u64>>(), 0..4),
    ) {
        let states = [TcpState::SynSent, TcpState::CloseWait, TcpState::Established, TcpState::Listen];
        let mut history = FdHistory::default();
        let mut descriptors = described(Vec::new());
        descriptors.limits = limits.map(|(nofile_soft, open)| FdLimits { nofile_soft, nofile_hard: nofile_soft, open });
        descriptors.peers = peers.into_iter().map(|(opened, closed, open, growing)| peer(opened, closed, open, growing)).collect();
        for (time_ns, fds) in surveys {
            let fds: Vec<_> = fds
                .into_iter()
                .map(|(number, file, bytes, state)| {
                    let mut fd = connection(number, file, bytes);
                    let state = states.get(usize::from(state)).copied();
                    fd.socket = fd.socket.map(|socket| SurveyedSocket { state, rx_bytes: Some(bytes), ..socket });
                    fd
                })
                .collect();
            history.push(time_ns, &fds);
            let shown = fds.iter().zip(ages.iter().cycle()).map(|(surveyed, age)| {
                let state = surveyed.socket.as_ref().and_then(|socket| socket.state);
                fd(surveyed.key.fd, 1, *age, Socket { state, close_wait: age.map(seconds), ..Socket::default() })
            });
            descriptors.open = Arc::new(shown.collect());
            let signals = history.signals(&descriptors);
            let counts = signals.iter().filter_map(|signal| match signal {
                FdSignal::CloseWait { count, .. } | FdSignal::HalfOpen { count, .. } => Some(*count),
                _ => None,
            });
            prop_assert!(counts.into_iter().all(|count| count > 0));
        }
    }
}
