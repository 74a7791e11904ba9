//! The table of descriptors that were opened since the attach.
//!
//! A system call's effect on the kernel's table and our look at it are two moments, and other threads come between. What
//! keeps ours right whatever the order: an entry's word changes as a whole, an opener always writes its own, and a
//! closer takes out only what it found before it saw that the descriptor is not open. A closer that comes late sees that
//! the number is open again and leaves it to its opener.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg};

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use tracer_common::{
    counter::LossCause,
    fd::{CONNECTED, FdKey, FdRecord, NO_SITE, word, word_age, word_site},
};

use crate::{
    count,
    fd::Means,
    kernel::{self, Behind},
    maps::{FD_TEMPLATE, FDS, SITE_COUNTERS},
};

/// Writes a word and returns the one before.
#[inline(always)]
fn exchange(means: Means, place: *mut u64, new: u64) -> u64 {
    if means.atomics {
        // SAFETY: an aligned word of a map value.
        return unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(place, new) };
    }
    // SAFETY: as above. Kernels without the instruction make do with a moment in which an update can be lost; the next
    // comparison with the kernel's table finds it.
    unsafe {
        let old = place.read_volatile();
        place.write_volatile(new);
        old
    }
}

/// Takes a word out if it is still this one.
#[inline(always)]
fn take(means: Means, place: *mut u64, expected: u64) -> bool {
    if means.atomics {
        // SAFETY: an aligned word of a map value.
        let (_, done) =
            unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(place, expected, 0) };
        return done;
    }
    exchange(means, place, 0) == expected
}

#[inline(always)]
fn entry(key: FdKey) -> Result<*mut FdRecord, LossCause> {
    if let Some(record) = FDS.get_ptr_mut(key) {
        return Ok(record);
    }
    let template = FD_TEMPLATE.get(0).ok_or(LossCause::FdsFull)?;
    // Another thread may have been faster.
    let _ = FDS.insert(key, template, u64::from(BPF_NOEXIST));
    FDS.get_ptr_mut(key).ok_or(LossCause::FdsFull)
}

#[inline(always)]
fn count_opened(site: u32) {
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { count::add(&raw mut (*counters).alloc_objects, 1) };
    }
}

/// A function of its own: it is in every program that closes, several times in some.
#[inline(never)]
fn count_closed(word: u64) {
    let site = word_site(word);
    if site == NO_SITE {
        return;
    }
    if let Some(counters) = SITE_COUNTERS.get_ptr_mut(site) {
        // SAFETY: a pointer into the map, checked by get_ptr_mut.
        unsafe { count::add(&raw mut (*counters).free_objects, 1) };
    }
    // SAFETY: a helper without arguments.
    count::death(site, word_age(word, unsafe { bpf_ktime_get_ns() }), 1);
}

/// A descriptor was opened at a site. Returns what is behind it, [`Behind::Nothing`] when it has been closed already.
#[inline(always)]
pub(crate) fn open(means: Means, key: FdKey, site: u32, flags: u32) -> Result<Behind, LossCause> {
    // A table that is full leaves the descriptor out of all counters.
    let record = entry(key)?;
    let file = kernel::behind(means.reach, key.fd);
    count_opened(site);
    // SAFETY: a helper without arguments.
    let born_ns = unsafe { bpf_ktime_get_ns() };
    let new = word(site, born_ns);
    if file == Behind::Nothing {
        count_closed(new);
        return Ok(file);
    }
    // SAFETY: a map value. What is not in the word may be mixed up by a race; the comparison with the kernel's table
    // goes by the stamp, and finds that out.
    let place = unsafe {
        (*record).born_ns = born_ns;
        (*record).file = file.identity();
        (*record).inode = file.inode();
        (*record).flags = flags;
        (*record).connect_site = NO_SITE;
        &raw mut (*record).word
    };
    let old = exchange(means, place, new);
    if old != 0 {
        count_closed(old);
    }
    if kernel::behind(means.reach, key.fd) == Behind::Nothing && take(means, place, new) {
        count_closed(new);
        return Ok(Behind::Nothing);
    }
    Ok(file)
}

/// A connection's record, as it was closed.
pub(crate) struct Closed {
    pub(crate) file: u64,
}

/// A descriptor was closed. Returns its record if its end is to be announced.
#[inline(always)]
pub(crate) fn close(means: Means, key: FdKey) -> Option<Closed> {
    let record = FDS.get_ptr_mut(key)?;
    // SAFETY: a map value.
    let (place, found, file, flags) = unsafe {
        let place = &raw mut (*record).word;
        (place, place.read_volatile(), (*record).file, (*record).flags)
    };
    if found == 0 {
        return None;
    }
    if matches!(kernel::behind(means.reach, key.fd), Behind::File(_)) {
        return None;
    }
    if !take(means, place, found) {
        return None;
    }
    count_closed(found);
    if flags & CONNECTED == 0 { None } else { Some(Closed { file }) }
}

/// A descriptor was connected at a site. One from before the attach gets a record for it.
#[inline(always)]
pub(crate) fn connect(means: Means, key: FdKey, site: u32, file: Behind) -> Result<(), LossCause> {
    let record = entry(key)?;
    // SAFETY: a map value.
    unsafe {
        let place = &raw mut (*record).word;
        if place.read_volatile() == 0 {
            let born_ns = bpf_ktime_get_ns();
            (*record).born_ns = born_ns;
            (*record).file = file.identity();
            (*record).inode = file.inode();
            (*record).flags = 0;
            exchange(means, place, word(NO_SITE, born_ns));
        }
        (*record).connect_site = site;
        (*record).flags |= CONNECTED;
    }
    Ok(())
}

/// Takes a record out that is not right any more, if it is still this one.
#[inline(always)]
pub(crate) fn correct(means: Means, key: FdKey, expected: u64) {
    if let Some(record) = FDS.get_ptr_mut(key) {
        // SAFETY: a map value.
        let place = unsafe { &raw mut (*record).word };
        if take(means, place, expected) {
            count_closed(expected);
        }
    }
}
