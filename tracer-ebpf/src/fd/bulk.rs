//! Descriptors many at once: those that close_range closes, or exec, which closes what is marked close-on-exec, and
//! those that are open when the process ends.
//!
//! Kernels without `bpf_loop` leave them to the comparison with the kernel's table.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_loop},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counter::LossCause,
    fd::{FdKey, KernelFd},
};

use super::{Call, MODERN, Means, socket};
use crate::{
    count,
    drive::Drive,
    emit,
    kernel::{self, Behind},
    maps::TARGETS,
};

/// `CLOSE_RANGE_CLOEXEC`: they are marked, not closed.
const MARK_ONLY: u32 = 4;
/// The most that `bpf_loop` does.
const MOST: u32 = 1 << 23;

/// What a round of `bpf_loop` needs.
#[repr(C)]
struct Range {
    tgid: u32,
    first: u32,
}

/// `close_range` has returned.
#[inline(always)]
pub(super) fn closed_range(means: Means, call: &Call) -> Result<(), LossCause> {
    if call.result == 0 && call.third as u32 & MARK_ONLY == 0 && TARGETS.get_ptr(call.tgid()).is_some() {
        closed_between(means, call.tgid(), call.first as u32, call.second as u32);
    }
    Ok(())
}

/// `sched_process_exec`: runs in the process that now is the new program, which has lost what was marked.
#[btf_tracepoint(function = "sched_process_exec")]
fn fd_exec(_ctx: BtfTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TARGETS.get_ptr(tgid).is_some() {
        closed_between(MODERN, tgid, 0, u32::MAX);
    }
    0
}

/// `sched_process_exit`: runs in the last thread while the process still has its files, and says what they are.
#[btf_tracepoint(function = "sched_process_exit")]
fn fd_exit(_ctx: BtfTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TARGETS.get_ptr(tgid).is_none() || !kernel::is_last_thread() {
        return 0;
    }
    let mut range = Range { tgid, first: 0 };
    let len = kernel::table_len(MODERN.reach);
    // SAFETY: a callback that takes exactly this context, which outlives the call.
    unsafe { bpf_loop(len.min(MOST), at_exit_callback as *mut c_void, (&raw mut range).cast(), 0) };
    0
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn at_exit_callback(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `fd_exit` passes.
    let tgid = unsafe { (*context.cast::<Range>()).tgid };
    let fd = index as u32;
    if let Behind::File(file) = kernel::behind(MODERN.reach, fd) {
        let (inode, mode) = kernel::inode_of(file);
        if emit::at_exit(KernelFd { tgid, fd, file, inode, mode, reserved: 0 }).is_err() {
            count::lost(LossCause::LifecycleLost);
            return 1;
        }
    }
    0
}

/// Of all numbers in the range, those that are not open have been closed.
#[inline(always)]
fn closed_between(means: Means, tgid: u32, first: u32, last: u32) {
    let len = kernel::table_len(means.reach);
    if means.drive != Drive::Helper || len == 0 || first > last || first >= len {
        return;
    }
    let count = last.min(len - 1) - first + 1;
    let mut range = MaybeUninit::<Range>::uninit();
    let fields = range.as_mut_ptr();
    // SAFETY: both fields, and a callback that takes exactly this context, which outlives the call.
    unsafe {
        (*fields).tgid = tgid;
        (*fields).first = first;
        bpf_loop(count.min(MOST), closed_callback as *mut c_void, fields.cast::<c_void>(), 0);
    }
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn closed_callback(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `closed_between` passes.
    let range = unsafe { &*context.cast::<Range>() };
    let key = FdKey { tgid: range.tgid, fd: range.first.wrapping_add(index as u32) };
    if let Err(cause) = socket::closed(MODERN, key) {
        count::lost(cause);
    }
    0
}
