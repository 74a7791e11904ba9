//! Numbers for what has no number of its own. A number once given is never another thing's.

use crate::{
    aggregate::{Direction, FdKind, TargetState, TcpState},
    analyze::{process::PartKind, verdict::Label},
    symbolize::NoSymbol,
    target::limits::LimitKind,
};

/// Declares both directions. The first is exhaustive, so a new variant cannot be forgotten.
macro_rules! codes {
    ($(#[$meta:meta])* $to:ident, $from:ident, $type:ident: $($variant:ident = $code:literal),+ $(,)?) => {
        $(#[$meta])*
        pub(in crate::record) const fn $to(value: &$type) -> u32 {
            match value { $($type::$variant => $code,)+ }
        }

        pub(in crate::record) const fn $from(code: u32) -> Option<$type> {
            match code { $($code => Some($type::$variant),)+ _ => None }
        }
    };
}

codes!(of_reason, reason, NoSymbol:
    Pending = 1, Unmapped = 2, Anonymous = 3, ModuleUnreadable = 4, Stripped = 5, NotCovered = 6);

codes!(of_state, state, TargetState: Running = 1, Exited = 2, Detached = 3);

codes!(of_fd_kind, known_fd_kind, FdKind:
    File = 1, Directory = 2, Device = 3, Pipe = 4, Tcp = 5, Udp = 6, Unix = 7, Netlink = 8, Socket = 9, Epoll = 10,
    Eventfd = 11, Timerfd = 12, Signalfd = 13, Inotify = 14, Fanotify = 15, Memfd = 16, Pidfd = 17, Userfaultfd = 18,
    PerfEvent = 19, Bpf = 20, IoUring = 21, Other = 22);

codes!(of_direction, direction, Direction: Outbound = 1, Inbound = 2);

codes!(of_tcp_state, tcp_state, TcpState:
    Established = 1, SynSent = 2, SynReceived = 3, FinWait1 = 4, FinWait2 = 5, TimeWait = 6, Closed = 7, CloseWait = 8,
    LastAck = 9, Listen = 10, Closing = 11);

codes!(of_label, label, Label:
    Leaking = 1, Growing = 2, Bounded = 3, Steady = 4, Churn = 5, StartUp = 6, PreExisting = 7);

codes!(of_limit_kind, limit_kind, LimitKind:
    CgroupMax = 1, CgroupHigh = 2, CgroupV1 = 3, AddressSpace = 4, Data = 5, Machine = 6);

codes!(of_part_kind, part_kind, PartKind:
    Blocks = 1, BeforeAttach = 2, Mapped = 3, Files = 4, Shared = 5, LazyFree = 6, Retained = 7);

/// What leaktrace has no name for is something else, here as there.
pub(in crate::record) fn fd_kind(code: u32) -> FdKind {
    known_fd_kind(code).unwrap_or(FdKind::Other)
}

/// A reason of a later leaktrace reads as the one that says least.
pub(in crate::record) fn no_symbol(code: u32) -> NoSymbol {
    reason(code).unwrap_or(NoSymbol::NotCovered)
}

/// The kinds of probes.
const PROBE_KINDS: [&str; 4] = ["entry", "return", "exit", "tracepoint"];

pub(in crate::record) fn probe_kind(name: &str) -> Option<&'static str> {
    PROBE_KINDS.into_iter().find(|kind| *kind == name)
}
