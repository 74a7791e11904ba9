//! Surveys of the table of outstanding blocks: the ages and sizes of each site's blocks.
//!
//! A survey reads the whole table, so it runs on a thread of its own and rests a multiple of the time it took.

use std::os::fd::{AsFd, OwnedFd};

use tracer_common::heap::{AGE_BUCKETS, BUCKET, Block, BlockKey};

use super::{BpfError, mapped::MappedCounters, sys};
use crate::{
    aggregate::{SiteId, SiteMap},
    analyze::{sizes::Sizes, survival::LiveAges},
    clock::monotonic_ns,
    event::Survey,
};

/// Reads the table of outstanding blocks.
#[derive(Debug)]
pub struct Surveyor {
    map: OwnedFd,
    near: MappedCounters<BUCKET>,
    near_blocks: MappedCounters<3>,
    deaths: MappedCounters<AGE_BUCKETS>,
}

/// What a survey has seen so far.
#[derive(Debug, Default)]
struct Seen {
    time_ns: u64,
    blocks: u64,
    sites: SiteMap<SeenSite>,
}

#[derive(Debug)]
struct SeenSite {
    oldest_ns: u64,
    ages: LiveAges,
    sizes: Sizes,
}

impl Seen {
    fn add(&mut self, site: u32, born_ns: u64, size: u64) {
        let new = || SeenSite { oldest_ns: born_ns, ages: LiveAges::default(), sizes: Sizes::default() };
        let seen = self.sites.entry(SiteId(site)).or_insert_with(new);
        seen.oldest_ns = seen.oldest_ns.min(born_ns);
        seen.ages.add(self.time_ns.saturating_sub(born_ns), size);
        seen.sizes.add(size);
        self.blocks += 1;
    }
}

impl Surveyor {
    pub(super) fn new(
        map: OwnedFd,
        near: MappedCounters<BUCKET>,
        near_blocks: MappedCounters<3>,
        deaths: MappedCounters<AGE_BUCKETS>,
    ) -> Self {
        Self { map, near, near_blocks, deaths }
    }

    /// Looks at every outstanding block once. Blocks that come and go meanwhile may or may not be seen.
    ///
    /// # Errors
    /// When the kernel does not hand out the table.
    pub fn survey(&self) -> Result<Survey, BpfError> {
        let mut seen = Seen { time_ns: monotonic_ns(), ..Seen::default() };
        self.survey_near(&mut seen);
        sys::for_each(self.map.as_fd(), |_: BlockKey, block: Block| seen.add(block.site, block.born_ns, block.size))
            .map_err(|source| BpfError::Map { map: "LIVE", what: "cannot read it in batches", source })?;
        Ok(self.with_deaths(seen))
    }

    fn with_deaths(&self, seen: Seen) -> Survey {
        let Seen { time_ns, blocks, sites } = seen;
        let mut survey = Survey { blocks, time_ns, ..Survey::default() };
        for (site, SeenSite { oldest_ns, ages, sizes }) in sites {
            survey.oldest_born_ns.insert(site, oldest_ns);
            survey.sizes.insert(site, sizes);
            if (site.0 as usize) < self.deaths.len() {
                survey.ages.insert(site, (ages, self.deaths.get(site.0 as usize)));
            }
        }
        survey
    }

    /// The blocks in the near table.
    fn survey_near(&self, seen: &mut Seen) {
        for bucket in 0..self.near.len() {
            for (place, address) in self.near.get(bucket).into_iter().enumerate() {
                if address == 0 {
                    continue;
                }
                let [size, born_ns, owner] = self.near_blocks.get(bucket * BUCKET + place);
                // Taken, and not filled yet.
                if owner >> 32 == 0 {
                    continue;
                }
                seen.add(owner as u32, born_ns, size);
            }
        }
    }
}
