//! Records of the event ring buffer. Each starts with an [`EventHeader`]; its kind says what follows.

use crate::{assert_layout, fd::KernelFd, stack::MAX_FRAMES, wire_enum};

wire_enum! {
    /// What a record is.
    pub enum EventKind {
        /// A call stack seen for the first time: a [`NewSite`], cut after its last frame.
        NewSite = 1 => "new_site",
        /// A thread group's leader exited: the header alone.
        Exit = 2 => "exit",
        /// The process replaced its program: the header alone, with the new image. Its thread is the one that called.
        Exec = 3 => "exec",
        /// The process connected a socket, or began to: a [`SocketEvent`], cut after the address.
        Connect = 4 => "connect",
        /// The process accepted a connection: a [`SocketEvent`] without address.
        Accept = 5 => "accept",
        /// A descriptor that was announced by one of these was closed: a [`SocketEvent`] without address.
        Disconnect = 6 => "disconnect",
        /// A TCP connection that the process began was established: a [`SocketEvent`] without address.
        Established = 7 => "established",
        /// The process mapped code from a file: the header alone.
        Mapped = 8 => "mapped",
        /// A descriptor that was open when the process ended: an [`FdAtExit`].
        FdAtExit = 9 => "fd_at_exit",
        /// The process forked, and the child is traced: a [`Fork`].
        Fork = 20 => "fork",
        /// The process is being stopped, so that its probes can be put in place: the header alone.
        Stopped = 28 => "stopped",
        /// The process mapped a range: a [`RangeEvent`].
        Map = 24 => "map",
        /// It unmapped one: a [`RangeEvent`] without site.
        Unmap = 25 => "unmap",
        /// It resized or moved one: a [`RangeEvent`].
        Remap = 26 => "remap",
        /// It moved the end of its data segment: a [`RangeEvent`] whose address is the new end.
        Break = 27 => "break",
    }
}

wire_enum! {
    /// What a site's stack acquired.
    pub enum SiteKind {
        /// Blocks of an allocator.
        Heap = 0 => "heap",
        /// Descriptors.
        Fd = 1 => "fd",
        /// Anonymous memory of its own, from the kernel itself.
        Mmap = 2 => "mmap",
        /// Anonymous memory that children share.
        MmapShared = 3 => "mmap_shared",
        /// Mapped files.
        MmapFile = 4 => "mmap_file",
        /// Stacks of threads.
        MmapStack = 5 => "mmap_stack",
        /// Addresses alone: mapped without any access.
        MmapReserved = 6 => "mmap_reserved",
        /// Pages, by the code that touched them first: estimated from page faults.
        PageFault = 7 => "page_fault",
    }
}

impl SiteKind {
    /// Whether it is memory from the kernel itself.
    pub const fn is_range(self) -> bool {
        matches!(self, Self::Mmap | Self::MmapShared | Self::MmapFile | Self::MmapStack | Self::MmapReserved)
    }

    /// Whether its bytes are estimated from page faults.
    pub const fn is_faulted(self) -> bool {
        matches!(self, Self::PageFault)
    }

    /// Whether its bytes are the process's own memory once they are written to: not what a file backs, nor addresses
    /// without access.
    pub const fn is_own_memory(self) -> bool {
        !matches!(self, Self::Fd | Self::MmapFile | Self::MmapReserved)
    }
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHeader {
    /// An [`EventKind`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Of sites and execs, the process's image: see [`crate::process::Image`]. Else 0.
    pub image: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
}
assert_layout!(EventHeader, size 24, kind at 0, tgid at 4, tid at 8, image at 12, time_ns at 16);

/// A process that is traced has forked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Fork {
    /// Kind [`EventKind::Fork`]; of the parent.
    pub header: EventHeader,
    /// The child.
    pub child: u32,
    /// The child's image.
    pub image: u32,
    /// 1 when the child's memory is the parent's (vfork).
    pub borrows: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(Fork, size 40, child at 24, image at 28, borrows at 32);

/// A call stack that has just been given a site id. An id may be announced twice; the later record holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NewSite {
    /// Kind [`EventKind::NewSite`].
    pub header: EventHeader,
    /// Hash of process, image, kind and frames.
    pub hash: u64,
    /// The dense id: index into the counters.
    pub site: u32,
    /// A [`SiteKind`].
    pub site_kind: u32,
    /// A [`crate::stack::StackEnd`].
    pub end: u32,
    /// Frames that follow.
    pub depth: u32,
    /// A bit for each frame whose address is that of an interrupted instruction, not a return address.
    pub exact: [u64; 2],
    /// Innermost first. Frame 0 is a return address into the caller of the allocator; all are return addresses
    /// unless a signal frame lies between.
    pub frames: [u64; MAX_FRAMES],
}

/// Bytes of a [`NewSite`] before its frames.
pub const NEW_SITE_PREFIX: usize = 64;
assert_layout!(NewSite, size NEW_SITE_PREFIX + 8 * MAX_FRAMES, hash at 24, site at 32, site_kind at 36, end at 40, depth at 44, exact at 48, frames at NEW_SITE_PREFIX);

/// Bytes of a socket address that are passed on: a `sockaddr_un` is the longest.
pub const ADDRESS_BYTES: usize = 112;

/// A turn in the life of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketEvent {
    /// One of the kinds of connections.
    pub header: EventHeader,
    /// The descriptor; 0 for [`EventKind::Established`].
    pub fd: u32,
    /// Connect: the result, 0 or a negative error number. Accept: the listening descriptor.
    pub other: u32,
    /// The call stack, or [`crate::fd::NO_SITE`].
    pub site: u32,
    /// Bytes of the address that follow.
    pub address_len: u32,
    /// The kernel's `struct file`, as an identity; 0 where it cannot be known.
    pub file: u64,
    /// The kernel's `struct sock`, as an identity; 0 where it cannot be known.
    pub sock: u64,
    /// Established: nanoseconds since the connect.
    pub latency_ns: u64,
    /// A `sockaddr`, as the process passed it.
    pub address: [u8; ADDRESS_BYTES],
}

/// Bytes of a [`SocketEvent`] before its address.
pub const SOCKET_EVENT_PREFIX: usize = 64;
assert_layout!(SocketEvent, size SOCKET_EVENT_PREFIX + ADDRESS_BYTES, fd at 24, other at 28, site at 32, address_len at 36, file at 40, sock at 48, latency_ns at 56, address at SOCKET_EVENT_PREFIX);

/// A descriptor that was open when the process ended. There is one for each, before the kernel closes them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FdAtExit {
    /// Kind [`EventKind::FdAtExit`].
    pub header: EventHeader,
    /// The descriptor.
    pub open: KernelFd,
}
assert_layout!(FdAtExit, size 56, open at 24);

/// A change of the process's mappings that its allocator did not make.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeEvent {
    /// One of the kinds of ranges.
    pub header: EventHeader,
    /// Where it is now.
    pub address: u64,
    /// Bytes it has now.
    pub len: u64,
    /// [`EventKind::Remap`]: where it was.
    pub old_address: u64,
    /// [`EventKind::Remap`]: bytes it had.
    pub old_len: u64,
    /// The call stack, or [`crate::fd::NO_SITE`].
    pub site: u32,
    /// [`EventKind::Remap`]: the call's flags.
    pub flags: u32,
}
assert_layout!(RangeEvent, size 64, address at 24, len at 32, old_address at 40, old_len at 48, site at 56, flags at 60);
