//! What a thread is doing in the allocator, from a call's entry to its return.
//!
//! The state belongs to the thread, so it needs no lock; it lives as long as the thread, so that a call costs two
//! lookups and no insertion.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    counter::{LossCause, Stat},
    heap::Block,
};

use crate::{
    count,
    maps::{IMAGES, TARGETS, THREAD_TEMPLATE, THREADS},
    walker::Walker,
};

/// What a call asks for.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Bytes.
    pub(crate) size: u64,
    /// The block given to realloc and its like; 0 for all other functions.
    pub(crate) old: u64,
    /// Where posix_memalign stores its result; the most that xallocx is to give.
    pub(crate) out: u64,
}

/// State of one thread.
#[repr(C)]
pub(crate) struct Thread {
    /// Stack pointer at the entry of the outermost allocator call; 0 when the thread is in none.
    pub(crate) call_sp: u64,
    /// Stack pointer at the entry of the last call that returned.
    pub(crate) returned_sp: u64,
    /// What the call that is being looked at asks for.
    pub(crate) request: Request,
    /// Bytes asked for.
    pub(crate) size: u64,
    /// The block given to realloc and its like; 0 for all other functions.
    pub(crate) old: u64,
    /// Where posix_memalign stores its result; the most that xallocx is to give.
    pub(crate) out: u64,
    /// When the call began, where that decides whether its block is tracked; else 0.
    pub(crate) born_ns: u64,
    /// Where the call's probe is: another one at the same stack pointer is that of a function jumped to.
    pub(crate) entry_ip: u64,
    /// The block that a function was given last which may leave the freeing to another.
    pub(crate) released: u64,
    /// What was known of `old`, taken out of the table for the time of the call.
    pub(crate) taken: Block,
    /// 1 when `taken` holds a block.
    pub(crate) has_taken: u32,
    /// Code of the function called.
    pub(crate) function: u32,
    /// 1 when the stack was walked at the entry of the call.
    pub(crate) has_walked: u32,
    /// The window in which the call began: see [`crate::sample::state_and_window`].
    pub(crate) window: u32,
    /// The walk from the entry of the call.
    pub(crate) walker: Walker,
}

/// The state of the current thread, if its process is traced. Made at its first call.
#[inline(always)]
pub(crate) fn current(pid_tgid: u64) -> Option<&'static mut Thread> {
    if let Some(thread) = THREADS.get_ptr_mut(pid_tgid) {
        // SAFETY: a map value; only its own thread touches it, and a thread runs one of our programs at a time.
        return Some(unsafe { &mut *thread });
    }
    create(pid_tgid)
}

/// The state of the current thread, if it has any.
#[inline(always)]
pub(crate) fn existing(pid_tgid: u64) -> Option<&'static mut Thread> {
    // SAFETY: as in `current`.
    THREADS.get_ptr_mut(pid_tgid).map(|thread| unsafe { &mut *thread })
}

#[inline(always)]
fn create(pid_tgid: u64) -> Option<&'static mut Thread> {
    let tgid = (pid_tgid >> 32) as u32;
    // SAFETY: a map value.
    let borrows = IMAGES.get_ptr(tgid).is_some_and(|image| unsafe { (*image).borrows } != 0);
    // A vfork child's heap is its parent's until it runs a program of its own.
    if TARGETS.get_ptr(tgid).is_none() || borrows {
        count::seen(Stat::Foreign);
        return None;
    }
    let template = THREAD_TEMPLATE.get(0)?;
    if THREADS.insert(pid_tgid, template, u64::from(BPF_NOEXIST)).is_err() {
        count::lost(LossCause::ThreadsFull);
        return None;
    }
    existing(pid_tgid)
}

/// Forgets a thread that has ended.
#[inline(always)]
pub(crate) fn forget(pid_tgid: u64) {
    let _ = THREADS.remove(pid_tgid);
}
