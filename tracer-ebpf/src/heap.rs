//! The allocator probes: which call it is, what it returned, and what that means for the table of blocks.
//!
//! - Of nested calls the outermost counts. A call is known by the stack pointer at its entry, so a return finds its
//!   call without a depth counter that could get stuck: a call from at or above a recorded one means that the
//!   recorded one will never return.
//! - A block leaves the table before it is freed. Realloc takes the old block out of the table at its entry and puts
//!   it back if it fails; while it runs, another thread may already own the old address, and that entry is not touched.
#![expect(clippy::needless_pass_by_value, reason = "the macros hand a program its context by value")]

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user, generated::bpf_get_attach_cookie},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use tracer_common::{
    config::{cookie_function, cookie_probe},
    counter::{LossCause, Stat},
    event::SiteKind,
    heap::{Block, Function},
};

use crate::{
    count,
    live::{self, Tables},
    maps::{SITE_COUNTERS, WALK},
    site,
    thread::{self, Request, Thread},
    unwind::{self, Drive},
};

/// Index of the return probes' hits where there are no cookies.
const RETURN_PROBE: u32 = Function::ALL.len() as u32;

/// Entry of any allocating function: the cookie says which.
#[uprobe]
fn alloc_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: a helper on the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let Ok(function) = Function::try_from(cookie_function(cookie)) else { return 0 };
    if let Some(thread) = enter(Tables::Both, &ctx, cookie_probe(cookie), function) {
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
    returned(&ctx, Tables::Both, cookie_probe(cookie))
}

/// Entry of `free` on older kernels.
#[uprobe]
fn free_enter_old(ctx: ProbeContext) -> u32 {
    free_entered(&ctx, Tables::HashMap, Function::Free.code())
}

/// Return of any allocating function on older kernels.
#[uretprobe]
fn alloc_return_old(ctx: RetProbeContext) -> u32 {
    returned(&ctx, Tables::HashMap, RETURN_PROBE)
}

#[inline(always)]
fn free_entered(ctx: &ProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    if let Some(address) = ctx.arg::<u64>(0) {
        free(tables, address);
    }
    0
}

#[inline(always)]
fn returned(ctx: &RetProbeContext, tables: Tables, probe: u32) -> u32 {
    count::hit(probe);
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(thread) = thread::existing(pid_tgid) else {
        count::seen(Stat::UnmatchedReturn);
        return 0;
    };
    let returned = ctx.ret::<u64>();
    // SAFETY: the context of a uprobe program.
    let sp = unsafe { (*ctx.regs).rsp };
    // The call's return address has been popped.
    let call_sp = sp.wrapping_sub(8);
    if thread.call_sp != call_sp {
        // A nested call's return, or that of a call whose tail call has returned already and counted for it.
        if thread.call_sp == 0 && thread.returned_sp != call_sp {
            count::seen(Stat::UnmatchedReturn);
        }
        return 0;
    }
    thread.call_sp = 0;
    thread.returned_sp = call_sp;
    if let Err(cause) = commit(tables, (pid_tgid >> 32) as u32, thread, returned) {
        count::lost(cause);
    }
    0
}

/// Entry programs for kernels without cookies or `bpf_loop`: one for each function. They leave the walk to one program
/// between them, because the verifier follows every round of it.
macro_rules! enter_without_cookie {
    ($($name:ident => $function:ident,)+) => { $(
        #[uprobe]
        fn $name(ctx: ProbeContext) -> u32 {
            if enter(Tables::HashMap, &ctx, Function::$function.code(), Function::$function).is_some() {
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
    unwind::walk_from_entry(drive, ctx.regs, tgid, &mut thread.walker);
}

#[inline(always)]
fn request(regs: &pt_regs, function: Function) -> Request {
    let (a, b, c) = (regs.rdi, regs.rsi, regs.rdx);
    match function {
        Function::Malloc | Function::Valloc | Function::Pvalloc => Request { size: a, old: 0, out: 0 },
        Function::AlignedAlloc | Function::Memalign => Request { size: b, old: 0, out: 0 },
        // An overflowing product wraps here; the allocator refuses such a call, so its size is never used.
        Function::Calloc => Request { size: a.wrapping_mul(b), old: 0, out: 0 },
        Function::Realloc => Request { size: b, old: a, out: 0 },
        Function::Reallocarray => Request { size: b.wrapping_mul(c), old: a, out: 0 },
        Function::PosixMemalign => Request { size: c, old: 0, out: a },
        Function::Free => Request { size: 0, old: 0, out: 0 },
    }
}

/// Begins a call, unless it is nested: then there is nothing to walk for.
#[inline(always)]
fn enter(tables: Tables, ctx: &ProbeContext, probe: u32, function: Function) -> Option<&'static mut Thread> {
    count::hit(probe);
    let pid_tgid = bpf_get_current_pid_tgid();
    let thread = thread::current(pid_tgid)?;
    // SAFETY: the context of a uprobe program.
    let regs = unsafe { &*ctx.regs };
    thread.request = request(regs, function);
    // SAFETY: reads what was just written. Through memory, because the verifier would otherwise follow everything below
    // once for each function.
    let Request { size, old, out } = unsafe { core::ptr::read_volatile(&raw const thread.request) };
    let tgid = (pid_tgid >> 32) as u32;
    if thread.call_sp != 0 {
        let tail_call = regs.rsp == thread.call_sp
            && function.code() != thread.function
            && old == thread.old
            && (size == thread.size || thread.function == Function::Pvalloc.code());
        if regs.rsp < thread.call_sp || tail_call {
            count::seen(Stat::NestedCall);
            return None;
        }
        count::lost(LossCause::AbandonedCall);
        debug!(ctx, "thread {}: function {} never returned", pid_tgid as u32, thread.function);
        restore(tables, tgid, thread);
    }
    thread.call_sp = regs.rsp;
    thread.size = size;
    thread.old = old;
    thread.out = out;
    thread.function = function.code();
    thread.has_taken = 0;
    if old != 0 && live::take(tables, tgid, old, &mut thread.taken) {
        thread.has_taken = 1;
    }
    Some(thread)
}

/// The outermost call has returned.
#[inline(always)]
fn commit(tables: Tables, tgid: u32, thread: &mut Thread, returned: u64) -> Result<(), LossCause> {
    let address = if thread.function == Function::PosixMemalign.code() {
        if returned == 0 {
            // SAFETY: the helper checks the address and fails where it cannot be read.
            unsafe { bpf_probe_read_user(thread.out as *const u64) }.map_err(|_| LossCause::ReadFault)?
        } else {
            0
        }
    } else {
        returned
    };
    if address == 0 {
        if thread.old != 0 && thread.size == 0 {
            // realloc(p, 0) that returns NULL has freed p.
            free_taken(thread);
        } else {
            count::seen(Stat::FailedCall);
            restore(tables, tgid, thread);
        }
        return Ok(());
    }
    free_taken(thread);
    let site = site::id(&mut thread.walker)?;
    track(tables, tgid, address, thread, site)
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Puts a new block into the table and counts it. A block that does not fit is in no counter.
#[inline(always)]
fn track(tables: Tables, tgid: u32, address: u64, thread: &mut Thread, site: u32) -> Result<(), LossCause> {
    let block = Block { size: thread.size, born_ns: now(), site, reserved: 0 };
    match live::insert(tables, tgid, address, &block, &mut thread.taken) {
        Ok(false) => {}
        Ok(true) => {
            count_free(&thread.taken);
            count::lost(LossCause::MissedFree);
        }
        Err(live::Full) => return Err(LossCause::LiveFull),
    }
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(block.site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe {
            count::add(&raw mut (*counters).alloc_bytes, block.size);
            count::add(&raw mut (*counters).alloc_objects, 1);
        }
    }
    Ok(())
}

#[inline(always)]
fn count_free(block: &Block) {
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(block.site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe {
            count::add(&raw mut (*counters).free_bytes, block.size);
            count::add(&raw mut (*counters).free_objects, 1);
        }
    }
}

/// A block is about to be freed. This holds inside other allocator calls too: what they free for themselves was
/// never in the table.
#[inline(always)]
fn free(tables: Tables, address: u64) {
    if address == 0 {
        count::seen(Stat::NullFree);
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let mut block = Block::default();
    if live::take(tables, (pid_tgid >> 32) as u32, address, &mut block) {
        count_free(&block);
        return;
    }
    // What an allocator frees for itself is nobody's loss: realloc(p, 0) frees a block that it was given.
    let inside = thread::existing(pid_tgid).is_some_and(|thread| thread.call_sp != 0);
    if !inside {
        count::seen(Stat::UnknownFree);
    }
}

/// The block that realloc was given is gone.
#[inline(always)]
fn free_taken(thread: &mut Thread) {
    if thread.has_taken != 0 {
        thread.has_taken = 0;
        count_free(&thread.taken);
    } else if thread.old != 0 {
        count::seen(Stat::UnknownFree);
    }
}

/// Realloc failed: the block it was given is still the caller's.
#[inline(always)]
fn restore(tables: Tables, tgid: u32, thread: &mut Thread) {
    if thread.has_taken != 0 {
        thread.has_taken = 0;
        let mut none = Block::default();
        if live::insert(tables, tgid, thread.old, &thread.taken, &mut none).is_err() {
            count_free(&thread.taken);
            count::lost(LossCause::RestoreFailed);
        }
    }
}
