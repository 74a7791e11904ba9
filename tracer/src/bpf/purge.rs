//! Takes blocks out of the tables: those whose memory is gone, of a process that has ended or of the program that a
//! process ran before its exec, which are counted as freed; and those that are no longer tracked since sampling is
//! coarser, which are counted as if they never had been.
//!
//! Done from here, for any number of processes in one pass over mapped memory: a program that forks all the time costs no
//! more of them. A block that is taken out at the same moment by a program is its; the new program of a process can come by
//! an address of the old one, so a block is known by its time of birth.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};
use tracer_common::{
    heap::{BUCKET, Block, BlockKey},
    sampling::{SKETCH, SampleState, SampledFrees, sketch_place},
};

use super::{BpfError, sys};
use crate::aggregate;

/// Words of a [`SampledFrees`]: more bytes, more objects, and the two sketches.
const FREES_WORDS: usize = size_of::<SampledFrees>() / 8;

/// An array of the kernel's as words that both sides change.
#[derive(Debug)]
pub(super) struct Words {
    memory: MmapRaw,
    count: usize,
}

impl Words {
    pub(super) fn new(name: &'static str, map: BorrowedFd<'_>, count: usize) -> Result<Self, BpfError> {
        let memory = MmapOptions::new()
            .len((count * 8).next_multiple_of(rustix::param::page_size()))
            .map_raw(map.as_raw_fd())
            .map_err(|source| BpfError::Map { map: name, what: "cannot map it into memory", source })?;
        Ok(Self { memory, count })
    }

    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "word {index} of {}", self.count);
        // SAFETY: within the mapping, aligned to 8; both sides write these words atomically.
        unsafe { &*self.memory.as_ptr().cast::<AtomicU64>().add(index) }
    }
}

/// Takes blocks out.
#[derive(Debug)]
pub(super) struct Purger {
    near: Words,
    /// Of each block in the near table: size, birth, site and process.
    blocks: Words,
    live: OwnedFd,
    live_count: Words,
    counters: Words,
    sampled_frees: Words,
}

/// What becomes of a block that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was freed, and stood for as many as this says.
    Freed(SampleState),
    /// It counts as one that was never tracked.
    Never,
}

/// A block in one of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) tgid: u32,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) born_ns: u64,
    pub(super) site: u32,
}

impl Found {
    /// Whether it is tracked.
    pub(super) fn is_kept(&self, state: SampleState) -> bool {
        state.keeps_block(self.tgid, self.address, self.born_ns, self.size)
    }
}

/// The maps that hold blocks, and the counters.
#[derive(Debug)]
pub(super) struct BlockMaps {
    pub(super) near: OwnedFd,
    pub(super) near_blocks: OwnedFd,
    pub(super) live: OwnedFd,
    pub(super) live_count: OwnedFd,
    pub(super) counters: OwnedFd,
    pub(super) sampled_frees: OwnedFd,
    /// Buckets of the near table.
    pub(super) buckets: u32,
    /// Sites there can be.
    pub(super) sites: u32,
}

impl Purger {
    pub(super) fn new(maps: &BlockMaps) -> Result<Self, BpfError> {
        let BlockMaps { near, near_blocks, live, live_count, counters, sampled_frees, buckets, sites } = maps;
        let (places, sites) = (*buckets as usize * BUCKET, *sites as usize);
        Ok(Self {
            near: Words::new("NEAR", near.as_fd(), places)?,
            blocks: Words::new("NEAR_BLOCKS", near_blocks.as_fd(), places * 3)?,
            live: live.try_clone().map_err(|source| BpfError::Map {
                map: "LIVE",
                what: "cannot duplicate its descriptor",
                source,
            })?,
            live_count: Words::new("LIVE_COUNT", live_count.as_fd(), 1)?,
            counters: Words::new("SITE_COUNTERS", counters.as_fd(), sites * 4)?,
            sampled_frees: Words::new("SAMPLED_FREES", sampled_frees.as_fd(), sites * FREES_WORDS)?,
        })
    }

    /// What was freed of the blocks of the first sites while not all blocks were tracked.
    pub(super) fn frees(&self, sites: usize) -> Vec<aggregate::SampledFrees> {
        let of_site = |site: usize| {
            let word = |index: usize| self.sampled_frees.word(site * FREES_WORDS + index).load(Ordering::Relaxed);
            let sketch = |first: usize| std::array::from_fn(|place| word(first + place) as i64);
            let (bytes, objects) = (sketch(2), sketch(2 + SKETCH));
            aggregate::SampledFrees { more_bytes: word(0), more_objects: word(1), bytes, objects }
        };
        (0..sites.min(self.sampled_frees.count / FREES_WORDS)).map(of_site).collect()
    }

    /// Takes out the blocks that are chosen. Returns how many there were.
    pub(super) fn take_out(&self, ended: Ended, chosen: impl Fn(&Found) -> bool) -> Result<u64, BpfError> {
        Ok(self.take_out_near(ended, &chosen) + self.take_out_live(ended, &chosen)?)
    }

    /// Takes out of the hash map what counts as never tracked.
    pub(super) fn thin_out(&self, chosen: impl Fn(&Found) -> bool) -> Result<u64, BpfError> {
        self.take_out_live(Ended::Never, &chosen)
    }

    fn count(&self, ended: Ended, block: &Found) {
        let Found { tgid, address, size, born_ns, site } = *block;
        let counters = site as usize * 4;
        if counters + 3 >= self.counters.count {
            return;
        }
        let add = |words: &Words, index: usize, amount: u64| {
            words.word(index).fetch_add(amount, Ordering::Relaxed);
        };
        match ended {
            Ended::Never => {
                add(&self.counters, counters, size.wrapping_neg());
                add(&self.counters, counters + 1, u64::MAX);
            }
            Ended::Freed(state) => {
                add(&self.counters, counters + 2, size);
                add(&self.counters, counters + 3, 1);
                let times = state.weight(size);
                if times > 1 {
                    // As the programs do.
                    let (place, sign) = sketch_place(state.hash(tgid, address, born_ns));
                    let frees = site as usize * FREES_WORDS;
                    let bytes = size.wrapping_mul(times);
                    add(&self.sampled_frees, frees, bytes.wrapping_sub(size));
                    add(&self.sampled_frees, frees + 1, times - 1);
                    add(&self.sampled_frees, frees + 2 + place, bytes.wrapping_mul(sign));
                    add(&self.sampled_frees, frees + 2 + SKETCH + place, times.wrapping_mul(sign));
                }
            }
        }
    }

    fn take_out_near(&self, ended: Ended, chosen: &impl Fn(&Found) -> bool) -> u64 {
        let mut taken = 0;
        for place in 0..self.near.count {
            let address = self.near.word(place).load(Ordering::Acquire);
            if address == 0 {
                continue;
            }
            let [size, born_ns, owner] = std::array::from_fn(|word| self.blocks.word(place * 3 + word));
            let (size, born_ns, whose) =
                (size.load(Ordering::Relaxed), born_ns.load(Ordering::Relaxed), owner.load(Ordering::Relaxed));
            let (site, tgid) = (whose as u32, (whose >> 32) as u32);
            let found = Found { tgid, address, size, born_ns, site };
            // Taken, and not filled yet; or not wanted.
            if tgid == 0 || !chosen(&found) {
                continue;
            }
            // First whose it is, then that it is there, as the programs do.
            if owner.compare_exchange(whose, u64::from(site), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.near.word(place).store(0, Ordering::Release);
                self.count(ended, &found);
                taken += 1;
            }
        }
        taken
    }

    fn take_out_live(&self, ended: Ended, chosen: &impl Fn(&Found) -> bool) -> Result<u64, BpfError> {
        if self.live_count.word(0).load(Ordering::Relaxed) == 0 {
            return Ok(0);
        }
        let mut found = Vec::new();
        sys::for_each(self.live.as_fd(), |key: BlockKey, block: Block| {
            let (BlockKey { address, tgid, .. }, Block { size, born_ns, site, .. }) = (key, block);
            let block = Found { tgid, address, size, born_ns, site };
            if chosen(&block) {
                found.push((key, block));
            }
        })
        .map_err(|source| BpfError::Map { map: "LIVE", what: "cannot read it in batches", source })?;
        let mut taken = 0;
        for (key, block) in found {
            // One that is not there any more was freed.
            if sys::map_delete(self.live.as_fd(), &key).is_ok() {
                self.live_count.word(0).fetch_sub(1, Ordering::Relaxed);
                self.count(ended, &block);
                taken += 1;
            }
        }
        Ok(taken)
    }
}
