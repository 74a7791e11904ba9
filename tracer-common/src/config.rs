//! Names and sizes that the loader and the programs must agree on.

/// Capacity of the site table: distinct call stacks that can be told apart in one session.
pub const MAX_SITES: u32 = 65_536;
/// Capacity of the table of threads that are or were inside an allocator.
pub const MAX_THREADS: u32 = 65_536;
/// Default capacity of the table of outstanding blocks; the loader may override it.
pub const DEFAULT_MAX_LIVE: u32 = 1 << 21;
/// Traced processes.
pub const MAX_TARGETS: u32 = 4_096;
/// Default capacity of the table of descriptors; the loader sets it by the target's limit.
pub const DEFAULT_MAX_FDS: u32 = 1 << 16;
/// Connects that can be timed at once.
pub const MAX_CONNECTING: u32 = 16_384;
/// Requests of io_uring that open, connect or close descriptors and can be under way at once.
pub const MAX_URING_PENDING: u32 = 16_384;
/// Attached probe points whose hits are counted apart.
pub const MAX_PROBES: u32 = 1_024;
/// Page faults of which one is looked at. A prime number, so that a loop that touches the same places in turn does not
/// always show the same one.
pub const FAULT_PERIOD: u64 = 97;
/// Bytes of the ring buffer for new sites and lifecycle events.
pub const EVENT_RING_BYTES: u32 = 8 << 20;

/// Layout of an attach cookie: the probe's index in the low quarter, that of the probe at the return, where one link serves
/// both, in the next, and the [`crate::heap::Function`] in the high half.
#[inline(always)]
pub const fn cookie(probe: u32, return_probe: u32, function: u32) -> u64 {
    probe_bits(probe) | probe_bits(return_probe) << 16 | (function as u64) << 32
}

/// One beyond the counters is not counted, whichever it is.
const fn probe_bits(probe: u32) -> u64 {
    if probe > u16::MAX as u32 { u16::MAX as u64 } else { probe as u64 }
}

/// The probe's index in a cookie.
#[inline(always)]
pub const fn cookie_probe(cookie: u64) -> u32 {
    cookie as u16 as u32
}

/// The index of the probe at the return.
#[inline(always)]
pub const fn cookie_return_probe(cookie: u64) -> u32 {
    (cookie >> 16) as u16 as u32
}

/// The function code in a cookie.
#[inline(always)]
pub const fn cookie_function(cookie: u64) -> u32 {
    (cookie >> 32) as u32
}
