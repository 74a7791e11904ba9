//! What a thread that opens descriptors needs. It belongs to the thread: no lock.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::counter::LossCause;

use super::{Call, request::Request};
use crate::{
    maps::{FD_THREAD_TEMPLATE, FD_THREADS, TARGETS},
    walker::Walker,
};

/// State of one thread.
#[repr(C)]
pub(crate) struct FdThread {
    /// What the call that is being looked at brought.
    pub(super) request: Request,
    /// The walk from the call.
    pub(super) walker: Walker,
}

/// The state of the thread of a call, if its process is traced. Made at its first call.
#[inline(always)]
pub(super) fn current(call: &Call) -> Result<Option<&'static mut FdThread>, LossCause> {
    if let Some(thread) = FD_THREADS.get_ptr_mut(call.pid_tgid) {
        // SAFETY: a map value; only its own thread touches it, and a thread is in one system call at a time.
        return Ok(Some(unsafe { &mut *thread }));
    }
    if TARGETS.get_ptr(call.tgid()).is_none() {
        return Ok(None);
    }
    let template = FD_THREAD_TEMPLATE.get(0).ok_or(LossCause::ThreadsFull)?;
    let _ = FD_THREADS.insert(call.pid_tgid, template, u64::from(BPF_NOEXIST));
    let thread = FD_THREADS.get_ptr_mut(call.pid_tgid).ok_or(LossCause::ThreadsFull)?;
    // SAFETY: as above.
    Ok(Some(unsafe { &mut *thread }))
}

/// Forgets a thread that has ended.
#[inline(always)]
pub(crate) fn forget(pid_tgid: u64) {
    let _ = FD_THREADS.remove(pid_tgid);
}
