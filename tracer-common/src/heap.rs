//! Heap blocks: the table of outstanding ones, and the counters of each site.

use crate::{assert_layout, wire_enum};

wire_enum! {
    /// The allocator functions that are probed. The code says how to read the arguments.
    pub enum Function {
        /// `void *malloc(size_t size)`
        Malloc = 0 => "malloc",
        /// `void *calloc(size_t n, size_t size)`
        Calloc = 1 => "calloc",
        /// `void *realloc(void *ptr, size_t size)`
        Realloc = 2 => "realloc",
        /// `void *reallocarray(void *ptr, size_t n, size_t size)`
        Reallocarray = 3 => "reallocarray",
        /// `int posix_memalign(void **out, size_t alignment, size_t size)`
        PosixMemalign = 4 => "posix_memalign",
        /// `void *aligned_alloc(size_t alignment, size_t size)`
        AlignedAlloc = 5 => "aligned_alloc",
        /// `void *memalign(size_t alignment, size_t size)`
        Memalign = 6 => "memalign",
        /// `void *valloc(size_t size)`
        Valloc = 7 => "valloc",
        /// `void *pvalloc(size_t size)`
        Pvalloc = 8 => "pvalloc",
        /// `void free(void *ptr)`
        Free = 9 => "free",
    }
}

/// Key of an outstanding block. An address alone would mix processes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockKey {
    /// What the allocator returned.
    pub address: u64,
    /// The process.
    pub tgid: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(BlockKey, size 16, address at 0, tgid at 8, reserved at 12);

/// An outstanding block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Bytes the program asked for.
    pub size: u64,
    /// When the allocator returned it: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: u64,
    /// The call stack that asked.
    pub site: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(Block, size 24, size at 0, born_ns at 8, site at 16, reserved at 20);

/// Blocks in a bucket of the near table: one cache line of addresses.
pub const BUCKET: usize = 8;

/// Addresses of the blocks in one bucket of the near table; 0 where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The addresses.
    pub addresses: [u64; BUCKET],
}
assert_layout!(Bucket, size 64, addresses at 0);

/// A block in the near table, at the place of its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearBlock {
    /// Bytes the program asked for.
    pub size: u64,
    /// When the allocator returned it: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: u64,
    /// The call stack that asked.
    pub site: u32,
    /// The process; 0 when the place is empty.
    pub tgid: u32,
}
assert_layout!(NearBlock, size 24, size at 0, born_ns at 8, site at 16, tgid at 20);

/// Counters of one site since attach. Outstanding is allocated minus freed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteCounters {
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Bytes of this site's blocks that were freed, wherever that happened.
    pub free_bytes: u64,
    /// Blocks of this site that were freed.
    pub free_objects: u64,
}
assert_layout!(SiteCounters, size 32, alloc_bytes at 0, alloc_objects at 8, free_bytes at 16, free_objects at 24);
