//! The outstanding blocks, in two tables that are one.
//!
//! The near table is an array of buckets, each a cache line of addresses: a block goes in with one compare-and-swap and
//! out with a store, at a fraction of what the kernel's hash map takes. A block whose bucket is full goes to the hash map
//! behind it. A compare-and-swap takes Linux 5.12, so older kernels have the hash map alone.
//!
//! An address belongs to one thread from the return of an allocation to the free, so nobody looks for a block while it
//! is put in or taken out.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::heap::{BUCKET, Block, BlockKey, Bucket, NearBlock};

use crate::{
    count,
    maps::{LIVE, LIVE_COUNT, NEAR, NEAR_BLOCKS, NEAR_MASK},
    sample, words,
};

/// Which tables the kernel can use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    /// The near table and the hash map behind it.
    Both,
    /// The hash map alone.
    HashMap,
}

/// The block did not fit.
pub(crate) struct Full;

/// Puts a block in. Returns whether there was one at its address, which is then in `stale`: its free was missed.
#[inline(always)]
pub(crate) fn insert(tables: Tables, tgid: u32, address: u64, block: &Block, stale: &mut Block) -> Result<bool, Full> {
    // Before the new one is in, or it would be found itself.
    let was_there = if tables == Tables::HashMap { false } else { take(tables, tgid, address, stale) };
    if tables == Tables::Both && insert_near(tgid, address, block) {
        return Ok(was_there);
    }
    let key = BlockKey { address, tgid, reserved: 0 };
    if LIVE.insert(key, block, u64::from(BPF_NOEXIST)).is_ok() {
        counted(1);
        if tables == Tables::Both {
            sample::relieve();
        }
        return Ok(was_there);
    }
    let Some(old) = LIVE.get_ptr(key) else { return Err(Full) };
    // SAFETY: from a map value; the address belongs to the current thread until the call returns.
    unsafe { words::copy(old, stale) };
    LIVE.insert(key, block, 0).map_err(|_| Full)?;
    Ok(true)
}

/// Takes a block out. Returns whether there was one, which is then in `block`.
#[inline(always)]
pub(crate) fn take(tables: Tables, tgid: u32, address: u64, block: &mut Block) -> bool {
    if tables == Tables::Both {
        if take_near(tgid, address, block) {
            return true;
        }
        if LIVE_COUNT.get(0).is_none_or(|count| *count == 0) {
            return false;
        }
    }
    let key = BlockKey { address, tgid, reserved: 0 };
    let Some(found) = LIVE.get_ptr(key) else { return false };
    // SAFETY: from a map value; only the owner of the address may change it, and that is this thread.
    unsafe { words::copy(found, block) };
    let removed = LIVE.remove(key).is_ok();
    if removed {
        counted(-1);
    }
    removed
}

#[inline(always)]
fn counted(change: i64) {
    if let Some(count) = LIVE_COUNT.get_ptr_mut(0) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { count::add(count, change as u64) };
    }
}

/// The bucket of an address.
#[inline(always)]
fn bucket_of(tgid: u32, address: u64) -> u32 {
    let mixed = (address >> 3 ^ u64::from(tgid) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32 & NEAR_MASK.load()
}

#[inline(always)]
fn insert_near(tgid: u32, address: u64, block: &Block) -> bool {
    let index = bucket_of(tgid, address);
    let Some(bucket) = NEAR.get_ptr_mut(index) else { return false };
    for place in 0..BUCKET {
        // SAFETY: within the bucket, which is a map value.
        let slot = unsafe { (&raw mut (*bucket).addresses).cast::<u64>().add(place) };
        // SAFETY: as above.
        if unsafe { slot.read_volatile() } != 0 || !claim(slot, address) {
            continue;
        }
        let Some(near) = NEAR_BLOCKS.get_ptr_mut(index * BUCKET as u32 + place as u32) else { return false };
        // SAFETY: a map value, which is ours since the claim.
        unsafe {
            (*near).size = block.size;
            (*near).born_ns = block.born_ns;
            (*near).site = block.site;
            (*near).tgid = tgid;
        }
        return true;
    }
    false
}

#[inline(always)]
fn claim(slot: *mut u64, address: u64) -> bool {
    // SAFETY: the caller passes a place in a bucket.
    let (_, claimed) =
        unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(slot, 0, address) };
    claimed
}

#[inline(always)]
fn take_near(tgid: u32, address: u64, block: &mut Block) -> bool {
    let index = bucket_of(tgid, address);
    let Some(bucket) = NEAR.get_ptr_mut(index) else { return false };
    for place in 0..BUCKET {
        // SAFETY: within the bucket, which is a map value.
        let slot = unsafe { (&raw mut (*bucket).addresses).cast::<u64>().add(place) };
        // SAFETY: as above.
        if unsafe { slot.read_volatile() } != address {
            continue;
        }
        let Some(near) = NEAR_BLOCKS.get_ptr_mut(index * BUCKET as u32 + place as u32) else { return false };
        // SAFETY: a map value; another process's block may have the same address, and is left alone.
        let near = unsafe { &mut *near };
        if near.tgid != tgid {
            continue;
        }
        block.size = near.size;
        block.born_ns = near.born_ns;
        block.site = near.site;
        // First whose it is, then that it is there: who claims the place next finds it nobody's.
        near.tgid = 0;
        // SAFETY: as above.
        unsafe { slot.write_volatile(0) };
        return true;
    }
    false
}

const _: () = assert!(size_of::<Bucket>() == 8 * BUCKET && size_of::<NearBlock>() == 24);
