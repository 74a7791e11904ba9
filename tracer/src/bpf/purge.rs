//! Takes the blocks out of the tables whose memory is gone: those of a process that has ended, or of the program that a
//! process ran before its exec. They are counted as freed.
//!
//! Done from here, for any number of processes in one pass over mapped memory: a program that forks all the time costs no
//! more of them. A block that is taken out at the same moment by a program is its; the new program of a process can come by
//! an address of the old one, so a block is known by its time of birth.

use std::{
    collections::HashMap,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::heap::{BUCKET, Block, BlockKey};

use super::{BpfError, sys};

/// An array of the kernel's as words that both sides change.
#[derive(Debug)]
struct Words {
    memory: MmapRaw,
    count: usize,
}

impl Words {
    fn new(name: &'static str, map: &MapData, count: usize) -> Result<Self, BpfError> {
        let memory = MmapOptions::new()
            .len((count * 8).next_multiple_of(rustix::param::page_size()))
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|source| BpfError::Map { map: name, what: "cannot map it into memory", source })?;
        Ok(Self { memory, count })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
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
}

/// The maps that hold blocks, and the counters.
pub(super) struct BlockMaps<'a> {
    pub(super) near: &'a MapData,
    pub(super) near_blocks: &'a MapData,
    pub(super) live: &'a MapData,
    pub(super) live_count: &'a MapData,
    pub(super) counters: &'a MapData,
    /// Buckets of the near table.
    pub(super) buckets: u32,
    /// Sites there can be.
    pub(super) sites: u32,
}

impl Purger {
    pub(super) fn new(maps: &BlockMaps<'_>) -> Result<Self, BpfError> {
        let BlockMaps { near, near_blocks, live, live_count, counters, buckets, sites } = *maps;
        let places = buckets as usize * BUCKET;
        Ok(Self {
            near: Words::new("NEAR", near, places)?,
            blocks: Words::new("NEAR_BLOCKS", near_blocks, places * 3)?,
            live: live.fd().as_fd().try_clone_to_owned().map_err(|source| BpfError::Map {
                map: "LIVE",
                what: "cannot duplicate its descriptor",
                source,
            })?,
            live_count: Words::new("LIVE_COUNT", live_count, 1)?,
            counters: Words::new("SITE_COUNTERS", counters, sites as usize * 4)?,
        })
    }

    /// Takes out the blocks of these processes that were born before a time each.
    pub(super) fn purge(&self, gone: &HashMap<u32, u64>) -> Result<u64, BpfError> {
        Ok(self.purge_near(gone) + self.purge_live(gone)?)
    }

    fn count_free(&self, site: u32, size: u64) {
        let counters = site as usize * 4;
        if counters + 3 < self.counters.count {
            self.counters.word(counters + 2).fetch_add(size, Ordering::Relaxed);
            self.counters.word(counters + 3).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn purge_near(&self, gone: &HashMap<u32, u64>) -> u64 {
        let mut purged = 0;
        for place in 0..self.near.count {
            let address = self.near.word(place).load(Ordering::Acquire);
            if address == 0 {
                continue;
            }
            let [size, born_ns, owner] = std::array::from_fn(|word| self.blocks.word(place * 3 + word));
            let (size, born_ns, whose) =
                (size.load(Ordering::Relaxed), born_ns.load(Ordering::Relaxed), owner.load(Ordering::Relaxed));
            let (site, tgid) = (whose as u32, (whose >> 32) as u32);
            if gone.get(&tgid).is_none_or(|before| born_ns >= *before) {
                continue;
            }
            // First whose it is, then that it is there, as the programs do.
            if owner.compare_exchange(whose, u64::from(site), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.near.word(place).store(0, Ordering::Release);
                self.count_free(site, size);
                purged += 1;
            }
        }
        purged
    }

    fn purge_live(&self, gone: &HashMap<u32, u64>) -> Result<u64, BpfError> {
        if self.live_count.word(0).load(Ordering::Relaxed) == 0 {
            return Ok(0);
        }
        let mut found = Vec::new();
        sys::for_each(self.live.as_fd(), |key: BlockKey, block: Block| {
            if gone.get(&key.tgid).is_some_and(|before| block.born_ns < *before) {
                found.push((key, block));
            }
        })
        .map_err(|source| BpfError::Map { map: "LIVE", what: "cannot read it in batches", source })?;
        let mut purged = 0;
        for (key, block) in found {
            // One that is not there any more was freed.
            if sys::map_delete(self.live.as_fd(), &key).is_ok() {
                self.live_count.word(0).fetch_sub(1, Ordering::Relaxed);
                self.count_free(block.site, block.size);
                purged += 1;
            }
        }
        Ok(purged)
    }
}
