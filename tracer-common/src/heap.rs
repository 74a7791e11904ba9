//! Heap blocks: the table of outstanding ones, and the counters of each site.

use crate::{assert_layout, wire_enum};

wire_enum! {
    /// The functions that are probed. The code says how to read the arguments, and what the result means; allocators
    /// have many names for one code. "heap" stands for an argument that says where to allocate.
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
        /// `void operator delete(void *ptr, …)`, `void sdallocx(void *ptr, …)`, …: frees, perhaps by calling `free`
        Release = 10 => "release",
        /// `void *operator new(size_t size, …)`: may throw
        New = 11 => "new",
        /// `void *mi_new_n(size_t n, size_t size)`: may throw
        NewArray = 12 => "new_n",
        /// `void *mi_heap_alloc_new(heap, size_t size)`: may throw
        HeapNew = 13 => "heap_new",
        /// `void *mi_heap_alloc_new_n(heap, size_t n, size_t size)`: may throw
        HeapNewArray = 14 => "heap_new_n",
        /// `void *reallocf(void *ptr, size_t size)`: frees `ptr` even if it fails
        Reallocf = 15 => "reallocf",
        /// `size_t xallocx(void *ptr, size_t size, size_t extra, int flags)`: resizes in place, returns the usable size
        Xallocx = 16 => "xallocx",
        /// `void *mi_heap_malloc(heap, size_t size)`
        HeapMalloc = 17 => "heap_malloc",
        /// `void *mi_heap_calloc(heap, size_t n, size_t size)`
        HeapCalloc = 18 => "heap_calloc",
        /// `void *mi_heap_realloc(heap, void *ptr, size_t size)`
        HeapRealloc = 19 => "heap_realloc",
        /// `void *mi_heap_reallocn(heap, void *ptr, size_t n, size_t size)`
        HeapReallocarray = 20 => "heap_reallocarray",
        /// `void *mi_heap_reallocf(heap, void *ptr, size_t size)`: frees `ptr` even if it fails
        HeapReallocf = 21 => "heap_reallocf",
        /// `void __cxa_throw(…)`: an exception leaves the allocator function that is under way
        Throw = 22 => "throw",
    }
}

impl Function {
    /// Whether an exception may leave it. Its return address must stay what it is, or the exception ends the process.
    #[inline(always)]
    pub const fn may_throw(self) -> bool {
        matches!(self, Self::New | Self::NewArray | Self::HeapNew | Self::HeapNewArray)
    }

    /// Whether it gives a block. The others take one, or neither.
    #[inline(always)]
    pub const fn allocates(self) -> bool {
        !matches!(self, Self::Free | Self::Release | Self::Throw)
    }

    /// Whether it may be given a block to make another of.
    #[inline(always)]
    pub const fn resizes(self) -> bool {
        matches!(
            self,
            Self::Realloc
                | Self::Reallocarray
                | Self::Reallocf
                | Self::Xallocx
                | Self::HeapRealloc
                | Self::HeapReallocarray
                | Self::HeapReallocf
        )
    }

    /// How many of its arguments, from the first, are read.
    pub const fn arguments(self) -> usize {
        match self {
            Self::Throw => 0,
            Self::Malloc | Self::Valloc | Self::Pvalloc | Self::Free | Self::Release | Self::New => 1,
            Self::Calloc | Self::Realloc | Self::AlignedAlloc | Self::Memalign => 2,
            Self::NewArray | Self::HeapNew | Self::Reallocf | Self::HeapMalloc => 2,
            Self::Reallocarray | Self::PosixMemalign | Self::Xallocx => 3,
            Self::HeapNewArray | Self::HeapCalloc | Self::HeapRealloc | Self::HeapReallocf => 3,
            Self::HeapReallocarray => 4,
        }
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

/// How many buckets of ages there are.
pub const AGE_BUCKETS: usize = 32;
/// The first bucket holds ages below `1 << FIRST_AGE_SHIFT` nanoseconds (66 microseconds); each other one reaches to twice
/// the end of the one before, and the last one, from 19.5 hours on, has no end.
pub const FIRST_AGE_SHIFT: u32 = 16;

/// The bucket of an age.
#[inline(always)]
pub const fn age_bucket(age_ns: u64) -> usize {
    let bits = u64::BITS - age_ns.leading_zeros();
    let bucket = bits.saturating_sub(FIRST_AGE_SHIFT) as usize;
    if bucket < AGE_BUCKETS { bucket } else { AGE_BUCKETS - 1 }
}

/// How many blocks of a site were freed, by their age then.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaths {
    /// By [`age_bucket`].
    pub by_age: [u64; AGE_BUCKETS],
}
assert_layout!(Deaths, size 8 * AGE_BUCKETS, by_age at 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_double_from_bucket_to_bucket() {
        assert_eq!([0, 1, 65_535].map(age_bucket), [0; 3]);
        assert_eq!([65_536, 131_071, 131_072].map(age_bucket), [1, 1, 2]);
        for bits in 0..64 {
            let expected = (bits as usize + 1).saturating_sub(16).min(AGE_BUCKETS - 1);
            assert_eq!(age_bucket(1 << bits), expected, "1 << {bits}");
        }
        assert_eq!(age_bucket(u64::MAX), AGE_BUCKETS - 1);
    }
}
