//! Keeps what is known of each site and makes Snapshots of it.

mod faults;
mod tracked;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tracer_common::{event::SiteKind, stack::StackEnd};

use self::faults::Following;
use super::{
    SiteMap, Tgid,
    fds::{FdCounters, OpenFds},
    growth::{Faulted, Resident},
    mode::{Mode, Modes},
    processes::Processes,
    ranges::Ranges,
    sampling::{Sampled, Weights},
    snapshot::{
        BlockCounters, Ending, Feature, IncompleteCount, Note, Overhead, ProbeStatus, Rates, Sampling, SiteId,
        SiteSnapshot, Snapshot, TargetInfo, TargetState,
    },
    windows::Windows,
    work,
};
use crate::{
    analyze::survival::LiveAges,
    event::{FdSurvey, RawEvent, Reading, SiteStack},
    symbolize::{Frame, Stack},
};

/// What does not change while a target is traced.
#[derive(Clone, Debug)]
pub struct Session {
    /// When tracing began, by the wall clock.
    pub started: jiff::Timestamp,
    /// The same moment by `CLOCK_MONOTONIC`, nanoseconds.
    pub started_ns: u64,
    /// The traced processes that were asked for: at least one.
    pub targets: Vec<TargetInfo>,
    /// Whether memory is traced.
    pub heap: bool,
    /// When page faults are followed: how many there are for each that is looked at.
    pub growth: Option<u64>,
    /// When descriptors are traced: the time without traffic after which a connection is stale.
    pub fds: Option<Duration>,
    /// What of the kernel is in use.
    pub features: Vec<Feature>,
}

#[derive(Debug)]
struct Site {
    raw: SiteStack,
    /// Symbolized, or its frames pending.
    stack: Arc<Stack>,
    symbolized: bool,
}

/// Everything known of the target's sites.
#[derive(Debug)]
pub struct Aggregator {
    session: Session,
    /// By site id; ids are dense.
    sites: Vec<Option<Site>>,
    oldest_born_ns: SiteMap<u64>,
    /// As in [`crate::event::Survey`].
    weights: SiteMap<Weights>,
    ranges: Ranges,
    /// Resident memory of each process.
    resident: BTreeMap<Tgid, Resident>,
    previous: Option<(u64, BlockCounters)>,
    /// The time from which on rates can be told, unless that is the beginning.
    first: Option<(u64, BlockCounters)>,
    /// While page faults are followed.
    following: Option<Following>,
    modes: Modes,
    /// Where blocks are tracked for some of the time only.
    windows: Option<Windows>,
    /// What the probes may take of the processes' CPU time, as a share of it.
    overhead_limit: Option<f64>,
    /// Of the same moment: CPU time of the processes, and the hits of each probe.
    previous_work: (Duration, Vec<u64>),
    processes: Processes,
    ending: Option<Ending>,
    notes: BTreeMap<&'static str, BTreeSet<Tgid>>,
    /// When descriptors are traced.
    fds: Option<OpenFds>,
}

impl Aggregator {
    /// Starts with nothing known.
    pub fn new(session: Session) -> Self {
        let fds = session.fds.map(|stale| OpenFds::new(session.started_ns, stale));
        let mut processes = Processes::new(session.heap);
        session.targets.iter().for_each(|target| processes.add(target.clone(), 0, None, session.started_ns));
        let (sites, oldest_born_ns) = (Vec::new(), SiteMap::default());
        let following = session.growth.map(Following::all_the_time);
        Self {
            session,
            sites,
            oldest_born_ns,
            weights: SiteMap::default(),
            ranges: Ranges::default(),
            resident: BTreeMap::new(),
            previous: None,
            first: None,
            following,
            modes: Modes::default(),
            windows: None,
            overhead_limit: None,
            previous_work: Default::default(),
            processes,
            ending: None,
            notes: BTreeMap::new(),
            fds,
        }
    }

    /// When tracing began: `CLOCK_MONOTONIC`, nanoseconds.
    pub fn started_ns(&self) -> u64 {
        self.session.started_ns
    }

    fn since_start(&self, time_ns: u64) -> Duration {
        Duration::from_nanos(time_ns.saturating_sub(self.session.started_ns))
    }

    /// Memory is followed in this way from now on.
    pub fn enter(&mut self, mode: Mode, now_ns: u64) {
        self.modes.enter(self.since_start(now_ns), mode);
    }

    /// System calls are looked at for this share of the time from now on, 1 being all of it.
    pub fn look_at_calls_for(&mut self, share: f64) {
        if share < 1.0 || self.modes.calls.is_some() {
            self.modes.calls = Some(share);
        }
    }

    /// What of the kernel is in use by now.
    pub fn use_features(&mut self, features: Vec<Feature>) {
        self.session.features = features;
    }

    /// The processes, for those who know of their lives.
    pub fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

    /// What the probes may take of the processes' CPU time, as a share of it: to be told with the numbers.
    pub fn limit_overhead(&mut self, share: f64) {
        self.overhead_limit = Some(share);
    }

    /// Something to know about what a process's numbers do not say.
    pub fn note(&mut self, pid: Tgid, what: &'static str) {
        self.notes.entry(what).or_default().insert(pid);
    }

    /// The program that leaktrace started has ended.
    pub fn ended_with(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// How many site ids may be in use: what to read from the source.
    pub fn site_ids(&self) -> usize {
        self.sites.len()
    }

    /// What the process mapped, for those who look at its mappings.
    pub fn ranges(&mut self) -> &mut Ranges {
        &mut self.ranges
    }

    /// Takes an event.
    pub fn apply(&mut self, event: RawEvent) {
        match event {
            RawEvent::NewSite(raw) => {
                let index = raw.id.0 as usize;
                if index >= self.sites.len() {
                    self.sites.resize_with(index + 1, || None);
                }
                let stack =
                    Arc::new(Stack { frames: raw.frames.iter().copied().map(Frame::pending).collect(), end: raw.end });
                self.sites[index] = Some(Site { raw, stack, symbolized: false });
            }
            // A leader may exit before its threads: the process is gone when its pidfd says so. Forks and execs are
            // looked into where /proc can be read.
            RawEvent::Exit { .. } | RawEvent::Stopped { .. } | RawEvent::Mapped { .. } | RawEvent::FdAtExit(_) => {}
            RawEvent::Exec { tgid, .. } => self.ranges.end(tgid),
            RawEvent::Fork { parent, child, .. } => self.ranges.fork(parent, child),
            RawEvent::Connection(connection) => {
                if let Some(fds) = &mut self.fds {
                    fds.apply(connection);
                }
            }
            RawEvent::Range(change) => self.ranges.apply(change),
            RawEvent::Established { sock, latency } => {
                if let Some(fds) = &mut self.fds {
                    fds.established(sock, latency);
                }
            }
        }
    }

    /// Takes a reading of a process's resident memory; the first one is that of the attach.
    pub fn take_resident(&mut self, tgid: Tgid, now: u64) {
        self.resident.entry(tgid).or_insert(Resident { at_attach: now, now }).now = now;
    }

    /// Whether a process's resident memory was read at all.
    pub fn has_resident(&self, tgid: Tgid) -> bool {
        self.resident.contains_key(&tgid)
    }

    /// What is resident now is given back at the exec that is waited for: the program begins with nothing.
    pub fn begins_with_nothing(&mut self) {
        self.resident.values_mut().for_each(|resident| resident.at_attach = 0);
    }

    /// Takes a look at the outstanding blocks.
    pub fn apply_survey(&mut self, oldest_born_ns: SiteMap<u64>, weights: SiteMap<Weights>) {
        self.oldest_born_ns = oldest_born_ns;
        self.weights = weights;
    }

    /// Takes a look at the open descriptors.
    pub fn apply_fd_survey(&mut self, survey: FdSurvey) {
        if let Some(fds) = &mut self.fds {
            fds.survey(survey);
        }
    }

    /// The ages of each site's open descriptors, as of the last look.
    pub fn fd_ages(&self) -> HashMap<SiteId, LiveAges> {
        self.fds.as_ref().map(OpenFds::ages).unwrap_or_default()
    }

    /// Takes an answer of the symbolizer.
    pub fn apply_stack(&mut self, id: SiteId, stack: Arc<Stack>) {
        if let Some(Some(site)) = self.sites.get_mut(id.0 as usize) {
            site.stack = stack;
            site.symbolized = true;
        }
    }

    /// The walked stack of a site that has not been symbolized yet.
    pub fn unsymbolized(&self, id: SiteId) -> Option<&SiteStack> {
        let site = self.sites.get(id.0 as usize)?.as_ref()?;
        (!site.symbolized).then_some(&site.raw)
    }

    /// Makes a Snapshot of a reading. Sites that never had a block are left out.
    pub fn snapshot(&mut self, reading: &Reading, state: TargetState) -> Snapshot {
        let snapshot = self.view(reading, state);
        self.previous = Some((reading.now_ns, snapshot.totals));
        self.previous_work = (reading.cpu.unwrap_or_default(), work::hits(&snapshot.probes));
        snapshot
    }

    /// The same beside the others: the rates of the next one are over the time since the last one all the same.
    pub fn view(&mut self, reading: &Reading, state: TargetState) -> Snapshot {
        let Reading { now_ns, counters, sample, faults, loss, stats, cpu, calls, probes } = reading;
        // First: more probes may come.
        let probes: Vec<ProbeStatus> = calls.iter().chain(probes).cloned().collect();
        let elapsed = self.since_start(*now_ns);
        // None comes when they have ended.
        if let (Some(windows), TargetState::Running) = (&mut self.windows, &state) {
            windows.advance(elapsed);
        }
        let mut totals = BlockCounters::default();
        let mut sampled_totals = Sampled::default();
        let mut by_end = BTreeMap::new();
        let mut ordered = Vec::with_capacity(self.sites.len());
        let mut fd_sites = Vec::new();
        let oldest_ranges = self.ranges.oldest_born_ns();
        self.processes.begin_tally();
        let mut by_process: BTreeMap<Tgid, Faulted> = BTreeMap::new();
        for (index, (site, counters)) in self.sites.iter().zip(counters).enumerate() {
            let Some(site) = site else { continue };
            if self.is_past(site.raw.kind) {
                continue;
            }
            let is_range = site.raw.kind.is_range();
            let faulted = self.faulted(index, site.raw.kind, faults.get(index).copied());
            let sampled = self.sampled(site, *counters, reading);
            let estimated = faulted.map(Faulted::counters).or(sampled.as_ref().map(Sampled::counters));
            let counters = match &estimated {
                Some(estimated) => estimated,
                None if is_range => &self.ranges.counters(site.raw.id),
                None => counters,
            };
            // A site that connects opens nothing, and is named where it is referred to. What is not followed any more was there.
            if counters.alloc_objects == 0 && site.raw.kind != SiteKind::Fd && !self.had_blocks(site) {
                continue;
            }
            *by_end.entry(site.raw.end).or_default() += counters.alloc_objects;
            if site.raw.kind == SiteKind::Fd {
                fd_sites.push(FdCounters { raw: &site.raw, stack: &site.stack, counters: *counters });
                continue;
            }
            if let Some(faulted) = faulted {
                *by_process.entry(site.raw.tgid).or_default() += faulted;
            } else if !is_range {
                totals += *counters;
                self.processes.tally((site.raw.tgid, site.raw.image), *counters);
            }
            if let Some(sampled) = &sampled {
                sampled_totals += *sampled;
            }
            let order = SiteSnapshot::order_of(site.raw.id, site.raw.kind, counters);
            ordered.push((order, site, *counters, (faulted, sampled)));
        }
        // Put into order before they are made, because they are large.
        ordered.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        let shown =
            |(_, site, counters, (faulted, sampled)): (_, &Site, BlockCounters, (Option<Faulted>, Option<Sampled>))| {
                let born_ns = if site.raw.kind.is_range() { &oldest_ranges } else { &self.oldest_born_ns };
                SiteSnapshot {
                    id: site.raw.id,
                    tgid: site.raw.tgid,
                    kind: site.raw.kind,
                    counters,
                    faulted,
                    sampled: sampled.map(Box::new),
                    oldest: oldest(born_ns, site.raw.id, &counters, *now_ns),
                    stack: Arc::clone(&site.stack),
                    verdict: None,
                    ages: None,
                    sizes: None,
                    suppressed: false,
                }
            };
        let sites: Vec<SiteSnapshot> = ordered.into_iter().map(shown).collect();
        let (previous_ns, before) = self.previous.unwrap_or((self.session.started_ns, BlockCounters::default()));
        let window = Duration::from_nanos(now_ns.saturating_sub(previous_ns));
        let sample = self.sampling(sample.as_ref(), sampled_totals).filter(|_| !self.follows_faults());
        let rates = if self.follows_faults() { Rates::default() } else { rates(&before, &totals, window) };
        let notes =
            self.notes.iter().map(|(what, pids)| Note { what: (*what).into(), pids: pids.iter().copied().collect() });
        let notes = sample.iter().flat_map(Sampling::notes).chain(self.past_note()).chain(notes).collect();
        let descriptors = self.fds.as_mut().map(|fds| fds.snapshot(fd_sites, *now_ns));
        Snapshot {
            started: self.session.started,
            elapsed,
            window,
            target: self.processes.first(),
            processes: self.processes.snapshot(self.session.started_ns, &state, descriptors.as_ref()),
            analysis: Vec::new(),
            suppressions: Vec::new(),
            ending: self.ending,
            notes,
            heap_traced: self.session.heap && !self.follows_faults(),
            growth: self.page_faults(&by_process),
            modes: self.modes.clone(),
            state,
            sites,
            totals,
            sample,
            rates,
            loss: loss.clone(),
            incomplete: incomplete(&by_end),
            stats: stats.clone(),
            features: self.session.features.clone(),
            own_cost: None,
            overhead: cpu.and_then(|cpu| self.overhead(cpu, &probes)),
            probes,
            descriptors,
        }
    }

    /// What the probes cost since the last Snapshot; `None` before their costs are known, and while nothing has run.
    fn overhead(&self, cpu: Duration, probes: &[ProbeStatus]) -> Option<Overhead> {
        let (cpu_before, hits_before) = &self.previous_work;
        let probes = (!probes.is_empty()).then(|| work::spent(probes, hits_before, |_, probe| probe.cost))??;
        let cpu = cpu.saturating_sub(*cpu_before);
        (!cpu.is_zero()).then_some(Overhead { probes, cpu, limit: self.overhead_limit })
    }

    /// Lets the rates of the next Snapshot be over the whole time since tracing began, or blocks were tracked again.
    pub fn widen_window(&mut self) {
        self.previous = self.first;
        self.previous_work = Default::default();
    }

    /// The same Snapshot with the names known now.
    pub fn renamed(&self, snapshot: &Snapshot) -> Snapshot {
        let mut snapshot = snapshot.clone();
        for site in &mut snapshot.sites {
            if let Some(Some(known)) = self.sites.get(site.id.0 as usize) {
                site.stack = Arc::clone(&known.stack);
            }
        }
        for site in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.sites) {
            if let Some(Some(known)) = self.sites.get(site.id.0 as usize) {
                site.stack = Arc::clone(&known.stack);
            }
        }
        snapshot
    }

    /// The same Snapshot, taken at `now_ns`, with the ages of the last survey.
    pub fn aged(&self, snapshot: &Snapshot, now_ns: u64) -> Snapshot {
        let mut snapshot = snapshot.clone();
        for site in snapshot.sites.iter_mut().filter(|site| site.kind == SiteKind::Heap) {
            site.oldest = oldest(&self.oldest_born_ns, site.id, &site.counters, now_ns);
        }
        snapshot
    }
}

fn oldest(born_ns: &SiteMap<u64>, id: SiteId, counters: &BlockCounters, now_ns: u64) -> Option<Duration> {
    if counters.inuse_objects() == 0 {
        return None;
    }
    born_ns.get(&id).map(|born| Duration::from_nanos(now_ns.saturating_sub(*born)))
}

fn incomplete(by_end: &BTreeMap<StackEnd, u64>) -> Vec<IncompleteCount> {
    let mut counts: Vec<_> = by_end
        .iter()
        .filter(|(end, objects)| **end != StackEnd::Complete && **objects > 0)
        .map(|(end, objects)| IncompleteCount { end: *end, objects: *objects })
        .collect();
    counts.sort_by_key(|count| (Reverse(count.objects), count.end));
    counts
}

fn rates(before: &BlockCounters, now: &BlockCounters, window: Duration) -> Rates {
    let seconds = window.as_secs_f64();
    if seconds <= 0.0 {
        return Rates::default();
    }
    let per_s = |before: u64, now: u64| (now as f64 - before as f64) / seconds;
    Rates {
        allocs_per_s: per_s(before.alloc_objects, now.alloc_objects),
        frees_per_s: per_s(before.free_objects, now.free_objects),
        alloc_bytes_per_s: per_s(before.alloc_bytes, now.alloc_bytes),
        inuse_bytes_per_s: per_s(before.inuse_bytes(), now.inuse_bytes()),
    }
}

#[cfg(test)]
#[path = "aggregator_tests.rs"]
mod tests;
