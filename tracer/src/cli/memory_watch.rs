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
        process::{ResidentMemory, runtime},
    },
    target::{
        MemoryReader,
        limits::{LimitKind, MemoryLimit, limits},
    },
};

/// Processes that are looked into: of a hundred workers, the first ones tell.
const MOST: usize = 16;
/// Limits change seldom.
const LIMITS: Duration = Duration::from_secs(5);
/// What memory is costs the kernel a walk over the page tables: looks rest this many times as long as they took.
const REST: u32 = 100;
const ROLLUPS: Duration = Duration::from_secs(5);

/// What is known of one process.
#[derive(Debug)]
struct Watch {
    reader: MemoryReader,
    ran_before: Option<Duration>,
    limits: (Instant, Vec<MemoryLimit>),
    next_rollup: Instant,
    pss: Option<u64>,
    resident: Option<ResidentMemory>,
    anonymous_at_attach: Option<u64>,
}

/// The watches of all processes.
#[derive(Debug, Default)]
pub(super) struct MemoryWatches {
    watches: BTreeMap<Tgid, Watch>,
}

impl MemoryWatches {
    /// Looks at the processes. One that is gone is left out.
    pub(super) fn observe<'a>(&mut self, processes: impl Iterator<Item = &'a Process>) -> BTreeMap<Tgid, Observed> {
        let mut observed = BTreeMap::new();
        for process in processes.take(MOST) {
            let info = process.target.info();
            let tgid = info.pid;
            let watch = match self.watches.entry(tgid) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let Ok(reader) = process.target.memory() else { continue };
                    new.insert(Watch::new(reader, process))
                }
            };
            if let Some(found) = watch.observe(process) {
                observed.insert(tgid, found);
            }
        }
        self.watches.retain(|tgid, _| observed.contains_key(tgid));
        observed
    }
}

impl Watch {
    fn new(reader: MemoryReader, process: &Process) -> Self {
        let now = Instant::now();
        Self {
            reader,
            ran_before: process.target.running_for(),
            limits: (now, limits(Path::new("/"), process.target.info().pid.0).memory),
            next_rollup: now,
            pss: None,
            resident: None,
            anonymous_at_attach: None,
        }
    }

    fn observe(&mut self, process: &Process) -> Option<Observed> {
        let pid = process.target.info().pid.0;
        let rss = self.reader.resident().ok()?;
        if self.limits.0.elapsed() >= LIMITS {
            self.limits = (Instant::now(), limits(Path::new("/"), pid).memory);
        }
        if self.next_rollup <= Instant::now() {
            self.look(process);
        }
        let is_cgroup = |limit: &&MemoryLimit| matches!(limit.kind, LimitKind::CgroupMax | LimitKind::CgroupV1);
        let cgroup = self.limits.1.iter().find(is_cgroup).map(|limit| limit.used);
        Some(Observed {
            reading: ProcessReading { rss: Some(rss), pss: self.pss, cgroup, ..ProcessReading::default() },
            limits: self.limits.1.clone(),
            resident: self.resident,
            ran_before: self.ran_before,
        })
    }

    /// Looks at what the memory is.
    fn look(&mut self, process: &Process) {
        let begun = Instant::now();
        if let Ok(rollup) = self.reader.rollup() {
            let at_attach = *self.anonymous_at_attach.get_or_insert(rollup.anonymous);
            let names: Vec<String> = process
                .follower
                .with_modules(|modules| modules.modules().map(|module| module.path().to_string()).collect());
            self.pss = Some(rollup.pss);
            self.resident = Some(ResidentMemory {
                rss: rollup.rss,
                anonymous: rollup.anonymous,
                shared: rollup.shared,
                swap: rollup.swap,
                lazy_free: rollup.lazy_free,
                at_attach,
                runtime: runtime(&process.target.info().comm, names.iter().map(String::as_str)),
                ..ResidentMemory::default()
            });
        }
        self.next_rollup = Instant::now() + ROLLUPS.max(begun.elapsed() * REST);
    }
}
