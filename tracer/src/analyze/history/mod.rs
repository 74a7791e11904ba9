//! What happened, in less and less detail the longer it is ago.
//!
//! In: counters of sites and readings of processes, one of each every interval. Out: points in order of time, for as far back
//! as is asked for: one for each interval of the last two minutes, and coarser windows of a day ([`LEVELS`]). A coarse window has the
//! last reading in it and the extremes of all.
//!
//! Sites are sparse and packed: a window in which a site did not change takes no memory, others some ten bytes. The whole
//! stays below [`BUDGET`]: beyond it, the sites that take more than their share lose detail, not reach.

mod process;
mod record;
mod ring;
mod site;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

pub use process::{ProcessReading, ProcessWindow};
pub use site::SitePoint;

use self::{process::ProcessHistory, site::SiteHistory};
use crate::aggregate::{BlockCounters, SiteId, SiteMap, Snapshot, Tgid};

/// A resolution of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Intervals in one window.
    pub factor: u64,
    /// Windows kept.
    pub windows: u64,
}

/// With the default interval: seconds for two minutes, 10 s for 20 minutes, minutes for four hours, 5 minutes for a day; and
/// one window more, which these spans begin in.
pub const LEVELS: [Level; 4] = [
    Level { factor: 1, windows: 121 },
    Level { factor: 10, windows: 121 },
    Level { factor: 60, windows: 241 },
    Level { factor: 300, windows: 289 },
];

/// Bytes that the history of sites may take.
pub const BUDGET: usize = 46_000_000;

/// Intervals after which sites that have been quiet are looked at.
const SWEEP: u64 = 300;

/// Bytes that a site takes besides its windows. A hash table is at least seven sixteenths full, and each of its entries has
/// a byte of control.
const SITE_BYTES: usize = size_of::<SiteHistory>() + size_of::<(SiteId, Box<SiteHistory>)>() * 16 / 7 + 3;

/// Time between readings unless told otherwise.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What happened at every site and in every process.
#[derive(Debug)]
pub struct History {
    interval: Duration,
    budget: usize,
    /// The interval of the newest reading.
    now: u64,
    sites: SiteMap<Box<SiteHistory>>,
    /// Bytes that the sites' records take.
    record_bytes: usize,
    processes: BTreeMap<Tgid, ProcessHistory>,
    /// Of sites whose counters are estimates.
    shifts: SiteMap<Shift>,
    /// Since when blocks are followed, where that is not since the attach.
    followed_since: Option<Duration>,
}

/// An estimate may fall when less is tracked from then on, and counters do not. What is outstanding stays as
/// it is; as much more is taken to have been allocated and freed.
#[derive(Debug, Default)]
struct Shift {
    last: BlockCounters,
    bytes: u64,
    objects: u64,
    /// What had been allocated and freed when blocks began to be followed: so much is left out.
    before: (u64, u64),
}

impl Shift {
    /// Begins with what is outstanding.
    fn anew(&BlockCounters { free_bytes, free_objects, .. }: &BlockCounters) -> Self {
        Self { before: (free_bytes, free_objects), ..Self::default() }
    }

    fn rising(&mut self, estimated: BlockCounters) -> BlockCounters {
        let estimated = BlockCounters {
            alloc_bytes: estimated.alloc_bytes.saturating_sub(self.before.0),
            alloc_objects: estimated.alloc_objects.saturating_sub(self.before.1),
            free_bytes: estimated.free_bytes.saturating_sub(self.before.0),
            free_objects: estimated.free_objects.saturating_sub(self.before.1),
        };
        self.bytes = self.bytes.max(self.last.alloc_bytes.saturating_sub(estimated.alloc_bytes));
        self.objects = self.objects.max(self.last.alloc_objects.saturating_sub(estimated.alloc_objects));
        self.last = BlockCounters {
            alloc_bytes: estimated.alloc_bytes + self.bytes,
            alloc_objects: estimated.alloc_objects + self.objects,
            free_bytes: estimated.free_bytes + self.bytes,
            free_objects: estimated.free_objects + self.objects,
        };
        self.last
    }
}

impl History {
    /// Begins with nothing, for readings this far apart.
    pub fn new(interval: Duration) -> Self {
        Self::with_budget(interval, BUDGET)
    }

    /// The same with another budget for sites.
    pub fn with_budget(interval: Duration, budget: usize) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let (sites, processes, shifts) = (SiteMap::default(), BTreeMap::new(), SiteMap::default());
        Self { interval, budget, now: 0, sites, record_bytes: 0, processes, shifts, followed_since: None }
    }

    /// Time between readings.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Since when blocks are followed, where that is not since the attach. What was outstanding then is followed no longer,
    /// so the histories of their sites begin there, and so does what is outstanding in the processes.
    pub fn followed_since(&self) -> Option<Duration> {
        self.followed_since
    }

    fn begin_anew(&mut self, snapshot: &Snapshot) {
        for site in snapshot.sites.iter().filter(|site| site.sampled.is_some()) {
            self.forget_site(site.id);
            self.shifts.insert(site.id, Shift::anew(&site.counters));
        }
    }

    /// Takes the sites of a Snapshot: of the heap and of descriptors, whose bytes stay zero.
    pub fn push_snapshot(&mut self, snapshot: &Snapshot) {
        let turns = snapshot.sample.as_ref().and_then(|sample| sample.turns);
        if let Some(turns) = turns
            && self.followed_since != Some(turns.since)
        {
            self.followed_since = Some(turns.since);
            self.begin_anew(snapshot);
        }
        let mut shifts = std::mem::take(&mut self.shifts);
        let heap = snapshot.sites.iter().map(|site| match site.sampled {
            Some(_) => (site.id, shifts.entry(site.id).or_default().rising(site.counters)),
            None => (site.id, site.counters),
        });
        let fds = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| {
            let counters =
                BlockCounters { alloc_objects: site.opened, free_objects: site.closed, ..Default::default() };
            (site.id, counters)
        });
        self.push(snapshot.elapsed, heap.chain(fds));
        self.shifts = shifts;
    }

    /// Takes a reading at a time since attach. Sites that are left out have not changed.
    pub fn push(&mut self, at: Duration, sites: impl IntoIterator<Item = (SiteId, BlockCounters)>) {
        let before = self.now;
        self.now = before.max(self.interval_of(at));
        for (id, counters) in sites {
            let site = self.sites.entry(id).or_default();
            let taken = site.record_bytes();
            if !site.push(self.now, counters) {
                continue;
            }
            self.record_bytes = self.record_bytes + site.record_bytes() - taken;
            if self.record_bytes + self.sites.len() * SITE_BYTES > self.budget {
                let share = self.share();
                let site = self.sites.get_mut(&id).expect("it was there a moment ago");
                let taken = site.record_bytes();
                site.shrink(share);
                self.record_bytes = self.record_bytes + site.record_bytes() - taken;
            }
        }
        if before / SWEEP != self.now / SWEEP {
            self.sweep();
        }
    }

    /// Lets quiet sites forget too: what is not pushed does not notice that time goes by.
    fn sweep(&mut self) {
        let over = self.record_bytes + self.sites.len() * SITE_BYTES > self.budget;
        let share = self.share();
        self.record_bytes = 0;
        for site in self.sites.values_mut() {
            site.expire(self.now);
            if over {
                site.shrink(share);
            }
            self.record_bytes += site.record_bytes();
        }
    }

    /// Bytes of windows that each site may have when all want more.
    fn share(&self) -> usize {
        (self.budget / self.sites.len().max(1)).saturating_sub(SITE_BYTES)
    }

    /// Takes a reading of a process at a time since attach.
    pub fn push_process(&mut self, at: Duration, tgid: Tgid, reading: ProcessReading) {
        self.now = self.now.max(self.interval_of(at));
        self.processes.entry(tgid).or_default().push(self.now, reading);
    }

    /// The points of a site over this time and the one before it, up to the newest reading, the oldest first; see [`LEVELS`] for how far they are
    /// apart. Before it was first seen, its counters are zero. Empty for an unknown site.
    pub fn site(&self, id: SiteId, span: Duration) -> Vec<SitePoint> {
        let level = self.level_for(span);
        self.sites
            .get(&id)
            .map(|site| site.points(level, self.now, self.windows(span, level), self.interval))
            .unwrap_or_default()
    }

    /// The windows of a process over this time, the oldest first; those without a reading are left out.
    pub fn process(&self, tgid: Tgid, span: Duration) -> Vec<ProcessWindow> {
        let level = self.level_for(span);
        let windows = self.windows(span, level);
        self.processes
            .get(&tgid)
            .map(|process| process.windows(level, self.now, windows, self.interval))
            .unwrap_or_default()
    }

    /// The time of the newest reading, since attach.
    pub fn newest(&self) -> Duration {
        time_of(self.now, self.interval)
    }

    /// Forgets a process and its sites.
    pub fn forget(&mut self, tgid: Tgid, sites: impl IntoIterator<Item = SiteId>) {
        self.processes.remove(&tgid);
        for id in sites {
            self.forget_site(id);
        }
    }

    /// Forgets a site.
    pub fn forget_site(&mut self, id: SiteId) {
        self.record_bytes -= self.sites.remove(&id).map_or(0, |site| site.record_bytes());
    }

    /// Bytes that it takes.
    pub fn allocated_bytes(&self) -> usize {
        let processes: usize = self.processes.values().map(ProcessHistory::allocated_bytes).sum();
        self.sites.len() * SITE_BYTES + self.record_bytes + processes
    }

    fn interval_of(&self, at: Duration) -> u64 {
        // To the nearest, so that readings a little early or late have an interval each.
        ((at.as_nanos() + self.interval.as_nanos() / 2) / self.interval.as_nanos()) as u64
    }

    /// The finest level that reaches as far.
    fn level_for(&self, span: Duration) -> usize {
        let intervals = self.interval_of(span);
        LEVELS.iter().position(|level| intervals < level.factor * level.windows).unwrap_or(LEVELS.len() - 1)
    }

    fn windows(&self, span: Duration, level: usize) -> u64 {
        // One more, so that the span begins within the first.
        (self.interval_of(span).div_ceil(LEVELS[level].factor) + 1).min(LEVELS[level].windows)
    }
}

fn time_of(interval_number: u64, interval: Duration) -> Duration {
    Duration::from_nanos((interval.as_nanos() * u128::from(interval_number)).min(u128::from(u64::MAX)) as u64)
}

/// When a window of this level ends, as an interval's number; the one that is under way, now.
fn end_of(window: u64, level: usize, now: u64) -> u64 {
    ((window + 1) * LEVELS[level].factor - 1).min(now)
}
