//! Connections: who connected, who accepted, how long the handshake took, and when it was over.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_probe_read_user as read_bytes},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::{
    counter::{LossCause, Stat},
    event::{ADDRESS_BYTES, EventKind},
    fd::{CONNECTED, FdKey, NO_SITE, call_flags},
};

use super::{Call, Means, table};
use crate::{
    count,
    emit::{self, Socket},
    kernel::{self, Behind},
    maps::{CONNECTING, TARGETS},
};

/// `EINPROGRESS`, negative: a connect without waiting has begun.
pub(super) const IN_PROGRESS: i64 = -115;
/// The states of `inet_sock_set_state`.
const SYN_SENT: u32 = 2;
const ESTABLISHED: u32 = 1;

/// `connect` has returned.
#[inline(always)]
pub(super) fn connected(means: Means, call: &Call, fd: u32, site: u32) -> Result<(), LossCause> {
    connected_to(means, call, fd, site, |address| {
        // In 64 bits: before Linux 5.12 the verifier loses what a comparison of 32 says of a length.
        let len = (call.third & u64::from(u32::MAX)).min(ADDRESS_BYTES as u64) as u32;
        // SAFETY: the address has room for the length.
        let read = unsafe { read_bytes(address.cast(), len, call.second as *const _) };
        if read == 0 { len } else { 0 }
    })
}

/// A descriptor was connected to the address that `write` writes, returning its length.
#[inline(always)]
pub(super) fn connected_to(
    means: Means,
    call: &Call,
    fd: u32,
    site: u32,
    write: impl FnOnce(*mut [u8; ADDRESS_BYTES]) -> u32,
) -> Result<(), LossCause> {
    let file = kernel::behind(means.reach, fd);
    if file == Behind::Nothing {
        return Ok(());
    }
    table::connect(means, call.key(fd), site, file)?;
    let mut event = emit::socket(EventKind::Connect).ok_or(LossCause::SocketEventLost)?;
    let record = event.as_mut_ptr();
    // SAFETY: within the record.
    unsafe {
        (*record).address_len = write(&raw mut (*record).address);
        (*record).fd = fd;
        (*record).other = call.result as u32;
        (*record).site = site;
        (*record).file = file.identity();
        (*record).sock = kernel::sock_of(file);
        (*record).latency_ns = 0;
    }
    event.submit(emit::QUIETLY);
    Ok(())
}

/// `accept` has returned a connection.
#[inline(always)]
pub(super) fn accepted(means: Means, call: &Call, fd: u32, site: u32) -> Result<(), LossCause> {
    let file = table::open(means, call.key(fd), site, CONNECTED | call_flags(call.number))?;
    emit::short_socket(
        EventKind::Accept,
        Socket {
            fd,
            other: call.first as u32,
            site,
            file: file.identity(),
            sock: kernel::sock_of(file),
            latency_ns: 0,
        },
    )?;
    if file == Behind::Nothing {
        ended(call.key(fd), 0)?;
    }
    Ok(())
}

/// A descriptor was closed.
#[inline(always)]
pub(super) fn closed(means: Means, key: FdKey) -> Result<(), LossCause> {
    match table::close(means, key) {
        Some(record) => ended(key, record.file),
        None => Ok(()),
    }
}

#[inline(always)]
fn ended(key: FdKey, file: u64) -> Result<(), LossCause> {
    emit::short_socket(
        EventKind::Disconnect,
        Socket { fd: key.fd, other: 0, site: NO_SITE, file, sock: 0, latency_ns: 0 },
    )
}

/// `inet_sock_set_state(sock, old, new)`: times handshakes. A connect leaves CLOSED in the thread that connects; the
/// answer comes in whatever thread the interrupt hits.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn sock_state(ctx: RawTracePointContext) -> i32 {
    let (sock, old, new): (u64, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if new == SYN_SENT {
        if TARGETS.get_ptr((bpf_get_current_pid_tgid() >> 32) as u32).is_some() {
            // SAFETY: a helper without arguments.
            let now = unsafe { bpf_ktime_get_ns() };
            if CONNECTING.insert(sock, now, 0).is_err() {
                count::seen(Stat::UntimedConnect);
            }
        }
    } else if old == SYN_SENT {
        let Some(begun) = CONNECTING.get_ptr(sock) else { return 0 };
        // SAFETY: a map value, and a helper without arguments.
        let latency_ns = unsafe { bpf_ktime_get_ns().wrapping_sub(*begun) };
        let _ = CONNECTING.remove(sock);
        if new == ESTABLISHED {
            let event = Socket { fd: 0, other: 0, site: NO_SITE, file: 0, sock, latency_ns };
            if let Err(cause) = emit::short_socket(EventKind::Established, event) {
                count::lost(cause);
            }
        }
    }
    0
}
