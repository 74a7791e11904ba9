//! The Snapshot: everything that views show, at one moment.

use std::{borrow::Cow, cmp::Reverse, sync::Arc, time::Duration};

use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    stack::StackEnd,
};

use super::{Descriptors, Faulted, Modes, PageFaults, ProcessSnapshot, SampleRate, Sampled};
use crate::{
    analyze::{ProcessAnalysis, sizes::Sizes, survival::Ages, verdict::Verdict},
    report::units::duration,
    symbolize::Stack,
};

/// Process id as the kernel's root namespace counts it (the kernel calls it thread group id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tgid(pub u32);

/// A unique call stack that allocated. Dense, stable for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SiteId(pub u32);

/// pprof's four heap counters (outstanding is derived, so it cannot disagree).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounters {
    /// Bytes allocated since attach.
    pub alloc_bytes: u64,
    /// Blocks allocated since attach.
    pub alloc_objects: u64,
    /// Bytes of those that were freed.
    pub free_bytes: u64,
    /// Blocks of those that were freed.
    pub free_objects: u64,
}

impl BlockCounters {
    /// Bytes outstanding.
    pub fn inuse_bytes(&self) -> u64 {
        self.alloc_bytes.saturating_sub(self.free_bytes)
    }

    /// Blocks outstanding.
    pub fn inuse_objects(&self) -> u64 {
        self.alloc_objects.saturating_sub(self.free_objects)
    }
}

impl std::ops::AddAssign for BlockCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { alloc_bytes, alloc_objects, free_bytes, free_objects } = other;
        self.alloc_bytes += alloc_bytes;
        self.alloc_objects += alloc_objects;
        self.free_bytes += free_bytes;
        self.free_objects += free_objects;
    }
}

/// One site at the time of the snapshot.
#[derive(Clone, Debug)]
pub struct SiteSnapshot {
    /// Its id.
    pub id: SiteId,
    /// The process it belongs to.
    pub tgid: Tgid,
    /// What it acquired.
    pub kind: SiteKind,
    /// Its counters; estimates where blocks are sampled.
    pub counters: BlockCounters,
    /// Of a site of page faults: what its counters, which are estimates then, rest on. Nobody sees pages being given back, so
    /// nothing of it is ever freed.
    pub faulted: Option<Faulted>,
    /// What they rest on, where they are estimates.
    pub sampled: Option<Box<Sampled>>,
    /// Age of its oldest outstanding block, as of the last look at the block table; `None` before the first look or
    /// when nothing is outstanding.
    pub oldest: Option<Duration>,
    /// Its call stack, symbolized as far as the symbolizer has come.
    pub stack: Arc<Stack>,
    /// What it is doing; `None` while too little is known.
    pub verdict: Option<Arc<Verdict>>,
    /// Ages of its blocks; `None` before the first look at them, or when none is outstanding.
    pub ages: Option<Arc<Ages>>,
    /// Sizes of its outstanding blocks, as of the same look.
    pub sizes: Option<Arc<Sizes>>,
    /// The user says that it is no leak.
    pub suppressed: bool,
}

impl SiteSnapshot {
    /// Where it stands among the sites of a Snapshot.
    pub fn order(&self) -> impl Ord + use<> {
        Self::order_of(self.id, self.kind, &self.counters)
    }

    /// The same of one that is not made yet.
    pub(super) fn order_of(id: SiteId, kind: SiteKind, counters: &BlockCounters) -> impl Ord + use<> {
        (!kind.is_own_memory(), Reverse(counters.inuse_bytes()), Reverse(counters.alloc_bytes), id)
    }
}

/// Events per second over the last window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Blocks allocated per second.
    pub allocs_per_s: f64,
    /// Blocks freed per second.
    pub frees_per_s: f64,
    /// Bytes allocated per second.
    pub alloc_bytes_per_s: f64,
    /// Change of outstanding bytes per second; negative when the process gives back.
    pub inuse_bytes_per_s: f64,
}

/// The traced process. All text in it is untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its process id.
    pub pid: Tgid,
    /// The kernel's short name of it.
    pub comm: String,
    /// Path of its executable as the kernel names it; empty when it cannot be read.
    pub exe: String,
    /// Its arguments.
    pub cmdline: Vec<String>,
}

/// Whether the target is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Running and traced.
    Running,
    /// It exited; numbers are final.
    Exited,
    /// Tracing was ended (duration over, or by the user); numbers are final.
    Detached,
}

/// What the probes cost the traced processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overhead {
    /// Time that the processes spent in probes.
    pub probes: Duration,
    /// CPU time that they used, with that.
    pub cpu: Duration,
    /// The share that it is kept below, from 0 to 1, if any.
    pub limit: Option<f64>,
}

impl Overhead {
    /// The share of the CPU time that is spent in probes, from 0 to 1.
    pub fn share(&self) -> f64 {
        (self.probes.as_secs_f64() / self.cpu.as_secs_f64()).min(1.0)
    }
}

/// A suppression that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// Its pattern.
    pub pattern: String,
    /// Sites that match.
    pub sites: u64,
    /// Bytes that they hold.
    pub inuse_bytes: u64,
    /// Blocks that they hold.
    pub inuse_objects: u64,
}

/// Something to know about what the numbers do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// In words.
    pub what: Cow<'static, str>,
    /// The processes that it is about.
    pub pids: Vec<Tgid>,
}

/// Sampling of blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// How many blocks are tracked.
    pub rate: SampleRate,
    /// When fewer were by themselves, and how many: time since tracing began.
    pub raised: Vec<(Duration, SampleRate)>,
    /// What the totals rest on.
    pub totals: Sampled,
    /// When tracking is for some of the time only.
    pub turns: Option<Turns>,
}

/// Tracking that is on and off in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turns {
    /// The share of the time that it is on, from 0 to 1.
    pub share: f64,
    /// Since when, since tracing began. What was outstanding then is followed no longer.
    pub since: Duration,
    /// How often it has been on since then.
    pub windows: u64,
}

impl Sampling {
    /// What to know about it.
    pub fn notes(&self) -> impl Iterator<Item = Note> {
        let about = |what: String| Note { what: what.into(), pids: Vec::new() };
        let raised = self.raised.iter().map(|(at, rate)| {
            format!("sampling {} since {}: the table of blocks was 80 % full", rate.short(), duration(*at))
        });
        let turns = self.turns.map(|Turns { share, since, windows: _ }| {
            let (percent, since) = (share * 100.0, duration(since));
            if share >= 1.0 {
                return format!(
                    "blocks are tracked all the time since {since}, and outstanding is what was allocated since then; totals \
                     of before are estimates"
                );
            }
            format!("blocks are tracked {percent:.1} % of the time, to stay within --max-overhead; outstanding is what was allocated since {since}")
        });
        let estimated = (!self.rate.is_all())
            .then(|| format!("memory is estimated from {}; ± is the error at 95 % confidence", self.rate.words()));
        estimated.into_iter().chain(turns).chain(raised.collect::<Vec<_>>()).map(about)
    }
}

/// How a program that leaktrace started has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// An attached probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Path of the module, as the target's maps name it.
    pub module: String,
    /// The function probed.
    pub symbol: String,
    /// Bytes from the function's first instruction to the probed one.
    pub offset: u64,
    /// `entry` or `return`.
    pub kind: &'static str,
    /// Times it was hit.
    pub hits: u64,
    /// Time of the target that a hit takes; `None` where that has not been measured.
    pub cost: Option<Duration>,
}

/// Something of the kernel that tracing goes by, found out once at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is for.
    pub name: Cow<'static, str>,
    /// What is in use.
    pub used: Cow<'static, str>,
    /// It is what newer kernels have; if not, it stands in for that.
    pub best: bool,
}

/// What leaktrace itself costs, at the moment of a Snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCost {
    /// Processor time since it was started, of all its threads.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: u64,
}

/// Events lost, by cause. Only causes with a count are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossCount {
    /// Why.
    pub cause: LossCause,
    /// How many.
    pub count: u64,
}

/// Blocks allocated since attach whose stack is not whole, by the reason why. Only reasons with a count are listed, the
/// commonest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompleteCount {
    /// Why the walk ended.
    pub end: StackEnd,
    /// Blocks.
    pub objects: u64,
}

/// Things seen that are not losses. Only those with a count are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatCount {
    /// What.
    pub stat: Stat,
    /// How many.
    pub count: u64,
}

/// Everything that views show, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When tracing began, by the wall clock.
    pub started: jiff::Timestamp,
    /// Time since then, by the monotonic clock.
    pub elapsed: Duration,
    /// Time since the previous snapshot; the rates are over it.
    pub window: Duration,
    /// The traced process; the first one when there are several.
    pub target: TargetInfo,
    /// All traced processes, in the order in which they came.
    pub processes: Vec<ProcessSnapshot>,
    /// Whether any of those that were asked for is still there.
    pub state: TargetState,
    /// How it ended, when leaktrace started it.
    pub ending: Option<Ending>,
    /// What the processes are doing as a whole, as far as they are looked into.
    pub analysis: Vec<(Tgid, ProcessAnalysis)>,
    /// Suppressions that were used.
    pub suppressions: Vec<Suppressed>,
    /// What the numbers do not say.
    pub notes: Vec<Note>,
    /// Whether memory is traced; if not, everything about blocks is empty.
    pub heap_traced: bool,
    /// What page faults say, when they are followed in place of allocators.
    pub growth: Option<PageFaults>,
    /// How memory is followed where what that costs has a limit, and how it was before.
    pub modes: Modes,
    /// All sites that ever allocated, most outstanding bytes first, then most allocated, then by id.
    pub sites: Vec<SiteSnapshot>,
    /// Sum over the sites.
    pub totals: BlockCounters,
    /// When not all blocks are tracked: then what is said of memory is estimated.
    pub sample: Option<Sampling>,
    /// Events per second over the window.
    pub rates: Rates,
    /// What was lost.
    pub loss: Vec<LossCount>,
    /// Stacks that are not whole.
    pub incomplete: Vec<IncompleteCount>,
    /// What else was seen.
    pub stats: Vec<StatCount>,
    /// The probes in place.
    pub probes: Vec<ProbeStatus>,
    /// What of the kernel is in use.
    pub features: Vec<Feature>,
    /// What leaktrace itself costs; `None` where it was not measured.
    pub own_cost: Option<OwnCost>,
    /// What the probes, and looking at system calls, cost the target over the window; `None` where that is not known.
    pub overhead: Option<Overhead>,
    /// Descriptors; `None` when they are not traced.
    pub descriptors: Option<Descriptors>,
}

impl Snapshot {
    /// Whether anything is known of memory by call site.
    pub fn has_memory(&self) -> bool {
        self.heap_traced || self.growth.is_some()
    }

    /// The sites whose bytes are the process's own memory, each byte once: what was faulted in was mapped before.
    pub fn own_memory(&self) -> impl Iterator<Item = &SiteSnapshot> + Clone {
        let faulted = self.growth.is_some();
        self.sites.iter().filter(move |site| site.kind.is_own_memory() && (!faulted || site.kind.is_faulted()))
    }
}
