//! The history of one site.

use std::time::Duration;

use super::{LEVELS, end_of, record::Record, ring::Ring, time_of};
use crate::aggregate::BlockCounters;

/// Windows at a level that no lack of memory takes away.
const LEAST_WINDOWS: usize = 64;

/// A site at the end of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SitePoint {
    /// Time since attach.
    pub at: Duration,
    /// Its counters.
    pub counters: BlockCounters,
    /// The fewest bytes outstanding at any reading of the window, and the most.
    pub bytes: (u64, u64),
    /// The fewest blocks outstanding at any reading of the window, and the most.
    pub objects: (u64, u64),
}

/// All levels of a site.
#[derive(Debug, Default)]
pub(super) struct SiteHistory {
    now: BlockCounters,
    rings: [Ring; LEVELS.len()],
}

impl SiteHistory {
    /// Takes its counters at an interval; `false` when nothing changed.
    pub(super) fn push(&mut self, interval: u64, counters: BlockCounters) -> bool {
        if counters == self.now {
            return false;
        }
        let Some(record) = Record::between(&self.now, &counters) else {
            // Counters do not fall: the id is in use again.
            *self = Self::default();
            return self.push(interval, counters);
        };
        for (ring, level) in self.rings.iter_mut().zip(LEVELS) {
            let window = interval / level.factor;
            // What was outstanding when the window began was so in it, unless it changed at once.
            let first = if interval > window * level.factor { record.with_before() } else { record };
            ring.push(window, first, record, (window + 1).saturating_sub(level.windows));
        }
        self.now = counters;
        true
    }

    /// Forgets windows that are too old.
    pub(super) fn expire(&mut self, interval: u64) {
        for (ring, level) in self.rings.iter_mut().zip(LEVELS) {
            ring.expire((interval / level.factor + 1).saturating_sub(level.windows));
        }
    }

    /// Bytes allocated for windows.
    pub(super) fn record_bytes(&self) -> usize {
        self.rings.iter().map(Ring::bytes).sum()
    }

    /// Gives up detail until it takes no more than this: of the finest level the older half, of the others resolution.
    pub(super) fn shrink(&mut self, bytes: usize) {
        while self.record_bytes() > bytes {
            let large = |(_, ring): &(usize, &mut Ring)| ring.len() > LEAST_WINDOWS;
            let Some((level, ring)) =
                self.rings.iter_mut().enumerate().filter(large).max_by_key(|(_, ring)| ring.bytes())
            else {
                return;
            };
            if level == 0 { ring.keep(LEAST_WINDOWS) } else { ring.thin() }
        }
    }

    /// The last `count` windows of a level.
    pub(super) fn points(&self, level: usize, now: u64, count: u64, interval: Duration) -> Vec<SitePoint> {
        let last = now / LEVELS[level].factor;
        let first = (last + 1).saturating_sub(count);
        let rises = self.rings[level].windows().fold(BlockCounters::default(), |mut sum, (_, record)| {
            sum += record.rise;
            sum
        });
        let mut counters = Record::between(&rises, &self.now).map_or(self.now, |before| before.rise);
        let mut records = self.rings[level].windows().peekable();
        while let Some((_, record)) = records.next_if(|(window, _)| *window < first) {
            counters += record.rise;
        }
        let point = |window: u64| {
            let record = records.next_if(|(number, _)| *number == window).map(|(_, record)| record).unwrap_or_default();
            counters += record.rise;
            let span = |now: u64, reach: super::record::Reach| (now.saturating_sub(reach.below), now + reach.above);
            SitePoint {
                at: time_of(end_of(window, level, now), interval),
                counters,
                bytes: span(counters.inuse_bytes(), record.bytes),
                objects: span(counters.inuse_objects(), record.objects),
            }
        };
        (first..=last).map(point).collect()
    }
}
