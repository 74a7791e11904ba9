//! io_uring: what its requests do to descriptors, and where the kernel keeps what they ask for.

use crate::assert_layout;

/// Codes of requests that the table of operations covers; they are single bytes.
pub const URING_OPS: u32 = 256;

/// What a request's code means. The other fields are offsets in the kernel's `struct io_kiocb`; 0 where there is nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringOp {
    /// A [`crate::fd::Effect`], as of the system call that does the same.
    pub effect: u32,
    /// A 32-bit word that is not 0 when the request is about a slot of the ring's own table of files: no descriptor.
    pub slot: u32,
    /// The descriptor that is accepted from, connected or closed.
    pub first: u32,
    /// The address of a `sockaddr`, or that of a pair of descriptors.
    pub address: u32,
    /// Length of the `sockaddr`.
    pub address_len: u32,
    /// Flags of accept, of which [`MULTISHOT`] is one.
    pub flags: u32,
}
assert_layout!(UringOp, size 24, effect at 0, slot at 4, first at 8, address at 12, address_len at 16, flags at 20);

/// In the flags of accept: it goes on accepting (`IORING_ACCEPT_MULTISHOT`).
pub const MULTISHOT: u32 = 1;

/// Offsets in the kernel's `struct io_kiocb`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringOffsets {
    /// `opcode`
    pub opcode: u32,
    /// `flags`
    pub flags: u32,
    /// `cqe.user_data`
    pub user_data: u32,
    /// `ctx`
    pub ring: u32,
}
assert_layout!(UringOffsets, size 16, opcode at 0, flags at 4, user_data at 8, ring at 12);
