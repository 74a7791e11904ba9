//! Records to the ring buffer. User space drains it on a timer, and is woken only for what it can mend at once: a walk
//! that came to code which the tables do not know.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_ringbuf_output},
    maps::ring_buf::RingBufEntry,
};
use tracer_common::{
    counter::LossCause,
    event::{
        EventHeader, EventKind, FdAtExit, Fork, NEW_SITE_PREFIX, NewSite, RangeEvent, SOCKET_EVENT_PREFIX, SocketEvent,
    },
    fd::KernelFd,
    stack::{MAX_FRAMES, StackEnd},
};

use crate::{count, maps::EVENTS};

/// In place of a wakeup.
pub(crate) const QUIETLY: u64 = BPF_RB_NO_WAKEUP as u64;

#[inline(always)]
fn header(kind: EventKind) -> EventHeader {
    let pid_tgid = bpf_get_current_pid_tgid();
    EventHeader {
        kind: kind.code(),
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        image: 0,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
    }
}

/// Announces a site, without the unused part of its frames.
#[inline(always)]
pub(crate) fn new_site(stack: &mut NewSite) -> Result<(), ()> {
    let image = stack.header.image;
    stack.header = EventHeader { image, ..header(EventKind::NewSite) };
    let depth = (stack.depth as usize).min(MAX_FRAMES);
    let left_tables = stack.end == StackEnd::NoMapping.code() || stack.end == StackEnd::FramePointer.code();
    let wakeup = if left_tables { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: the size is within the record, which is a map value.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *stack).cast(),
            (NEW_SITE_PREFIX + 8 * depth) as u64,
            u64::from(wakeup),
        )
    };
    if result == 0 { Ok(()) } else { Err(()) }
}

/// Reports a turn in a process's life.
#[inline(always)]
pub(crate) fn lifecycle(kind: EventKind) {
    lifecycle_with(kind, QUIETLY);
}

/// The same, and wakes user space.
#[inline(always)]
pub(crate) fn lifecycle_at_once(kind: EventKind) {
    lifecycle_with(kind, u64::from(BPF_RB_FORCE_WAKEUP));
}

#[inline(always)]
fn lifecycle_with(kind: EventKind, flags: u64) {
    match EVENTS.reserve::<EventHeader>(0) {
        Some(mut record) => {
            record.write(header(kind));
            record.submit(flags);
        }
        None => count::lost(LossCause::LifecycleLost),
    }
}

/// Reports that the process runs another program, which thread `tid` called for.
#[inline(always)]
pub(crate) fn exec(image: u32, tid: u32) {
    match EVENTS.reserve::<EventHeader>(0) {
        Some(mut record) => {
            record.write(EventHeader { image, tid, ..header(EventKind::Exec) });
            record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
        }
        None => count::lost(LossCause::LifecycleLost),
    }
}

/// Reports a child of the current process.
#[inline(always)]
pub(crate) fn fork(child: u32, image: u32, borrows: u32) -> Result<(), LossCause> {
    let mut record = EVENTS.reserve::<Fork>(0).ok_or(LossCause::LifecycleLost)?;
    record.write(Fork { header: header(EventKind::Fork), child, image, borrows, reserved: 0 });
    record.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    Ok(())
}

/// Reports a descriptor that is open when its process ends.
#[inline(always)]
pub(crate) fn at_exit(open: KernelFd) -> Result<(), ()> {
    let mut record = EVENTS.reserve::<FdAtExit>(0).ok_or(())?;
    record.write(FdAtExit { header: header(EventKind::FdAtExit), open });
    record.submit(QUIETLY);
    Ok(())
}

/// Reports a change of the mappings. The caller leaves the header to this.
#[inline(always)]
pub(crate) fn range(kind: EventKind, event: RangeEvent) -> Result<(), LossCause> {
    let mut record = EVENTS.reserve::<RangeEvent>(0).ok_or(LossCause::RangeLost)?;
    record.write(RangeEvent { header: header(kind), ..event });
    record.submit(QUIETLY);
    Ok(())
}

/// Begins a connection's record, whose fields the caller fills.
#[inline(always)]
pub(crate) fn socket(kind: EventKind) -> Option<RingBufEntry<SocketEvent>> {
    let mut record = EVENTS.reserve::<SocketEvent>(0)?;
    // SAFETY: a reserved record.
    unsafe { (*record.as_mut_ptr()).header = header(kind) };
    Some(record)
}

/// The fields of a connection's record that has no address.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    pub(crate) fd: u32,
    pub(crate) other: u32,
    pub(crate) site: u32,
    pub(crate) file: u64,
    pub(crate) sock: u64,
    pub(crate) latency_ns: u64,
}

/// Reports a turn in a connection's life.
#[inline(always)]
pub(crate) fn short_socket(kind: EventKind, socket: Socket) -> Result<(), LossCause> {
    let Socket { fd, other, site, file, sock, latency_ns } = socket;
    let mut record = EVENTS.reserve::<[u64; SOCKET_EVENT_PREFIX / 8]>(0).ok_or(LossCause::SocketEventLost)?;
    let fields = record.as_mut_ptr().cast::<SocketEvent>();
    // SAFETY: a reserved record that ends before the address.
    unsafe {
        (*fields).header = header(kind);
        (*fields).fd = fd;
        (*fields).other = other;
        (*fields).site = site;
        (*fields).address_len = 0;
        (*fields).file = file;
        (*fields).sock = sock;
        (*fields).latency_ns = latency_ns;
    }
    record.submit(QUIETLY);
    Ok(())
}
