//! Sampling: which blocks are tracked, and what is kept so that the others can be estimated.
//!
//! The rate doubles when the table of blocks fills up, here, because user space may be late. Blocks that are no longer
//! tracked are taken out by user space.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use tracer_common::{
    heap::{Block, Function},
    sampling::{SampleState, next_mark, sketch_place},
};

use crate::{
    count::add,
    maps::{LIVE_COUNT, SAMPLE, SAMPLED_FREES, SITE_COUNTERS},
};

/// How sampling stands.
#[inline(always)]
pub(crate) fn state() -> SampleState {
    SampleState(SAMPLE.get(0).map_or(0, |control| control.state))
}

/// How sampling stands, and the number of the window in which blocks are tracked, when that is for some of the time.
#[inline(always)]
pub(crate) fn state_and_window() -> (SampleState, u32) {
    SAMPLE.get(0).map_or((SampleState(0), 0), |control| (SampleState(control.state), control.window as u32))
}

/// A function was seen to call another that allocates.
#[inline(always)]
pub(crate) fn nests(function: u32) {
    if let Some(control) = SAMPLE.get_ptr_mut(0) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut. Of two at once one may be lost, and comes again.
        unsafe { (*control).nesting |= 1 << (function & 63) };
    }
}

/// Whether a call of a function can be let go at its entry: nothing that it calls would take itself for a call of its own.
#[inline(always)]
pub(crate) fn may_let_go(function: Function) -> bool {
    !function.resizes() && SAMPLE.get(0).is_some_and(|control| control.nesting & 1 << (function.code() & 63) == 0)
}

/// Whether a block of this age may have been freed while nothing was tracked.
#[inline(always)]
pub(crate) fn may_have_ended(born_ns: u64) -> bool {
    SAMPLE.get(0).is_some_and(|control| born_ns < control.opened_ns)
}

/// A block that stands for `times` was freed.
#[inline(always)]
pub(crate) fn freed(state: SampleState, tgid: u32, address: u64, block: &Block, times: u64) {
    let Some(frees) = SAMPLED_FREES.get_ptr_mut(block.site) else { return };
    let (place, sign) = sketch_place(state.hash(tgid, address, block.born_ns));
    let (bytes, objects) = (block.size.wrapping_mul(times), times);
    // SAFETY: a pointer into the map, checked by get_ptr_mut, and a place within the sketch.
    unsafe {
        add(&raw mut (*frees).more_bytes, bytes.wrapping_sub(block.size));
        add(&raw mut (*frees).more_objects, times - 1);
        add((&raw mut (*frees).bytes).cast::<u64>().add(place), bytes.wrapping_mul(sign));
        add((&raw mut (*frees).objects).cast::<u64>().add(place), objects.wrapping_mul(sign));
    }
}

/// A block is no longer tracked: as if it never had been.
#[inline(always)]
pub(crate) fn forget(block: &Block) {
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(block.site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe {
            add(&raw mut (*counters).alloc_bytes, block.size.wrapping_neg());
            add(&raw mut (*counters).alloc_objects, u64::MAX);
        }
    }
}

/// Doubles the rate when the hash map of blocks has filled up to the mark. Each mark is passed once.
#[inline(always)]
pub(crate) fn relieve() {
    let (Some(control), Some(count)) = (SAMPLE.get_ptr_mut(0), LIVE_COUNT.get(0)) else { return };
    // SAFETY: a pointer into the map, checked by get_ptr_mut.
    let (mark, limit) = unsafe { ((&raw const (*control).mark).read_volatile(), (*control).limit) };
    if *count <= mark || state().is_at_most() {
        return;
    }
    // SAFETY: as above.
    if unsafe { replace(&raw mut (*control).mark, mark, next_mark(mark, limit) + 1) } {
        let now = state();
        // SAFETY: as above.
        unsafe { replace(&raw mut (*control).state, now.0, now.doubled().0) };
    }
}

/// # Safety
/// `word` points into a map value.
#[inline(always)]
unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    let (_, replaced) =
        unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new) };
    replaced
}
