//! Counters. All adds are atomic: a uprobe program can be preempted by another one on the same CPU.

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::maps::PerCpuArray;
use tracer_common::{
    counter::{LossCause, Stat},
    heap::{AGE_BUCKETS, age_bucket},
};

use crate::maps::{DEATHS, HITS, LOSS, STATS};

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

/// The same for events that stand for others.
#[inline(always)]
pub(crate) fn seen_times(stat: Stat, times: u64) {
    if let Some(counter) = STATS.get_ptr_mut(stat.code()) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { add(counter, times) };
    }
}

/// Counts blocks, or a descriptor, that ended at this age.
#[inline(always)]
pub(crate) fn death(site: u32, age_ns: u64, times: u64) {
    if let Some(deaths) = DEATHS.get_ptr_mut(site) {
        let mut bucket = age_bucket(age_ns);
        // The compiler knows that this changes nothing and would leave it out; the verifier does not.
        // SAFETY: arithmetic in a register.
        unsafe { asm!("{0} &= {1}", inout(reg) bucket, const AGE_BUCKETS - 1, options(pure, nomem, nostack)) };
        // SAFETY: a pointer into the map, checked by get_ptr_mut, and an index within its buckets.
        unsafe { add((&raw mut (*deaths).by_age).cast::<u64>().add(bucket), times) };
    }
}
