//! Ranges: what the process maps by itself. Each change is announced, and user space keeps the ranges: they are few, and
//! a call may split one or take parts of several.
//!
//! What an allocator maps while one of its functions runs belongs to the allocator, and is not announced.

use tracer_common::{
    counter::LossCause,
    event::{EventHeader, EventKind, RangeEvent, SiteKind},
    fd::{Effect, NO_SITE},
};

use crate::{
    emit,
    fd::Call,
    maps::{TARGETS, THREADS},
};

const MAPS: u32 = Effect::MapsRange.code();
const UNMAPS: u32 = Effect::UnmapsRange.code();
const REMAPS: u32 = Effect::RemapsRange.code();
const BREAKS: u32 = Effect::Breaks.code();

/// From the kernel's `include/uapi/asm-generic/mman.h`.
const MAP_SHARED: u32 = 0x1;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_STACK: u32 = 0x2_0000;

/// What is to be announced of a call that has returned.
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It, without a call stack.
    Known,
    /// It, with the stack of the call, whose site is of this kind.
    Acquired(SiteKind),
}

/// What a call did to the ranges of its process.
#[inline(always)]
pub(crate) fn change(call: &Call, effect: u32) -> Change {
    // The kernel returns errors in the last page, in which nothing is mapped.
    if call.result < 0 && call.result >= -4095 || TARGETS.get_ptr(call.tgid()).is_none() {
        return Change::None;
    }
    if is_inside_allocator(call) {
        // Where the data segment ends matters to the next one who moves it.
        return if effect == BREAKS { Change::Known } else { Change::None };
    }
    match effect {
        MAPS => Change::Acquired(kind(call.third as u32, call.fourth as u32)),
        REMAPS if call.third > call.second => Change::Acquired(SiteKind::Mmap),
        BREAKS => Change::Acquired(SiteKind::Mmap),
        _ => Change::Known,
    }
}

#[inline(always)]
fn kind(protection: u32, flags: u32) -> SiteKind {
    if flags & MAP_ANONYMOUS == 0 {
        SiteKind::MmapFile
    } else if flags & MAP_SHARED != 0 {
        SiteKind::MmapShared
    } else if flags & (MAP_STACK | MAP_GROWSDOWN) != 0 {
        SiteKind::MmapStack
    } else if protection == 0 {
        SiteKind::MmapReserved
    } else {
        SiteKind::Mmap
    }
}

/// Whether a function of the allocator has been entered further up the stack.
#[inline(always)]
fn is_inside_allocator(call: &Call) -> bool {
    let Some(thread) = THREADS.get_ptr(call.pid_tgid) else { return false };
    // SAFETY: a map value; only its own thread changes it, and that is here.
    let call_sp = unsafe { (*thread).call_sp };
    call.user.1 < call_sp
}

/// Announces what a call did.
#[inline(always)]
pub(crate) fn announce(call: &Call, effect: u32, site: u32) -> Result<(), LossCause> {
    let kind = match effect {
        MAPS => EventKind::Map,
        UNMAPS => EventKind::Unmap,
        REMAPS => EventKind::Remap,
        _ => EventKind::Break,
    };
    let mut event =
        RangeEvent { header: EventHeader::default(), address: call.result as u64, site, ..RangeEvent::default() };
    match effect {
        MAPS => event.len = call.second,
        UNMAPS => (event.address, event.len) = (call.first, call.second),
        REMAPS => {
            (event.old_address, event.old_len) = (call.first, call.second);
            (event.len, event.flags) = (call.third, call.fourth as u32);
        }
        _ => {}
    }
    emit::range(kind, event)
}

/// The same without a site.
#[inline(always)]
pub(crate) fn announce_known(call: &Call, effect: u32) -> Result<(), LossCause> {
    announce(call, effect, NO_SITE)
}
