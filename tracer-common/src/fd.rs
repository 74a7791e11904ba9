//! Descriptors: how a system call changes the table of a process, and what is kept of each open one.

use crate::{assert_layout, wire_enum};

wire_enum! {
    /// What a system call that has returned did to the descriptors. The loader translates system call numbers, which
    /// differ between architectures, to these.
    pub enum Effect {
        /// Nothing that is of interest.
        None = 0 => "none",
        /// The result is a new descriptor.
        Opens = 1 => "opens",
        /// As [`Effect::Opens`], when the second argument is a `bpf(2)` command that returns one.
        Bpf = 2 => "bpf",
        /// As [`Effect::Opens`], when the second argument is `F_DUPFD` or `F_DUPFD_CLOEXEC`.
        Fcntl = 3 => "fcntl",
        /// As [`Effect::Opens`], when the first argument is -1: otherwise an existing descriptor is changed.
        Signalfd = 4 => "signalfd",
        /// The result is a descriptor that may have been open: dup2, dup3. The first argument is what was copied.
        Replaces = 5 => "replaces",
        /// The first argument points to two new descriptors.
        PairAtFirst = 6 => "pair_at_first",
        /// The fourth argument points to two new descriptors.
        PairAtFourth = 7 => "pair_at_fourth",
        /// The result is a connection accepted from the first argument.
        Accepts = 8 => "accepts",
        /// The first argument is connected to the address that the second points to, of the third's length.
        Connects = 9 => "connects",
        /// The first argument is closed, whatever the result.
        Closes = 10 => "closes",
        /// A message was received, with the header that the second argument points to: it may carry descriptors.
        Receives = 11 => "receives",
        /// The descriptors from the first argument to the second are closed, unless the third says otherwise.
        ClosesRange = 13 => "closes_range",
        /// Memory was mapped, maybe code of a file: the result is where, the second argument how much, the third its
        /// protection; the fourth has the flags.
        MapsRange = 14 => "maps_range",
        /// The range from the first argument, of the second's length, is no more.
        UnmapsRange = 15 => "unmaps_range",
        /// The range from the first argument, of the second's length, has the third's length now, and is where the result
        /// says; the fourth argument has the flags.
        RemapsRange = 16 => "remaps_range",
        /// The result is where the data segment ends now.
        Breaks = 17 => "breaks",
    }
}

/// System call numbers that the table of effects covers.
pub const SYSCALLS: u32 = 512;

/// One system call in this many is looked at for whose it is. Prime, so that a loop of calls does not show the same one always.
pub const CALL_PERIOD: u32 = 61;

/// System calls that have returned on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCount {
    /// Of all processes.
    pub all: u64,
    /// Of the targets, as an estimate.
    pub of_targets: u64,
    /// How many are left until one is looked at.
    pub left: u64,
}
assert_layout!(CallCount, size 24, all at 0, of_targets at 8, left at 16);

/// Key of a descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FdKey {
    /// The process.
    pub tgid: u32,
    /// The descriptor.
    pub fd: u32,
}
assert_layout!(FdKey, size 8, tgid at 0, fd at 4);

/// What is known of a descriptor. An entry stays when the descriptor is closed, with a word of 0.
///
/// Everything that must be right whoever races is in `word`, which only changes as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdRecord {
    /// A [`word`], or 0 when it is not open.
    pub word: u64,
    /// When it was opened: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: u64,
    /// The kernel's `struct file`, as an identity; 0 where it cannot be known.
    pub file: u64,
    /// [`CONNECTED`], and above it the system call's number: see [`call_flags`].
    pub flags: u32,
    /// The call stack that connected it, or [`NO_SITE`].
    pub connect_site: u32,
    /// The number of the file's inode: another file may be at the address of one that was closed. 0 where it cannot be known.
    pub inode: u64,
}
assert_layout!(FdRecord, size 40, word at 0, born_ns at 8, file at 16, flags at 24, connect_site at 28, inode at 32);

/// In [`FdRecord::flags`]: a connection that was announced, so its end is to be announced too.
pub const CONNECTED: u32 = 1;
const CALL_SHIFT: u32 = 16;

/// The flags of a descriptor that a system call opened.
#[inline(always)]
pub const fn call_flags(number: u64) -> u32 {
    (number as u32) << CALL_SHIFT
}

/// The system call's number in flags.
#[inline(always)]
pub const fn flags_call(flags: u32) -> u32 {
    flags >> CALL_SHIFT
}

/// In place of a site: none. Of a descriptor that was open before the attach.
pub const NO_SITE: u32 = (1 << SITE_BITS) - 1;

const SITE_BITS: u32 = 20;
const STAMP_BITS: u32 = 64 - SITE_BITS;
/// Nanoseconds of one stamp, as a power of two: stamps come round after three days.
const STAMP_SHIFT: u32 = 4;

/// The word of a descriptor: its site, and a stamp of the time that makes it different from any other it had.
#[inline(always)]
pub const fn word(site: u32, born_ns: u64) -> u64 {
    // Never 0: a stamp is odd.
    (site as u64) << STAMP_BITS | stamp(born_ns)
}

/// The stamp of a time.
#[inline(always)]
pub const fn stamp(born_ns: u64) -> u64 {
    (born_ns >> STAMP_SHIFT | 1) & ((1 << STAMP_BITS) - 1)
}

/// The site in a word; [`NO_SITE`] when there is none.
#[inline(always)]
pub const fn word_site(word: u64) -> u32 {
    (word >> STAMP_BITS) as u32
}

/// The stamp in a word.
#[inline(always)]
pub const fn word_stamp(word: u64) -> u64 {
    word & ((1 << STAMP_BITS) - 1)
}

/// How long ago the time was that is in a word, in nanoseconds; a stamp or so is the same as none.
#[inline(always)]
pub const fn word_age(word: u64, now_ns: u64) -> u64 {
    let stamps = stamp(now_ns).wrapping_sub(word_stamp(word)) & ((1 << STAMP_BITS) - 1);
    // One that seems to be in the future is of another processor's clock, or of this very moment.
    if stamps >> (STAMP_BITS - 1) != 0 { 0 } else { stamps << STAMP_SHIFT }
}

/// A descriptor as the kernel's own tables have it: what the iterator over a process's files writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFd {
    /// The process.
    pub tgid: u32,
    /// The descriptor.
    pub fd: u32,
    /// The kernel's `struct file`, as an identity.
    pub file: u64,
    /// Inode number.
    pub inode: u64,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(KernelFd, size 32, tgid at 0, fd at 4, file at 8, inode at 16, mode at 24, reserved at 28);

/// Offsets in the kernel's structures, from its BTF. All zero when there is none: then no identity is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelOffsets {
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdtable_max_fds: u32,
    /// `fdtable.fd`
    pub fdtable_fd: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// 1 when the offsets are known.
    pub known: u32,
}
assert_layout!(KernelOffsets, size 56, task_tgid at 0, known at 52);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_site_and_differs_by_time() {
        let word = |site, born| super::word(site, born);
        assert_eq!(word_site(word(65_535, u64::MAX)), 65_535);
        assert_eq!(word_age(word(7, 1 << 40), (1 << 40) + 3_000_000_000) >> STAMP_SHIFT, 3_000_000_000 >> STAMP_SHIFT);
        assert_eq!(word_age(word(7, 1 << 40), (1 << 40) - 5_000), 0);
        assert_eq!(word_site(word(NO_SITE, 1)), NO_SITE);
        assert_ne!(word(0, 0), 0);
        assert_ne!(word(7, 1_000), word(7, 1_064));
        assert_eq!(word_stamp(word(7, 1_000)), stamp(1_000));
    }
}
