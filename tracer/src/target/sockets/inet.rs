//! One TCP or UDP socket: `struct inet_diag_msg` and its attributes.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NlasIterator, Parseable as _};
use netlink_packet_sock_diag::{INET_DIAG_INFO, inet::InetResponseHeader};

use super::{Backlog, SocketEntry, tcp_info::TcpInfo};
use crate::aggregate::{Endpoint, FdKind, TcpState};

/// Bytes of `struct inet_diag_msg`.
const HEADER: usize = 72;

/// What the attributes of a socket mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    /// Its attribute `INET_DIAG_INFO` is another structure.
    Mptcp,
    Udp,
}

/// Reads one message of a table: the socket's inode and what it says. `None` for one that belongs to no descriptor;
/// an error for bytes that are no such message.
pub(super) fn parse(payload: &[u8], protocol: Protocol) -> Result<Option<(u64, SocketEntry)>, Malformed> {
    let header = InetResponseHeader::parse(payload).map_err(|_| Malformed)?;
    if header.inode == 0 {
        return Ok(None);
    }
    let mut entry = SocketEntry::of(if protocol == Protocol::Udp { FdKind::Udp } else { FdKind::Tcp });
    let id = &header.socket_id;
    entry.local = endpoint(id.source_address, id.source_port);
    entry.peer = endpoint(id.destination_address, id.destination_port);
    if protocol == Protocol::Udp {
        return Ok(Some((header.inode.into(), entry)));
    }

    let state = tcp_state(header.state);
    entry.state = state;
    entry.hung_up = state == Some(TcpState::CloseWait);
    if state == Some(TcpState::Listen) {
        entry.backlog = Some(Backlog { waiting: header.recv_queue, limit: header.send_queue });
        return Ok(Some((header.inode.into(), entry)));
    }
    if protocol == Protocol::Mptcp {
        return Ok(Some((header.inode.into(), entry)));
    }
    // Sequence numbers, of which a FIN that has not been read, or a SYN or FIN not acknowledged, takes one.
    let fin_received = matches!(state, Some(TcpState::CloseWait | TcpState::LastAck | TcpState::Closing));
    let unacknowledged =
        matches!(state, Some(TcpState::SynSent | TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing));
    entry.recv_queue = Some(header.recv_queue.saturating_sub(fin_received.into()));
    entry.send_queue = Some(header.send_queue.saturating_sub(unacknowledged.into()));
    if let Some(info) = attribute(&payload[HEADER..], INET_DIAG_INFO)?.map(TcpInfo::parse) {
        entry.unacked = info.unacked;
        // Before it is established, and after a reset, the moments are relative to the boot or an earlier life.
        if !matches!(state, None | Some(TcpState::SynSent | TcpState::Closed)) {
            entry.idle = info.idle();
            entry.last_ack = info.last_ack_recv;
            entry.rtt = info.rtt;
            entry.rx_bytes = info.bytes_received.map(|bytes| bytes.saturating_sub(fin_received.into()));
            entry.tx_bytes = info.acknowledged();
        }
    }
    Ok(Some((header.inode.into(), entry)))
}

/// Bytes that the kernel does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first attribute of a kind. Others are not looked into, so what a newer kernel adds does no harm.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, Malformed> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(|_| Malformed)?;
        if attribute.kind() == kind {
            let bytes = attribute.into_inner();
            return Ok(bytes.get(4..usize::from(attribute.length())));
        }
    }
    Ok(None)
}

/// The states of `include/net/tcp_states.h`.
pub(super) fn tcp_state(state: u8) -> Option<TcpState> {
    Some(match state {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        // A connection of the listener's that has not been accepted (12) is not the target's yet.
        3 | 12 => TcpState::SynReceived,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        // Bound and nothing more (13).
        7 | 13 => TcpState::Closed,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => return None,
    })
}

/// An address, unless it is that of no connection. IPv4 in IPv6 is shown as IPv4.
fn endpoint(address: IpAddr, port: u16) -> Option<Endpoint> {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    (port != 0 || !address.is_unspecified()).then(|| Endpoint::Inet(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::target::sockets::tcp_info;

    struct Message {
        family: u8,
        state: u8,
        ports: (u16, u16),
        addresses: ([u8; 16], [u8; 16]),
        queues: (u32, u32),
        inode: u32,
    }

    impl Message {
        fn v4(state: u8) -> Self {
            let address = |last| [127, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let (ports, addresses) = ((5432, 40001), (address(1), address(2)));
            Self { family: 2, state, ports, addresses, queues: (0, 0), inode: 71 }
        }

        fn bytes(&self, attributes: &[u8]) -> Vec<u8> {
            let mut bytes = vec![self.family, self.state, 0, 0];
            bytes.extend(self.ports.0.to_be_bytes());
            bytes.extend(self.ports.1.to_be_bytes());
            bytes.extend(self.addresses.0);
            bytes.extend(self.addresses.1);
            bytes.extend([0; 12]);
            for word in [0, self.queues.0, self.queues.1, 0, self.inode] {
                bytes.extend(word.to_ne_bytes());
            }
            assert_eq!(bytes.len(), HEADER);
            bytes.extend(attributes);
            bytes
        }
    }

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tcp(message: &Message, attributes: &[u8]) -> SocketEntry {
        let (inode, entry) = parse(&message.bytes(attributes), Protocol::Tcp).expect("parses").expect("is held");
        assert_eq!((inode, entry.kind), (71, FdKind::Tcp));
        entry
    }

    fn at(text: &str) -> Option<Endpoint> {
        Some(Endpoint::Inet(text.parse().expect("an address")))
    }

    #[test]
    fn a_connection_with_its_traffic() {
        let info = tcp_info::tests::bytes(&[(44, 900), (52, 300), (56, 250), (120, 11), (128, 7), (200, 11)]);
        let attributes = [attribute_of(8, &[0]), attribute_of(INET_DIAG_INFO, &info)].concat();
        let message = Message { queues: (5, 9), ..Message::v4(1) };
        let expected = SocketEntry {
            local: at("127.0.0.1:5432"),
            peer: at("127.0.0.2:40001"),
            state: Some(TcpState::Established),
            idle: Some(Duration::from_millis(300)),
            last_ack: Some(Duration::from_millis(250)),
            rtt: Some(Duration::ZERO),
            unacked: Some(0),
            rx_bytes: Some(7),
            tx_bytes: Some(11),
            recv_queue: Some(5),
            send_queue: Some(9),
            ..SocketEntry::of(FdKind::Tcp)
        };
        assert_eq!(tcp(&message, &attributes), expected);
        // The FIN counts as a byte, in the total and in the queue.
        let hung_up = tcp(&Message { state: 8, ..message }, &attributes);
        assert_eq!((hung_up.state, hung_up.hung_up), (Some(TcpState::CloseWait), true));
        assert_eq!((hung_up.rx_bytes, hung_up.recv_queue, hung_up.send_queue), (Some(6), Some(4), Some(9)));
    }

    #[test]
    fn a_connect_under_way_has_no_idle_time() {
        let info = tcp_info::tests::bytes(&[(24, 1), (44, 4_000_000), (52, 4_000_000)]);
        let entry = tcp(&Message { queues: (0, 1), ..Message::v4(2) }, &attribute_of(INET_DIAG_INFO, &info));
        assert_eq!((entry.state, entry.idle, entry.send_queue), (Some(TcpState::SynSent), None, Some(0)));
        assert_eq!(entry.unacked, Some(1));
    }

    #[test]
    fn a_listener_has_a_backlog_and_no_queues() {
        let nobody = ([0; 16], [0; 16]);
        let message = Message { ports: (80, 0), addresses: nobody, queues: (3, 128), ..Message::v4(10) };
        let expected = SocketEntry {
            local: at("0.0.0.0:80"),
            state: Some(TcpState::Listen),
            backlog: Some(Backlog { waiting: 3, limit: 128 }),
            ..SocketEntry::of(FdKind::Tcp)
        };
        assert_eq!(tcp(&message, &[]), expected);
        assert_eq!(tcp(&Message { family: 10, ..message }, &[]).local, at("[::]:80"));
    }

    #[test]
    fn ipv4_in_ipv6_is_shown_as_ipv4() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3];
        let entry = tcp(&Message { family: 10, addresses: (mapped, mapped), ..Message::v4(1) }, &[]);
        assert_eq!((entry.local, entry.peer), (at("10.1.2.3:5432"), at("10.1.2.3:40001")));
    }

    #[test]
    fn sockets_without_a_descriptor_are_left_out() {
        let message = Message { inode: 0, ..Message::v4(5) };
        assert_eq!(parse(&message.bytes(&[]), Protocol::Tcp), Ok(None));
    }

    #[test]
    fn mptcp_info_is_not_taken_for_tcp_info() {
        let bytes = Message::v4(1).bytes(&attribute_of(INET_DIAG_INFO, &[0xff; 248]));
        let (_, entry) = parse(&bytes, Protocol::Mptcp).expect("parses").expect("is held");
        let shown = (entry.state, entry.idle, entry.rx_bytes, entry.recv_queue);
        assert_eq!(shown, (Some(TcpState::Established), None, None, None));
    }

    #[test]
    fn what_is_cut_off_or_lies_is_refused() {
        let info = attribute_of(INET_DIAG_INFO, &tcp_info::tests::bytes(&[]));
        let whole = Message::v4(1).bytes(&info);
        for length in (0..HEADER).chain(HEADER + 1..whole.len()) {
            assert_eq!(parse(&whole[..length], Protocol::Tcp), Err(Malformed), "{length}");
        }
        for length in [0_u16, 3, u16::MAX] {
            let mut bytes = whole.clone();
            bytes[HEADER..HEADER + 2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parse(&bytes, Protocol::Tcp), Err(Malformed), "{length}");
        }
        assert_eq!(parse(&Message { family: 16, ..Message::v4(1) }.bytes(&[]), Protocol::Tcp), Err(Malformed));
        // An attribute shorter than its meaning is what an old kernel sends.
        assert_eq!(tcp(&Message::v4(1), &attribute_of(INET_DIAG_INFO, &[1])).rx_bytes, None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), attributes in any::<Vec<u8>>()) {
            for protocol in [Protocol::Tcp, Protocol::Mptcp, Protocol::Udp] {
                parse(&bytes, protocol).ok();
                parse(&Message::v4(8).bytes(&attributes), protocol).ok();
            }
        }
    }
}
