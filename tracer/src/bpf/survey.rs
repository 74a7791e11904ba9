//! Surveys of the table of outstanding blocks: the ages and sizes of each site's blocks.
//!
//! A survey reads the whole table, so it runs on a thread of its own and rests a multiple of the time it took.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tracer_common::{
    heap::{AGE_BUCKETS, BUCKET, Block, BlockKey},
    sampling::SampleState,
};

use super::{BpfError, mapped::MappedCounters, sampler::Sampler, sys};
use crate::{
    aggregate::{SampleRate, SiteId, SiteMap, Weighing},
    analyze::{
        sizes::Sizes,
        survival::{LiveAges, Weighs},
    },
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
    sampler: Arc<Sampler>,
}

/// What a survey has seen so far.
#[derive(Debug)]
struct Seen {
    time_ns: u64,
    /// What a block stands for, as of the beginning.
    state: SampleState,
    blocks: u64,
    sites: SiteMap<SeenSite>,
}

#[derive(Debug)]
struct SeenSite {
    oldest_born_ns: u64,
    ages: LiveAges,
    sizes: Sizes,
    weighing: Weighing,
}

impl Seen {
    fn add(&mut self, site: u32, born_ns: u64, size: u64) {
        let seen = self.sites.entry(SiteId(site)).or_insert_with(|| SeenSite {
            oldest_born_ns: born_ns,
            ages: LiveAges::default(),
            sizes: Sizes::default(),
            weighing: Weighing::default(),
        });
        seen.oldest_born_ns = seen.oldest_born_ns.min(born_ns);
        seen.ages.add(self.time_ns.saturating_sub(born_ns), size);
        seen.sizes.add(size);
        seen.weighing.add(size, self.state.weight(size));
        self.blocks += 1;
    }
}

impl Surveyor {
    pub(super) fn new(
        map: OwnedFd,
        near: MappedCounters<BUCKET>,
        near_blocks: MappedCounters<3>,
        deaths: MappedCounters<AGE_BUCKETS>,
        sampler: Arc<Sampler>,
    ) -> Self {
        Self { map, near, near_blocks, deaths, sampler }
    }

    /// Looks at every outstanding block once. Blocks that come and go meanwhile may or may not be seen.
    ///
    /// # Errors
    /// When the kernel does not hand out the table.
    pub fn survey(&self) -> Result<Survey, BpfError> {
        let (blocks, sites) = (0, SiteMap::default());
        let mut seen = Seen { time_ns: monotonic_ns(), state: self.sampler.state(), blocks, sites };
        self.survey_near(&mut seen);
        sys::for_each(self.map.as_fd(), |_: BlockKey, block: Block| seen.add(block.site, block.born_ns, block.size))
            .map_err(|source| BpfError::Map { map: "LIVE", what: "cannot read it in batches", source })?;
        let (state, _) = self.sampler.settle()?;
        Ok(self.with_deaths(seen, SampleRate::of(state)))
    }

    /// A death counts for as many blocks as were sampled by one then, a live block for one of those that are sampled now.
    fn with_deaths(&self, seen: Seen, rate: SampleRate) -> Survey {
        let Seen { time_ns, state, blocks, sites } = seen;
        let mut survey = Survey { blocks, time_ns, ..Survey::default() };
        for (site, SeenSite { oldest_born_ns, ages, sizes, weighing }) in sites {
            survey.oldest_born_ns.insert(site, oldest_born_ns);
            let weights = weighing.weights(SampleRate::of(state));
            survey.weights.insert(site, weights);
            survey.sizes.insert(site, sizes);
            let weighs =
                Weighs { objects: weights.objects.mean, bytes: weights.bytes.mean }.times(rate.number().into());
            survey.weighs.insert(site, weighs);
            if (site.0 as usize) < self.deaths.len() {
                let times = weighs.objects.round().max(1.0) as u64;
                let deaths = self.deaths.get(site.0 as usize).map(|deaths| (deaths + times / 2) / times);
                survey.ages.insert(site, (ages, deaths));
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
