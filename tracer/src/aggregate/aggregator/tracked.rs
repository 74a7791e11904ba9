//! What the counters of blocks stand for where not all of them are tracked, or not all of the time.

use std::time::Duration;

use tracer_common::event::SiteKind;

use super::{Aggregator, Site};
use crate::{
    aggregate::{
        BlockCounters, Duty, SampleRate, Sampled, Sampling, SiteId, Tgid, Turns,
        windows::{Before, Windows},
    },
    analyze::survival::AGE_BUCKETS,
    event::{Reading, SampleReading},
};

impl Aggregator {
    /// Numbers of a process that go away with it: they are shown as they are now from here on.
    pub fn freeze(&mut self, pid: Tgid, reading: &Reading) {
        let mut totals = BlockCounters::default();
        for (site, counters) in self.sites.iter().zip(&reading.counters) {
            if let Some(site) = site
                && site.raw.kind == SiteKind::Heap
                && self.processes.is_latest(pid, (site.raw.tgid, site.raw.image))
            {
                totals += self.sampled(site, *counters, reading).map_or(*counters, |sampled| sampled.counters());
            }
        }
        self.processes.freeze(pid, totals);
    }

    /// Tracking is on for this share of the time from here on; what was outstanding until now is followed no longer, and
    /// has been taken out of the table: `before` is of before that, `reading` of after.
    pub fn begin_windows(
        &mut self,
        duty: Duty,
        before: &Reading,
        reading: &Reading,
        deaths: impl Fn(SiteId) -> [u64; AGE_BUCKETS],
    ) {
        let since = self.since_start(reading.now_ns);
        let followed = since.saturating_sub(self.windows.as_ref().map_or(Duration::ZERO, Windows::since));
        let beginnings: Vec<_> = self
            .heap_sites()
            .map(|site| {
                let (id, at) = (site.raw.id, site.raw.id.0 as usize);
                let [was, is] = [before, reading].map(|of| of.counters.get(at).copied().unwrap_or_default());
                let estimated = self.sampled(site, was, before).map_or(was, |sampled| sampled.counters());
                let BlockCounters { alloc_bytes, alloc_objects, .. } = estimated;
                let size = match &self.windows {
                    Some(windows) => windows.site(id, 1.0).size,
                    None => (alloc_objects > 0).then(|| alloc_bytes as f64 / alloc_objects as f64),
                };
                (id, Before { estimated, size, followed }, self.thinned(site, is, reading), deaths(id))
            })
            .collect();
        self.windows = Some(Windows::begin(duty, since, beginnings.into_iter()));
        self.rates_from(reading);
    }

    /// Rates are over the time from here on: what was outstanding until now has neither ended nor stayed.
    pub(super) fn rates_from(&mut self, reading: &Reading) {
        let now = Some((reading.now_ns, self.blocks_now(reading).totals));
        (self.previous, self.first) = (now, now);
    }

    /// A time in which tracking was on is over. Before it, tracking was off for this much longer than the share of the time
    /// would have it.
    pub fn close_window(&mut self, longer: Duration, reading: &Reading, deaths: impl Fn(SiteId) -> [u64; AGE_BUCKETS]) {
        let Some(mut windows) = self.windows.take() else { return };
        let sites = self.heap_sites().map(|site| {
            let id = site.raw.id;
            let counters = reading.counters.get(id.0 as usize).copied().unwrap_or_default();
            (id, self.thinned(site, counters, reading), deaths(id))
        });
        windows.close(longer, reading.sample.is_none(), sites);
        self.windows = Some(windows);
    }

    /// What is known where tracking is for some of the time only.
    pub fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    pub(super) fn heap_sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().flatten().filter(|site| site.raw.kind == SiteKind::Heap)
    }

    /// What the counters of a site stand for, where not all blocks are tracked.
    pub(super) fn sampled(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> Option<Sampled> {
        let Some(windows) = &self.windows else { return self.thinned_out(site, counters, reading) };
        let weight = self.weight(site, counters, reading);
        let rate = (weight / windows.duty().share()).round() as u32;
        (site.raw.kind == SiteKind::Heap).then(|| Sampled::of_windows(rate, &windows.site(site.raw.id, weight)))
    }

    /// Whether a site had blocks that are followed no longer.
    pub(super) fn had_blocks(&self, site: &Site) -> bool {
        self.windows.as_ref().is_some_and(|windows| windows.site(site.raw.id, 1.0).size.is_some())
    }

    /// How many blocks a tracked one of a site stands for, in the mean, while tracking is on.
    fn weight(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> f64 {
        let sampled = self.thinned_out(site, counters, reading);
        sampled.map_or(1.0, |sampled| f64::from(sampled.rate))
    }

    /// What the counters of a site stand for, while tracking is on.
    fn thinned(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> BlockCounters {
        self.thinned_out(site, counters, reading).map_or(counters, |sampled| sampled.counters())
    }

    /// The same with its errors, where not all blocks are tracked.
    fn thinned_out(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> Option<Sampled> {
        let SampleReading { rate, raised: _, frees } = reading.sample.as_ref()?;
        let id = site.raw.id;
        let frees = frees.get(id.0 as usize).copied().unwrap_or_default();
        let weights = self.weights.get(&id);
        (site.raw.kind == SiteKind::Heap).then(|| Sampled::new(*rate, counters, &frees, weights))
    }

    /// How blocks are tracked, where not all of them are; with what the totals rest on.
    pub(super) fn sampling(&self, sample: Option<&SampleReading>, mut totals: Sampled) -> Option<Sampling> {
        if sample.is_none() && self.windows.is_none() {
            return None;
        }
        let raised = sample.into_iter().flat_map(|sample| &sample.raised);
        let raised = raised.map(|raised| (self.since_start(raised.time_ns), raised.rate)).collect();
        let turns = self.windows.as_ref().map(|windows| Turns {
            share: windows.duty().share(),
            since: windows.since(),
            windows: windows.count(),
        });
        let rate = sample.map_or(SampleRate::default(), |sample| sample.rate);
        let rate = turns.map_or(rate, |turns| rate.with((f64::from(rate.number()) / turns.share).round() as u32));
        totals.rate = match rate {
            SampleRate::Blocks(blocks) => blocks,
            SampleRate::Bytes(_) => totals.mean_weight(),
        };
        Some(Sampling { rate, raised, totals, turns })
    }
}
