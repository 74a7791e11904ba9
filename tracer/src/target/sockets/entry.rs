//! What the kernel says of one socket.

use std::time::Duration;

use crate::aggregate::{Endpoint, FdKind, TcpState};

/// A socket that a process holds, as of one reading. Whatever cannot be known is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketEntry {
    /// `Tcp` (MPTCP too), `Udp` or `Unix`.
    pub kind: FdKind,
    /// Our end.
    pub local: Option<Endpoint>,
    /// The other end. Of a Unix client, the path that its server listens on.
    pub peer: Option<Endpoint>,
    /// Of TCP sockets, and `Established` or `Listen` of Unix ones.
    pub state: Option<TcpState>,
    /// Whether the other end has hung up and this one is open: `CLOSE_WAIT`, and what corresponds to it of a Unix
    /// stream.
    pub hung_up: bool,
    /// Time since data was sent or received; since the connection was established, when none ever was. Of TCP.
    pub idle: Option<Duration>,
    /// Time since the other end last acknowledged anything, a keepalive too; what it sent last was its FIN, in
    /// `CLOSE_WAIT`. Of TCP.
    pub last_ack: Option<Duration>,
    /// Smoothed round-trip time. Of TCP.
    pub rtt: Option<Duration>,
    /// Segments sent and not acknowledged. Of TCP.
    pub unacked: Option<u32>,
    /// Bytes received since it was connected. Of TCP.
    pub rx_bytes: Option<u64>,
    /// Bytes sent and acknowledged since it was connected; one more while data is under way on a connection that we
    /// opened, because its SYN counts then. Of TCP.
    pub tx_bytes: Option<u64>,
    /// Bytes received that the target has not read. Of TCP and connected Unix streams: what the kernel calls queues of
    /// others is memory, not data.
    pub recv_queue: Option<u32>,
    /// Bytes written that the other end has not acknowledged; of Unix streams, not read.
    pub send_queue: Option<u32>,
    /// Of listening sockets.
    pub backlog: Option<Backlog>,
}

impl SocketEntry {
    /// A socket of which nothing else is known.
    pub(super) fn of(kind: FdKind) -> Self {
        Self {
            kind,
            local: None,
            peer: None,
            state: None,
            hung_up: false,
            idle: None,
            last_ack: None,
            rtt: None,
            unacked: None,
            rx_bytes: None,
            tx_bytes: None,
            recv_queue: None,
            send_queue: None,
            backlog: None,
        }
    }
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// How many wait.
    pub waiting: u32,
    /// How many may: the argument of listen(2), capped by `net.core.somaxconn`.
    pub limit: u32,
}
