//! Records to the ring buffer. User space drains it on a timer, and is woken only for what it can mend at once: a walk
//! that came to code which the tables do not know.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_ringbuf_output},
};
use tracer_common::{
    counter::LossCause,
    event::{EventHeader, EventKind, NEW_SITE_PREFIX, NewSite},
    stack::{MAX_FRAMES, StackEnd},
};

use crate::{count, maps::EVENTS};

#[inline(always)]
fn header(kind: EventKind) -> EventHeader {
    let pid_tgid = bpf_get_current_pid_tgid();
    EventHeader {
        kind: kind.code(),
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        reserved: 0,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
    }
}

/// Announces a site, without the unused part of its frames.
#[inline(always)]
pub(crate) fn new_site(stack: &mut NewSite) -> Result<(), ()> {
    stack.header = header(EventKind::NewSite);
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
    match EVENTS.reserve::<EventHeader>(0) {
        Some(mut record) => {
            record.write(header(kind));
            record.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => count::lost(LossCause::LifecycleLost),
    }
}
