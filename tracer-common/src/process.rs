//! The programs that a process runs, one after the other.

use crate::assert_layout;

/// The program that a process runs now. A stack is one of a process and an image: addresses mean something else after an
/// exec, and pids come round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Tells it from the others that were traced under this pid. 0 for the first one of a process that was given, from the
    /// time for one that was forked, and one more after each exec.
    pub number: u32,
    /// 1 between vfork and exec: its memory, and so its heap, is the parent's.
    pub borrows: u32,
    /// When it began, or 0: `CLOCK_MONOTONIC`, nanoseconds.
    pub began_ns: u64,
    /// When the process is stopped, to be continued once its probes are in place: one of [`stops`].
    pub stops: u32,
    /// Frees of addresses that are not in the table, by whatever programs the process has run: see
    /// [`crate::counter::Stat::UnknownFree`].
    pub unknown_frees: u32,
}
assert_layout!(Image, size 24, number at 0, borrows at 4, began_ns at 8, stops at 16, unknown_frees at 20);

/// When a process is stopped. Only one that was started to be traced is.
pub mod stops {
    /// Never.
    pub const NEVER: u32 = 0;
    /// At its first instruction after an exec.
    pub const AT_EXEC: u32 = 1;
    /// There, and when it has mapped code of a file before it has allocated anything.
    pub const WHILE_LOADING: u32 = 2;
}

/// Bits of [`Image::number`] that are in use.
pub const IMAGE_BITS: u32 = 24;

/// The first image of a process that was forked at this time. Two of one pid are more than a millisecond apart.
#[inline(always)]
pub const fn forked_image(now_ns: u64) -> u32 {
    (now_ns >> 20) as u32 & ((1 << IMAGE_BITS) - 1) | 1
}

/// The image after an exec.
#[inline(always)]
pub const fn next_image(number: u32) -> u32 {
    number.wrapping_add(1) & ((1 << IMAGE_BITS) - 1)
}
