//! Keeps what was seen, and judges: each site in turn, and the processes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_common::{counter::Stat, event::SiteKind};

use super::{
    Estimate,
    history::{History, ProcessReading, ProcessWindow},
    process::{Explanation, Growth, ProcessSignal, ResidentMemory, Runtime, explain, growth, signals},
    sizes::Sizes,
    survival::{Ages, Lifetimes, age_bucket},
    verdict::{Context, Evidence, FaultCourse, FaultEvidence, Verdicts, judge, judge_faulted, of_mappings_alone},
};
use crate::{
    aggregate::{BlockCounters, Faulted, SiteId, SiteMap, Snapshot, Tgid},
    target::limits::MemoryLimit,
};

/// What is judged by its recent past is so by this much.
const RECENT: Duration = Duration::from_secs(120);
/// Growth of a process is over this much at most.
const GROWTH_SPAN: Duration = Duration::from_secs(600);
/// Rates of the whole process are over this much.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// How long sites are judged at the end, so that none is left out.
const LAST_JUDGING: Duration = Duration::from_secs(3);
/// A site that has not changed is judged again after this long.
const UNCHANGED: Duration = Duration::from_secs(10);
/// Blocks of this age are not young any more: what a collector frees now and then.
const OLD_NS: u64 = 4 << 30;
/// A site that has changed is judged before one that has not and has waited this many times as long.
const CHANGED_FIRST: u32 = 4;

/// What was read of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its memory, and its frees of unknown blocks; descriptors and other counters are added.
    pub reading: ProcessReading,
    /// Its limits of memory, the one with the least room first.
    pub limits: Vec<MemoryLimit>,
    /// Descriptors that it may have open.
    pub descriptors: Option<u64>,
    /// The runtime in it, if there is one.
    pub runtime: Option<Runtime>,
    /// What its memory is, where that was looked into.
    pub resident: Option<ResidentMemory>,
    /// How long it had been running when tracing began.
    pub ran_before: Option<Duration>,
}

/// What is known of a process as a whole.
#[derive(Clone, Debug, Default)]
pub struct ProcessAnalysis {
    /// Its last reading.
    pub reading: ProcessReading,
    /// How resident memory changes.
    pub resident: Option<Growth>,
    /// How the outstanding bytes change.
    pub outstanding: Option<Growth>,
    /// How the number of open descriptors changes.
    pub open_fds: Option<Growth>,
    /// Its limits of memory, the one with the least room first.
    pub limits: Vec<MemoryLimit>,
    /// What is wrong, the most urgent first.
    pub signals: Vec<ProcessSignal>,
    /// What its memory is.
    pub explanation: Option<Explanation>,
}

/// Everything that was seen and judged.
#[derive(Debug)]
pub struct Analyst {
    history: History,
    verdicts: Verdicts,
    /// Of blocks, as of a look at all of them.
    heap: SiteMap<Looked>,
    /// Of what can be looked at at any time: ranges and descriptors.
    others: SiteMap<Looked>,
    /// The counters with which a site was judged, and when.
    judged: SiteMap<(BlockCounters, Duration)>,
    processes: BTreeMap<Tgid, (ProcessAnalysis, Context)>,
    /// Where page faults are followed: of each process.
    faults: BTreeMap<Tgid, FaultCourse>,
    /// Since when, and the sites that they were seen at.
    faults_since: Duration,
    faulted: HashSet<SiteId>,
}

impl Analyst {
    /// Knows nothing yet; will be told at this interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            history: History::new(interval),
            verdicts: Verdicts::default(),
            heap: SiteMap::default(),
            others: SiteMap::default(),
            judged: SiteMap::default(),
            processes: BTreeMap::new(),
            faults: BTreeMap::new(),
            faults_since: Duration::ZERO,
            faulted: HashSet::new(),
        }
    }

    /// What was seen so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What was seen, for those who come after.
    pub fn into_history(self) -> History {
        self.history
    }

    /// Takes the ages and sizes of blocks, as of a look at all of them.
    pub fn take_heap_lifetimes(&mut self, mut lifetimes: SiteMap<Lifetimes>, sizes: SiteMap<Sizes>) {
        // A look may have begun before blocks began to be followed anew.
        let since = self.history.followed_since().unwrap_or_default();
        lifetimes.retain(|_, lifetimes| lifetimes.looked_at >= since);
        self.heap = looked(lifetimes, sizes);
    }

    /// Takes the ages of ranges and descriptors, and the sizes of ranges.
    pub fn take_other_lifetimes(&mut self, lifetimes: SiteMap<Lifetimes>, sizes: SiteMap<Sizes>) {
        self.others = looked(lifetimes, sizes);
    }

    /// Takes what a Snapshot says and what was read of its processes, and judges sites for no longer than `budget`.
    pub fn observe(&mut self, snapshot: &Snapshot, observed: BTreeMap<Tgid, Observed>, budget: Duration) {
        self.take(snapshot, observed);
        self.judge(snapshot, budget);
    }

    /// The same for the last time: every site is judged, and what is found holds, as there is nothing to wait for.
    pub fn conclude(&mut self, snapshot: &Snapshot, observed: BTreeMap<Tgid, Observed>) {
        self.take(snapshot, observed);
        self.judged.clear();
        self.verdicts.conclude();
        self.judge(snapshot, LAST_JUDGING);
    }

    fn take(&mut self, snapshot: &Snapshot, observed: BTreeMap<Tgid, Observed>) {
        if let Some(growth) = &snapshot.growth
            && growth.since != self.faults_since
        {
            self.begin_faults(growth.since);
        }
        self.faulted.extend(snapshot.sites.iter().filter(|site| site.faulted.is_some()).map(|site| site.id));
        let since = self.history.followed_since();
        self.history.push_snapshot(snapshot);
        if self.history.followed_since() != since {
            self.begin_blocks(snapshot);
        }
        for process in snapshot.growth.iter().flat_map(|growth| &growth.processes) {
            self.faults.entry(process.tgid).or_default().push(snapshot.elapsed, process.faulted);
        }
        self.forget_others(&observed);
        let held = self.held(snapshot);
        for (tgid, observed) in observed {
            let held = held.get(&tgid).copied().unwrap_or_default();
            self.observe_process(snapshot, tgid, observed, held);
        }
    }

    /// Page faults are followed anew: what was seen of them before was not followed up.
    fn begin_faults(&mut self, since: Duration) {
        self.faults_since = since;
        self.faults.clear();
        for id in self.faulted.drain() {
            self.verdicts.forget(id);
            self.judged.remove(&id);
            self.history.forget_site(id);
        }
    }

    /// Blocks are followed anew: what was found out about them before stands until as much is known as then.
    fn begin_blocks(&mut self, snapshot: &Snapshot) {
        let Some(since) = self.history.followed_since() else { return };
        self.heap.clear();
        for (id, sampled) in snapshot.sites.iter().filter_map(|site| Some((site.id, site.sampled.as_deref()?))) {
            self.verdicts.begin_anew(id, since, sampled.rate.into());
            self.judged.remove(&id);
        }
    }

    /// What is gone has no future. When all are gone, what was known of them last stays.
    fn forget_others(&mut self, observed: &BTreeMap<Tgid, Observed>) {
        if observed.is_empty() {
            return;
        }
        let gone: Vec<Tgid> = self.processes.keys().filter(|tgid| !observed.contains_key(tgid)).copied().collect();
        for tgid in gone {
            self.processes.remove(&tgid);
            self.faults.remove(&tgid);
            self.history.forget(tgid, []);
        }
    }

    fn held(&self, snapshot: &Snapshot) -> HashMap<Tgid, Held> {
        let mut all: HashMap<Tgid, Held> = HashMap::new();
        for site in &snapshot.sites {
            let held = all.entry(site.tgid).or_default();
            if site.kind == SiteKind::Heap {
                held.outstanding += site.counters.inuse_bytes();
                held.blocks += site.counters.inuse_objects();
                held.freed_old +=
                    self.heap.get(&site.id).map_or(0, |looked| looked.lifetimes.freed_from(age_bucket(OLD_NS)));
            } else if site.kind.is_own_memory() && !site.kind.is_faulted() {
                held.mapped += site.counters.inuse_bytes();
            }
        }
        for fd in snapshot.descriptors.iter().flat_map(|descriptors| descriptors.open.iter()) {
            all.entry(fd.tgid).or_default().open += 1;
        }
        all
    }

    fn observe_process(&mut self, snapshot: &Snapshot, tgid: Tgid, observed: Observed, held: Held) {
        let Observed { reading, limits, descriptors, runtime, resident, ran_before } = observed;
        let Held { outstanding, blocks, mapped, open, freed_old } = held;
        let collected = runtime.is_some_and(Runtime::collects).then_some(freed_old);
        let stat =
            |wanted: Stat| snapshot.stats.iter().find(|count| count.stat == wanted).map_or(0, |count| count.count);
        let reading = ProcessReading {
            outstanding: snapshot.heap_traced.then_some(outstanding),
            open_fds: snapshot.descriptors.is_some().then_some(open),
            // Those of all processes where its own are not known.
            unknown_frees: reading.unknown_frees.or_else(|| Some(stat(Stat::UnknownFree))),
            lost: Some(snapshot.loss.iter().map(|loss| loss.count).sum()),
            ..reading
        };
        self.history.push_process(snapshot.elapsed, tgid, reading);
        let windows = self.history.process(tgid, GROWTH_SPAN.min(snapshot.elapsed));
        let resident_growth = growth(&windows, |reading| reading.rss);
        // While blocks are not tracked, it is of the past.
        // A window is of the readings nearest to it.
        let since = self.history.followed_since().map_or(Duration::ZERO, |since| since + self.history.interval());
        let followed = &windows[windows.partition_point(|window| window.at < since)..];
        let outstanding_growth = growth(followed, |reading| reading.outstanding).filter(|_| snapshot.heap_traced);
        let fd_growth = growth(&windows, |reading| reading.open_fds);
        let descriptors = fd_growth.as_ref().zip(descriptors);
        let context = Context {
            ran_before,
            unknown_frees_per_s: per_s(&windows, |reading| reading.unknown_frees),
            lost_per_s: per_s(&windows, |reading| reading.lost),
            collected,
            resident: resident_growth.map(|growth| growth.per_s),
            outstanding: outstanding_growth.map(|growth| growth.per_s),
            sampled: None,
        };
        // What is a block and what is not cannot be told without allocators, nor when their probes are out for a time.
        let always = snapshot.sample.as_ref().is_none_or(|sample| sample.turns.is_none());
        let knows_blocks = always && snapshot.growth.is_none();
        let resident = resident.filter(|_| knows_blocks);
        let explanation = resident.map(|memory| explain(&ResidentMemory { outstanding, blocks, mapped, ..memory }));
        let before = self.processes.remove(&tgid).map(|(analysis, _)| analysis).unwrap_or_default();
        let analysis = ProcessAnalysis {
            reading,
            resident: resident_growth,
            outstanding: outstanding_growth,
            open_fds: fd_growth,
            signals: signals(&limits, resident_growth.as_ref(), outstanding_growth.as_ref(), descriptors),
            limits,
            explanation: explanation.or(before.explanation).filter(|_| knows_blocks),
        };
        self.processes.insert(tgid, (analysis, context));
    }

    /// Judges the sites that changed since they were judged, those that hold the most first; then, in time, the others.
    fn judge(&mut self, snapshot: &Snapshot, budget: Duration) {
        let begun = Instant::now();
        let now = snapshot.elapsed;
        let heap = snapshot.sites.iter().map(|site| {
            let sampled = site.sampled.as_ref().map(|sampled| sampled.inuse_bytes().relative_error());
            (site.id, site.tgid, site.counters, sampled)
        });
        let faulted: HashMap<SiteId, Faulted> =
            snapshot.sites.iter().filter_map(|site| Some((site.id, site.faulted?))).collect();
        let mapped: HashSet<SiteId> = match &snapshot.growth {
            Some(_) => snapshot.sites.iter().filter(|site| site.kind.is_range()).map(|site| site.id).collect(),
            None => HashSet::new(),
        };
        let fds = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| {
            let counters =
                BlockCounters { alloc_objects: site.opened, free_objects: site.closed, ..BlockCounters::default() };
            (site.id, site.tgid, counters, None)
        });
        let mut due: Vec<(Duration, SiteId, Tgid, BlockCounters, Option<f64>)> = heap
            .chain(fds)
            .filter_map(|(id, tgid, counters, sampled)| {
                let (before, at) = self.judged.get(&id).copied().unwrap_or_default();
                let waited = now.saturating_sub(at);
                // One whose verdict is about to change is as urgent as one that has changed.
                let changed = before != counters || self.verdicts.is_pending(id);
                let waited = if changed { waited } else { waited / CHANGED_FIRST };
                (changed || waited * CHANGED_FIRST >= UNCHANGED).then_some((waited, id, tgid, counters, sampled))
            })
            .collect();
        // Whoever waits longest comes first, so that all have their turn; of equals the larger one, as the Snapshot has them.
        due.sort_by_key(|(waited, ..)| std::cmp::Reverse(*waited));
        for (_, id, tgid, counters, sampled) in due {
            if begun.elapsed() >= budget {
                return;
            }
            match faulted.get(&id) {
                Some(faulted) => self.judge_faulted(id, tgid, *faulted, now),
                None => self.judge_site(id, tgid, now, sampled, mapped.contains(&id)),
            }
            self.judged.insert(id, (counters, now));
        }
    }

    fn looked(&self, id: SiteId) -> Option<&Looked> {
        self.heap.get(&id).or_else(|| self.others.get(&id))
    }

    /// How fast the resident memory of a process grows, if it does for sure.
    fn resident_growth(&self, tgid: Tgid) -> Option<Estimate> {
        let (analysis, _) = self.processes.get(&tgid)?;
        analysis.resident.filter(|growth| growth.certain).map(|growth| growth.per_s)
    }

    fn judge_faulted(&mut self, id: SiteId, tgid: Tgid, faulted: Faulted, now: Duration) {
        let (recent, whole) = (self.history.site(id, RECENT), self.history.site(id, now));
        let course = FaultCourse::default();
        let evidence = FaultEvidence {
            recent: &recent,
            whole: &whole,
            faulted,
            process: self.faults.get(&tgid).unwrap_or(&course),
            resident: self.resident_growth(tgid),
            ran_before: self.processes.get(&tgid).and_then(|(_, context)| context.ran_before),
        };
        if let Some(judgement) = judge_faulted(&evidence) {
            self.verdicts.update(id, now, judgement);
        }
    }

    /// `mapped` says that mappings are all that is known of it.
    fn judge_site(&mut self, id: SiteId, tgid: Tgid, now: Duration, sampled: Option<f64>, mapped: bool) {
        let context = self.processes.get(&tgid).map(|(_, context)| *context).unwrap_or_default();
        let context = Context { sampled, ..context };
        let (recent, whole) = (self.history.site(id, RECENT), self.history.site(id, now));
        let lifetimes = self.looked(id).map(|looked| &looked.lifetimes);
        let evidence = Evidence { recent: &recent, whole: &whole, lifetimes, context: &context };
        if let Some(judgement) = judge(&evidence) {
            let alone = |judgement| of_mappings_alone(judgement, self.resident_growth(tgid));
            let judgement = if mapped { alone(judgement) } else { judgement };
            self.verdicts.update(id, now, judgement);
        }
    }

    /// Writes what was found into a Snapshot.
    pub fn annotate(&self, snapshot: &mut Snapshot) {
        let verdict = |id: SiteId| self.verdicts.get(id).map(Arc::clone);
        for site in &mut snapshot.sites {
            site.verdict = verdict(site.id);
            let looked = self.looked(site.id);
            site.ages = looked.map(|looked| Arc::clone(&looked.ages));
            site.sizes = looked.and_then(|looked| looked.sizes.clone());
        }
        for site in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.sites) {
            site.verdict = verdict(site.id);
        }
        snapshot.analysis = self.processes.iter().map(|(tgid, (analysis, _))| (*tgid, analysis.clone())).collect();
    }
}

/// What a look at a site's blocks found. Snapshots share it until the next look.
#[derive(Debug)]
struct Looked {
    lifetimes: Lifetimes,
    ages: Arc<Ages>,
    /// `None` for descriptors, which have none.
    sizes: Option<Arc<Sizes>>,
}

fn looked(lifetimes: SiteMap<Lifetimes>, mut sizes: SiteMap<Sizes>) -> SiteMap<Looked> {
    let looked = lifetimes.into_iter().map(|(id, lifetimes)| {
        let (ages, sizes) = (Arc::new(Ages::from(&lifetimes)), sizes.remove(&id).map(Arc::new));
        (id, Looked { lifetimes, ages, sizes })
    });
    looked.collect()
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Bytes and blocks of its heap.
    outstanding: u64,
    blocks: u64,
    /// Bytes mapped, which need not be memory: most of it may never have been touched.
    mapped: u64,
    /// Open descriptors.
    open: u64,
    /// Blocks of the heap that were freed when they were not young.
    freed_old: u64,
}

#[cfg(test)]
#[path = "analyst_tests.rs"]
mod tests;

/// The change per second of a count over the last minute.
fn per_s(windows: &[ProcessWindow], quantity: impl Fn(&ProcessReading) -> Option<u64>) -> f64 {
    let Some(last) = windows.last() else { return 0.0 };
    let since = last.at.saturating_sub(RATE_SPAN);
    let Some(first) = windows.iter().find(|window| window.at >= since) else { return 0.0 };
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    match (quantity(&first.last), quantity(&last.last)) {
        (Some(before), Some(now)) if seconds > 0.0 => now.saturating_sub(before) as f64 / seconds,
        _ => 0.0,
    }
}
