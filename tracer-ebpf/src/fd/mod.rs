//! Descriptors, and what the process maps: one program at the return of every system call.
//!
//! It sees the call's number, its arguments, still in the user's registers, and its result. A table that the loader
//! fills says what each call does to descriptors; calls of no interest end there. What is opened is kept by its call
//! stack, as blocks are; connections are announced besides, because who is at the other end outlives them.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

mod bulk;
mod iter;
mod listed;
mod request;
mod socket;
mod table;
mod thread;
mod uring;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    counter::LossCause,
    event::{EventKind, SiteKind},
    fd::{CALL_PERIOD, Effect, FdKey, NO_SITE, call_flags},
    process::stops,
};

use self::request::{NO_FD, Request, Turn};
pub(crate) use self::{
    thread::{FdThread, forget},
    uring::{Pending, UringKey},
};
use crate::{
    count,
    drive::Drive,
    emit,
    kernel::Reach,
    lifecycle,
    maps::{CALLS, EFFECTS, FD_STEPS, TARGETS, THREADS},
    ranges::{self, Change},
    site, unwind,
};

const CLOSES: u32 = Effect::Closes.code();
const CONNECTS: u32 = Effect::Connects.code();
const CLOSES_RANGE: u32 = Effect::ClosesRange.code();
const MAPS_RANGE: u32 = Effect::MapsRange.code();
const UNMAPS_RANGE: u32 = Effect::UnmapsRange.code();
const REMAPS_RANGE: u32 = Effect::RemapsRange.code();
const BREAKS: u32 = Effect::Breaks.code();
/// Places in [`FD_STEPS`].
const STEP_WALK: u32 = 0;
const STEP_BOOK: u32 = 1;
/// `EBADF`, negative.
const BAD_DESCRIPTOR: i64 = -9;

/// What a program's kernel can do.
#[derive(Clone, Copy)]
pub(crate) struct Means {
    pub(crate) drive: Drive,
    pub(crate) reach: Reach,
    /// Exchange and compare-and-exchange (Linux 5.12).
    pub(crate) atomics: bool,
}

const MODERN: Means = Means { drive: Drive::Helper, reach: Reach::Typed, atomics: true };
const OLD: Means = Means { drive: Drive::Bounded, reach: Reach::Copied, atomics: false };

/// A system call that has returned.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    number: u64,
    /// The first four arguments.
    pub(crate) first: u64,
    pub(crate) second: u64,
    pub(crate) third: u64,
    pub(crate) fourth: u64,
    pub(crate) result: i64,
    /// The thread, as `bpf_get_current_pid_tgid` has it.
    pub(crate) pid_tgid: u64,
    /// Where the user's code goes on: instruction, stack and frame pointer.
    pub(crate) user: (u64, u64, u64),
}

impl Call {
    #[inline(always)]
    pub(crate) fn tgid(&self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }

    #[inline(always)]
    fn key(&self, fd: u32) -> FdKey {
        FdKey { tgid: self.tgid(), fd }
    }
}

/// `sys_exit(regs, result)`, with types.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    count_call();
    let regs: *const pt_regs = ctx.arg(0);
    // SAFETY: the kernel's registers of this call; the verifier knows their type.
    let number = unsafe { (*regs).orig_rax };
    let effect = effect_of(number);
    if effect == Effect::None.code() {
        return 0;
    }
    // SAFETY: as above.
    let call = unsafe {
        Call {
            number,
            first: (*regs).rdi,
            second: (*regs).rsi,
            third: (*regs).rdx,
            fourth: (*regs).r10,
            result: (*regs).rax as i64,
            pid_tgid: bpf_get_current_pid_tgid(),
            user: ((*regs).rip, (*regs).rsp, (*regs).rbp),
        }
    };
    returned(&call, effect);
    0
}

/// `sys_exit(regs, result)`, without types: for kernels before 5.17, and those without BTF.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit_old(ctx: RawTracePointContext) -> i32 {
    count_call();
    let Some((call, effect)) = copied_call(&ctx) else { return 0 };
    if is_acquiring(effect) {
        match begin(&call, effect) {
            // SAFETY: nothing is left to be dropped.
            Ok(Some(_)) => unsafe { FD_STEPS.tail_call(&ctx, STEP_WALK) },
            Ok(None) => {}
            Err(cause) => count::lost(cause),
        }
    } else {
        ended(OLD, &call, effect);
    }
    0
}

/// What `sys_exit_old` leaves to a program of its own, so that the verifier follows every round of the walk once, and not
/// once for each sort of call.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn fd_walk_old(ctx: RawTracePointContext) -> i32 {
    let Some((call, _)) = copied_call(&ctx) else { return 0 };
    if let Ok(Some(thread)) = thread::current(&call) {
        walk(OLD, &call, thread);
        // SAFETY: nothing is left to be dropped.
        unsafe { FD_STEPS.tail_call(&ctx, STEP_BOOK) };
    }
    0
}

/// What is left after the walk, one descriptor at a time: the verifier remembers no more than 8,192 branches that it has
/// not followed yet, and a loop over them has more. Tail calls end at the 32nd; the next comparison with the kernel's
/// table finds the rest.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn fd_book_old(ctx: RawTracePointContext) -> i32 {
    let Some((call, effect)) = copied_call(&ctx) else { return 0 };
    let Ok(Some(thread)) = thread::current(&call) else { return 0 };
    match book_next(&call, effect, thread) {
        // SAFETY: nothing is left to be dropped.
        Ok(true) => unsafe { FD_STEPS.tail_call(&ctx, STEP_BOOK) },
        Ok(false) => {}
        Err(cause) => count::lost(cause),
    }
    0
}

/// Books one descriptor. Returns whether there may be more.
#[inline(always)]
fn book_next(call: &Call, effect: u32, thread: &mut FdThread) -> Result<bool, LossCause> {
    let site = site::id(&mut thread.walker);
    if is_about_ranges(effect) {
        return book_range(call, effect, site).map(|()| false);
    }
    let site = site?;
    if thread.request.count != 0 {
        return listed::next(OLD, call, &mut thread.request, site).map(|()| true);
    }
    book_direct(OLD, call, &thread.request, site).map(|()| false)
}

/// The call, if it has an effect.
#[inline(always)]
fn copied_call(ctx: &RawTracePointContext) -> Option<(Call, u32)> {
    let address: u64 = ctx.arg(0);
    let regs = address as *const pt_regs;
    // SAFETY: the helper checks addresses and fails where they cannot be read.
    let number = unsafe { bpf_probe_read_kernel(&raw const (*regs).orig_rax) }.ok()?;
    let effect = effect_of(number);
    if effect == Effect::None.code() {
        return None;
    }
    // SAFETY: as above.
    let regs = unsafe { bpf_probe_read_kernel(regs) }.ok()?;
    let call = Call {
        number,
        first: regs.rdi,
        second: regs.rsi,
        third: regs.rdx,
        fourth: regs.r10,
        result: regs.rax as i64,
        pid_tgid: bpf_get_current_pid_tgid(),
        user: (regs.rip, regs.rsp, regs.rbp),
    };
    Some((call, effect))
}

/// Whether such a call may bring descriptors, or connect one.
#[inline(always)]
fn is_acquiring(effect: u32) -> bool {
    !matches!(effect, CLOSES | CLOSES_RANGE | UNMAPS_RANGE)
}

/// Whether such a call may bring or give back ranges, not descriptors.
#[inline(always)]
fn is_about_ranges(effect: u32) -> bool {
    matches!(effect, MAPS_RANGE | REMAPS_RANGE | BREAKS)
}

/// Counts the call; one in many is looked at for whose it is. The kernel runs a program at a tracepoint of system calls once
/// at a time on a CPU.
#[inline(always)]
fn count_call() {
    let Some(calls) = CALLS.get_ptr_mut(0) else { return };
    // SAFETY: a map value of this CPU.
    let calls = unsafe { &mut *calls };
    calls.all += 1;
    if calls.left > 0 {
        calls.left -= 1;
        return;
    }
    calls.left = u64::from(CALL_PERIOD - 1);
    if TARGETS.get_ptr((bpf_get_current_pid_tgid() >> 32) as u32).is_some() {
        calls.of_targets += u64::from(CALL_PERIOD);
    }
}

/// The code of the effect of a system call.
#[inline(always)]
fn effect_of(number: u64) -> u32 {
    // 0xffff…: an interrupt, no call.
    if number > u64::from(u32::MAX) {
        return Effect::None.code();
    }
    EFFECTS.get(number as u32).copied().unwrap_or(Effect::None.code())
}

#[inline(always)]
fn returned(call: &Call, effect: u32) {
    if !is_acquiring(effect) {
        ended(MODERN, call, effect);
    } else if let Err(cause) = acquired(call, effect) {
        count::lost(cause);
    }
}

/// The call closed descriptors, or unmapped memory.
#[inline(always)]
fn ended(means: Means, call: &Call, effect: u32) {
    let counted = match effect {
        // Linux closes the descriptor whatever else fails, but for one that is not open.
        CLOSES if call.result == BAD_DESCRIPTOR => Ok(()),
        CLOSES => socket::closed(means, call.key(call.first as u32)),
        CLOSES_RANGE => bulk::closed_range(means, call),
        UNMAPS_RANGE => match ranges::change(call, effect) {
            Change::None => Ok(()),
            _ => ranges::announce_known(call, effect),
        },
        _ => Ok(()),
    };
    if let Err(cause) = counted {
        count::lost(cause);
    }
}

/// The call may have brought descriptors, or connected one.
#[inline(always)]
fn acquired(call: &Call, effect: u32) -> Result<(), LossCause> {
    let Some(thread) = begin(call, effect)? else { return Ok(()) };
    thread.request.effect = effect;
    let site = site_of(call, thread);
    // SAFETY: reads what was written above.
    let effect = unsafe { core::ptr::read_volatile(&raw const thread.request.effect) };
    if is_about_ranges(effect) {
        return book_range(call, effect, site);
    }
    book(call, &thread.request, site?)
}

/// Announces a range. What it replaces is gone even if it has no site.
#[inline(always)]
fn book_range(call: &Call, effect: u32, site: Result<u32, LossCause>) -> Result<(), LossCause> {
    ranges::announce(call, effect, site.unwrap_or(NO_SITE))?;
    site.map(|_| ())
}

/// Notes what the call brought. `None` when that is nothing.
#[inline(always)]
fn begin(call: &Call, effect: u32) -> Result<Option<&'static mut FdThread>, LossCause> {
    if is_about_ranges(effect) {
        return begin_range(call, effect);
    }
    if call.result < 0 && (effect != CONNECTS || call.result != socket::IN_PROGRESS) {
        return Ok(None);
    }
    let Some(thread) = thread::current(call)? else { return Ok(None) };
    thread.walker.stack.site_kind = SiteKind::Fd.code();
    let is_something = request::fill(&mut thread.request, call, effect);
    Ok(is_something.then_some(thread))
}

/// Announces what needs no call stack. `None` when nothing is left to do.
#[inline(always)]
fn begin_range(call: &Call, effect: u32) -> Result<Option<&'static mut FdThread>, LossCause> {
    if effect == MAPS_RANGE {
        mapped(call)?;
    }
    match ranges::change(call, effect) {
        Change::None => Ok(None),
        Change::Known => ranges::announce_known(call, effect).map(|()| None),
        Change::Acquired(kind) => {
            let Some(thread) = thread::current(call)? else { return Ok(None) };
            thread.walker.stack.site_kind = kind.code();
            Ok(Some(thread))
        }
    }
}

/// The site of a call: where its thread went into the kernel.
#[inline(always)]
fn site_of(call: &Call, thread: &mut FdThread) -> Result<u32, LossCause> {
    walk(MODERN, call, thread);
    site::id(&mut thread.walker)
}

#[inline(always)]
fn walk(means: Means, call: &Call, thread: &mut FdThread) {
    unwind::walk_from_interrupted(means.drive, call.user, call.tgid(), &mut thread.walker);
}

/// Puts what a call brought into the table, and announces connections.
#[inline(always)]
fn book(call: &Call, request: &Request, site: u32) -> Result<(), LossCause> {
    if request.count != 0 {
        listed::open(call, request, site)?;
    }
    book_direct(MODERN, call, request, site)
}

/// The same for the descriptor that is not in a list.
#[inline(always)]
fn book_direct(means: Means, call: &Call, request: &Request, site: u32) -> Result<(), LossCause> {
    let fd = request.direct;
    match request.turn {
        Turn::CONNECTED => socket::connected(means, call, fd, site),
        Turn::ACCEPTED => socket::accepted(means, call, fd, site),
        _ if fd != NO_FD => table::open(means, call.key(fd), site, call_flags(call.number)).map(|_| ()),
        _ => Ok(()),
    }
}

/// Memory was mapped: code of a file has unwind tables that are to be had soon.
#[inline(always)]
fn mapped(call: &Call) -> Result<(), LossCause> {
    const PROT_EXEC: u64 = 4;
    const MAP_ANONYMOUS: u64 = 0x20;
    if call.third & PROT_EXEC != 0 && call.fourth & MAP_ANONYMOUS == 0 && TARGETS.get_ptr(call.tgid()).is_some() {
        emit::lifecycle_at_once(EventKind::Mapped);
        // Whoever has allocated has an allocator, with its probes.
        if THREADS.get_ptr(call.pid_tgid).is_none() {
            lifecycle::stop(call.tgid(), stops::WHILE_LOADING);
        }
    }
    Ok(())
}

/// `correct(descriptor, expected word)`, run by user space: takes out a record that is not right any more.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn fd_correct(ctx: RawTracePointContext) -> i32 {
    let (key, expected): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    table::correct(MODERN, FdKey { tgid: (key >> 32) as u32, fd: key as u32 }, expected);
    0
}

/// The same for kernels without compare-and-exchange.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn fd_correct_old(ctx: RawTracePointContext) -> i32 {
    let (key, expected): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    table::correct(OLD, FdKey { tgid: (key >> 32) as u32, fd: key as u32 }, expected);
    0
}
