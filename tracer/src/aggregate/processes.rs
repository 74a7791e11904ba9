//! The traced processes, and what each of them holds.

use std::{collections::HashMap, time::Duration};

use super::{BlockCounters, Descriptors, SiteSnapshot, TargetInfo, TargetState, Tgid};

/// A traced process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSnapshot {
    /// What it is.
    pub info: TargetInfo,
    /// Running, exited, or let go.
    pub state: TargetState,
    /// When tracing it began, as time since tracing began at all.
    pub began: Duration,
    /// When it ended, likewise.
    pub ended: Option<Duration>,
    /// Sum over its sites.
    pub totals: BlockCounters,
    /// Descriptors it has open; `None` when they are not traced.
    pub fds: Option<u64>,
}

#[derive(Debug)]
struct Process {
    info: TargetInfo,
    began_ns: u64,
    ended_ns: Option<u64>,
}

/// Everything known of the processes, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: Vec<Process>,
}

impl Processes {
    pub(super) fn add(&mut self, info: TargetInfo, began_ns: u64) {
        self.known.push(Process { info, began_ns, ended_ns: None });
    }

    /// The latest process of that id has ended.
    pub(super) fn end(&mut self, pid: Tgid, now_ns: u64) {
        if let Some(process) = self.known.iter_mut().rev().find(|process| process.info.pid == pid) {
            process.ended_ns.get_or_insert(now_ns);
        }
    }

    pub(super) fn snapshot(
        &self,
        started_ns: u64,
        state: &TargetState,
        sites: &[SiteSnapshot],
        descriptors: Option<&Descriptors>,
    ) -> Vec<ProcessSnapshot> {
        let mut totals: HashMap<Tgid, BlockCounters> = HashMap::new();
        for site in sites {
            *totals.entry(site.tgid).or_default() += site.counters;
        }
        let mut fds: HashMap<Tgid, u64> = HashMap::new();
        for fd in descriptors.iter().flat_map(|descriptors| descriptors.open.iter()) {
            *fds.entry(fd.tgid).or_default() += 1;
        }
        let since = |time_ns: u64| Duration::from_nanos(time_ns.saturating_sub(started_ns));
        let process = |process: &Process| {
            let Process { info, began_ns, ended_ns } = process;
            ProcessSnapshot {
                info: info.clone(),
                // The last one to end ends the run, which knows of it first.
                state: if ended_ns.is_some() { TargetState::Exited } else { state.clone() },
                began: since(*began_ns),
                ended: ended_ns.map(since),
                totals: totals.get(&info.pid).copied().unwrap_or_default(),
                fds: descriptors.map(|_| fds.get(&info.pid).copied().unwrap_or_default()),
            }
        };
        self.known.iter().map(process).collect()
    }
}
