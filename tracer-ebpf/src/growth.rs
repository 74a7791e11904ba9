//! Growth: one page fault in many is looked at, with the call stack that touched the memory. No function of the process is
//! probed for it.
//!
//! Faults are counted for each CPU, whosever they are: that is all that most of them cost. The one that completes a period
//! is looked at when it is a target's. A fault inside a system call (a read into fresh memory) belongs to the code that
//! called: the walk begins at the registers with which the thread entered the kernel.
//!
//! What a walk needs belongs to the CPU and the program: the kernel runs a program once at a time on a CPU, and a walk may
//! itself run into a page that is not there, which is a fault in the kernel.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{config::FAULT_PERIOD, counter::LossCause, event::SiteKind};

use crate::{
    count,
    drive::Drive,
    maps::{FAULT_COUNT, FAULT_WALKERS, FAULTS, TARGETS},
    site, unwind,
};

/// Places in [`FAULT_WALKERS`].
const USER: u32 = 0;
const KERNEL: u32 = 1;

/// `page_fault_user(address, regs, error)`: the process's own code touched memory.
#[btf_tracepoint(function = "page_fault_user")]
fn page_fault_user(_ctx: BtfTracePointContext) -> i32 {
    faulted(USER);
    0
}

/// `page_fault_kernel(address, regs, error)`: the kernel did, on its behalf or its own.
#[btf_tracepoint(function = "page_fault_kernel")]
fn page_fault_kernel(ctx: BtfTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    // The upper half of the addresses is the kernel's own.
    if address >> 63 == 0 {
        faulted(KERNEL);
    }
    0
}

#[inline(always)]
fn faulted(walker: u32) {
    if !completes_a_period() {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if TARGETS.get_ptr(tgid).is_some() && try_look(walker, tgid).is_err() {
        count::lost(LossCause::FaultLost);
    }
}

#[inline(always)]
fn completes_a_period() -> bool {
    let Some(count) = FAULT_COUNT.get_ptr_mut(0) else { return false };
    // SAFETY: a map value of this CPU. A fault within a fault may be counted in between, and is not missed for long.
    unsafe {
        let faults = *count + 1;
        *count = if faults < FAULT_PERIOD { faults } else { 0 };
        faults >= FAULT_PERIOD
    }
}

#[inline(always)]
fn try_look(walker: u32, tgid: u32) -> Result<(), LossCause> {
    let walker = FAULT_WALKERS.get_ptr_mut(walker).ok_or(LossCause::FaultLost)?;
    // SAFETY: a map value of this CPU and program, which runs once at a time there.
    let walker = unsafe { &mut *walker };
    // The last walk on this CPU was another thread's, or another process's.
    walker.forget();
    walker.stack.site_kind = SiteKind::PageFault.code();
    unwind::walk_from_interrupted(Drive::Helper, user_registers(), tgid, walker);
    let site = site::id(walker)?;
    let samples = FAULTS.get_ptr_mut(site).ok_or(LossCause::FaultLost)?;
    // SAFETY: a pointer into the map, checked by get_ptr_mut.
    unsafe { count::add(samples, 1) };
    Ok(())
}

/// Where the thread entered the kernel: instruction, stack and frame pointer.
#[inline(always)]
fn user_registers() -> (u64, u64, u64) {
    // SAFETY: the verifier knows the types that these helpers return, and that every task has registers.
    unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs;
        ((*regs).rip, (*regs).rsp, (*regs).rbp)
    }
}
