//! What allocator calls mean for the table of blocks and the counters of their sites.
//!
//! A block leaves the table before it is freed. Realloc takes the old block out of the table at its entry and puts it
//! back if it fails; while it runs, another thread may already own the old address, and that entry is not touched.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user};
use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    heap::{Block, Function},
    sampling::SampleState,
};

use crate::{
    count,
    drive::Drive,
    live::{self, Tables},
    maps::{IMAGES, SITE_COUNTERS},
    sample, site,
    thread::{self, Thread},
    unwind,
};

/// Where a call returns to.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The return address; 0 when it is still on the stack.
    pub(crate) pc: u64,
    pub(crate) bp: u64,
}

/// The outermost call has returned.
#[inline(always)]
pub(crate) fn commit(
    tables: Tables,
    tgid: u32,
    thread: &mut Thread,
    returned: u64,
    caller: Caller,
) -> Result<(), LossCause> {
    let function = thread.function;
    let address = if function == Function::PosixMemalign.code() {
        if returned == 0 {
            // SAFETY: the helper checks the address and fails where it cannot be read.
            unsafe { bpf_probe_read_user(thread.out as *const u64) }.map_err(|_| LossCause::ReadFault)?
        } else {
            0
        }
    } else if function == Function::Xallocx.code() {
        resized(thread, returned)
    } else {
        returned
    };
    if address == 0 {
        let freed =
            thread.size == 0 || function == Function::Reallocf.code() || function == Function::HeapReallocf.code();
        if thread.old != 0 && freed && function != Function::Xallocx.code() {
            // realloc(p, 0) that returns NULL has freed p.
            free_taken(tgid, thread);
        } else {
            count::seen(Stat::FailedCall);
            restore(tables, tgid, thread);
        }
        return Ok(());
    }
    free_taken(tgid, thread);
    let state = sample::state();
    let born_ns = if state.is_by_birth() && thread.born_ns != 0 { thread.born_ns } else { now() };
    if !state.keeps_block(tgid, address, born_ns, thread.size) {
        return Ok(());
    }
    // Programs for older kernels have always walked.
    if tables == Tables::Both && thread.has_walked == 0 {
        thread.walker.stack.site_kind = SiteKind::Heap.code();
        let Caller { pc, bp } = caller;
        // The stack pointer is the entry's, with the return address popped.
        let start = (pc, thread.returned_sp.wrapping_add(8), bp);
        unwind::walk_from_return(Drive::Helper, start, tgid, &mut thread.walker);
    }
    let site = site::id(&mut thread.walker)?;
    track(tables, tgid, address, thread, site, born_ns)
}

/// xallocx says how large the block is now, which stays where it is. Less than was asked for means that nothing has
/// changed. More was not asked for, beyond `extra`.
#[inline(always)]
fn resized(thread: &mut Thread, usable: u64) -> u64 {
    if usable < thread.size {
        return 0;
    }
    thread.size = usable.min(thread.out);
    thread.old
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Puts a new block into the table and counts it. A block that does not fit is in no counter.
#[inline(always)]
fn track(
    tables: Tables,
    tgid: u32,
    address: u64,
    thread: &mut Thread,
    site: u32,
    born_ns: u64,
) -> Result<(), LossCause> {
    let block = Block { size: thread.size, born_ns, site, reserved: 0 };
    match live::insert(tables, tgid, address, &block, &mut thread.taken) {
        Ok(false) => {}
        // Its end is no sample of the ends, as those are that are seen.
        Ok(true) if sample::may_have_ended(thread.taken.born_ns) => {}
        Ok(true) => {
            end(sample::state(), tgid, address, &thread.taken);
            // One from before an exec went with the memory.
            if thread.taken.born_ns >= thread.walker.began_ns {
                count::lost(LossCause::MissedFree);
            }
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
fn count_free(state: SampleState, tgid: u32, address: u64, block: &Block) {
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(block.site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe {
            count::add(&raw mut (*counters).free_bytes, block.size);
            count::add(&raw mut (*counters).free_objects, 1);
        }
    }
    let times = state.weight(block.size);
    if times > 1 {
        sample::freed(state, tgid, address, block, times);
    }
    count::death(block.site, now().saturating_sub(block.born_ns), times);
}

/// A block is about to be freed. This holds inside other allocator calls too: what they free for themselves was
/// never in the table. Returns whether it might have been.
#[inline(always)]
pub(crate) fn free(tables: Tables, address: u64) -> bool {
    if address == 0 {
        count::seen(Stat::NullFree);
        return false;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let state = sample::state();
    if !state.may_keep(tgid, address) {
        return false;
    }
    let mut block = Block::default();
    if live::take(tables, tgid, address, &mut block) {
        end(state, tgid, address, &block);
        return true;
    }
    if state.is_by_birth() {
        // One that is not tracked is freed like one that never was there.
        return false;
    }
    // What an allocator frees for itself is nobody's loss: realloc(p, 0) frees a block that it was given, and operator
    // delete has freed what it hands on.
    let inside = thread::existing(pid_tgid).is_some_and(|thread| thread.call_sp != 0 || thread.released == address);
    if !inside {
        count_unknown_free(pid_tgid);
    }
    true
}

/// A block that was taken out of the table is freed. Since it was put in, less may be tracked.
#[inline(always)]
fn end(state: SampleState, tgid: u32, address: u64, block: &Block) {
    if state.keeps_block(tgid, address, block.born_ns, block.size) {
        count_free(state, tgid, address, block);
    } else {
        sample::forget(block);
    }
}

/// Of all processes, and of this one: in a process that was attached late, what is freed first is from before.
#[inline(always)]
fn count_unknown_free(pid_tgid: u64) {
    let times = sample::state().rate();
    count::seen_times(Stat::UnknownFree, u64::from(times));
    if let Some(image) = IMAGES.get_ptr_mut((pid_tgid >> 32) as u32) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { count::add(&raw mut (*image).unknown_frees, times) };
    }
}

/// The block that realloc was given is gone.
#[inline(always)]
fn free_taken(tgid: u32, thread: &mut Thread) {
    let state = sample::state();
    if thread.has_taken != 0 {
        thread.has_taken = 0;
        end(state, tgid, thread.old, &thread.taken);
    } else if thread.old != 0 && !state.is_by_birth() && state.may_keep(tgid, thread.old) {
        count_unknown_free(bpf_get_current_pid_tgid());
    }
}

/// Realloc failed: the block it was given is still the caller's.
#[inline(always)]
pub(crate) fn restore(tables: Tables, tgid: u32, thread: &mut Thread) {
    if thread.has_taken != 0 {
        thread.has_taken = 0;
        let state = sample::state();
        if !state.keeps_block(tgid, thread.old, thread.taken.born_ns, thread.taken.size) {
            // Since the entry of the call, less is tracked.
            sample::forget(&thread.taken);
            return;
        }
        let mut none = Block::default();
        if live::insert(tables, tgid, thread.old, &thread.taken, &mut none).is_err() {
            count_free(state, tgid, thread.old, &thread.taken);
            count::lost(LossCause::RestoreFailed);
        }
    }
}
