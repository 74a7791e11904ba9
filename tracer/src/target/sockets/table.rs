//! The tables of sockets that are asked for, and the requests that do.

use std::fmt;

use netlink_packet_core::{Emitable, NLA_HEADER_SIZE};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
    unix::{ShowFlags, StateFlags as UnixStateFlags, UnixRequest},
};

/// `IPPROTO_MPTCP` of `include/uapi/linux/in.h`.
const IPPROTO_MPTCP: u32 = 262;
/// `INET_DIAG_REQ_PROTOCOL` of `include/uapi/linux/inet_diag.h`: a protocol that does not fit into the request's byte.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
/// No protocol (`include/uapi/linux/in.h` ends before), in the byte that the attribute overrules.
const NO_PROTOCOL: u8 = 254;
/// `TCP_BOUND_INACTIVE` of `include/net/tcp_states.h`: bound and neither connected nor listening; Linux 6.8 and newer
/// list these.
const BOUND_INACTIVE: u32 = 1 << 13;

/// A table of sockets that the kernel keeps in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// Multipath TCP over IPv4: what Go's servers listen with.
    Mptcp4,
    /// Multipath TCP over IPv6.
    Mptcp6,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// Unix domain sockets.
    Unix,
}

impl Table {
    /// Every table, in the order in which they are read.
    pub const ALL: &[Self] = &[Self::Tcp4, Self::Tcp6, Self::Mptcp4, Self::Mptcp6, Self::Udp4, Self::Udp6, Self::Unix];

    /// The request for it, without netlink's header.
    pub(super) fn request(self) -> Vec<u8> {
        match self {
            Self::Tcp4 => inet(SocketId::new_v4(), AF_INET, IPPROTO_TCP),
            Self::Tcp6 => inet(SocketId::new_v6(), AF_INET6, IPPROTO_TCP),
            Self::Mptcp4 => with_protocol(inet(SocketId::new_v4(), AF_INET, NO_PROTOCOL)),
            Self::Mptcp6 => with_protocol(inet(SocketId::new_v6(), AF_INET6, NO_PROTOCOL)),
            Self::Udp4 => inet(SocketId::new_v4(), AF_INET, IPPROTO_UDP),
            Self::Udp6 => inet(SocketId::new_v6(), AF_INET6, IPPROTO_UDP),
            Self::Unix => unix(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp4 => "IPv4 TCP",
            Self::Tcp6 => "IPv6 TCP",
            Self::Mptcp4 => "IPv4 MPTCP",
            Self::Mptcp6 => "IPv6 MPTCP",
            Self::Udp4 => "IPv4 UDP",
            Self::Udp6 => "IPv6 UDP",
            Self::Unix => "Unix",
        })
    }
}

fn inet(socket_id: SocketId, family: u8, protocol: u8) -> Vec<u8> {
    // Connections in TIME_WAIT belong to no descriptor any more, and can be many.
    let states = (StateFlags::all() - StateFlags::TIME_WAIT) | StateFlags::from_bits_retain(BOUND_INACTIVE);
    emit(&InetRequest { family, protocol, extensions: ExtensionFlags::INFO, states, socket_id })
}

fn with_protocol(mut request: Vec<u8>) -> Vec<u8> {
    let value = IPPROTO_MPTCP.to_ne_bytes();
    let length = u16::try_from(NLA_HEADER_SIZE + value.len()).unwrap_or_default();
    request.extend(length.to_ne_bytes());
    request.extend(INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
    request.extend(value);
    request
}

fn unix() -> Vec<u8> {
    emit(&UnixRequest {
        // Datagram sockets are in others than the two that have a name.
        state_flags: UnixStateFlags::from_bits_retain(u32::MAX),
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::ICONS | ShowFlags::RQLEN,
        cookie: [0xff; 8],
    })
}

fn emit(request: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_layout() {
        // struct inet_diag_req_v2: family, protocol, ext, pad, states, id.
        let tcp = Table::Tcp4.request();
        assert_eq!((tcp.len(), &tcp[..4]), (56, &[2, 6, 2, 0][..]));
        let states = u32::from_ne_bytes(*tcp[4..].first_chunk().expect("states"));
        assert_eq!(states, 0b10_1111_1011_1110, "established to closing, bound; not TIME_WAIT");
        assert_eq!(Table::Udp6.request()[..4], [10, 17, 2, 0]);
        let mptcp = Table::Mptcp6.request();
        assert_eq!((mptcp.len(), &mptcp[..2], &mptcp[56..]), (64, &[10, 254][..], &[8, 0, 3, 0, 6, 1, 0, 0][..]));
        // struct unix_diag_req: family, protocol, pad, states, inode, show, cookie.
        let unix = Table::Unix.request();
        assert_eq!((unix.len(), unix[0], &unix[4..8], &unix[12..16]), (24, 1, &[255; 4][..], &[0x1d, 0, 0, 0][..]));
    }
}
