//! Synthetic Snapshots with descriptors.

use std::{sync::Arc, time::Duration};

use tracer_common::stack::StackEnd;

use super::{PROGRAM, empty, frame, hostile, normal, snapshot};
use crate::{
    aggregate::{
        Corrections, Descriptors, Direction, Endpoint, Fd, FdKind, FdLimits, FdSignal, FdSite, OpenFd, Origin, Peer,
        SiteId, Snapshot, Socket, TcpState, Tgid,
    },
    symbolize::{Frame, Stack},
};

const LIBC: &str = "/usr/lib/libc.so.6";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn inet(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().expect("an address and a port"))
}

fn unix(path: &str) -> Endpoint {
    Endpoint::Unix(Arc::from(path))
}

fn with(snapshot: Snapshot, descriptors: Descriptors) -> Snapshot {
    Snapshot { descriptors: Some(descriptors), ..snapshot }
}

/// A site; `oldest` in seconds. Its kinds are counted by [`descriptors`].
fn site(id: u32, (opened, closed): (u64, u64), oldest: Option<u64>, frames: Vec<Frame>) -> FdSite {
    FdSite {
        verdict: None,
        id: SiteId(id),
        tgid: Tgid(4242),
        opened,
        closed,
        oldest: oldest.map(seconds),
        kinds: Vec::new(),
        stack: Arc::new(Stack { frames, end: StackEnd::Complete }),
    }
}

fn served(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.push(frame(0x5555_0000_2345, "http_serve", PROGRAM, "src/http/server.c:90"));
    frames.push(frame(0x5555_0000_1234, "main", PROGRAM, "src/main.cc:31"));
    frames
}

/// Descriptors are numbered in the order they are made.
#[derive(Default)]
struct Open(Vec<OpenFd>);

impl Open {
    fn add(&mut self, origin: Origin, kind: FdKind, detail: &str, age: Option<u64>, socket: Option<Socket>) {
        let age = age.map(seconds);
        let (fd, detail, socket) = (Fd(self.0.len() as u32), Arc::from(detail), socket.map(Box::new));
        self.0.push(OpenFd { tgid: Tgid(4242), fd, kind, detail, origin, age, socket });
    }
}

/// What the sites have open, by kind, is counted from `open`.
fn descriptors(mut sites: Vec<FdSite>, Open(open): Open) -> Descriptors {
    for site in &mut sites {
        let own = || open.iter().filter(|fd| fd.origin == Origin::Site(site.id));
        let count = |&kind: &FdKind| (kind, own().filter(|fd| fd.kind == kind).count() as u64);
        site.kinds = FdKind::ALL.iter().map(count).filter(|&(_, count)| count > 0).collect();
        site.kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        assert_eq!(own().count() as u64, site.open(), "site {}", site.id.0);
    }
    sites.sort_by_key(|site| std::cmp::Reverse((site.open(), site.opened)));
    Descriptors {
        sites,
        open: open.into(),
        looked: Some(Duration::from_millis(400)),
        stale: seconds(60),
        ..Descriptors::default()
    }
}

/// An outbound connection to PostgreSQL, leaked.
fn to_postgres(port: u32, idle: u64) -> Socket {
    Socket {
        direction: Some(Direction::Outbound),
        local: Some(inet(&format!("127.0.0.1:{port}"))),
        peer: Some(inet("127.0.0.1:5432")),
        state: Some(TcpState::Established),
        idle: Some(seconds(idle)),
        rx_bytes: Some(431),
        tx_bytes: Some(127),
        recv_queue: Some(0),
        send_queue: Some(0),
        connect_latency: Some(Duration::from_micros(310)),
        close_wait: None,
        connected_by: None,
    }
}

/// A client's connection; `gone`: for how many seconds the client has hung up.
fn from_client(port: u32, gone: Option<u64>) -> Socket {
    Socket {
        direction: Some(Direction::Inbound),
        local: Some(inet("192.0.2.1:8080")),
        peer: Some(inet(&format!("198.51.100.7:{port}"))),
        state: Some(if gone.is_some() { TcpState::CloseWait } else { TcpState::Established }),
        idle: Some(seconds(gone.unwrap_or(2))),
        rx_bytes: Some(1_709),
        tx_bytes: Some(90_001),
        recv_queue: Some(if gone.is_some() { 1 } else { 0 }),
        send_queue: Some(if gone.is_some() { 0 } else { 14_480 }),
        connect_latency: None,
        close_wait: gone.map(seconds),
        connected_by: None,
    }
}

fn normal_sites() -> Vec<FdSite> {
    vec![
        site(
            17,
            (211, 170),
            Some(241),
            served(vec![
                frame(0x7f00_0011_1111, "socket", LIBC, ""),
                frame(0x5555_0003_1000, "pg::Connection::open(pg::Config const&)", PROGRAM, "src/pg/connection.cc:88"),
                frame(0x5555_0003_2000, "orders::load(unsigned long)", PROGRAM, "src/orders.cc:57"),
            ]),
        ),
        site(
            23,
            (1_009, 980),
            Some(229),
            served(vec![
                frame(0x7f00_0011_2222, "open64", LIBC, ""),
                frame(0x5555_0003_3000, "report::write_page", PROGRAM, "src/report.cc:33"),
            ]),
        ),
        site(
            19,
            (6_007, 5_990),
            Some(191),
            vec![
                frame(0x7f00_0011_3333, "accept4", LIBC, ""),
                frame(0x5555_0003_4000, "http_accept", PROGRAM, "src/http/server.c:41"),
                frame(0x5555_0000_1234, "main", PROGRAM, "src/main.cc:31"),
            ],
        ),
        site(29, (7, 0), Some(11), served(vec![frame(0x5555_0003_5000, "log_reopen", PROGRAM, "src/log.c:19")])),
        site(31, (5, 0), Some(240), served(vec![frame(0x5555_0003_6000, "ev::Loop::Loop()", PROGRAM, "src/ev.cc:12")])),
        site(
            41,
            (3, 0),
            Some(13),
            served(vec![frame(0x5555_0003_7000, "search::connect", PROGRAM, "src/search.cc:7")]),
        ),
        site(
            37,
            (1_301, 1_301),
            None,
            served(vec![frame(0x5555_0003_8000, "thumb::load", PROGRAM, "src/thumb.cc:71")]),
        ),
        // Opened nothing: it only connected.
        site(43, (0, 0), None, served(vec![frame(0x5555_0003_9000, "search::reconnect", PROGRAM, "src/search.cc:53")])),
    ]
}

fn normal_open() -> Open {
    let mut open = Open::default();
    let before = Origin::BeforeAttach;
    for _ in 0..3 {
        open.add(before, FdKind::Device, "/dev/null", None, None);
    }
    let listening = Socket {
        local: Some(inet("0.0.0.0:8080")),
        state: Some(TcpState::Listen),
        recv_queue: Some(0),
        ..Socket::default()
    };
    open.add(before, FdKind::Tcp, "", None, Some(listening));
    open.add(before, FdKind::File, "/var/log/imgserver.log", None, None);
    for port in 0..3 {
        let redis = Socket { peer: Some(inet("10.0.0.3:6379")), ..to_postgres(40_009 + port, 97) };
        open.add(before, FdKind::Tcp, "", None, Some(Socket { connect_latency: None, ..redis }));
    }
    for index in 0..41 {
        let age = 241 - u64::from(index) * 5;
        open.add(Origin::Site(SiteId(17)), FdKind::Tcp, "", Some(age), Some(to_postgres(50_021 + index, age - 1)));
    }
    for index in 0..17 {
        let gone = (index < 13).then(|| 182 - u64::from(index) * 7);
        let age = gone.map_or(3, |gone| gone + 9);
        open.add(Origin::Site(SiteId(19)), FdKind::Tcp, "", Some(age), Some(from_client(61_001 + index, gone)));
    }
    for page in 0..29 {
        let path = format!("/var/cache/imgserver/report-{page:03}.html");
        open.add(Origin::Site(SiteId(23)), FdKind::File, &path, Some(229 - page * 7), None);
    }
    for index in 0..7 {
        let log = Socket {
            direction: Some(Direction::Outbound),
            peer: Some(unix("/run/systemd/journal/dev-log")),
            state: Some(TcpState::Established),
            ..Socket::default()
        };
        open.add(Origin::Site(SiteId(29)), FdKind::Unix, "", Some(11 - index), Some(log));
    }
    let looped = Origin::Site(SiteId(31));
    open.add(looped, FdKind::Epoll, "", Some(240), None);
    open.add(looped, FdKind::Eventfd, "", Some(240), None);
    open.add(looped, FdKind::Eventfd, "", Some(240), None);
    open.add(looped, FdKind::Pipe, "pipe:[104729]", Some(240), None);
    open.add(looped, FdKind::Pipe, "pipe:[104729]", Some(240), None);
    for index in 0..3 {
        let connecting = Socket {
            direction: Some(Direction::Outbound),
            local: Some(inet(&format!("[2001:db8::5]:{}", 33_001 + index))),
            peer: Some(inet("[2001:db8::17]:9200")),
            state: Some(TcpState::SynSent),
            connected_by: (index == 0).then_some(SiteId(43)),
            ..Socket::default()
        };
        open.add(Origin::Site(SiteId(41)), FdKind::Tcp, "", Some(13 - index), Some(connecting));
    }
    open.add(Origin::Unseen, FdKind::Memfd, "scratch", None, None);
    open.add(Origin::Unseen, FdKind::Socket, "", None, Some(Socket::default()));
    open
}

fn peer(direction: Direction, endpoint: Endpoint, service: Option<&'static str>, open: u64, sites: &[u32]) -> Peer {
    Peer {
        direction,
        endpoint,
        service,
        open,
        idle: 0,
        close_wait: 0,
        oldest: None,
        opened: 0,
        closed: 0,
        opened_per_min: 0.0,
        closed_per_min: 0.0,
        growing: false,
        connect_latency: None,
        sites: sites.iter().map(|&id| (SiteId(id), open / sites.len() as u64)).collect(),
        connected_by: Vec::new(),
    }
}

fn normal_peers() -> Vec<Peer> {
    use Direction::{Inbound, Outbound};
    vec![
        Peer {
            idle: 36,
            oldest: Some(seconds(241)),
            opened: 211,
            closed: 170,
            opened_per_min: 52.5,
            closed_per_min: 41.0,
            growing: true,
            connect_latency: Some(Duration::from_micros(310)),
            ..peer(Outbound, inet("127.0.0.1:5432"), Some("postgresql"), 41, &[17])
        },
        Peer {
            idle: 13,
            close_wait: 13,
            oldest: Some(seconds(191)),
            opened: 6_007,
            closed: 5_990,
            opened_per_min: 1_453.0,
            closed_per_min: 1_451.0,
            ..peer(Inbound, inet("0.0.0.0:8080"), Some("http-alt"), 17, &[19])
        },
        Peer {
            oldest: Some(seconds(11)),
            opened: 7,
            opened_per_min: 7.0,
            ..peer(Outbound, unix("/run/systemd/journal/dev-log"), Some("syslog"), 7, &[29])
        },
        Peer { idle: 3, ..peer(Outbound, inet("10.0.0.3:6379"), Some("redis"), 3, &[]) },
        Peer {
            oldest: Some(seconds(13)),
            opened: 3,
            opened_per_min: 3.0,
            connect_latency: Some(Duration::from_millis(1_307)),
            connected_by: vec![(SiteId(43), 1)],
            ..peer(Outbound, inet("[2001:db8::17]:9200"), None, 3, &[41])
        },
    ]
}

/// [`normal`] with a handler that leaks connections to PostgreSQL, clients that hung up, files left open, descriptors
/// from before the attach, and every signal.
pub(crate) fn normal_fds() -> Snapshot {
    let base = descriptors(normal_sites(), normal_open());
    let limits = FdLimits { nofile_soft: 128, nofile_hard: 4_096, open: base.open.len() as u64 };
    let signals = vec![
        FdSignal::NearLimit { mark: 80, limits },
        FdSignal::CloseWait {
            count: 13,
            oldest: seconds(182),
            site: Some(SiteId(19)),
            endpoint: Some(inet("0.0.0.0:8080")),
        },
        FdSignal::Unreleased {
            direction: Direction::Outbound,
            endpoint: inet("127.0.0.1:5432"),
            opened_per_min: 52.5,
            closed_per_min: 41.0,
        },
        FdSignal::Growth { per_min: 17.5, over: seconds(180), site: Some(SiteId(17)) },
        FdSignal::HalfOpen { count: 3, oldest: seconds(13), endpoint: Some(inet("[2001:db8::17]:9200")) },
    ];
    let corrections = Corrections { unseen_closes: 3, unseen_opens: 2, replaced: 1 };
    let limitations = vec!["unix sockets: the other end's process cannot be read here".to_owned()];
    with(
        normal(),
        Descriptors { peers: normal_peers(), limits: Some(limits), signals, corrections, limitations, ..base },
    )
}

/// Traced, and nothing was opened yet; nothing is known of the limit.
pub(crate) fn no_fds() -> Snapshot {
    with(empty(), Descriptors { stale: seconds(60), ..Descriptors::default() })
}

/// [`normal_fds`] where memory is not traced.
pub(crate) fn fds_alone() -> Snapshot {
    Snapshot {
        heap_traced: false,
        sites: Vec::new(),
        totals: Default::default(),
        rates: Default::default(),
        ..normal_fds()
    }
}

/// A target whose paths and socket names attack the terminal and the layout.
pub(crate) fn hostile_fds() -> Snapshot {
    let long = "x".repeat(10_000);
    let names = ["evil\x1b[2J\x1b]0;owned\x07", "a\nb\r\tc", "\u{202e}gpj.exe\u{2066}", "漢字仮名\u{200b}", &long];
    let mut open = Open::default();
    for name in names {
        let origin = Origin::Site(SiteId(5));
        open.add(origin, FdKind::File, &format!("/tmp/{name}"), Some(5), None);
        let socket = Socket {
            direction: Some(Direction::Outbound),
            local: Some(unix(name)),
            peer: Some(unix(&format!("@{name}"))),
            state: Some(TcpState::Established),
            ..Socket::default()
        };
        open.add(origin, FdKind::Unix, "", Some(3), Some(socket.clone()));
        open.add(Origin::BeforeAttach, FdKind::Unix, "", None, Some(socket));
    }
    let sites = vec![site(5, (10, 0), Some(5), hostile().sites[0].stack.frames.clone())];
    let peers = names
        .iter()
        .map(|name| peer(Direction::Outbound, unix(&format!("@{name}")), None, 2, &[5]))
        .collect::<Vec<_>>();
    let signals = vec![
        FdSignal::Growth { per_min: f64::NAN, over: seconds(60), site: Some(SiteId(5)) },
        FdSignal::CloseWait { count: 2, oldest: seconds(61), site: None, endpoint: Some(peers[0].endpoint.clone()) },
        FdSignal::Unreleased {
            direction: Direction::Outbound,
            endpoint: peers[4].endpoint.clone(),
            opened_per_min: f64::INFINITY,
            closed_per_min: 0.0,
        },
    ];
    let limitations = vec!["namespace \x1b[31m of 漢字 could not be entered".to_owned()];
    let limits = Some(FdLimits { nofile_soft: 15, nofile_hard: 15, open: 15 });
    with(hostile(), Descriptors { peers, signals, limitations, limits, ..descriptors(sites, open) })
}

/// `count` files, of which site `n` holds each whose number leaves the remainder `n`, of 97 sites.
pub(crate) fn many_fds(count: u32) -> Snapshot {
    const SITES: u32 = 97;
    let mut open = Open::default();
    for number in 0..count {
        let path = format!("/srv/data/{number}");
        open.add(Origin::Site(SiteId(number % SITES)), FdKind::File, &path, Some(u64::from(count - number)), None);
    }
    let sites = (0..SITES).map(|id| {
        let held = u64::from((count + SITES - 1 - id) / SITES);
        let frames = vec![frame(0x5555_0000_0000 + u64::from(id), &format!("open_{id}"), PROGRAM, "src/work.c:3")];
        site(id, (held + 2, 2), (held > 0).then(|| u64::from(count - id)), frames)
    });
    let limits = Some(FdLimits { nofile_soft: 65_536, nofile_hard: 65_536, open: u64::from(count) });
    with(snapshot(Vec::new()), Descriptors { limits, ..descriptors(sites.collect(), open) })
}
