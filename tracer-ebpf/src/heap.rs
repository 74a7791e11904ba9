//! The allocator probes: which call it is, and what it returned. What that means for the table of blocks is in
//! [`crate::account`].
//!
//! - Of nested calls the outermost counts. A call is known by the stack pointer at its entry, so a return finds its
//!   call without a depth counter that could get stuck: a call from at or above a recorded one means that the
//!   recorded one will never return.
//! - Where the kernel has sessions (Linux 6.13), one program is at the entry and at the return, and lets most calls go at the
//!   entry when blocks are sampled: their returns are not trapped. A call that was let go is not remembered, so one that is
//!   nested in it would be taken for a call of its own; functions that were seen to call others are not let go.
//! - A function that may throw has no return probe, because an exception cannot pass one: its exits are probed instead,
//!   and so is the throwing.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_attach_cookie, bpf_get_func_ip},
    },
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use tracer_common::{
    config::{cookie_function, cookie_probe, cookie_return_probe},
    counter::{LossCause, Stat},
    event::SiteKind,
    heap::Function,
    sampling::SampleState,
};

use crate::{
    account::{Caller, commit, free, now, restore},
    count,
    drive::Drive,
    live::{self, Tables},
    maps::WALK,
    sample,
    thread::{self, Request, Thread},
    unwind,
};

/// What a session's program says at an entry: do not come at the return.
const LET_GO: u32 = 1;

/// Index of the return probes' hits where there are no cookies.
const RETURN_PROBE: u32 = Function::ALL.len() as u32;

/// Entry of any allocating function: the cookie says which.
#[uprobe]
fn alloc_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Ok(function) = Function::try_from(cookie_function(cookie)) else { return 0 };
    count::hit(cookie_probe(cookie));
    let state = sample::state();
    if let Some(thread) = enter(Tables::Both, &ctx, function, birth(state))
        // Else it may be for nothing: at the return it is known.
        && state.is_all()
    {
        walk(Drive::Helper, &ctx, thread);
    }
    0
}

/// Entry and return of an allocating function, in a session.
///
/// Without the macro, which lets every program return 0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
fn alloc_session(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    // SAFETY: helpers on the program's own context, and the context of a uprobe program.
    let (cookie, probed, regs) =
        unsafe { (bpf_get_attach_cookie(ctx.as_ptr()), bpf_get_func_ip(ctx.as_ptr()), &*ctx.regs) };
    if regs.rip != probed {
        returned(regs, Tables::Both, cookie_return_probe(cookie));
        return 0;
    }
    let Ok(function) = Function::try_from(cookie_function(cookie)) else { return LET_GO };
    count::hit(cookie_probe(cookie));
    let state = sample::state();
    let born_ns = birth(state);
    if born_ns != 0
        && sample::may_let_go(function)
        && !state.keeps(state.hash(0, 0, born_ns), request(regs, function).size)
    {
        return LET_GO;
    }
    let Some(thread) = enter(Tables::Both, &ctx, function, born_ns) else { return LET_GO };
    if state.is_all() {
        walk(Drive::Helper, &ctx, thread);
    }
    0
}

/// Entry of `free`.
#[uprobe]
fn free_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    free_entered(&ctx, Tables::Both, cookie_probe(cookie))
}

/// Return of any allocating function.
#[uretprobe]
fn alloc_return(ctx: RetProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    // SAFETY: the context of a uprobe program.
    returned(unsafe { &*ctx.regs }, Tables::Both, cookie_probe(cookie));
    0
}

/// Entry of another function that frees.
#[uprobe]
fn release_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    release_entered(&ctx, Tables::Both, cookie_probe(cookie))
}

/// A `ret` that ends a function which may throw, or one that it jumps to.
#[uprobe]
fn alloc_exit(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    exited(&ctx, Tables::Both, cookie_probe(cookie))
}

/// An exception is thrown.
#[uprobe]
fn throw_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    thrown(&ctx, Tables::Both, cookie_probe(cookie))
}

/// Entry of another function that frees, on older kernels.
#[uprobe]
fn release_enter_old(ctx: ProbeContext) -> u32 {
    release_entered(&ctx, Tables::HashMap, Function::Release.code())
}

/// The same as `alloc_exit` on older kernels.
#[uprobe]
fn alloc_exit_old(ctx: ProbeContext) -> u32 {
    exited(&ctx, Tables::HashMap, RETURN_PROBE)
}

/// An exception is thrown, on older kernels.
#[uprobe]
fn throw_enter_old(ctx: ProbeContext) -> u32 {
    thrown(&ctx, Tables::HashMap, Function::Throw.code())
}

/// Entry of `free` on older kernels.
#[uprobe]
fn free_enter_old(ctx: ProbeContext) -> u32 {
    free_entered(&ctx, Tables::HashMap, Function::Free.code())
}

/// Return of any allocating function on older kernels.
#[uretprobe]
fn alloc_return_old(ctx: RetProbeContext) -> u32 {
    // SAFETY: the context of a uprobe program.
    returned(unsafe { &*ctx.regs }, Tables::HashMap, RETURN_PROBE);
    0
}

#[inline(always)]
fn free_entered(ctx: &ProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    if let Some(address) = ctx.arg::<u64>(0) {
        free(tables, address);
    }
    0
}

/// What it frees it may hand on to `free`, or to another of its kind: remembered, so that it is not looked for in vain
/// and counted as unknown. `free` itself need not pay for that.
#[inline(always)]
fn release_entered(ctx: &ProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    if let Some(address) = ctx.arg::<u64>(0)
        && free(tables, address)
        && let Some(thread) = thread::current(bpf_get_current_pid_tgid())
    {
        thread.released = address;
    }
    0
}

#[inline(always)]
fn returned(regs: &pt_regs, tables: Tables, probe: u32) {
    count::hit(probe);
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(thread) = thread::existing(pid_tgid) else {
        count::seen(Stat::UnmatchedReturn);
        return;
    };
    // The call's return address has been popped.
    let call_sp = regs.rsp.wrapping_sub(8);
    if thread.call_sp != call_sp {
        // A nested call's return, or that of a call whose tail call has returned already and counted for it.
        if thread.call_sp == 0 && thread.returned_sp != call_sp {
            count::seen(Stat::UnmatchedReturn);
        }
        return;
    }
    end(tables, pid_tgid, thread, regs.rax, Caller { pc: regs.rip, bp: regs.rbp });
}

/// The return address is still on the stack. Functions jumped to have other callers too, so a call that is not known is
/// none of ours.
#[inline(always)]
fn exited(ctx: &ProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(thread) = thread::existing(pid_tgid) else { return 0 };
    // SAFETY: the context of a uprobe program.
    let regs = unsafe { &*ctx.regs };
    if thread.call_sp == regs.rsp {
        end(tables, pid_tgid, thread, regs.rax, Caller { pc: 0, bp: regs.rbp });
    }
    0
}

/// The outermost call is over.
#[inline(always)]
fn end(tables: Tables, pid_tgid: u64, thread: &mut Thread, returned: u64, caller: Caller) {
    thread.returned_sp = thread.call_sp;
    thread.call_sp = 0;
    if let Err(cause) = commit(tables, (pid_tgid >> 32) as u32, thread, returned, caller) {
        count::lost(cause);
    }
}

/// An exception from inside a function that may throw ends its call: there will be no return.
#[inline(always)]
fn thrown(ctx: &ProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(thread) = thread::existing(pid_tgid) else { return 0 };
    // SAFETY: the context of a uprobe program.
    let sp = unsafe { (*ctx.regs).rsp };
    let may_throw = Function::try_from(thread.function).is_ok_and(Function::may_throw);
    if thread.call_sp != 0 && sp < thread.call_sp && may_throw {
        thread.returned_sp = thread.call_sp;
        thread.call_sp = 0;
        count::seen(Stat::FailedCall);
        restore(tables, (pid_tgid >> 32) as u32, thread);
    }
    0
}

/// Entry programs for kernels without cookies or `bpf_loop`: one for each function. They leave the walk to one program
/// between them, because the verifier follows every round of it.
macro_rules! enter_without_cookie {
    ($($name:ident => $function:ident,)+) => { $(
        #[uprobe]
        fn $name(ctx: ProbeContext) -> u32 {
            count::hit(Function::$function.code());
            if enter(Tables::HashMap, &ctx, Function::$function, birth(sample::state())).is_some() {
                // SAFETY: nothing is left to be dropped.
                unsafe { WALK.tail_call(&ctx, 0) };
            }
            0
        }
    )+ };
}
enter_without_cookie! {
    malloc_enter => Malloc,
    calloc_enter => Calloc,
    realloc_enter => Realloc,
    reallocarray_enter => Reallocarray,
    posix_memalign_enter => PosixMemalign,
    aligned_alloc_enter => AlignedAlloc,
    memalign_enter => Memalign,
    valloc_enter => Valloc,
    pvalloc_enter => Pvalloc,
    new_enter => New,
    new_array_enter => NewArray,
    heap_new_enter => HeapNew,
    heap_new_array_enter => HeapNewArray,
    reallocf_enter => Reallocf,
    xallocx_enter => Xallocx,
    heap_malloc_enter => HeapMalloc,
    heap_calloc_enter => HeapCalloc,
    heap_realloc_enter => HeapRealloc,
    heap_reallocarray_enter => HeapReallocarray,
    heap_reallocf_enter => HeapReallocf,
}

/// The walk of the entry programs for older kernels.
#[uprobe]
fn walk_old(ctx: ProbeContext) -> u32 {
    if let Some(thread) = thread::existing(bpf_get_current_pid_tgid()) {
        walk(Drive::Bounded, &ctx, thread);
    }
    0
}

#[inline(always)]
fn walk(drive: Drive, ctx: &ProbeContext, thread: &mut Thread) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    thread.walker.stack.site_kind = SiteKind::Heap.code();
    thread.has_walked = 1;
    unwind::walk_from_entry(drive, ctx.regs, tgid, &mut thread.walker);
}

#[inline(always)]
fn request(regs: &pt_regs, function: Function) -> Request {
    let (a, b, c, d) = (regs.rdi, regs.rsi, regs.rdx, regs.rcx);
    // An overflowing product wraps here; the allocator refuses such a call, so its size is never used.
    let (size, old, out) = match function {
        Function::Malloc | Function::Valloc | Function::Pvalloc | Function::New => (a, 0, 0),
        Function::AlignedAlloc | Function::Memalign | Function::HeapMalloc | Function::HeapNew => (b, 0, 0),
        Function::Calloc | Function::NewArray => (a.wrapping_mul(b), 0, 0),
        Function::HeapCalloc | Function::HeapNewArray => (b.wrapping_mul(c), 0, 0),
        Function::Realloc | Function::Reallocf => (b, a, 0),
        Function::Reallocarray => (b.wrapping_mul(c), a, 0),
        Function::HeapRealloc | Function::HeapReallocf => (c, b, 0),
        Function::HeapReallocarray => (c.wrapping_mul(d), b, 0),
        Function::PosixMemalign => (c, 0, a),
        Function::Xallocx => (b, a, b.saturating_add(c)),
        Function::Free | Function::Release | Function::Throw => (0, 0, 0),
    };
    Request { size, old, out }
}

/// When a call began, where that decides whether its block is tracked; else 0.
#[inline(always)]
fn birth(state: SampleState) -> u64 {
    if state.is_by_birth() { now() } else { 0 }
}

/// Begins a call, unless it is nested: then there is nothing to walk for.
#[inline(always)]
fn enter(tables: Tables, ctx: &ProbeContext, function: Function, born_ns: u64) -> Option<&'static mut Thread> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let thread = thread::current(pid_tgid)?;
    // SAFETY: the context of a uprobe program.
    let regs = unsafe { &*ctx.regs };
    thread.request = request(regs, function);
    // SAFETY: reads what was just written. Through memory, because the verifier would otherwise follow everything below
    // once for each function.
    let Request { size, old, out } = unsafe { core::ptr::read_volatile(&raw const thread.request) };
    let tgid = (pid_tgid >> 32) as u32;
    let (state, window) = sample::state_and_window();
    if thread.window != window || state.is_closed() {
        // The probe at the return of a call from before may have been gone by then. What became of a block that was to be
        // resized is not known, as of others that were tracked then.
        thread.window = window;
        thread.call_sp = 0;
        thread.has_taken = 0;
    }
    if state.is_closed() {
        // Probes come and go now, one kind after the other.
        return None;
    }
    if thread.call_sp != 0 {
        let tail_call = regs.rsp == thread.call_sp
            && regs.rip != thread.entry_ip
            && old == thread.old
            && (size == thread.size || thread.function == Function::Pvalloc.code());
        if regs.rsp < thread.call_sp || tail_call {
            count::seen(Stat::NestedCall);
            sample::nests(thread.function);
            return None;
        }
        count::lost(LossCause::AbandonedCall);
        debug!(ctx, "thread {}: function {} never returned", pid_tgid as u32, thread.function);
        restore(tables, tgid, thread);
    }
    thread.call_sp = regs.rsp;
    thread.entry_ip = regs.rip;
    thread.size = size;
    thread.old = old;
    thread.out = out;
    thread.born_ns = born_ns;
    thread.function = function.code();
    thread.has_taken = 0;
    thread.has_walked = 0;
    if old != 0 && state.may_keep(tgid, old) && live::take(tables, tgid, old, &mut thread.taken) {
        thread.has_taken = 1;
    }
    Some(thread)
}
