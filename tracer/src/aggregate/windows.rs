//! Estimates where the probes are in place for some of the time only.
//!
//! Tracking is on and off in turn, for lengths of time drawn from exponential distributions with known means, whatever
//! the process does. So any moment is seen with the same probability, the share `d` of the time that tracking is on; and a
//! block that was seen born has its end seen with the probability that tracking is on again after its age `a`,
//!
//! ```text
//! P(a) = d + (1 - d) exp(-a / τ),   1/τ = 1/mean on + 1/mean off
//! ```
//!
//! the transition probability of the two-state Markov process (Ross, Introduction to Probability Models, 6.4). What was
//! seen, each over the probability that it was, estimates all without bias (Horvitz and Thompson, A Generalization of
//! Sampling Without Replacement From a Finite Universe, 1952): a birth counts `1/d`, and the end of a block that was
//! seen born `1/(d P(a))`. What has not ended by that account is outstanding. A block whose end was missed is
//! therefore not held for a leak: others like it, whose ends were seen, count for it.
//!
//! The windows are the clusters of this sample (Cochran, Sampling Techniques, 1977, chapter 9), so errors come from
//! what each of them adds; and from one birth that no window saw, which is all that may be known where none was. It
//! weighs as much as the time has it in which windows really were; until one has come under this share, the site may
//! have gone on as it did before. A time without tracking may be made longer, by a rule that goes by what was spent
//! alone: the next window stands for it as well. The first window under another share begins anew: what was
//! outstanding then is followed no longer, and is as if it had never been, neither allocated nor freed.

use std::{collections::HashMap, ops::AddAssign, time::Duration};

use super::{
    BlockCounters, SiteId,
    quantile::{Z, student_beyond_normal},
};
use crate::analyze::{
    Estimate,
    survival::{AGE_BUCKETS, LiveAges, Weighs, bucket_ages},
};

/// How much of the time tracking is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The mean length of a time with tracking.
    pub on: Duration,
    /// The same without; zero when tracking never ends.
    pub off: Duration,
}

impl Duty {
    /// Tracking never ends.
    pub const ALWAYS: Self = Self { on: Duration::from_secs(1), off: Duration::ZERO };

    /// The share of the time with tracking, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.on.as_secs_f64() / (self.on + self.off).as_secs_f64()
    }

    /// The probability that tracking is on this long after a moment when it was: the mean over the ages of a bucket.
    fn on_after(&self, bucket: usize) -> f64 {
        if self.off.is_zero() {
            return 1.0;
        }
        let (share, ages) = (self.share(), bucket_ages(bucket));
        let per_s = 1.0 / self.on.as_secs_f64() + 1.0 / self.off.as_secs_f64();
        let [start, end] = [ages.start, ages.end].map(|age| per_s * age.as_secs_f64());
        share + (1.0 - share) * ((-start).exp() - (-end).exp()) / (end - start)
    }
}

/// Variances of estimates, and how many windows they come from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Windows seen.
    pub windows: u64,
    /// Of the bytes outstanding.
    pub inuse_bytes: f64,
    /// Of the blocks outstanding.
    pub inuse_objects: f64,
    /// Of the bytes freed.
    pub free_bytes: f64,
    /// Of the blocks freed.
    pub free_objects: f64,
}

impl Spread {
    /// The interval of an estimate with one of its variances.
    pub(super) fn interval(&self, value: f64, variance: f64) -> Estimate {
        let freedom = self.windows.saturating_sub(1) as f64;
        // Towards Student's t. Of one window nothing is known but what it may not have seen.
        let quantile = if freedom > 0.0 { Z + student_beyond_normal(freedom) } else { Z };
        let margin = quantile * variance.sqrt();
        let margin = if freedom > 0.0 { margin } else { margin.max(value) };
        Estimate { value, low: (value - margin).max(0.0), high: value + margin }
    }
}

impl AddAssign for Spread {
    fn add_assign(&mut self, other: Self) {
        let Self { windows, inuse_bytes, inuse_objects, free_bytes, free_objects } = other;
        self.windows = self.windows.max(windows);
        self.inuse_bytes += inuse_bytes;
        self.inuse_objects += inuse_objects;
        self.free_bytes += free_bytes;
        self.free_objects += free_objects;
    }
}

/// A quantity that each window adds to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, part: f64, is_exact: bool) {
        self.sum += part;
        self.squares += if is_exact { 0.0 } else { part * part };
    }

    /// The variance of the sum. How many windows there were by now is chance as well, so it is that of a compound Poisson
    /// process: the sum of the squares (Ross, Introduction to Probability Models, 5.4).
    fn variance(&self) -> f64 {
        self.squares
    }
}

/// A site under the present share.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Freed before, as estimated then. What had not been is followed no longer.
    before: (u64, u64),
    /// The mean size of what was allocated before, freed or not, if anything was.
    size: Option<f64>,
    /// What was outstanding then had come at this rate: bytes and blocks per second.
    growth: (f64, f64),
    /// The counters when last looked at, and the ends by age.
    counted: BlockCounters,
    deaths: [u64; AGE_BUCKETS],
    /// Ends by age since the share changed, with those that were missed.
    ends: [f64; AGE_BUCKETS],
    /// Blocks seen born since then.
    born: f64,
    allocated: (f64, f64),
    freed: (Sum, Sum),
    inuse: (Sum, Sum),
    /// What is counted as outstanding, and is of before.
    old: (u64, u64),
}

impl Tally {
    fn size(&self) -> Option<f64> {
        let (bytes, objects) = self.allocated;
        if objects > 0.0 { Some(bytes / objects) } else { self.size }
    }
}

/// What windows have shown.
#[derive(Debug)]
pub struct Windows {
    duty: Duty,
    /// When the share became this, since the attach, and when it was looked last.
    since: Duration,
    now: Duration,
    count: u64,
    sites: HashMap<SiteId, Tally>,
}

/// What is known of a site from windows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) counters: BlockCounters,
    pub(super) spread: Spread,
    /// Bytes and blocks that were seen born and not seen to end.
    pub(super) tracked: (u64, u64),
    /// The mean size of the site's blocks, under this share or another, if there were any.
    pub(super) size: Option<f64>,
}

/// What was known of a site when a share begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// As estimated.
    pub(super) estimated: BlockCounters,
    /// The mean size of its blocks, if there were any.
    pub(super) size: Option<f64>,
    /// For how long what is outstanding has been followed.
    pub(super) followed: Duration,
}

/// Sites as they are when a share begins: what was known of them, what is counted, and ends by age.
pub(super) type Beginning = (SiteId, Before, BlockCounters, [u64; AGE_BUCKETS]);

impl Windows {
    /// Begins with a share.
    pub(super) fn begin(duty: Duty, since: Duration, sites: impl Iterator<Item = Beginning>) -> Self {
        let sites = sites.map(|(id, Before { estimated, size, followed }, counted, deaths)| {
            let before = (estimated.free_bytes, estimated.free_objects);
            let old = (counted.inuse_bytes(), counted.inuse_objects());
            let per_second = |inuse: u64| if followed.is_zero() { 0.0 } else { inuse as f64 / followed.as_secs_f64() };
            let growth = (per_second(estimated.inuse_bytes()), per_second(estimated.inuse_objects()));
            (id, Tally { before, size, growth, counted, deaths, old, ..Tally::default() })
        });
        Self { duty, since, now: since, count: 0, sites: sites.collect() }
    }

    /// It is as late as this, since the attach.
    pub(super) fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// The present share.
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// Since when it is this, since the attach.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Windows under it that are over.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A window is over: what it added to each site. It stands for this much more time than others do. `all` says that no block
    /// was left out in it.
    pub(super) fn close(
        &mut self,
        longer: Duration,
        all: bool,
        sites: impl Iterator<Item = (SiteId, BlockCounters, [u64; AGE_BUCKETS])>,
    ) {
        self.count += 1;
        let is_exact = all && self.duty.off.is_zero();
        let birth = 1.0 / self.duty.share() + longer.as_secs_f64() / self.duty.on.as_secs_f64();
        let again: [f64; AGE_BUCKETS] = std::array::from_fn(|bucket| 1.0 / self.duty.on_after(bucket));
        for (id, counted, deaths) in sites {
            let site = self.sites.entry(id).or_default();
            if site.counted == counted {
                continue;
            }
            let added = |now: u64, before: u64| now.saturating_sub(before) as f64;
            let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = site.counted;
            let allocated = (added(counted.alloc_bytes, alloc_bytes), added(counted.alloc_objects, alloc_objects));
            let freed = (added(counted.free_bytes, free_bytes), added(counted.free_objects, free_objects));
            let mut ended = (0.0, 0.0);
            for (bucket, again) in again.iter().enumerate() {
                let seen = added(deaths[bucket], site.deaths[bucket]);
                ended = (ended.0 + seen, ended.1 + seen * again);
                site.ends[bucket] += seen * again;
            }
            site.born += allocated.1;
            // An end is in the counters and in the ages, which are not read at one moment.
            let missed = if ended.0 > 0.0 { ended.1 / ended.0 } else { 1.0 };
            let freed = (freed.0 * missed * birth, freed.1 * missed * birth);
            let allocated = (allocated.0 * birth, allocated.1 * birth);
            site.allocated = (site.allocated.0 + allocated.0, site.allocated.1 + allocated.1);
            site.freed.0.add(freed.0, is_exact);
            site.freed.1.add(freed.1, is_exact);
            site.inuse.0.add(allocated.0 - freed.0, is_exact);
            site.inuse.1.add(allocated.1 - freed.1, is_exact);
            (site.counted, site.deaths) = (counted, deaths);
        }
    }

    /// What is known of a site where a tracked block stands for so many that are there at the same time.
    pub(super) fn site(&self, id: SiteId, weight: f64) -> Seen {
        let Some(site) = self.sites.get(&id) else { return Seen::default() };
        let inuse = (site.inuse.0.sum.max(0.0).round() as u64, site.inuse.1.sum.max(0.0).round() as u64);
        // One without the other is what rounding and missed ends leave.
        let inuse = if inuse.1 == 0 { (0, 0) } else { inuse };
        let allocated = |now: f64, inuse: u64| (now.round() as u64).max(inuse);
        let alloc_bytes = allocated(site.allocated.0, inuse.0).saturating_add(site.before.0);
        let alloc_objects = allocated(site.allocated.1, inuse.1).saturating_add(site.before.1);
        let counters = BlockCounters {
            alloc_bytes,
            alloc_objects,
            free_bytes: alloc_bytes - inuse.0,
            free_objects: alloc_objects - inuse.1,
        };
        let (bytes, objects) = self.unseen(site, weight);
        let more = self.unseen_growth(site);
        let (more_bytes, more_objects) = (bytes.max(more.0), objects.max(more.1));
        let spread = Spread {
            windows: self.count,
            inuse_bytes: site.inuse.0.variance() + more_bytes * more_bytes,
            inuse_objects: site.inuse.1.variance() + more_objects * more_objects,
            free_bytes: site.freed.0.variance() + bytes * bytes,
            free_objects: site.freed.1.variance() + objects * objects,
        };
        let tracked = (
            site.counted.inuse_bytes().saturating_sub(site.old.0),
            site.counted.inuse_objects().saturating_sub(site.old.1),
        );
        Seen { counters, spread, tracked, size: site.size() }
    }

    /// What one birth that was not seen would have weighed: bytes and blocks. The block is as large as the site's are. Where windows
    /// have come more seldom than they should, by chance or because they had cost too much, it weighs more.
    fn unseen(&self, site: &Tally, weight: f64) -> (f64, f64) {
        if self.duty.off.is_zero() {
            return (0.0, 0.0);
        }
        let seen = self.duty.on.as_secs_f64() * self.count.max(1) as f64;
        let times = (self.elapsed() / seen).max(1.0 / self.duty.share());
        let objects = weight * times;
        (objects * site.size().unwrap_or(0.0), objects)
    }

    /// What is outstanding if the site goes on as it did, where no window has shown anything yet: bytes and blocks.
    fn unseen_growth(&self, site: &Tally) -> (f64, f64) {
        let seconds = if self.count == 0 && !self.duty.off.is_zero() { self.elapsed() } else { 0.0 };
        (site.growth.0 * seconds, site.growth.1 * seconds)
    }

    /// Seconds since the share became this.
    fn elapsed(&self) -> f64 {
        self.now.saturating_sub(self.since).as_secs_f64()
    }

    /// Ages as they would be if no end were missed: of what is still in the table, the part that has not ended by the
    /// estimate, and the ends with those that were missed. `weight` is what a block in the table stands for while tracking is
    /// on; what it stands for with the rest of the time is told as well.
    pub fn lifetimes(&self, id: SiteId, live: &LiveAges, weight: Weighs) -> (LiveAges, [u64; AGE_BUCKETS], Weighs) {
        let Some(site) = self.sites.get(&id) else { return (LiveAges::default(), [0; AGE_BUCKETS], weight) };
        // Some windows stand for more than others.
        let times = if site.born > 0.0 { site.allocated.1 / site.born } else { 1.0 / self.duty.share() };
        let there = site.inuse.1.sum.max(0.0) / times / weight.objects;
        let share = (there / (live.objects().max(1) as f64)).min(1.0);
        let ends = site.ends.map(|ends| (ends / weight.objects).round() as u64);
        (live.scaled(share), ends, weight.times(times))
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
