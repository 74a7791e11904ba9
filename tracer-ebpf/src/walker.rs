//! What a thread's walks need and leave behind.
//!
//! It belongs to the thread, so it needs no lock: per-CPU scratch would be shared with whoever preempts a program. The
//! allocator probes and the system calls have one each, because an allocator makes system calls between the entry of a
//! call, where its stack is walked, and its return, where the stack is given a site.

use tracer_common::{event::NewSite, process::Image, unwind::MappingRange};

use crate::{
    maps::{GENERATION, IMAGES, TARGETS},
    memory::StackMemory,
    unwind::Walk,
};

/// State of one thread's walks.
#[repr(C)]
pub(crate) struct Walker {
    /// Where the process's mappings are, as of a generation of the targets.
    range: MappingRange,
    pub(crate) generation: u64,
    /// Hash of the last stack that was given a site, and its site.
    pub(crate) site_hash: u64,
    pub(crate) site: u32,
    reserved: u32,
    /// When the process's image began: what is older is another one's.
    pub(crate) began_ns: u64,
    /// The walk that is going on.
    pub(crate) walk: Walk,
    /// What the last walk read.
    pub(crate) memory: StackMemory,
    /// The stack, in the form in which it would be announced.
    pub(crate) stack: NewSite,
}

impl Walker {
    /// Forgets whose walk the last one was.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        self.generation = 0;
        self.memory.forget();
    }

    /// Where the mappings of the thread's process are.
    #[inline(always)]
    pub(crate) fn mappings(&mut self, tgid: u32) -> MappingRange {
        // Generations begin at 1: a new thread has seen none.
        let generation = GENERATION.get(0).copied().unwrap_or(0);
        if self.generation != generation {
            self.generation = generation;
            // SAFETY: map values, replaced as a whole.
            let (range, image) = unsafe {
                (
                    TARGETS.get_ptr(tgid).map_or(MappingRange::default(), |range| *range),
                    IMAGES.get_ptr(tgid).map_or(Image::default(), |image| *image),
                )
            };
            self.range = range;
            if range.image != image.number {
                // They were found before the exec. Nobody has looked since.
                self.range.count = 0;
                self.range.image = image.number;
            }
            self.stack.header.image = image.number;
            self.began_ns = image.began_ns;
        }
        self.range
    }
}
