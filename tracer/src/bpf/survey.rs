//! Surveys of the table of outstanding blocks: the age of the oldest block of each site.
//!
//! A survey reads the whole table, so it runs on a thread of its own and rests a multiple of the time it took.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
};

use tracer_common::heap::{BUCKET, Block, BlockKey};

use super::{BpfError, mapped::MappedCounters, sys};
use crate::{aggregate::SiteId, event::Survey};

/// Blocks read in one system call.
const BATCH: usize = 4096;

/// Reads the table of outstanding blocks.
#[derive(Debug)]
pub struct Surveyor {
    map: OwnedFd,
    near: MappedCounters<BUCKET>,
    near_blocks: MappedCounters<3>,
}

impl Surveyor {
    pub(super) fn new(map: OwnedFd, near: MappedCounters<BUCKET>, near_blocks: MappedCounters<3>) -> Self {
        Self { map, near, near_blocks }
    }

    /// Looks at every outstanding block once. Blocks that come and go meanwhile may or may not be seen.
    ///
    /// # Errors
    /// When the kernel does not hand out the table.
    pub fn survey(&self) -> Result<Survey, BpfError> {
        let mut keys = vec![BlockKey::default(); BATCH];
        let mut blocks = vec![Block::default(); BATCH];
        let mut cursor = sys::Cursor::default();
        let (mut oldest, mut total) = self.survey_near();
        loop {
            let (count, more) = match sys::lookup_batch(self.map.as_fd(), &mut cursor, &mut keys, &mut blocks) {
                Ok(read) => read,
                // A bucket holds more than fits: only a larger buffer gets past it.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let larger = keys.len() * 2;
                    keys.resize(larger, BlockKey::default());
                    blocks.resize(larger, Block::default());
                    continue;
                }
                Err(source) => return Err(BpfError::Map { map: "LIVE", what: "cannot read it in batches", source }),
            };
            for block in &blocks[..count] {
                let born = oldest.entry(SiteId(block.site)).or_insert(block.born_ns);
                *born = (*born).min(block.born_ns);
            }
            total += count as u64;
            if !more {
                return Ok(Survey { oldest_born_ns: oldest, blocks: total });
            }
        }
    }

    /// The blocks in the near table.
    fn survey_near(&self) -> (HashMap<SiteId, u64>, u64) {
        let mut oldest = HashMap::new();
        let mut total = 0;
        for bucket in 0..self.near.len() {
            for (place, address) in self.near.get(bucket).into_iter().enumerate() {
                if address == 0 {
                    continue;
                }
                let [_size, born_ns, owner] = self.near_blocks.get(bucket * BUCKET + place);
                // Taken, and not filled yet.
                if owner >> 32 == 0 {
                    continue;
                }
                let born = oldest.entry(SiteId(owner as u32)).or_insert(born_ns);
                *born = (*born).min(born_ns);
                total += 1;
            }
        }
        (oldest, total)
    }
}
