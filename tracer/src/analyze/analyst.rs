//! Keeps what was seen, and judges: each site in turn, and the processes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_common::{counter::Stat, event::SiteKind};

use super::{
    history::{History, ProcessReading, ProcessWindow},
    process::{Explanation, Growth, ProcessSignal, ResidentMemory, explain, growth, signals},
    survival::Lifetimes,
    verdict::{Context, Evidence, Verdicts, judge},
};
use crate::{
    aggregate::{BlockCounters, SiteId, Snapshot, Tgid},
    target::limits::MemoryLimit,
};

/// What is judged by its recent past is so by this much.
const RECENT: Duration = Duration::from_secs(120);
/// Growth of a process is over this much at most.
const GROWTH_SPAN: Duration = Duration::from_secs(600);
/// Rates of the whole process are over this much.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// A site that has not changed is judged again after this long.
const UNCHANGED: Duration = Duration::from_secs(10);

/// What was read of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its memory; descriptors and counters are added.
    pub reading: ProcessReading,
    /// Its limits of memory, the one with the least room first.
    pub limits: Vec<MemoryLimit>,
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
    lifetimes: HashMap<SiteId, Lifetimes>,
    /// The counters with which a site was judged, and when.
    judged: HashMap<SiteId, (BlockCounters, Duration)>,
    processes: BTreeMap<Tgid, (ProcessAnalysis, Context)>,
}

impl Analyst {
    /// Knows nothing yet; will be told at this interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            history: History::new(interval),
            verdicts: Verdicts::default(),
            lifetimes: HashMap::new(),
            judged: HashMap::new(),
            processes: BTreeMap::new(),
        }
    }

    /// What was seen, for those who come after.
    pub fn into_history(self) -> History {
        self.history
    }

    /// Takes the ages of blocks, as of a look at all of them.
    pub fn take_lifetimes(&mut self, lifetimes: HashMap<SiteId, Lifetimes>) {
        self.lifetimes = lifetimes;
    }

    /// Takes what a Snapshot says and what was read of its processes, and judges sites for no longer than `budget`.
    pub fn observe(&mut self, snapshot: &Snapshot, observed: BTreeMap<Tgid, Observed>, budget: Duration) {
        self.history.push_snapshot(snapshot);
        self.forget_others(&observed);
        for (tgid, observed) in observed {
            self.observe_process(snapshot, tgid, observed);
        }
        self.judge(snapshot, budget);
    }

    /// What is gone has no future. When all are gone, what was known of them last stays.
    fn forget_others(&mut self, observed: &BTreeMap<Tgid, Observed>) {
        if observed.is_empty() {
            return;
        }
        let gone: Vec<Tgid> = self.processes.keys().filter(|tgid| !observed.contains_key(tgid)).copied().collect();
        for tgid in gone {
            self.processes.remove(&tgid);
            self.history.forget(tgid, []);
        }
    }

    fn observe_process(&mut self, snapshot: &Snapshot, tgid: Tgid, observed: Observed) {
        let Observed { reading, limits, resident, ran_before } = observed;
        // What is mapped need not be memory: most of it may never have been touched.
        let (mut outstanding, mut blocks, mut mapped) = (0, 0, 0);
        for site in snapshot.sites.iter().filter(|site| site.tgid == tgid) {
            if site.kind == SiteKind::Heap {
                outstanding += site.counters.inuse_bytes();
                blocks += site.counters.inuse_objects();
            } else if site.kind.is_own_memory() {
                mapped += site.counters.inuse_bytes();
            }
        }
        let stat =
            |wanted: Stat| snapshot.stats.iter().find(|count| count.stat == wanted).map_or(0, |count| count.count);
        let fds = snapshot.descriptors.as_ref();
        let open = fds.map(|fds| fds.open.iter().filter(|fd| fd.tgid == tgid).count() as u64);
        let reading = ProcessReading {
            outstanding: snapshot.heap_traced.then_some(outstanding),
            open_fds: open,
            unknown_frees: Some(stat(Stat::UnknownFree)),
            lost: Some(snapshot.loss.iter().map(|loss| loss.count).sum()),
            ..reading
        };
        self.history.push_process(snapshot.elapsed, tgid, reading);
        let windows = self.history.process(tgid, GROWTH_SPAN.min(snapshot.elapsed));
        let resident_growth = growth(&windows, |reading| reading.rss);
        let outstanding_growth = growth(&windows, |reading| reading.outstanding);
        let fd_growth = growth(&windows, |reading| reading.open_fds);
        let fd_limit = fds.and_then(|fds| fds.limits.as_ref()).map(|limits| limits.nofile_soft);
        let descriptors = fd_growth.as_ref().zip(fd_limit);
        let context = Context {
            ran_before,
            unknown_frees_per_s: per_s(&windows, |reading| reading.unknown_frees),
            lost_per_s: per_s(&windows, |reading| reading.lost),
            resident: resident_growth.map(|growth| growth.per_s),
            outstanding: outstanding_growth.map(|growth| growth.per_s),
        };
        let explanation = resident.map(|memory| explain(&ResidentMemory { outstanding, blocks, mapped, ..memory }));
        let before = self.processes.remove(&tgid).map(|(analysis, _)| analysis).unwrap_or_default();
        let analysis = ProcessAnalysis {
            reading,
            resident: resident_growth,
            outstanding: outstanding_growth,
            open_fds: fd_growth,
            signals: signals(&limits, resident_growth.as_ref(), outstanding_growth.as_ref(), descriptors),
            limits,
            explanation: explanation.or(before.explanation),
        };
        self.processes.insert(tgid, (analysis, context));
    }

    /// Judges the sites that changed since they were judged, those that hold the most first; then, in time, the others.
    fn judge(&mut self, snapshot: &Snapshot, budget: Duration) {
        let begun = Instant::now();
        let now = snapshot.elapsed;
        let heap = snapshot.sites.iter().map(|site| (site.id, site.tgid, site.counters));
        let fds = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| {
            let counters =
                BlockCounters { alloc_objects: site.opened, free_objects: site.closed, ..BlockCounters::default() };
            (site.id, site.tgid, counters)
        });
        let mut due: Vec<(Duration, SiteId, Tgid, BlockCounters)> = heap
            .chain(fds)
            .filter_map(|(id, tgid, counters)| {
                let (before, at) = self.judged.get(&id).copied().unwrap_or_default();
                let waited = now.saturating_sub(at);
                (before != counters || waited >= UNCHANGED).then_some((waited, id, tgid, counters))
            })
            .collect();
        // Whoever waits longest comes first, so that all have their turn; of equals the larger one, as the Snapshot has them.
        due.sort_by_key(|(waited, ..)| std::cmp::Reverse(*waited));
        for (_, id, tgid, counters) in due {
            if begun.elapsed() >= budget {
                return;
            }
            self.judge_site(id, tgid, now);
            self.judged.insert(id, (counters, now));
        }
    }

    fn judge_site(&mut self, id: SiteId, tgid: Tgid, now: Duration) {
        let context = self.processes.get(&tgid).map(|(_, context)| *context).unwrap_or_default();
        let (recent, whole) = (self.history.site(id, RECENT), self.history.site(id, now));
        let evidence =
            Evidence { recent: &recent, whole: &whole, lifetimes: self.lifetimes.get(&id), context: &context };
        if let Some(judgement) = judge(&evidence) {
            self.verdicts.update(id, now, judgement);
        }
    }

    /// Writes what was found into a Snapshot.
    pub fn annotate(&self, snapshot: &mut Snapshot) {
        let verdict = |id: SiteId| self.verdicts.get(id).cloned().map(Arc::new);
        for site in &mut snapshot.sites {
            site.verdict = verdict(site.id);
        }
        for site in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.sites) {
            site.verdict = verdict(site.id);
        }
        snapshot.analysis = self.processes.iter().map(|(tgid, (analysis, _))| (*tgid, analysis.clone())).collect();
    }
}

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
