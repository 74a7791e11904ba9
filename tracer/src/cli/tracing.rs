//! Traced targets: the source, the aggregator, the symbolizer and the surveys, held together.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tracer_common::{fd::KernelFd, stack::StackEnd};

use super::{
    allocators::Allocators,
    exits::Exits,
    fd_watch::Watching,
    lifecycle::Purges,
    live::SharedSnapshot,
    memory_watch::MemoryWatches,
    overhead::Keeping,
    prepare::Prepared,
    process::{Probed, Process},
};
use crate::{
    aggregate::{
        Aggregator, Ending, Mode, OwnCost, Processes, SampleRate, SiteId, SiteMap, Snapshot, TargetState, Tgid,
    },
    analyze::{
        Analyst, Observed,
        history::History,
        survival::{Lifetimes, Weighs},
    },
    bpf::{Session, Surveyor},
    event::{EventSource as _, RawEvent, Reading, Survey},
    symbolize::{ExactFrames, Priority, Request, Symbolize as _, Symbolizer},
};

/// Share of one core that surveys may take: they rest this many times as long as they took.
const REST: u32 = 50;
/// Surveys come no more often than this.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);
/// Time between windows of the analysis.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// How long sites are judged in one of them.
pub(super) const JUDGING: Duration = Duration::from_millis(20);
/// How long the last report waits for names.
const LAST_NAMES: Duration = Duration::from_secs(60);
/// How long a report in between waits for names; what has none by then has them in the next one.
const NAMES: Duration = Duration::from_secs(5);

/// Targets being traced.
pub(super) struct Tracing {
    pub(super) session: Session,
    pub(super) aggregator: Aggregator,
    pub(super) symbolizer: Symbolizer,
    /// Those that run, by pid.
    pub(super) processes: BTreeMap<u32, Process>,
    pub(super) exits: Exits,
    /// When the heap is traced.
    pub(super) allocators: Option<Allocators>,
    /// When descriptors are traced.
    pub(super) fds: Option<Watching>,
    pub(super) purges: Purges,
    /// How often a program that was started has been stopped to be probed, since it was last asked.
    stops: u32,
    surveys: Receiver<Survey>,
    /// Dropping it ends the survey thread.
    _stop_surveys: Sender<()>,
    state: TargetState,
    pub(super) reading: Reading,
    pub(super) events: Vec<RawEvent>,
    /// What was open when a process ended.
    pub(super) at_exit: HashMap<u32, Vec<KernelFd>>,
    latest: Option<SharedSnapshot>,
    /// When what it costs has a limit.
    pub(super) keeping: Option<Keeping>,
    analyst: Analyst,
    watches: MemoryWatches,
    /// CPU time that each process had used when it came, and the last time it was asked.
    cpu: BTreeMap<u32, (Duration, Duration)>,
}

impl Tracing {
    pub(super) fn new(prepared: Prepared) -> anyhow::Result<Self> {
        let Prepared { processes, session, fds, symbolizer, allocators, about, summary: _ } = prepared;
        let exits = Exits::new()?;
        processes.iter().try_for_each(|process| exits.add(&process.target))?;
        let (stop, stopped) = channel();
        let surveys = start_surveys(session.surveyor()?, stopped)?;
        let heap = about.heap;
        let mut aggregator = Aggregator::new(about);
        for process in &processes {
            aggregator.ranges().begin(process.target.info().pid, process.follower.whole().data_end);
        }
        let mut tracing = Self {
            session,
            aggregator,
            symbolizer,
            processes: processes.into_iter().map(|process| (process.target.info().pid.0, process)).collect(),
            exits,
            allocators: heap.then_some(allocators),
            fds: fds.map(Watching::start).transpose()?,
            purges: Purges::default(),
            stops: 0,
            surveys,
            _stop_surveys: stop,
            state: TargetState::Running,
            reading: Reading::default(),
            events: Vec::new(),
            at_exit: HashMap::new(),
            latest: None,
            keeping: None,
            analyst: Analyst::new(WINDOW),
            watches: MemoryWatches::new(),
            cpu: BTreeMap::new(),
        };
        // From here on it is compared with the probes' hits.
        tracing.cpu_time();
        tracing.read_resident();
        Ok(tracing)
    }

    /// Tells what is resident as of now, where that is compared with what is faulted in.
    pub(super) fn read_resident(&mut self) {
        if self.aggregator.follows_faults() {
            let resident = |process: &Process| process.target.memory().and_then(|memory| memory.resident()).ok();
            for (pid, process) in &self.processes {
                // Nothing is resident of one that has just ended: what it had last stays.
                if let Some(resident) = resident(process).filter(|resident| *resident > 0) {
                    self.aggregator.take_resident(Tgid(*pid), resident);
                }
            }
        }
    }

    /// Keeps what it costs the targets below a share of their CPU time, from here on. Returns whether that is possible here.
    pub(super) fn limit_overhead(&mut self, share: f64, rate: SampleRate) -> bool {
        if self.aggregator.follows_faults() {
            self.aggregator.limit_overhead(share);
            self.aggregator.enter(Mode::PageFaults, self.aggregator.started_ns());
            return true;
        }
        self.keeping = Keeping::start(&mut self.session, share, rate);
        if self.keeping.is_some() {
            self.aggregator.limit_overhead(share);
            self.aggregator.enter(Mode::Hits, self.session.now_ns());
        }
        self.keeping.is_some()
    }

    /// A descriptor that is readable when a walk has come to an address that the tables do not know.
    pub(super) fn wakeups(&self) -> anyhow::Result<OwnedFd> {
        self.session.wakeups().context("cannot wait for events")
    }

    /// A descriptor that is readable when a target has ended.
    pub(super) fn exits(&self) -> anyhow::Result<OwnedFd> {
        self.exits.descriptor().context("cannot wait for the targets")
    }

    /// Whether [`Tracing::take_events`] would look at a target's mappings, if it found a reason. Until then there is
    /// no point in being woken.
    pub(super) fn may_follow(&self) -> bool {
        self.state == TargetState::Running && self.processes.values().any(|process| process.follower.may_look())
    }

    /// Takes up the children that are there. Returns how many are followed.
    pub(super) fn follow_children(&mut self) -> anyhow::Result<usize> {
        self.adopt_present()?;
        Ok(self.processes.values().filter(|process| process.parent.is_some()).count())
    }

    /// Takes the events that have come, and keeps the tables up with the target.
    pub(super) fn take_events(&mut self) -> anyhow::Result<()> {
        self.session.poll(&mut self.events)?;
        self.live_through()?;
        // What a child has from its parent is there when it comes.
        if self.aggregator.follows_faults()
            && self.processes.keys().any(|pid| !self.aggregator.has_resident(Tgid(*pid)))
        {
            self.read_resident();
        }
        for pid in self.events.iter().filter_map(left_tables) {
            if let Some(process) = self.processes.get_mut(&pid.0) {
                process.follower.want();
            }
        }
        // First of all: what a target does meanwhile is walked by the old tables.
        let mut looked = Vec::new();
        if self.state == TargetState::Running {
            for (pid, process) in &mut self.processes {
                if process.is_loading() {
                    process.follower.want();
                }
                if process.follower.is_due() {
                    looked.push(*pid);
                    let probed = process.follow(&mut self.session, self.allocators.as_mut())?;
                    note(probed, Tgid(*pid), self.aggregator.processes(), &self.session);
                    self.aggregator.processes().named(process.target.info());
                }
            }
        }
        self.apply_events();
        self.compare_ranges(&looked)
    }

    fn apply_events(&mut self) {
        for event in self.events.drain(..) {
            match event {
                RawEvent::Stopped { .. } => self.stops += 1,
                RawEvent::FdAtExit(open) => self.at_exit.entry(open.tgid).or_default().push(open),
                event => self.aggregator.apply(event),
            }
        }
    }

    /// The program that was started has ended.
    pub(super) fn ended_with(&mut self, ending: Ending) {
        self.aggregator.ended_with(ending);
    }

    /// A process that was started is stopped. Puts the probes in place that it is stopped for; returns whether that was
    /// why.
    pub(super) fn take_stop(&mut self, pid: u32) -> anyhow::Result<bool> {
        self.take_events()?;
        if std::mem::take(&mut self.stops) == 0 {
            return Ok(false);
        }
        if let Some(process) = self.processes.get_mut(&pid)
            && process.follow(&mut self.session, self.allocators.as_mut())? != Probed::AsBefore
        {
            // It did nothing meanwhile.
            self.aggregator.processes().probed_before(Tgid(pid));
        }
        Ok(true)
    }

    /// Holds the ranges of processes to their mappings, which were read a moment ago.
    fn compare_ranges(&mut self, pids: &[u32]) -> anyhow::Result<()> {
        if pids.is_empty() {
            return Ok(());
        }
        // What changed before they were read has been announced by now.
        self.session.poll(&mut self.events)?;
        self.live_through()?;
        self.apply_events();
        for pid in pids {
            let Some(process) = self.processes.get_mut(pid) else { continue };
            let (tgid, whole) = (Tgid(*pid), process.follower.whole());
            self.aggregator.ranges().compare(tgid, &whole.ranges, whole.read_ns);
            if self.aggregator.ranges().is_in_doubt(tgid) {
                process.follower.want();
            }
        }
        Ok(())
    }

    /// Takes what is new. Returns whether stacks have got names.
    pub(super) fn drain(&mut self) -> anyhow::Result<bool> {
        self.take_events()?;
        while let Ok(survey) = self.surveys.try_recv() {
            self.take_survey(survey);
        }
        if let Some(survey) = self.fds.as_ref().and_then(Watching::take) {
            self.aggregator.apply_fd_survey(survey);
        }
        if self.state == TargetState::Running {
            self.keep_budget()?;
        }
        Ok(self.take_names())
    }

    fn take_names(&mut self) -> bool {
        let named = self.symbolizer.drain();
        let any = !named.is_empty();
        named.into_iter().for_each(|(site, stack)| self.aggregator.apply_stack(site, stack));
        any
    }

    /// The last target has ended: what they had open then stays to be looked at.
    pub(super) fn target_exited(&mut self) -> anyhow::Result<()> {
        self.state = TargetState::Exited;
        self.drain()?;
        self.close_last_window()?;
        self.last_fd_survey();
        Ok(())
    }

    fn take_survey(&mut self, survey: Survey) {
        let Survey { oldest_born_ns, weights, weighs, blocks: _, time_ns, ages, sizes } = survey;
        self.aggregator.apply_survey(oldest_born_ns, weights);
        let looked_at = self.since_attach(time_ns);
        let windows = self.aggregator.windows();
        let lifetimes = ages.into_iter().map(|(site, (live, freed))| {
            let weighs = weighs.get(&site).copied().unwrap_or_default();
            let (live, freed, weighs) = match windows {
                Some(windows) => windows.lifetimes(site, &live, weighs),
                None => (live, freed, weighs),
            };
            (site, Lifetimes { freed, live, looked_at, weighs })
        });
        self.analyst.take_heap_lifetimes(lifetimes.collect(), sizes);
    }

    fn since_attach(&self, time_ns: u64) -> Duration {
        Duration::from_nanos(time_ns.saturating_sub(self.aggregator.started_ns()))
    }

    /// The ages of ranges and descriptors.
    fn other_lifetimes(&mut self) -> SiteMap<Lifetimes> {
        let now_ns = self.session.now_ns();
        let looked_at = self.since_attach(now_ns);
        let ranges = self.aggregator.ranges().ages(now_ns);
        let fds = self.aggregator.fd_ages().into_iter().map(|(site, live)| (site, (live, self.session.deaths(site))));
        ranges
            .into_iter()
            .chain(fds)
            .map(|(site, (live, freed))| (site, Lifetimes { freed, live, looked_at, weighs: Weighs::default() }))
            .collect()
    }

    /// Looks at everything for the analysis, and judges for no longer than `budget`. Returns what was seen.
    pub(super) fn observe(&mut self, budget: Duration) -> anyhow::Result<Snapshot> {
        let (view, observed) = self.look()?;
        self.analyst.observe(&view, observed, budget);
        Ok(view)
    }

    /// Looks for the last time, and judges all sites.
    fn conclude(&mut self) -> anyhow::Result<()> {
        let (view, observed) = self.look()?;
        self.analyst.conclude(&view, observed);
        Ok(())
    }

    /// What the analysis is told.
    fn look(&mut self) -> anyhow::Result<(Snapshot, BTreeMap<Tgid, Observed>)> {
        self.drain()?;
        self.session.read(self.aggregator.site_ids(), &mut self.reading)?;
        self.read_resident();
        self.reading.cpu = Some(self.cpu_time());
        let view = self.aggregator.view(&self.reading, self.state.clone());
        let mut observed = self.watches.observe(self.processes.values());
        for (tgid, observed) in &mut observed {
            let unknown = self.session.image(tgid.0).map(|image| image.unknown_frees.into());
            // Of blocks that were allocated while none were tracked, most of them: they say nothing.
            observed.reading.unknown_frees = if self.aggregator.windows().is_some() { Some(0) } else { unknown };
        }
        let lifetimes = self.other_lifetimes();
        let sizes = self.aggregator.ranges().sizes();
        self.analyst.take_other_lifetimes(lifetimes, sizes);
        Ok((view, observed))
    }

    /// What was seen so far.
    pub(super) fn history(&self) -> &History {
        self.analyst.history()
    }

    /// What a window showed, with what was found.
    pub(super) fn annotated(&self, mut view: Snapshot) -> Snapshot {
        self.analyst.annotate(&mut view);
        view
    }

    /// CPU time that the processes have used since each came. Those that are gone keep theirs.
    pub(super) fn cpu_time(&mut self) -> Duration {
        for (pid, process) in &self.processes {
            if let Some(now) = process.target.cpu_time() {
                self.cpu.entry(*pid).or_insert((now, now)).1 = now;
            }
        }
        self.cpu.values().map(|(first, last)| last.saturating_sub(*first)).sum()
    }

    /// Counts now.
    pub(super) fn snapshot(&mut self) -> anyhow::Result<SharedSnapshot> {
        self.drain()?;
        self.purge()?;
        self.session.read(self.aggregator.site_ids(), &mut self.reading)?;
        self.read_resident();
        self.reading.cpu = Some(self.cpu_time());
        for (pid, process) in &self.processes {
            for runtime in &process.planned.runtimes {
                self.aggregator.note(Tgid(*pid), runtime.note());
            }
        }
        let mut snapshot = self.aggregator.snapshot(&self.reading, self.state.clone());
        self.analyst.annotate(&mut snapshot);
        snapshot.own_cost = own_cost();
        let snapshot = Arc::new(snapshot);
        self.latest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The latest Snapshot with the names known now.
    pub(super) fn renamed(&mut self) -> anyhow::Result<SharedSnapshot> {
        let Some(latest) = &self.latest else { return self.snapshot() };
        let renamed = Arc::new(self.aggregator.renamed(latest));
        self.latest = Some(Arc::clone(&renamed));
        Ok(renamed)
    }

    /// Asks for the names of these sites, if they have none.
    pub(super) fn want(&mut self, sites: &[SiteId]) {
        self.request(sites, Priority::Visible);
    }

    /// Asks for the names of all sites, some time.
    pub(super) fn want_all(&mut self, snapshot: &Snapshot) {
        self.request(&sites_of(snapshot), Priority::Background);
    }

    /// Returns how many of the sites have no name yet.
    fn request(&mut self, sites: &[SiteId], priority: Priority) -> usize {
        let mut waiting = 0;
        for site in sites {
            let Some(raw) = self.aggregator.unsymbolized(*site) else { continue };
            waiting += 1;
            let request = Request {
                site: raw.id,
                tgid: raw.tgid,
                image: raw.image,
                frames: Arc::clone(&raw.frames),
                exact: ExactFrames::from_bits(raw.exact),
                end: raw.end,
                priority,
            };
            if self.symbolizer.request(request).is_err() {
                // The queue is full: the rest is asked for once it has moved on.
                break;
            }
        }
        waiting
    }

    /// Names all sites of a Snapshot, for as long as that takes within bounds.
    pub(super) fn name_all(&mut self, snapshot: &SharedSnapshot) -> SharedSnapshot {
        self.wait_for_names(snapshot, NAMES);
        Arc::new(self.aggregator.renamed(snapshot))
    }

    fn wait_for_names(&mut self, snapshot: &Snapshot, patience: Duration) {
        let sites = sites_of(snapshot);
        let deadline = Instant::now() + patience;
        let mut pending = self.request(&sites, Priority::Background);
        while pending > 0 && Instant::now() < deadline {
            if !self.take_names() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            pending = self.request(&sites, Priority::Background);
        }
        if pending > 0 {
            log::warn!(
                "{pending} call sites have no names yet after {patience:?}: their frames are shown as addresses"
            );
        }
    }

    /// The last numbers, then the probes out, then the names, if they are wanted; with what happened until then.
    pub(super) async fn finish(mut self, state: TargetState, named: bool) -> anyhow::Result<(Snapshot, History)> {
        // Whoever ended a moment ago did.
        self.take_ended()?;
        for process in self.processes.values_mut() {
            // One that is gone keeps its name.
            let _ = process.target.retitle();
            self.aggregator.processes().named(process.target.info());
        }
        self.state = state;
        self.aggregator.widen_window();
        self.drain()?;
        self.close_last_window()?;
        self.last_fd_survey();
        let survey = self.session.surveyor()?.survey()?;
        self.take_survey(survey);
        self.conclude()?;
        let last = self.snapshot()?;
        let aged = self.aggregator.aged(&last, self.reading.now_ns);
        let slow = self.session.slow_probes();
        if slow > 0 {
            let seconds = slow.div_ceil(10);
            eprintln!("leaktrace: taking {slow} probes out, which takes this kernel about {seconds} s");
        }
        self.session.detach();
        if named {
            self.wait_for_names(&aged, LAST_NAMES);
        }
        Ok((self.aggregator.renamed(&aged), self.analyst.into_history()))
    }
}

impl Tracing {
    /// Looks at the descriptors for the last time.
    fn last_fd_survey(&mut self) {
        let Some(mut watch) = self.fds.take().and_then(Watching::stop) else { return };
        let announced = std::mem::take(&mut self.at_exit);
        match watch.last_survey(&announced) {
            Ok(survey) => self.aggregator.apply_fd_survey(survey),
            Err(error) => log::warn!("descriptors cannot be looked at: {error:#}"),
        }
    }
}

/// What leaktrace has cost until now. Resident memory takes a reading of a small file; a Snapshot has time for that.
fn own_cost() -> Option<OwnCost> {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let statm = procfs::process::Process::myself().and_then(|process| process.statm()).ok()?;
    Some(OwnCost {
        cpu: Duration::new(cpu.tv_sec.try_into().ok()?, cpu.tv_nsec.try_into().ok()?),
        resident: statm.resident.saturating_mul(rustix::param::page_size() as u64),
    })
}

/// Whether a process is without probes no more.
pub(super) fn note(probed: Probed, pid: Tgid, processes: &mut Processes, session: &Session) {
    match probed {
        Probed::AsBefore => {}
        Probed::Already => processes.probed_before(pid),
        Probed::Now => processes.probed(pid, session.now_ns()),
    }
}

fn sites_of(snapshot: &Snapshot) -> Vec<SiteId> {
    let fd_sites = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| site.id);
    snapshot.sites.iter().map(|site| site.id).chain(fd_sites).collect()
}

/// The process of which a walk came to an address that the tables do not know.
fn left_tables(event: &RawEvent) -> Option<Tgid> {
    match event {
        RawEvent::Mapped { tgid } => Some(*tgid),
        RawEvent::NewSite(site) => {
            matches!(site.end, StackEnd::NoMapping | StackEnd::FramePointer).then_some(site.tgid)
        }
        _ => None,
    }
}

/// Surveys on a thread of their own, at most one of them waiting to be taken.
fn start_surveys(surveyor: Surveyor, stopped: Receiver<()>) -> anyhow::Result<Receiver<Survey>> {
    let (send, receive) = sync_channel(1);
    let work = move || {
        loop {
            let begun = Instant::now();
            match surveyor.survey() {
                Ok(survey) => {
                    let _ = send.try_send(survey);
                }
                Err(error) => {
                    log::warn!("ages are not known: {error}");
                    return;
                }
            }
            let rest = SURVEY_INTERVAL.max(begun.elapsed() * REST);
            if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("survey".into()).spawn(work).context("cannot start a thread")?;
    Ok(receive)
}
