//! Bytes to [`RawEvent`]. Never trusts a length or a code.

use std::time::Duration;

use tracer_common::{
    UnknownCode,
    event::{
        ADDRESS_BYTES, EventHeader, EventKind, FdAtExit, Fork, NEW_SITE_PREFIX, RangeEvent, SOCKET_EVENT_PREFIX,
        SiteKind,
    },
    fd::{KernelFd, NO_SITE},
    stack::{MAX_FRAMES, StackEnd},
};

use super::{
    address,
    raw::{Connection, DecodeError, RawEvent, SiteStack, Turn},
};
use crate::aggregate::{Fd, RangeChange, RangeTurn, SiteId, Tgid};

impl From<UnknownCode> for DecodeError {
    fn from(UnknownCode { what, code }: UnknownCode) -> Self {
        Self::Code { what, code }
    }
}

/// Decodes one record of the ring buffer.
///
/// # Errors
/// When it is too short for its kind or has a code that stands for nothing.
pub fn decode(bytes: &[u8]) -> Result<RawEvent, DecodeError> {
    need(bytes, size_of::<EventHeader>())?;
    let tgid = Tgid(u32_at(bytes, 4));
    let kind = EventKind::try_from(u32_at(bytes, 0))?;
    match kind {
        EventKind::Exit => Ok(RawEvent::Exit { tgid }),
        EventKind::Exec => {
            Ok(RawEvent::Exec { tgid, image: u32_at(bytes, 12), caller: u32_at(bytes, 8), time_ns: u64_at(bytes, 16) })
        }
        EventKind::Fork => {
            need(bytes, size_of::<Fork>())?;
            let (child, image, borrows) = (Tgid(u32_at(bytes, 24)), u32_at(bytes, 28), u32_at(bytes, 32) != 0);
            Ok(RawEvent::Fork { parent: tgid, child, image, borrows, time_ns: u64_at(bytes, 16) })
        }
        EventKind::FdAtExit => {
            need(bytes, size_of::<FdAtExit>())?;
            let (fd, mode) = (u32_at(bytes, 28), u32_at(bytes, 48));
            let (file, inode) = (u64_at(bytes, 32), u64_at(bytes, 40));
            Ok(RawEvent::FdAtExit(KernelFd { tgid: tgid.0, fd, file, inode, mode, reserved: 0 }))
        }
        EventKind::Mapped => Ok(RawEvent::Mapped { tgid }),
        EventKind::Stopped => Ok(RawEvent::Stopped { tgid }),
        EventKind::Map | EventKind::Unmap | EventKind::Remap | EventKind::Break => {
            need(bytes, size_of::<RangeEvent>())?;
            Ok(RawEvent::Range(range(kind, bytes, tgid)))
        }
        EventKind::NewSite => new_site(bytes, tgid).map(RawEvent::NewSite),
        EventKind::Connect | EventKind::Accept | EventKind::Disconnect | EventKind::Established => {
            socket(kind, bytes, tgid)
        }
    }
}

fn new_site(bytes: &[u8], tgid: Tgid) -> Result<SiteStack, DecodeError> {
    need(bytes, NEW_SITE_PREFIX)?;
    let depth = u32_at(bytes, 44);
    if depth as usize > MAX_FRAMES {
        return Err(DecodeError::Depth(depth));
    }
    let frames = NEW_SITE_PREFIX..NEW_SITE_PREFIX + 8 * depth as usize;
    need(bytes, frames.end)?;
    Ok(SiteStack {
        id: SiteId(u32_at(bytes, 32)),
        tgid,
        image: u32_at(bytes, 12),
        kind: SiteKind::try_from(u32_at(bytes, 36))?,
        end: StackEnd::try_from(u32_at(bytes, 40))?,
        exact: u128::from(u64_at(bytes, 48)) | u128::from(u64_at(bytes, 56)) << 64,
        frames: bytes[frames].as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect(),
    })
}

/// The caller has checked that there are enough bytes.
fn range(kind: EventKind, bytes: &[u8], tgid: Tgid) -> RangeChange {
    let (start, len) = (u64_at(bytes, 24), u64_at(bytes, 32));
    let site = Some(u32_at(bytes, 56)).filter(|site| *site != NO_SITE).map(SiteId);
    let turn = match kind {
        EventKind::Map => RangeTurn::Mapped { start, len, site },
        EventKind::Remap => {
            let (old_start, old_len) = (u64_at(bytes, 40), u64_at(bytes, 48));
            RangeTurn::Remapped { old_start, old_len, start, len, flags: u32_at(bytes, 60), site }
        }
        EventKind::Break => RangeTurn::BreakMoved { end: start, site },
        _ => RangeTurn::Unmapped { start, len },
    };
    RangeChange { tgid, tid: u32_at(bytes, 8), time_ns: u64_at(bytes, 16), turn }
}

fn socket(kind: EventKind, bytes: &[u8], tgid: Tgid) -> Result<RawEvent, DecodeError> {
    need(bytes, SOCKET_EVENT_PREFIX)?;
    let (sock, site) = (u64_at(bytes, 48), SiteId(u32_at(bytes, 32)));
    let turn = match kind {
        EventKind::Established => {
            return Ok(RawEvent::Established { sock, latency: Duration::from_nanos(u64_at(bytes, 56)) });
        }
        EventKind::Connect => {
            let len = u32_at(bytes, 36) as usize;
            let address = SOCKET_EVENT_PREFIX..SOCKET_EVENT_PREFIX + len.min(ADDRESS_BYTES);
            need(bytes, address.end)?;
            Turn::Connected { site, sock, to: address::endpoint(&bytes[address]) }
        }
        EventKind::Accept => Turn::Accepted { site, listener: Fd(u32_at(bytes, 28)) },
        _ => Turn::Closed,
    };
    let (fd, file, time_ns) = (Fd(u32_at(bytes, 24)), u64_at(bytes, 40), u64_at(bytes, 16));
    Ok(RawEvent::Connection(Connection { tgid, fd, file, time_ns, turn }))
}

fn need(bytes: &[u8], needed: usize) -> Result<(), DecodeError> {
    if bytes.len() < needed { Err(DecodeError::Short { len: bytes.len(), needed }) } else { Ok(()) }
}

/// The caller has checked that there are enough bytes.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

/// The caller has checked that there are enough bytes.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, depth: u32, frames: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [kind, 41, 43, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend(0x1234u64.to_ne_bytes());
        for word in [5u32, 0, 1, depth] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(5u64.to_ne_bytes());
        bytes.extend((1u64 << 62).to_ne_bytes());
        bytes.extend(frames.iter().flat_map(|frame| frame.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_new_site_keeps_its_frames_in_order() {
        let event = decode(&record(1, 3, &[11, 13, 17])).expect("a valid record");
        let RawEvent::NewSite(site) = event else { panic!("{event:?}") };
        assert_eq!((site.id, site.tgid), (SiteId(5), Tgid(41)));
        assert_eq!((site.kind, site.end), (SiteKind::Heap, StackEnd::Depth));
        assert_eq!(&site.frames[..], [11, 13, 17]);
        assert_eq!(site.exact, 1 << 126 | 5);
    }

    #[test]
    fn lifecycle_needs_the_header_alone() {
        assert_eq!(decode(&record(2, 0, &[])[..24]), Ok(RawEvent::Exit { tgid: Tgid(41) }));
        assert_eq!(
            decode(&record(3, 0, &[])[..24]),
            Ok(RawEvent::Exec { tgid: Tgid(41), image: 0, caller: 43, time_ns: 7 })
        );
    }

    #[test]
    fn a_connect_keeps_its_address() {
        let mut bytes = record(4, 0, &[]);
        bytes.truncate(24);
        for word in [7u32, 0, 3, 16] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [0x11u64, 0x13, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([2, 0, 0x15, 0x38, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let to = Some(crate::aggregate::Endpoint::Inet("127.0.0.1:5432".parse().expect("an address")));
        let turn = Turn::Connected { site: SiteId(3), sock: 0x13, to };
        let connection = Connection { tgid: Tgid(41), fd: Fd(7), file: 0x11, time_ns: 7, turn };
        assert_eq!(decode(&bytes), Ok(RawEvent::Connection(connection)));
        assert!(decode(&bytes[..70]).is_err(), "the address is cut");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(decode(&[]), Err(DecodeError::Short { len: 0, needed: 24 }));
        assert_eq!(decode(&record(1, 3, &[11, 13])), Err(DecodeError::Short { len: 80, needed: 88 }));
        assert_eq!(decode(&record(99, 0, &[])), Err(DecodeError::Code { what: "EventKind", code: 99 }));
        assert_eq!(decode(&record(1, 128, &[0; 128])), Err(DecodeError::Depth(128)));
        assert_eq!(decode(&record(1, u32::MAX, &[])), Err(DecodeError::Depth(u32::MAX)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200), kind in 0u32..11) {
            let _ = decode(&bytes);
            let mut typed = kind.to_ne_bytes().to_vec();
            typed.extend(&bytes);
            let _ = decode(&typed);
        }
    }
}
