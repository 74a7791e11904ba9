//! Counters. All adds are atomic: a uprobe program can be preempted by another one on the same CPU.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::maps::PerCpuArray;
use tracer_common::counter::{LossCause, Stat};

use crate::maps::{HITS, LOSS, STATS};

/// Adds to a counter in a map, of 32 or 64 bits.
///
/// # Safety
/// `counter` points into a map value.
#[inline(always)]
pub(crate) unsafe fn add<T: Copy>(counter: *mut T, amount: T) {
    // SAFETY: the caller's promise. The result is unused, so this is the XADD that kernel 5.10 knows.
    unsafe {
        atomic_xadd::<T, T, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

#[inline(always)]
fn bump(map: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = map.get_ptr_mut(index) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { add(counter, 1) };
    }
}

/// Counts an event that could not be accounted for.
#[inline(always)]
pub(crate) fn lost(cause: LossCause) {
    if let Some(counter) = LOSS.get_ptr_mut(cause.code()) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { add(counter, 1) };
    }
}

/// Counts something worth knowing.
#[inline(always)]
pub(crate) fn seen(stat: Stat) {
    bump(&STATS, stat.code());
}

/// Counts a hit of a probe.
#[inline(always)]
pub(crate) fn hit(probe: u32) {
    bump(&HITS, probe);
}
