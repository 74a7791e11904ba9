//! One of the two runs.

use std::{ops::AddAssign, sync::Arc, time::Duration};

use tracer_common::event::SiteKind;

use super::key::has_unnamed;
use crate::{
    aggregate::{Snapshot, TargetInfo, Tgid},
    report::units::{counted, duration},
    symbolize::Stack,
};

/// Runs that differ in length by more than this do not have the same time to leak.
const SIMILAR: f64 = 1.25;

/// What is outstanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes; 0 for descriptors.
    pub bytes: u64,
    /// Blocks, mappings or descriptors.
    pub objects: u64,
}

impl Held {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Held {
    /// Saturates: a report may say anything.
    fn add_assign(&mut self, other: Self) {
        let Self { bytes, objects } = other;
        self.bytes = self.bytes.saturating_add(bytes);
        self.objects = self.objects.saturating_add(objects);
    }
}

/// A site of a run.
#[derive(Clone, Debug)]
pub struct SideSite {
    /// What it acquires.
    pub kind: SiteKind,
    /// What it holds.
    pub held: Held,
    /// Path of the program that its process runs.
    pub exe: Arc<str>,
    /// Its stack.
    pub stack: Arc<Stack>,
}

/// A run at one moment. All text in it is untrusted.
#[derive(Clone, Debug)]
pub struct Side {
    /// The file that it is from.
    pub source: String,
    /// The process.
    pub comm: String,
    /// Its id.
    pub pid: Tgid,
    /// When tracing began, in words.
    pub started: String,
    /// How long it had been traced.
    pub elapsed: Duration,
    /// Whether memory was.
    pub heap: bool,
    /// Whether page faults were followed.
    pub growth: bool,
    /// Whether descriptors were.
    pub fds: bool,
    /// Its sites.
    pub sites: Vec<SideSite>,
}

impl Side {
    /// That of a Snapshot, which is from the file called `source`.
    pub fn new(source: String, snapshot: &Snapshot) -> Self {
        let TargetInfo { pid, comm, exe, cmdline: _ } = &snapshot.target;
        let first: Arc<str> = exe.as_str().into();
        let others: Vec<(Tgid, Arc<str>)> =
            snapshot.processes.iter().map(|process| (process.info.pid, process.info.exe.as_str().into())).collect();
        let exe_of = |pid: Tgid| others.iter().find(|(known, _)| *known == pid).map_or(&first, |(_, exe)| exe);
        let heap = snapshot.sites.iter().map(|site| SideSite {
            kind: site.kind,
            held: Held { bytes: site.counters.inuse_bytes(), objects: site.counters.inuse_objects() },
            exe: Arc::clone(exe_of(site.tgid)),
            stack: Arc::clone(&site.stack),
        });
        let fds = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| SideSite {
            kind: SiteKind::Fd,
            held: Held { bytes: 0, objects: site.open() },
            exe: Arc::clone(exe_of(site.tgid)),
            stack: Arc::clone(&site.stack),
        });
        Self {
            source,
            comm: comm.clone(),
            pid: *pid,
            started: snapshot.started.to_string(),
            elapsed: snapshot.elapsed,
            heap: snapshot.heap_traced,
            growth: snapshot.growth.is_some(),
            fds: snapshot.descriptors.is_some(),
            sites: heap.chain(fds).collect(),
        }
    }

    pub(super) fn traces(&self, kind: SiteKind) -> bool {
        match kind {
            SiteKind::Fd => self.fds,
            SiteKind::PageFault => self.growth,
            _ => self.heap,
        }
    }
}

/// What to bear in mind about two sides.
pub(super) fn notes(before: &Side, after: &Side) -> Vec<String> {
    let mut notes = Vec::new();
    for (what, of_before, of_after) in [
        ("memory", before.heap, after.heap),
        ("page faults", before.growth, after.growth),
        ("descriptors", before.fds, after.fds),
    ] {
        match (of_before, of_after) {
            (true, false) => notes.push(format!("{what} not compared: traced only before")),
            (false, true) => notes.push(format!("{what} not compared: traced only after")),
            _ => {}
        }
    }
    let (short, long) = (before.elapsed.min(after.elapsed), before.elapsed.max(after.elapsed));
    if long.as_secs_f64() > short.as_secs_f64() * SIMILAR {
        let (before, after) = (duration(before.elapsed), duration(after.elapsed));
        notes.push(format!("traced for {before} before and {after} after: what leaks grows with time"));
    }
    let unnamed = [before, after].map(|side| {
        side.sites.iter().filter(|site| !site.held.is_nothing() && has_unnamed(&site.stack)).count() as u64
    });
    if unnamed != [0, 0] {
        let [before, after] = unnamed.map(|sites| counted(sites, "call site", "call sites"));
        notes.push(format!(
            "functions without names in {before} before and {after} after: of another build, these look new and gone"
        ));
    }
    notes
}
