//! Exits and exec of traced processes.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use tracer_common::event::EventKind;

use crate::{emit, fd, maps::TARGETS, thread};

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

/// `sched_process_exec`: runs in the process that now is the new program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TARGETS.get_ptr(tgid).is_some() {
        emit::lifecycle(EventKind::Exec);
        debug!(&ctx, "process {} replaced its program", tgid);
    }
    0
}
