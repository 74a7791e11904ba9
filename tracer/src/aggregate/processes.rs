//! The traced processes, and what each of them holds.

use std::{collections::HashMap, time::Duration};

use super::{BlockCounters, Descriptors, TargetInfo, TargetState, Tgid};

/// Processes that have ended and are remembered.
const ENDED_MAX: usize = 4096;

/// A traced process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSnapshot {
    /// What it is.
    pub info: TargetInfo,
    /// The process that forked it, when it is traced for that.
    pub parent: Option<Tgid>,
    /// Running, exited, or let go.
    pub state: TargetState,
    /// When tracing it began, as time since tracing began at all.
    pub began: Duration,
    /// When it ended, likewise.
    pub ended: Option<Duration>,
    /// How long it was without probes: after its fork, and after it began a program whose allocator had none yet. What it
    /// allocated then was not seen.
    pub unseen: Duration,
    /// Sum over its sites; of a child that has ended, as it was then.
    pub totals: BlockCounters,
    /// Descriptors it has open; `None` when they are not traced.
    pub fds: Option<u64>,
}

/// A process and the program it runs: see [`tracer_common::process::Image`].
pub type ImageKey = (Tgid, u32);

#[derive(Debug)]
struct Process {
    info: TargetInfo,
    parent: Option<Tgid>,
    began_ns: u64,
    /// Since when it is without probes.
    bare_ns: Option<u64>,
    /// How long it was so before that.
    unseen_ns: u64,
    ended_ns: Option<u64>,
    totals: BlockCounters,
    /// The totals do not change any more.
    frozen: bool,
}

impl Process {
    fn see(&mut self, now_ns: u64) {
        if let Some(since) = self.bare_ns.take() {
            self.unseen_ns += now_ns.saturating_sub(since);
        }
    }
}

/// Everything known of the processes, in the order in which they came.
#[derive(Debug, Default)]
pub struct Processes {
    known: Vec<Process>,
    /// Which process an image is of.
    images: HashMap<ImageKey, usize>,
    /// The latest of that id.
    latest: HashMap<Tgid, usize>,
    /// Memory is traced: there are probes to be without.
    heap: bool,
}

impl Processes {
    /// None yet.
    pub(super) fn new(heap: bool) -> Self {
        Self { heap, ..Self::default() }
    }

    /// A process comes, with the image that it runs; that of a child is without probes until [`Self::probed`].
    pub fn add(&mut self, info: TargetInfo, image: u32, parent: Option<Tgid>, began_ns: u64) {
        let (index, pid) = (self.known.len(), info.pid);
        self.images.insert((pid, image), index);
        self.latest.insert(pid, index);
        self.known.push(Process {
            info,
            parent,
            began_ns,
            bare_ns: (self.heap && parent.is_some()).then_some(began_ns),
            unseen_ns: 0,
            ended_ns: None,
            totals: BlockCounters::default(),
            frozen: false,
        });
    }

    fn find(&mut self, pid: Tgid) -> Option<&mut Process> {
        self.known.get_mut(*self.latest.get(&pid)?)
    }

    /// Its probes are in place.
    pub fn probed(&mut self, pid: Tgid, now_ns: u64) {
        if let Some(process) = self.find(pid) {
            process.see(now_ns);
        }
    }

    /// Its probes were there before the program that it runs now.
    pub fn probed_before(&mut self, pid: Tgid) {
        if let Some(process) = self.find(pid) {
            process.bare_ns = None;
        }
    }

    /// It runs another program since then, whose probes are not known to be in place until [`Self::probed`].
    pub fn replaced(&mut self, info: TargetInfo, image: u32, time_ns: u64) {
        let (heap, pid) = (self.heap, info.pid);
        let Some(&index) = self.latest.get(&pid) else { return };
        self.images.insert((pid, image), index);
        let process = &mut self.known[index];
        process.info = info;
        if heap {
            process.bare_ns.get_or_insert(time_ns);
        }
    }

    /// It has another name or title.
    pub fn named(&mut self, info: &TargetInfo) {
        if let Some(process) = self.find(info.pid).filter(|process| process.info != *info) {
            process.info = info.clone();
        }
    }

    /// It has ended.
    pub fn ended(&mut self, pid: Tgid, now_ns: u64) {
        if let Some(process) = self.find(pid) {
            process.see(now_ns);
            process.ended_ns.get_or_insert(now_ns);
        }
    }

    /// Whether an image is one of the latest process of that id.
    pub(super) fn is_latest(&self, pid: Tgid, image: ImageKey) -> bool {
        self.latest.get(&pid).is_some_and(|latest| self.images.get(&image) == Some(latest))
    }

    pub(super) fn freeze(&mut self, pid: Tgid, totals: BlockCounters) {
        if let Some(process) = self.find(pid) {
            (process.totals, process.frozen) = (totals, true);
        }
    }

    /// Begins to sum up.
    pub(super) fn begin_tally(&mut self) {
        self.known.iter_mut().filter(|process| !process.frozen).for_each(|process| process.totals = Default::default());
    }

    /// Adds what a site of this image has.
    pub(super) fn tally(&mut self, image: ImageKey, counters: BlockCounters) {
        if let Some(index) = self.images.get(&image)
            && let Some(process) = self.known.get_mut(*index).filter(|process| !process.frozen)
        {
            process.totals += counters;
        }
    }

    /// The one that came first.
    pub(super) fn first(&self) -> TargetInfo {
        self.known[0].info.clone()
    }

    pub(super) fn snapshot(
        &self,
        started_ns: u64,
        state: &TargetState,
        descriptors: Option<&Descriptors>,
    ) -> Vec<ProcessSnapshot> {
        let mut fds: HashMap<Tgid, u64> = HashMap::new();
        for fd in descriptors.iter().flat_map(|descriptors| descriptors.open.iter()) {
            *fds.entry(fd.tgid).or_default() += 1;
        }
        let since = |time_ns: u64| Duration::from_nanos(time_ns.saturating_sub(started_ns));
        let ended = self.known.iter().filter(|process| process.ended_ns.is_some()).count();
        let mut left_out = ended.saturating_sub(ENDED_MAX);
        let shown = self.known.iter().enumerate().filter(|(_, process)| {
            // The oldest of those that have ended.
            let out = left_out > 0 && process.ended_ns.is_some() && process.parent.is_some();
            left_out -= usize::from(out);
            !out
        });
        let process = |(index, process): (usize, &Process)| {
            let Process { info, parent, began_ns, bare_ns: _, unseen_ns, ended_ns, totals, frozen: _ } = process;
            let is_latest = self.latest.get(&info.pid) == Some(&index);
            let open = if is_latest { fds.get(&info.pid).copied().unwrap_or_default() } else { 0 };
            ProcessSnapshot {
                info: info.clone(),
                parent: *parent,
                // The last one to end ends the run, which knows of it first.
                state: if ended_ns.is_some() { TargetState::Exited } else { state.clone() },
                began: since(*began_ns),
                ended: ended_ns.map(since),
                unseen: Duration::from_nanos(*unseen_ns),
                totals: *totals,
                fds: descriptors.map(|_| open),
            }
        };
        shown.map(process).collect()
    }
}
