//! Keeps what is known of each site and makes Snapshots of it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tracer_common::{event::SiteKind, stack::StackEnd};

use super::{
    SiteMap, Tgid,
    fds::{FdCounters, OpenFds},
    growth::{Faulted, PageFaults, ProcessFaults, Resident},
    processes::Processes,
    ranges::Ranges,
    sampling::Sampled,
    snapshot::{
        BlockCounters, Ending, Feature, IncompleteCount, Note, Overhead, ProbeStatus, Rates, Sampling, SiteId,
        SiteSnapshot, Snapshot, TargetInfo, TargetState, Turns,
    },
    windows::{Duty, Windows},
};
use crate::{
    analyze::survival::{AGE_BUCKETS, LiveAges},
    event::{FdSurvey, RawEvent, Reading, SampleReading, SiteStack},
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
    evenness: SiteMap<f64>,
    ranges: Ranges,
    /// Resident memory of each process.
    resident: BTreeMap<Tgid, Resident>,
    previous: Option<(u64, BlockCounters)>,
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
        Self {
            session,
            sites,
            oldest_born_ns,
            evenness: SiteMap::default(),
            ranges: Ranges::default(),
            resident: BTreeMap::new(),
            previous: None,
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

    /// The processes, for those who know of their lives.
    pub fn processes(&mut self) -> &mut Processes {
        &mut self.processes
    }

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

    /// What the probes may take of the processes' CPU time, as a share of it: to be told with the numbers.
    pub fn limit_overhead(&mut self, share: f64) {
        self.overhead_limit = Some(share);
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
        let beginnings: Vec<_> = self
            .heap_sites()
            .map(|site| {
                let (id, at) = (site.raw.id, site.raw.id.0 as usize);
                let [was, is] = [before, reading].map(|of| of.counters.get(at).copied().unwrap_or_default());
                let estimated = self.sampled(site, was, before).map_or(was, |sampled| sampled.counters());
                (id, estimated, self.thinned(site, is, reading), deaths(id))
            })
            .collect();
        let since = Duration::from_nanos(reading.now_ns.saturating_sub(self.session.started_ns));
        self.windows = Some(Windows::begin(duty, since, beginnings.into_iter()));
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
        windows.close(longer, sites);
        self.windows = Some(windows);
    }

    /// What is known where tracking is for some of the time only.
    pub fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    fn heap_sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().flatten().filter(|site| site.raw.kind == SiteKind::Heap)
    }

    /// What the counters of a site stand for, where not all blocks are tracked.
    fn sampled(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> Option<Sampled> {
        let Some(windows) = &self.windows else { return self.thinned_out(site, counters, reading) };
        let rate = reading.sample.as_ref().map_or(1.0, |sample| f64::from(sample.rate));
        let rate = (rate / windows.duty().share()).round() as u32;
        (site.raw.kind == SiteKind::Heap).then(|| Sampled::of_windows(rate, &windows.site(site.raw.id)))
    }

    /// What the counters of a site stand for, while tracking is on.
    fn thinned(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> BlockCounters {
        self.thinned_out(site, counters, reading).map_or(counters, |sampled| sampled.counters())
    }

    /// The same with its errors, where not all addresses are tracked.
    fn thinned_out(&self, site: &Site, counters: BlockCounters, reading: &Reading) -> Option<Sampled> {
        let SampleReading { rate, raised: _, frees } = reading.sample.as_ref()?;
        let id = site.raw.id;
        let frees = frees.get(id.0 as usize).copied().unwrap_or_default();
        let evenness = self.evenness.get(&id).copied().unwrap_or(1.0);
        (site.raw.kind == SiteKind::Heap).then(|| Sampled::new(*rate, counters, &frees, evenness))
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
    pub fn apply_survey(&mut self, oldest_born_ns: SiteMap<u64>, evenness: SiteMap<f64>) {
        self.oldest_born_ns = oldest_born_ns;
        self.evenness = evenness;
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
        let hits = reading.probes.iter().map(|probe| probe.hits).collect();
        self.previous_work = (reading.cpu.unwrap_or_default(), hits);
        snapshot
    }

    /// The same beside the others: the rates of the next one are over the time since the last one all the same.
    pub fn view(&mut self, reading: &Reading, state: TargetState) -> Snapshot {
        let Reading { now_ns, counters, sample, faults, loss, stats, cpu, probes } = reading;
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
            let is_range = site.raw.kind.is_range();
            let faulted = self.faulted(site.raw.kind, faults.get(index).copied());
            let sampled = self.sampled(site, *counters, reading);
            let estimated = faulted.map(Faulted::counters).or(sampled.as_ref().map(Sampled::counters));
            let counters = match &estimated {
                Some(estimated) => estimated,
                None if is_range => &self.ranges.counters(site.raw.id),
                None => counters,
            };
            // A site that connects opens nothing, and is named where it is referred to.
            if counters.alloc_objects == 0 && site.raw.kind != SiteKind::Fd {
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
        let sample = (sample.is_some() || self.windows.is_some()).then(|| {
            let since_start = |time_ns: u64| Duration::from_nanos(time_ns.saturating_sub(self.session.started_ns));
            let raised = sample.iter().flat_map(|sample| &sample.raised);
            let raised = raised.map(|raised| (since_start(raised.time_ns), raised.rate)).collect();
            let turns = self.windows.as_ref().map(|windows| Turns {
                share: windows.duty().share(),
                since: windows.since(),
                windows: windows.count(),
            });
            let rate = sample.as_ref().map_or(1, |sample| sample.rate);
            sampled_totals.rate = turns.map_or(rate, |turns| (f64::from(rate) / turns.share).round() as u32);
            Sampling { rate: sampled_totals.rate, raised, totals: sampled_totals, turns }
        });
        let notes =
            self.notes.iter().map(|(what, pids)| Note { what: (*what).into(), pids: pids.iter().copied().collect() });
        let notes = sample.iter().flat_map(Sampling::notes).chain(notes).collect();
        let descriptors = self.fds.as_mut().map(|fds| fds.snapshot(fd_sites, *now_ns));
        Snapshot {
            started: self.session.started,
            elapsed: Duration::from_nanos(now_ns.saturating_sub(self.session.started_ns)),
            window,
            target: self.processes.first(),
            processes: self.processes.snapshot(self.session.started_ns, &state, descriptors.as_ref()),
            analysis: Vec::new(),
            suppressions: Vec::new(),
            ending: self.ending,
            notes,
            heap_traced: self.session.heap,
            growth: self.session.growth.map(|period| self.page_faults(period, &by_process)),
            state,
            sites,
            totals,
            sample,
            rates: rates(&before, &totals, window),
            loss: loss.clone(),
            incomplete: incomplete(&by_end),
            stats: stats.clone(),
            probes: probes.clone(),
            features: self.session.features.clone(),
            own_cost: None,
            overhead: cpu.and_then(|cpu| self.overhead(cpu, probes)),
            descriptors,
        }
    }

    /// What a site of page faults rests on; `None` for one of another kind.
    fn faulted(&self, kind: SiteKind, samples: Option<u64>) -> Option<Faulted> {
        let period = self.session.growth.filter(|_| kind.is_faulted())?;
        Some(Faulted { samples: samples.unwrap_or(0), period })
    }

    fn page_faults(&self, period: u64, by_process: &BTreeMap<Tgid, Faulted>) -> PageFaults {
        let known: BTreeSet<Tgid> = by_process.keys().chain(self.resident.keys()).copied().collect();
        let of = |tgid: Tgid| ProcessFaults {
            tgid,
            faulted: by_process.get(&tgid).copied().unwrap_or(Faulted { samples: 0, period }),
            resident: self.resident.get(&tgid).copied(),
        };
        PageFaults { period, processes: known.into_iter().map(of).collect() }
    }

    /// What the probes cost since the last Snapshot; `None` before their costs are known, and while nothing has run.
    fn overhead(&self, cpu: Duration, probes: &[ProbeStatus]) -> Option<Overhead> {
        let (cpu_before, hits_before) = &self.previous_work;
        let mut in_probes = Duration::ZERO;
        for (index, probe) in probes.iter().enumerate() {
            let hits = probe.hits.saturating_sub(hits_before.get(index).copied().unwrap_or(0));
            in_probes += probe.cost?.mul_f64(hits as f64);
        }
        let cpu = cpu.saturating_sub(*cpu_before);
        (!cpu.is_zero() && !probes.is_empty()).then_some(Overhead {
            probes: in_probes,
            cpu,
            limit: self.overhead_limit,
        })
    }

    /// Lets the rates of the next Snapshot be over the whole time since tracing began.
    pub fn widen_window(&mut self) {
        self.previous = None;
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
        .filter(|(end, _)| **end != StackEnd::Complete)
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
mod tests {
    use tracer_common::{counter::LossCause, stack::StackEnd};

    use super::*;
    use crate::{
        aggregate::LossCount,
        event::{EventSource, Pattern, Synthetic},
    };

    const TARGET: Tgid = Tgid(4_127);

    fn aggregator() -> Aggregator {
        let target = TargetInfo { pid: TARGET, comm: "made-up".into(), exe: String::new(), cmdline: Vec::new() };
        Aggregator::new(Session {
            started: jiff::Timestamp::UNIX_EPOCH,
            started_ns: 0,
            targets: vec![target],
            heap: true,
            growth: None,
            fds: None,
            features: Vec::new(),
        })
    }

    fn step(source: &mut Synthetic, aggregator: &mut Aggregator) -> Snapshot {
        let (mut events, mut reading) = (Vec::new(), Reading::default());
        source.poll(&mut events).expect("synthetic sources do not fail");
        events.into_iter().for_each(|event| aggregator.apply(event));
        source.read(aggregator.site_ids(), &mut reading).expect("synthetic sources do not fail");
        aggregator.snapshot(&reading, TargetState::Running)
    }

    #[test]
    fn sites_come_by_outstanding_bytes_and_totals_are_their_sum() {
        let mut source = Synthetic::new(
            TARGET,
            vec![
                Pattern::Churn { per_s: 1_009.0, size: 4_099 },
                Pattern::Leak { per_s: 13.0, size: 101 },
                Pattern::Startup { objects: 7, size: 31 },
                Pattern::Cache { per_s: 97.0, size: 61, limit: 17 },
            ],
        );
        let mut aggregator = aggregator();
        source.advance(Duration::from_secs(10));
        let snapshot = step(&mut source, &mut aggregator);
        let ids: Vec<u32> = snapshot.sites.iter().map(|site| site.id.0).collect();
        assert_eq!(ids, [1, 0, 3, 2], "13130, 4099, 1037 and 217 bytes outstanding");
        assert_eq!(snapshot.totals.inuse_bytes(), 13_130 + 4_099 + 1_037 + 217);
        assert_eq!(snapshot.totals.alloc_objects, 10_090 + 130 + 970 + 7);
        assert_eq!(snapshot.elapsed, Duration::from_secs(10));
    }

    #[test]
    fn rates_are_over_the_last_window() {
        let mut source = Synthetic::new(TARGET, vec![Pattern::Leak { per_s: 13.0, size: 101 }]);
        let mut aggregator = aggregator();
        source.advance(Duration::from_secs(3));
        step(&mut source, &mut aggregator);
        source.advance(Duration::from_secs(2));
        let snapshot = step(&mut source, &mut aggregator);
        assert_eq!(snapshot.window, Duration::from_secs(2));
        assert_eq!(snapshot.rates.allocs_per_s, 13.0);
        assert_eq!(snapshot.rates.frees_per_s, 0.0);
        assert_eq!(snapshot.rates.inuse_bytes_per_s, 13.0 * 101.0);
    }

    #[test]
    fn sites_without_a_block_and_ids_without_a_stack_are_left_out() {
        let mut aggregator = aggregator();
        let site = |id| SiteStack {
            id: SiteId(id),
            tgid: TARGET,
            image: 0,
            kind: SiteKind::Heap,
            frames: [1].into(),
            end: StackEnd::Complete,
            exact: 0,
        };
        aggregator.apply(RawEvent::NewSite(site(0)));
        aggregator.apply(RawEvent::NewSite(site(2)));
        assert_eq!(aggregator.site_ids(), 3);
        let block = BlockCounters { alloc_bytes: 5, alloc_objects: 1, ..BlockCounters::default() };
        let reading = Reading { counters: vec![BlockCounters::default(), block, block], ..Reading::default() };
        let snapshot = aggregator.snapshot(&reading, TargetState::Running);
        assert_eq!(snapshot.sites.iter().map(|site| site.id.0).collect::<Vec<_>>(), [2]);
        assert_eq!(snapshot.totals, block);
    }

    #[test]
    fn stacks_that_are_not_whole_are_counted_by_reason() {
        let mut aggregator = aggregator();
        let ends = [StackEnd::NoRow, StackEnd::Complete, StackEnd::Depth, StackEnd::Depth];
        for (id, end) in (0..).zip(ends) {
            let frames = [1].into();
            let site =
                SiteStack { id: SiteId(id), tgid: TARGET, image: 0, kind: SiteKind::Heap, frames, exact: 0, end };
            aggregator.apply(RawEvent::NewSite(site));
        }
        let block = |alloc_objects| BlockCounters { alloc_objects, ..BlockCounters::default() };
        let reading = Reading { counters: vec![block(7), block(11), block(13), block(17)], ..Reading::default() };
        let incomplete = aggregator.snapshot(&reading, TargetState::Running).incomplete;
        let count = |end, objects| IncompleteCount { end, objects };
        assert_eq!(incomplete, [count(StackEnd::Depth, 30), count(StackEnd::NoRow, 7)]);
    }

    #[test]
    fn a_later_announcement_of_an_id_replaces_the_earlier_one() {
        let mut aggregator = aggregator();
        for frame in [0x11, 0x13] {
            aggregator.apply(RawEvent::NewSite(SiteStack {
                id: SiteId(0),
                tgid: TARGET,
                image: 0,
                kind: SiteKind::Heap,
                frames: [frame].into(),
                end: StackEnd::Complete,
                exact: 0,
            }));
        }
        assert_eq!(aggregator.unsymbolized(SiteId(0)).expect("announced").frames[..], [0x13]);
    }

    #[test]
    fn ages_come_from_the_last_survey_and_only_for_what_is_outstanding() {
        let mut source = Synthetic::new(
            TARGET,
            vec![Pattern::Leak { per_s: 1.0, size: 8 }, Pattern::Cache { per_s: 1.0, size: 8, limit: 0 }],
        );
        let mut aggregator = aggregator();
        source.advance(Duration::from_secs(60));
        let oldest_born_ns = [(SiteId(0), 1_000_000_000), (SiteId(1), 1_000_000_000)].into_iter().collect();
        aggregator.apply_survey(oldest_born_ns, SiteMap::default());
        let snapshot = step(&mut source, &mut aggregator);
        assert_eq!(snapshot.sites[0].oldest, Some(Duration::from_secs(59)));
        assert_eq!(snapshot.sites[1].oldest, None);
    }

    #[test]
    fn loss_is_passed_on() {
        let mut aggregator = aggregator();
        let loss = vec![LossCount { cause: LossCause::LiveFull, count: 11 }];
        let reading = Reading { loss: loss.clone(), ..Reading::default() };
        assert_eq!(aggregator.snapshot(&reading, TargetState::Running).loss, loss);
    }
}
