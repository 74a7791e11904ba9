//! The descriptors' part of a Snapshot: what is open, who opened it, to whom it leads, and what looks wrong.

use std::{cmp::Reverse, net::SocketAddr, sync::Arc, time::Duration};

use super::{SiteId, Tgid};
use crate::{analyze::verdict::Verdict, symbolize::Stack};

/// A descriptor's number in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub u32);

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FdKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A character or block device.
    Device,
    /// A pipe, named or not.
    Pipe,
    /// A TCP socket.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A Unix domain socket.
    Unix,
    /// A netlink socket.
    Netlink,
    /// Any other socket, or one whose family cannot be known.
    Socket,
    /// An epoll instance.
    Epoll,
    /// An event counter.
    Eventfd,
    /// A timer.
    Timerfd,
    /// A signal descriptor.
    Signalfd,
    /// An inotify instance.
    Inotify,
    /// A fanotify instance.
    Fanotify,
    /// Anonymous memory.
    Memfd,
    /// A process.
    Pidfd,
    /// A userfaultfd.
    Userfaultfd,
    /// A performance event.
    PerfEvent,
    /// A BPF map, program, link or BTF.
    Bpf,
    /// An io_uring instance.
    IoUring,
    /// Anything else.
    Other,
}

impl FdKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::File,
        Self::Directory,
        Self::Device,
        Self::Pipe,
        Self::Tcp,
        Self::Udp,
        Self::Unix,
        Self::Netlink,
        Self::Socket,
        Self::Epoll,
        Self::Eventfd,
        Self::Timerfd,
        Self::Signalfd,
        Self::Inotify,
        Self::Fanotify,
        Self::Memfd,
        Self::Pidfd,
        Self::Userfaultfd,
        Self::PerfEvent,
        Self::Bpf,
        Self::IoUring,
        Self::Other,
    ];

    /// The name in JSON, metrics and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Device => "device",
            Self::Pipe => "pipe",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::Netlink => "netlink",
            Self::Socket => "socket",
            Self::Epoll => "epoll",
            Self::Eventfd => "eventfd",
            Self::Timerfd => "timerfd",
            Self::Signalfd => "signalfd",
            Self::Inotify => "inotify",
            Self::Fanotify => "fanotify",
            Self::Memfd => "memfd",
            Self::Pidfd => "pidfd",
            Self::Userfaultfd => "userfaultfd",
            Self::PerfEvent => "perf_event",
            Self::Bpf => "bpf",
            Self::IoUring => "io_uring",
            Self::Other => "other",
        }
    }
}

/// A call stack that opened descriptors. Open is opened minus closed.
#[derive(Clone, Debug)]
pub struct FdSite {
    /// Its id, from the same sequence as that of heap sites.
    pub id: SiteId,
    /// The process it belongs to.
    pub tgid: Tgid,
    /// Descriptors opened since attach.
    pub opened: u64,
    /// Those of them that were closed, wherever that happened.
    pub closed: u64,
    /// Age of its oldest open descriptor.
    pub oldest: Option<Duration>,
    /// Its open descriptors by kind, the commonest first; as of the last look at the descriptors.
    pub kinds: Vec<(FdKind, u64)>,
    /// Its call stack. Frame 0 is in the function that makes the system call.
    pub stack: Arc<Stack>,
    /// What it is doing; `None` while too little is known.
    pub verdict: Option<Arc<Verdict>>,
}

impl FdSite {
    /// Descriptors open now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Where it stands among the sites of a Snapshot.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.open()), Reverse(self.opened), self.id)
    }
}

/// How a descriptor came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Opened by this call stack.
    Site(SiteId),
    /// Open since before leaktrace attached.
    BeforeAttach,
    /// Opened since, in a way that was not seen.
    Unseen,
}

impl Origin {
    /// The name in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site(_) => "site",
            Self::BeforeAttach => "before_attach",
            Self::Unseen => "unseen",
        }
    }
}

/// Which way a connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The target connected.
    Outbound,
    /// The target accepted.
    Inbound,
}

impl Direction {
    /// The name in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// An end of a connection. Unix paths are the target's text, untrusted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// An internet address and port.
    Inet(SocketAddr),
    /// A path in the file system, or an abstract name with a leading `@`.
    Unix(Arc<str>),
}

/// States of a TCP connection, with the names of RFC 9293.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Open at both ends.
    Established,
    /// A connect is under way.
    SynSent,
    /// A connection is being accepted.
    SynReceived,
    /// Closed here, not acknowledged yet.
    FinWait1,
    /// Closed here, and open at the other end.
    FinWait2,
    /// Closed at both ends, old segments may arrive.
    TimeWait,
    /// Not connected.
    Closed,
    /// The other end hung up and we have not closed.
    CloseWait,
    /// Both hung up, the last acknowledgement is missing.
    LastAck,
    /// Waiting for connections.
    Listen,
    /// Both ends closed at once.
    Closing,
}

impl TcpState {
    /// The name in JSON and text, as ss(8) writes it in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

/// What is known of a socket. Whatever cannot be known is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {
    /// Which way it was connected.
    pub direction: Option<Direction>,
    /// Our end.
    pub local: Option<Endpoint>,
    /// The other end.
    pub peer: Option<Endpoint>,
    /// Of TCP sockets, and `Established` or `Listen` of Unix ones.
    pub state: Option<TcpState>,
    /// Time since anything was sent or received.
    pub idle: Option<Duration>,
    /// Bytes received since it was connected.
    pub rx_bytes: Option<u64>,
    /// Bytes sent and acknowledged since it was connected.
    pub tx_bytes: Option<u64>,
    /// Bytes received that the target has not read.
    pub recv_queue: Option<u32>,
    /// Bytes written that the other end has not acknowledged.
    pub send_queue: Option<u32>,
    /// From the first SYN to the established connection.
    pub connect_latency: Option<Duration>,
    /// For how long the other end has hung up, at least.
    pub close_wait: Option<Duration>,
    /// The call stack that connected, where that is not the one that opened the socket.
    pub connected_by: Option<SiteId>,
}

/// A descriptor that is open now.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenFd {
    /// The process.
    pub tgid: Tgid,
    /// The descriptor.
    pub fd: Fd,
    /// What it refers to.
    pub kind: FdKind,
    /// The path of a file, the name of a memfd, the pid of a pidfd and the like; untrusted. Empty for sockets.
    pub detail: Arc<str>,
    /// How it came to be.
    pub origin: Origin,
    /// Time since it was opened; `None` for what was open before or came unseen.
    pub age: Option<Duration>,
    /// Its socket, if it is one.
    pub socket: Option<Box<Socket>>,
}

/// The connections with one remote service, or of the clients of one listening address of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Outbound: a service that the target connected to. Inbound: clients that it accepted.
    pub direction: Direction,
    /// Outbound: the remote address. Inbound: our listening one.
    pub endpoint: Endpoint,
    /// The usual name of the service, by port or socket path.
    pub service: Option<&'static str>,
    /// Connections open now.
    pub open: u64,
    /// Those without traffic for the stale time.
    pub idle: u64,
    /// Those whose other end has hung up.
    pub close_wait: u64,
    /// Age of the oldest connection that was opened since attach.
    pub oldest: Option<Duration>,
    /// Connections opened since attach.
    pub opened: u64,
    /// Connections closed since attach.
    pub closed: u64,
    /// Opened per minute, over the last minute or the time since attach.
    pub opened_per_min: f64,
    /// Closed per minute, over the same time.
    pub closed_per_min: f64,
    /// More were opened than closed in each third of that time: no pool that fills once.
    pub growing: bool,
    /// Median time to connect, of the connections that are open.
    pub connect_latency: Option<Duration>,
    /// The call stacks that opened those that are open, each with how many, the commonest first.
    pub sites: Vec<(SiteId, u64)>,
    /// The call stacks that connected those that are open, where others opened them; the commonest first.
    pub connected_by: Vec<(SiteId, u64)>,
}

/// The limit of descriptors of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdLimits {
    /// `RLIMIT_NOFILE` in force.
    pub nofile_soft: u64,
    /// What the target may raise it to.
    pub nofile_hard: u64,
    /// Descriptors open.
    pub open: u64,
}

impl FdLimits {
    /// Share of the limit in use, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.nofile_soft == 0 { 0.0 } else { self.open as f64 / self.nofile_soft as f64 }
    }
}

/// Something wrong with the descriptors: computed, not guessed.
#[derive(Clone, Debug, PartialEq)]
pub enum FdSignal {
    /// The other end hung up at least the stale time ago, and the target has not closed.
    CloseWait {
        /// Connections.
        count: u64,
        /// For how long the first of them, at least.
        oldest: Duration,
        /// Where they were accepted or opened; `None` for those from before the attach.
        site: Option<SiteId>,
        /// The service, or our listening address.
        endpoint: Option<Endpoint>,
    },
    /// Open descriptors grow while traffic does not.
    Growth {
        /// Descriptors more per minute.
        per_min: f64,
        /// Over how long.
        over: Duration,
        /// The site that grew most.
        site: Option<SiteId>,
    },
    /// More connections to a service are opened than closed.
    Unreleased {
        /// Which way.
        direction: Direction,
        /// The service.
        endpoint: Endpoint,
        /// Opened per minute.
        opened_per_min: f64,
        /// Closed per minute.
        closed_per_min: f64,
    },
    /// Connects that have been under way for longer than a handshake takes.
    HalfOpen {
        /// Connections.
        count: u64,
        /// For how long the first of them, at least.
        oldest: Duration,
        /// The service.
        endpoint: Option<Endpoint>,
    },
    /// Close to the limit of descriptors.
    NearLimit {
        /// The mark that was passed, in percent: 80 or 95.
        mark: u8,
        /// Where things stand.
        limits: FdLimits,
    },
}

impl FdSignal {
    /// The name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CloseWait { .. } => "close_wait",
            Self::Growth { .. } => "growth",
            Self::Unreleased { .. } => "unreleased",
            Self::HalfOpen { .. } => "half_open",
            Self::NearLimit { .. } => "near_limit",
        }
    }
}

/// What was put right when the table of descriptors was compared with the kernel's own. Zero is the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Records of descriptors that were closed in a way that was not seen: counted as closed when this was noticed.
    pub unseen_closes: u64,
    /// Descriptors that were opened in a way that was not seen.
    pub unseen_opens: u64,
    /// Records whose number had come to mean another file.
    pub replaced: u64,
}

/// Everything about descriptors, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    /// Sites that opened descriptors, most open first; and at the end, with nothing opened, those that only connected.
    pub sites: Vec<FdSite>,
    /// What is open, by process and number; as of the last look.
    pub open: Arc<Vec<OpenFd>>,
    /// Time since that look; `None` before the first.
    pub looked: Option<Duration>,
    /// Services and clients, most open first.
    pub peers: Vec<Peer>,
    /// The limit, where it can be read.
    pub limits: Option<FdLimits>,
    /// What looks wrong, the most urgent first.
    pub signals: Vec<FdSignal>,
    /// What was put right.
    pub corrections: Corrections,
    /// What cannot be known here, in words: why sockets have no details, for example.
    pub limitations: Vec<String>,
    /// Time without traffic after which a connection counts as idle.
    pub stale: Duration,
}

impl Descriptors {
    /// Sites that opened descriptors, most open first: without those that only connected.
    pub fn opening_sites(&self) -> impl Iterator<Item = &FdSite> {
        self.sites.iter().filter(|site| site.opened > 0)
    }

    /// Descriptors that were opened since attach and are open.
    pub fn open_since_attach(&self) -> u64 {
        self.sites.iter().map(FdSite::open).sum()
    }
}
