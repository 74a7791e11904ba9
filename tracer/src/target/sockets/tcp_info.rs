//! `struct tcp_info` of the kernel's `include/uapi/linux/tcp.h`, which has grown with every few releases: what an old
//! kernel does not send is `None`.

use std::time::Duration;

/// The fields that say how a connection fares. Where the kernel keeps them is in `tcp_get_info`, `net/ipv4/tcp.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// Segments sent and not acknowledged. Of a listening socket: connections that wait to be accepted.
    pub(super) unacked: Option<u32>,
    /// Of a listening socket: how many may wait.
    pub(super) sacked: Option<u32>,
    /// Since data was sent last. Before anything was: since the connection was established, since `tcp_finish_connect`
    /// and `tcp_create_openreq_child` set the moment; before that it is relative to the boot and means nothing.
    pub(super) last_data_sent: Option<Duration>,
    /// Since data was received last; likewise.
    pub(super) last_data_recv: Option<Duration>,
    /// Since anything was acknowledged.
    pub(super) last_ack_recv: Option<Duration>,
    /// Smoothed round-trip time.
    pub(super) rtt: Option<Duration>,
    /// Sequence numbers acknowledged: bytes, a FIN, and the SYN of a connection that we opened.
    pub(super) bytes_acked: Option<u64>,
    /// Sequence numbers received: bytes and a FIN.
    pub(super) bytes_received: Option<u64>,
    /// Bytes sent, and those of them that were sent again.
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_retrans: Option<u64>,
}

impl TcpInfo {
    /// Reads as much as there is.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            unacked: u32_at(bytes, 24),
            sacked: u32_at(bytes, 28),
            last_data_sent: millis_at(bytes, 44),
            last_data_recv: millis_at(bytes, 52),
            last_ack_recv: millis_at(bytes, 56),
            rtt: u32_at(bytes, 68).map(|micros| Duration::from_micros(micros.into())),
            bytes_acked: u64_at(bytes, 120),
            bytes_received: u64_at(bytes, 128),
            bytes_sent: u64_at(bytes, 200),
            bytes_retrans: u64_at(bytes, 208),
        }
    }

    /// Time since anything was sent or received. Only of connections that were established.
    pub(super) fn idle(&self) -> Option<Duration> {
        [self.last_data_sent, self.last_data_recv].into_iter().flatten().min()
    }

    /// Bytes that were sent and acknowledged.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        let acked = self.bytes_acked?;
        // Neither a SYN nor a FIN is among the bytes sent.
        let sent = self.bytes_sent.zip(self.bytes_retrans).map(|(sent, again)| sent.saturating_sub(again));
        Some(sent.map_or(acked, |sent| acked.min(sent)))
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn millis_at(bytes: &[u8], offset: usize) -> Option<Duration> {
    u32_at(bytes, offset).map(|millis| Duration::from_millis(millis.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A `tcp_info` with these fields, as Linux 6.18 sends it.
    pub(in super::super) fn bytes(fields: &[(usize, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 248];
        for (offset, value) in fields {
            bytes[*offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn old_kernels_send_less() {
        let all = bytes(&[(24, 3), (44, 700), (52, 500), (68, 1200), (120, 1001), (128, 53), (200, 1100), (208, 100)]);
        let info = TcpInfo::parse(&all);
        assert_eq!((info.unacked, info.idle()), (Some(3), Some(Duration::from_millis(500))));
        assert_eq!((info.rtt, info.bytes_received), (Some(Duration::from_micros(1200)), Some(53)));
        assert_eq!(info.acknowledged(), Some(1000), "a SYN is no byte");
        assert_eq!(TcpInfo::parse(&all[..207]).acknowledged(), Some(1001), "nothing to tell it by");
        assert_eq!(TcpInfo::parse(&all[..127]).acknowledged(), None);
        assert_eq!(TcpInfo::parse(&all[..54]).idle(), Some(Duration::from_millis(700)));
        assert_eq!(TcpInfo::parse(&[]), TcpInfo::default());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let info = TcpInfo::parse(&bytes);
            prop_assert!(info.acknowledged() <= info.bytes_acked);
        }
    }
}
