//! Reads the memory and the limits of processes for the analysis.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
    time::{Duration, Instant},
};

use super::process::Process;
use crate::{
    aggregate::Tgid,
    analyze::{
        Observed,
        history::ProcessReading,
        process::{ResidentMemory, Runtime, runtime},
    },
    target::{
        MemoryReader,
        limits::{LimitKind, Limits, MemoryLimit, limits},
    },
};

/// Processes that are looked into: of hundreds of workers, the first ones tell.
const MOST: usize = 256;
/// Limits change seldom.
const LIMITS: Duration = Duration::from_secs(5);
/// What memory is costs the kernel a walk over the page tables. Looks at all processes together rest this many times as long
/// as they took.
const REST: u32 = 100;
/// Rest that may be left over: then as many looks follow on each other.
const SAVED: Duration = Duration::from_secs(1);
const ROLLUPS: Duration = Duration::from_secs(5);

/// What is known of one process.
#[derive(Debug)]
struct Watch {
    reader: MemoryReader,
    ran_before: Option<Duration>,
    /// When they were read, how much was resident then, and what they are.
    limits: (Instant, u64, Limits),
    next_rollup: Instant,
    pss: Option<u64>,
    runtime: Option<Runtime>,
    resident: Option<ResidentMemory>,
    anonymous_at_attach: Option<u64>,
}

/// The watches of all processes.
#[derive(Debug)]
pub(super) struct MemoryWatches {
    watches: BTreeMap<Tgid, Watch>,
    /// Looks at what memory is may be taken from then on.
    rested: Instant,
}

impl MemoryWatches {
    pub(super) fn new() -> Self {
        Self { watches: BTreeMap::new(), rested: Instant::now() }
    }

    /// Looks at the processes. One that is gone is left out.
    pub(super) fn observe<'a>(&mut self, processes: impl Iterator<Item = &'a Process>) -> BTreeMap<Tgid, Observed> {
        let processes: BTreeMap<Tgid, &Process> =
            processes.take(MOST).map(|process| (process.target.info().pid, process)).collect();
        self.watches.retain(|tgid, _| processes.contains_key(tgid));
        for (tgid, process) in &processes {
            if let Entry::Vacant(new) = self.watches.entry(*tgid)
                && let Ok(reader) = process.target.memory()
            {
                new.insert(Watch::new(reader, process));
            }
        }
        self.look(&processes);
        let each = self.watches.iter_mut();
        each.filter_map(|(tgid, watch)| Some((*tgid, watch.observe(processes[tgid])?))).collect()
    }

    /// Looks at what the memory of those is whose turn it is, as far as the rest allows.
    fn look(&mut self, processes: &BTreeMap<Tgid, &Process>) {
        let now = Instant::now();
        let mut due: Vec<(&Tgid, &mut Watch)> =
            self.watches.iter_mut().filter(|(_, watch)| watch.next_rollup <= now).collect();
        due.sort_by_key(|(_, watch)| watch.next_rollup);
        for (tgid, watch) in due {
            let begun = Instant::now();
            if self.rested > begun {
                return;
            }
            watch.look(processes[tgid]);
            watch.next_rollup = begun + ROLLUPS;
            let unused = begun.checked_sub(SAVED).map_or(self.rested, |least| self.rested.max(least));
            self.rested = unused + begun.elapsed() * REST;
        }
    }
}

impl Watch {
    fn new(reader: MemoryReader, process: &Process) -> Self {
        let now = Instant::now();
        Self {
            ran_before: process.target.running_for(),
            limits: Self::limits(process.target.info().pid, reader.resident().unwrap_or(0)),
            reader,
            next_rollup: now,
            pss: None,
            runtime: runtime_of(process),
            resident: None,
            anonymous_at_attach: None,
        }
    }

    fn limits(pid: Tgid, resident: u64) -> (Instant, u64, Limits) {
        (Instant::now(), resident, limits(Path::new("/"), pid.0))
    }

    fn observe(&mut self, process: &Process) -> Option<Observed> {
        let rss = self.reader.resident().ok()?;
        if self.limits.0.elapsed() >= LIMITS {
            self.limits = Self::limits(process.target.info().pid, rss);
        }
        let (_, rss_then, limits) = &self.limits;
        // What a limit counts grows with resident memory.
        let as_of_now = |limit: &MemoryLimit| MemoryLimit {
            used: limit.used.saturating_add(rss).saturating_sub(*rss_then),
            ..limit.clone()
        };
        let memory: Vec<MemoryLimit> = limits.memory.iter().map(as_of_now).collect();
        let is_cgroup = |limit: &&MemoryLimit| matches!(limit.kind, LimitKind::CgroupMax | LimitKind::CgroupV1);
        let cgroup = memory.iter().find(is_cgroup).map(|limit| limit.used);
        Some(Observed {
            reading: ProcessReading { rss: Some(rss), pss: self.pss, cgroup, ..ProcessReading::default() },
            limits: memory,
            descriptors: limits.descriptors,
            runtime: self.runtime,
            resident: self.resident,
            ran_before: self.ran_before,
        })
    }

    /// Looks at what the memory is.
    fn look(&mut self, process: &Process) {
        if let Ok(rollup) = self.reader.rollup() {
            let at_attach = *self.anonymous_at_attach.get_or_insert(rollup.anonymous);
            self.runtime = runtime_of(process);
            self.pss = Some(rollup.pss);
            self.resident = Some(ResidentMemory {
                rss: rollup.rss,
                anonymous: rollup.anonymous,
                shared: rollup.shared,
                swap: rollup.swap,
                lazy_free: rollup.lazy_free,
                at_attach,
                runtime: self.runtime,
                ..ResidentMemory::default()
            });
        }
    }
}

/// The runtime in a process, as its modules' names tell.
fn runtime_of(process: &Process) -> Option<Runtime> {
    let names: Vec<String> =
        process.follower.with_modules(|modules| modules.modules().map(|module| module.path().to_string()).collect());
    runtime(&process.target.info().comm, names.iter().map(String::as_str))
}
