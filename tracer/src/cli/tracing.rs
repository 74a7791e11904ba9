//! Traced targets: the source, the aggregator, the symbolizer and the surveys, held together.

mod events;
mod judging;
mod names;

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use anyhow::Context as _;
use tracer_common::fd::KernelFd;

pub(super) use self::events::note;
use self::{judging::start_surveys, names::LAST_NAMES};
use super::{
    allocators::Allocators, calls::CallKeeping, exits::Exits, fd_watch::Watching, lifecycle::Purges,
    memory_watch::MemoryWatches, overhead::Keeping, prepare::Prepared, process::Process,
};
use crate::{
    aggregate::{Aggregator, Ending, Mode, OwnCost, SampleRate, Snapshot, TargetState, Tgid},
    analyze::{Analyst, history::History},
    bpf::Session,
    event::{EventSource as _, RawEvent, Reading, Survey},
    symbolize::Symbolizer,
};

/// Time between windows of the analysis.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// How long sites are judged in one of them.
pub(super) const JUDGING: Duration = Duration::from_millis(20);
/// A Snapshot for whoever wants it.
pub(super) type SharedSnapshot = Arc<Snapshot>;

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
    /// When the heap is traced.
    surveys: Option<Receiver<Survey>>,
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
    /// When what looking at system calls costs has a limit.
    pub(super) calls: Option<CallKeeping>,
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
        let heap = about.heap;
        let surveys = heap.then(|| start_surveys(session.surveyor()?, stopped)).transpose()?;
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
            calls: None,
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

    /// The program that was started has ended.
    pub(super) fn ended_with(&mut self, ending: Ending) {
        self.aggregator.ended_with(ending);
    }

    /// Takes what is new. Returns whether stacks have got names.
    pub(super) fn drain(&mut self) -> anyhow::Result<bool> {
        self.take_events()?;
        while let Some(survey) = self.surveys.as_ref().and_then(|surveys| surveys.try_recv().ok()) {
            self.take_survey(survey);
        }
        if let Some(survey) = self.fds.as_ref().and_then(Watching::take) {
            self.aggregator.apply_fd_survey(survey);
        }
        if self.state == TargetState::Running {
            self.keep_calls()?;
            self.keep_budget()?;
        }
        Ok(self.take_names())
    }

    /// The last target has ended: what they had open then stays to be looked at.
    pub(super) fn target_exited(&mut self) -> anyhow::Result<()> {
        self.state = TargetState::Exited;
        self.drain()?;
        self.close_last_window()?;
        self.last_fd_survey();
        // The dashboard stays.
        self.session.rest_calls();
        Ok(())
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

    /// The last numbers, then the probes out, then the names, if they are wanted; with what happened until then.
    pub(super) async fn finish(mut self, state: TargetState, named: bool) -> anyhow::Result<(Snapshot, History)> {
        // Whoever came or ended a moment ago did.
        self.take_events()?;
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
        self.settle_ranges()?;
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
