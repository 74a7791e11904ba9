//! Forks, execs and exits of traced processes.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_send_signal},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    counter::LossCause,
    event::EventKind,
    process::{Image, forked_image, next_image, stops},
    unwind::MappingRange,
};

use crate::{
    count, emit, fd, kernel,
    maps::{IMAGES, TARGETS},
    thread,
};

/// `sched_process_exit`: runs in the thread that ends, for every thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if TARGETS.get_ptr(tgid).is_none() {
        return 0;
    }
    thread::forget(pid_tgid);
    fd::forget(pid_tgid);
    if tgid == tid {
        emit::lifecycle(EventKind::Exit);
        debug!(&ctx, "process {} exits", tgid);
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: runs in the process that now is the new program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if TARGETS.get_ptr(tgid).is_none() {
        return 0;
    }
    thread::forget(pid_tgid);
    fd::forget(pid_tgid);
    let Some(image) = IMAGES.get_ptr_mut(tgid) else { return 0 };
    // SAFETY: a map value. The process has no other thread, and nobody else writes.
    let number = unsafe {
        (*image).number = next_image((*image).number);
        (*image).borrows = 0;
        (*image).began_ns = bpf_ktime_get_ns();
        (*image).number
    };
    let caller: u64 = ctx.arg(1);
    emit::exec(number, caller as u32);
    stop(tgid, stops::AT_EXEC);
    debug!(&ctx, "process {} replaced its program", tgid);
    0
}

/// Stops a process that was started to be traced, if it is to be stopped for that. It gets no further than to the end of
/// what it is doing in the kernel.
#[inline(always)]
pub(crate) fn stop(tgid: u32, when: u32) {
    const SIGSTOP: u32 = 19;
    let Some(image) = IMAGES.get_ptr(tgid) else { return };
    // SAFETY: a map value.
    if unsafe { (*image).stops } < when {
        return;
    }
    emit::lifecycle(EventKind::Stopped);
    // SAFETY: a helper without pointers. What is not stopped is traced a little later.
    unsafe { bpf_send_signal(SIGSTOP) };
}

/// `sched_process_fork(parent, child)`: runs in the parent, before the child does. In place only when children are followed.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(range) = TARGETS.get_ptr(tgid) else { return 0 };
    let Some((child, borrows)) = kernel::process_of(ctx.arg(1)) else { return 0 };
    // A thread.
    if child == tgid {
        return 0;
    }
    // SAFETY: a map value, replaced as a whole.
    let range = unsafe { *range };
    if let Err(cause) = try_follow(tgid, child, borrows, range) {
        let _ = TARGETS.remove(child);
        let _ = IMAGES.remove(child);
        count::lost(cause);
    }
    0
}

/// The child has its parent's mappings, until user space has looked at its own.
#[inline(always)]
fn try_follow(parent: u32, child: u32, borrows: bool, mut range: MappingRange) -> Result<(), LossCause> {
    // SAFETY: a helper without arguments.
    let began_ns = unsafe { bpf_ktime_get_ns() };
    let number = forked_image(began_ns);
    let image = Image { number, borrows: u32::from(borrows), began_ns, stops: stops::NEVER, unknown_frees: 0 };
    // SAFETY: a map value.
    let current = IMAGES.get_ptr(parent).map_or(0, |image| unsafe { (*image).number });
    if range.image != current {
        range.count = 0;
    }
    range.image = image.number;
    IMAGES.insert(child, image, 0).map_err(|_| LossCause::TargetsFull)?;
    TARGETS.insert(child, range, 0).map_err(|_| LossCause::TargetsFull)?;
    emit::fork(child, image.number, image.borrows)
}
