//! Unix sockets: `struct unix_diag_msg`, its attributes, and who is connected to whom.
//!
//! A client has no name. Its peer is the socket that the server accepted, which has the name of the listener; or, until
//! the server accepts, one without an inode, and the listener's attribute `UNIX_DIAG_ICONS` names the client instead.

use std::{collections::HashMap, sync::Arc};

use netlink_packet_core::Parseable as _;
use netlink_packet_sock_diag::{
    SOCK_DGRAM, UNIX_DIAG_ICONS, UNIX_DIAG_NAME, UNIX_DIAG_PEER, UNIX_DIAG_RQLEN, unix::UnixResponseHeader,
};

use super::{
    Backlog, SocketEntry,
    inet::{Malformed, attribute, tcp_state},
};
use crate::aggregate::{Endpoint, FdKind, TcpState};

/// Bytes of `struct unix_diag_msg`.
const HEADER: usize = 16;

/// One socket, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    inode: u32,
    datagrams: bool,
    state: Option<TcpState>,
    name: Option<Arc<str>>,
    /// The peer's inode, 0 for one that no descriptor refers to.
    peer: Option<u32>,
    /// Clients that wait to be accepted.
    waiting: Vec<u32>,
    queues: Option<(u32, u32)>,
}

/// The sockets of a namespace, until all are known.
#[derive(Debug, Default)]
pub(super) struct UnixSockets(Vec<Listed>);

impl UnixSockets {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes one message of the table.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let listed = parse(payload)?;
        // One that no descriptor refers to: it waits to be accepted, or for the other end to close.
        if listed.inode != 0 {
            self.0.push(listed);
        }
        Ok(())
    }

    /// Each socket by inode, with the name of its peer.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, SocketEntry)> + '_ {
        let by_inode: HashMap<u32, &Listed> = self.0.iter().map(|listed| (listed.inode, listed)).collect();
        let listeners: HashMap<u32, &Listed> =
            self.0.iter().flat_map(|listed| listed.waiting.iter().map(move |client| (*client, listed))).collect();
        self.0.iter().map(move |listed| {
            let listener = listeners.get(&listed.inode).copied();
            let peer = listed.peer.and_then(|inode| by_inode.get(&inode).copied());
            (listed.inode.into(), entry(listed, peer, listener))
        })
    }
}

fn entry(listed: &Listed, peer: Option<&Listed>, listener: Option<&Listed>) -> SocketEntry {
    let state = listed.state.filter(|state| matches!(state, TcpState::Established | TcpState::Listen));
    let mut entry = SocketEntry::of(FdKind::Unix);
    entry.local = listed.name.clone().map(Endpoint::Unix);
    entry.peer = peer.or(listener).and_then(|other| other.name.clone()).map(Endpoint::Unix);
    entry.state = state;
    match (state, listed.queues) {
        (Some(TcpState::Listen), Some((waiting, limit))) => entry.backlog = Some(Backlog { waiting, limit }),
        (Some(TcpState::Established), Some((received, _))) if !listed.datagrams => {
            entry.recv_queue = Some(received);
            // What this end has sent is in the queue of the other; what the kernel gives for it here is memory.
            entry.send_queue = peer.and_then(|peer| peer.queues).map(|(received, _)| received);
        }
        _ => {}
    }
    // The kernel keeps the pointer to a peer that is gone, but that has no inode.
    entry.hung_up = !listed.datagrams
        && state == Some(TcpState::Established)
        && listed.peer.unwrap_or(0) == 0
        && listener.is_none();
    entry
}

fn parse(payload: &[u8]) -> Result<Listed, Malformed> {
    let header = UnixResponseHeader::parse(payload).map_err(|_| Malformed)?;
    let attributes = payload.get(HEADER..).ok_or(Malformed)?;
    let icons = attribute(attributes, UNIX_DIAG_ICONS)?.unwrap_or_default();
    let queues = match attribute(attributes, UNIX_DIAG_RQLEN)? {
        Some(bytes) => Some((word(bytes)?, word(bytes.get(4..).unwrap_or_default())?)),
        None => None,
    };
    Ok(Listed {
        inode: header.inode,
        datagrams: header.kind == SOCK_DGRAM,
        state: tcp_state(header.state),
        name: attribute(attributes, UNIX_DIAG_NAME)?.and_then(name),
        peer: attribute(attributes, UNIX_DIAG_PEER)?.map(word).transpose()?,
        waiting: icons.as_chunks().0.iter().map(|bytes| u32::from_ne_bytes(*bytes)).filter(|&it| it != 0).collect(),
        queues,
    })
}

fn word(bytes: &[u8]) -> Result<u32, Malformed> {
    Ok(u32::from_ne_bytes(*bytes.first_chunk().ok_or(Malformed)?))
}

/// The name as `/proc/net/unix` and ss(8) write it: a path up to its end, or `@` and the abstract name, in which a zero
/// shows as `@` too. Otherwise untouched, so untrusted.
fn name(bytes: &[u8]) -> Option<Arc<str>> {
    if bytes.first() == Some(&0) {
        let shown: Vec<u8> = bytes.iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect();
        return Some(String::from_utf8_lossy(&shown).into());
    }
    let path = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    (!path.is_empty()).then(|| String::from_utf8_lossy(path).into())
}

#[cfg(test)]
mod tests {
    use netlink_packet_sock_diag::SOCK_STREAM;
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, state: u8, inode: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![1, kind, state, 0];
        bytes.extend(inode.to_ne_bytes());
        bytes.extend([0; 8]);
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(4 + value.len()).expect("short").to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn entries(messages: &[Vec<u8>]) -> HashMap<u64, SocketEntry> {
        let mut sockets = UnixSockets::default();
        for message in messages {
            sockets.add(message).expect("parses");
        }
        sockets.entries().collect()
    }

    fn path(text: &str) -> Option<Endpoint> {
        Some(Endpoint::Unix(text.into()))
    }

    #[test]
    fn a_client_is_known_by_its_servers_path() {
        let name = b"/run/db.sock\0".as_slice();
        let all = entries(&[
            message(SOCK_STREAM, 10, 11, &[(0, name), (3, &words(&[17, 0])), (4, &words(&[2, 128]))]),
            message(SOCK_STREAM, 1, 12, &[(0, name), (2, &words(&[13])), (4, &words(&[5, 999]))]),
            message(SOCK_STREAM, 1, 13, &[(2, &words(&[12])), (4, &words(&[7, 2304]))]),
            message(SOCK_STREAM, 1, 17, &[(2, &words(&[0])), (4, &words(&[0, 0]))]),
            message(SOCK_STREAM, 1, 19, &[(2, &words(&[0])), (4, &words(&[0, 0]))]),
            message(SOCK_STREAM, 1, 0, &[]),
        ]);
        assert_eq!(all.len(), 5);
        let unix = SocketEntry::of(FdKind::Unix);
        let listener = SocketEntry {
            local: path("/run/db.sock"),
            state: Some(TcpState::Listen),
            backlog: Some(Backlog { waiting: 2, limit: 128 }),
            ..unix.clone()
        };
        assert_eq!(all[&11], listener);
        let connected = SocketEntry { state: Some(TcpState::Established), ..unix };
        let server =
            SocketEntry { local: path("/run/db.sock"), recv_queue: Some(5), send_queue: Some(7), ..connected.clone() };
        assert_eq!(all[&12], server);
        let client = SocketEntry { local: None, peer: server.local.clone(), recv_queue: Some(7), ..server };
        assert_eq!(all[&13], SocketEntry { send_queue: Some(5), ..client });
        // Not accepted yet, so it is not gone.
        assert_eq!(all[&17], SocketEntry { peer: path("/run/db.sock"), recv_queue: Some(0), ..connected.clone() });
        assert_eq!(all[&19], SocketEntry { hung_up: true, recv_queue: Some(0), ..connected });
    }

    #[test]
    fn a_datagram_socket_has_no_exact_queue() {
        let all = entries(&[
            message(SOCK_DGRAM, 7, 11, &[(0, b"/dev/log\0"), (4, &words(&[99, 0]))]),
            message(SOCK_DGRAM, 1, 13, &[(2, &words(&[11])), (4, &words(&[0, 768]))]),
        ]);
        let log = SocketEntry { local: path("/dev/log"), ..SocketEntry::of(FdKind::Unix) };
        assert_eq!(all[&11], log);
        let state = Some(TcpState::Established);
        assert_eq!(all[&13], SocketEntry { local: None, peer: path("/dev/log"), state, ..log });
    }

    #[test]
    fn names_keep_what_can_be_kept() {
        let shown = |bytes: &[u8]| name(bytes).map(|name| name.to_string());
        assert_eq!(shown(b"/a \x1b[31m\n\0"), Some("/a \u{1b}[31m\n".to_owned()));
        assert_eq!(shown(b"relative"), Some("relative".to_owned()));
        assert_eq!(shown(b"\0abstract\0x"), Some("@abstract@x".to_owned()));
        assert_eq!(shown(b"/\xff\0"), Some("/\u{fffd}".to_owned()));
        assert_eq!(shown(b""), None);
    }

    #[test]
    fn what_is_cut_off_or_lies_is_refused() {
        let whole = message(SOCK_STREAM, 1, 12, &[(2, &words(&[13])), (4, &words(&[5, 999]))]);
        for length in (0..HEADER).chain(HEADER + 1..whole.len()).filter(|&length| length != HEADER + 8) {
            assert_eq!(parse(&whole[..length]), Err(Malformed), "{length}");
        }
        for attribute in [(2, &words(&[13])[..3]), (4, &words(&[5, 999])[..7])] {
            assert_eq!(parse(&message(SOCK_STREAM, 1, 12, &[attribute])), Err(Malformed));
        }
        let icons = parse(&message(SOCK_STREAM, 10, 12, &[(3, &words(&[13, 17])[..7])])).expect("parses");
        assert_eq!(icons.waiting, [13]);
    }

    proptest! {
        #[test]
        fn never_panics(messages in prop::collection::vec(any::<Vec<u8>>(), 0..4), attributes in any::<Vec<u8>>()) {
            let mut sockets = UnixSockets::default();
            for bytes in messages {
                sockets.add(&bytes).ok();
            }
            sockets.add(&[&message(1, 10, 12, &[]), &attributes[..]].concat()).ok();
            sockets.entries().count();
        }
    }
}
