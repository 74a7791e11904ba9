//! A netlink socket that asks for tables and takes the answers apart, message by message.
//!
//! It is connected to the kernel, so nobody else's messages arrive on it: root of the target's own namespace could
//! otherwise send forged ones. Whatever happens, a request ends: there is a timeout for each answer and one for all.

use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// `NLMSG_ERROR` of the kernel's `include/uapi/linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`, likewise.
const NLMSG_DONE: u16 = 3;
/// The last number that is an error (`include/linux/err.h`).
const MAX_ERRNO: i32 = 4095;
/// Bytes of a message's header.
const HEADER: usize = 16;
/// The kernel fills at most 32 KiB at a time (`netlink_recvmsg` in `net/netlink/af_netlink.c`).
const BUFFER_BYTES: usize = 64 << 10;
/// How long one part of an answer may take.
const PART_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a whole table may take.
const TABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The kernel refused.
    Refused(Errno),
    /// No answer, or too slow a one.
    TimedOut,
    /// An answer that makes no sense.
    Malformed,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// The socket, and what it needs from one request to the next.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
    /// An answer has not been read to its end; the kernel takes no other request before.
    unfinished: bool,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread. It stays in that one.
    pub(super) fn open() -> rustix::io::Result<Self> {
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PART_TIMEOUT))?;
        set_socket_timeout(&socket, Timeout::Send, Some(PART_TIMEOUT))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES], sequence: 0, unfinished: false })
    }

    /// Asks for a table and hands the payload of each of its messages on. Says whether the table stayed the same
    /// meanwhile.
    pub(super) fn dump(&mut self, request: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<Consistent, Failed> {
        let deadline = Instant::now() + TABLE_TIMEOUT;
        // Once: what does not end now has ended unnoticed, or else the kernel says that it is busy.
        if std::mem::take(&mut self.unfinished) {
            self.receive(deadline, &mut |_| {})?;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let message = message(self.sequence, request);
        rustix::net::send(&self.socket, &message, SendFlags::empty()).map_err(Failed::Refused)?;
        self.unfinished = true;
        self.receive(deadline, each)
    }

    fn receive(&mut self, deadline: Instant, each: &mut dyn FnMut(&[u8])) -> Result<Consistent, Failed> {
        let mut consistent = Consistent(true);
        while Instant::now() < deadline {
            let length = match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(Failed::TimedOut),
                Err(error) => return Err(Failed::Refused(error)),
            };
            let datagram = self.buffer.get(..length).ok_or(Failed::Malformed)?;
            match scan(datagram, self.sequence, &mut consistent, each) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => {
                    self.unfinished = false;
                    return Ok(consistent);
                }
                Err(failed) => {
                    // The kernel ends its answer with a refusal; after a part that makes no sense, the rest follows.
                    self.unfinished = failed == Failed::Malformed;
                    return Err(failed);
                }
            }
        }
        Err(Failed::TimedOut)
    }
}

/// Whether a table stayed the same while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consistent(pub(super) bool);

/// A request for a table.
fn message(sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + payload.len()];
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX));
    message.set_message_type(SOCK_DIAG_BY_FAMILY);
    message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    message.set_sequence_number(sequence);
    message.payload_mut().copy_from_slice(payload);
    bytes
}

/// Takes one datagram apart.
fn scan(
    mut bytes: &[u8],
    sequence: u32,
    consistent: &mut Consistent,
    each: &mut dyn FnMut(&[u8]),
) -> Result<Progress, Failed> {
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).map_err(|_| Failed::Malformed)?;
        let length = message.length() as usize;
        let payload = bytes.get(HEADER..length).ok_or(Failed::Malformed)?;
        if message.sequence_number() == sequence {
            if message.flags() & NLM_F_DUMP_INTR != 0 {
                consistent.0 = false;
            }
            match message.message_type() {
                SOCK_DIAG_BY_FAMILY => each(payload),
                // An error that ended it is told with either, as a negative number.
                NLMSG_DONE => return refusal(payload).map_or(Ok(Progress::Done), Err),
                NLMSG_ERROR => return Err(refusal(payload).unwrap_or(Failed::Malformed)),
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The error in the payload of a last message, if there is one.
fn refusal(payload: &[u8]) -> Option<Failed> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    match code.checked_neg() {
        Some(0) => None,
        Some(code @ 1..=MAX_ERRNO) => Some(Failed::Refused(Errno::from_raw_os_error(code))),
        _ => Some(Failed::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn scan_all(bytes: &[u8]) -> (Result<Progress, Failed>, bool, Vec<Vec<u8>>) {
        let (mut consistent, mut payloads) = (Consistent(true), Vec::new());
        let progress = scan(bytes, 7, &mut consistent, &mut |payload| payloads.push(payload.to_vec()));
        (progress, consistent.0, payloads)
    }

    #[test]
    fn messages_are_handed_on_up_to_the_last() {
        let parts = [
            reply(SOCK_DIAG_BY_FAMILY, 2, 7, b"one"),
            reply(SOCK_DIAG_BY_FAMILY, 2, 6, b"of an earlier request"),
            reply(SOCK_DIAG_BY_FAMILY, 2, 7, b"three"),
        ];
        let payloads = vec![b"one".to_vec(), b"three".to_vec()];
        assert_eq!(scan_all(&parts.concat()), (Ok(Progress::More), true, payloads));
        let last = [reply(NLMSG_DONE, 2, 7, &0_i32.to_ne_bytes()), reply(SOCK_DIAG_BY_FAMILY, 2, 7, b"late")];
        assert_eq!(scan_all(&last.concat()), (Ok(Progress::Done), true, vec![]));
        assert_eq!(scan_all(&reply(NLMSG_DONE, 2, 7, b"")), (Ok(Progress::Done), true, vec![]));
    }

    #[test]
    fn an_interrupted_table_is_told() {
        let bytes = reply(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP_INTR, 7, b"one");
        assert_eq!(scan_all(&bytes), (Ok(Progress::More), false, vec![b"one".to_vec()]));
    }

    #[test]
    fn refusals_name_the_error() {
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            let (progress, ..) = scan_all(&reply(kind, 0, 7, &(-2_i32).to_ne_bytes()));
            assert_eq!(progress, Err(Failed::Refused(Errno::NOENT)));
        }
        for code in [i32::MIN, -4096, 1, i32::MAX] {
            for kind in [NLMSG_DONE, NLMSG_ERROR] {
                assert_eq!(scan_all(&reply(kind, 0, 7, &code.to_ne_bytes())).0, Err(Failed::Malformed), "{code}");
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_noticed() {
        let whole = reply(SOCK_DIAG_BY_FAMILY, 2, 7, b"12345678");
        assert_eq!(scan_all(&whole[..whole.len() - 1]).0, Err(Failed::Malformed));
        for length in [0_u32, 15, 25, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(scan_all(&bytes), (Err(Failed::Malformed), true, vec![]), "{length}");
        }
        assert_eq!(scan_all(&reply(NLMSG_ERROR, 0, 7, b"12")).0, Err(Failed::Malformed));
    }

    #[test]
    fn a_request_that_is_refused_leaves_the_socket_usable() {
        let mut netlink = Netlink::open().expect("sock_diag");
        // AF_MAX and above is no address family.
        let mut none = |_: &[u8]| panic!("nothing to say");
        let refused = netlink.dump(&[255; 24], &mut none).expect_err("no family");
        assert!(matches!(refused, Failed::Refused(_)), "{refused:?}");
        // A table of which only the first part is read.
        let request = super::super::Table::Unix.request();
        let pair = std::os::unix::net::UnixStream::pair().expect("sockets");
        netlink.sequence += 1;
        rustix::net::send(&netlink.socket, &message(netlink.sequence, &request), SendFlags::empty()).expect("sent");
        netlink.unfinished = true;
        let mut count = 0;
        netlink.dump(&request, &mut |_| count += 1).expect("the table after it");
        assert!(count >= 2);
        drop(pair);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            scan_all(&bytes).0.ok();
        }
    }
}
