//! Processes: what each holds, its limits, and how long it has left.

use std::{cmp::Reverse, fmt};

use super::writer::{Labelled, Writer};
use crate::{
    aggregate::{ProcessSnapshot, Snapshot, TargetInfo, TargetState},
    analyze::{
        ProcessAnalysis,
        process::{Growth, ProcessSignal},
    },
    metrics::{LISTED, label},
    target::limits::LimitKind,
};

/// A process with series of its own.
struct Listed<'a> {
    process: &'a ProcessSnapshot,
    analysis: Option<&'a ProcessAnalysis>,
}

impl Listed<'_> {
    fn labels(&self) -> [Labelled<'_>; 2] {
        let TargetInfo { pid, comm, .. } = &self.process.info;
        [("pid", pid.0.to_string().into()), ("comm", label(comm))]
    }

    fn with(&self, name: &'static str, value: &'static str) -> [Labelled<'_>; 3] {
        let [pid, comm] = self.labels();
        [pid, comm, (name, value.into())]
    }
}

/// Those that run and hold most.
fn listed(snapshot: &Snapshot) -> Vec<Listed<'_>> {
    let is_running = |process: &&ProcessSnapshot| process.state == TargetState::Running;
    let mut running: Vec<&ProcessSnapshot> = snapshot.processes.iter().filter(is_running).collect();
    running.sort_by_key(|process| Reverse(process.totals.inuse_bytes()));
    let analysis = |process: &ProcessSnapshot| {
        let found = snapshot.analysis.iter().find(|(tgid, _)| *tgid == process.info.pid);
        found.map(|(_, analysis)| analysis)
    };
    running.into_iter().take(LISTED).map(|process| Listed { process, analysis: analysis(process) }).collect()
}

pub(super) fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let running = snapshot.processes.iter().filter(|process| process.state == TargetState::Running).count() as u64;
    writer.gauge("leaktrace_processes", "Processes that are traced.", [([], running)])?;
    let listed = listed(snapshot);
    if snapshot.heap_traced {
        let held = listed.iter().map(|one| (one.labels(), one.process.totals.inuse_bytes()));
        writer.gauge("leaktrace_process_inuse_bytes", "Bytes of the heap outstanding of a process.", held)?;
    }
    let open = listed.iter().filter_map(|one| Some((one.labels(), one.process.fds?)));
    writer.gauge("leaktrace_process_open_fds", "Descriptors open of a process.", open)?;
    let resident = listed.iter().filter_map(|one| Some((one.labels(), one.analysis?.reading.rss?)));
    writer.gauge("leaktrace_process_resident_bytes", "Resident memory of a process.", resident)?;
    growth(&listed, writer)?;
    limits(&listed, writer)?;
    time_left(&listed, writer)
}

/// Where it is more than noise.
fn growth(listed: &[Listed<'_>], writer: &mut Writer<'_>) -> fmt::Result {
    let values = listed.iter().flat_map(|one| {
        let of = |what, growth: fn(&ProcessAnalysis) -> &Option<Growth>| {
            let growth = growth(one.analysis?).filter(|growth| growth.certain)?;
            Some((one.with("of", what), growth.per_s.value))
        };
        [of("resident", |analysis| &analysis.resident), of("outstanding", |analysis| &analysis.outstanding)]
    });
    let help = "By how much memory grows, over the last minutes; only where that is more than noise.";
    writer.gauge("leaktrace_process_growth_bytes_per_second", help, values.flatten())
}

fn limits(listed: &[Listed<'_>], writer: &mut Writer<'_>) -> fmt::Result {
    let of = |number: fn(u64, u64) -> u64| {
        listed.iter().flat_map(move |one| {
            let limits = one.analysis.map_or(&[][..], |analysis| &analysis.limits);
            // Of several cgroups above each other, the one with the least room.
            let mut kinds = Vec::new();
            let first = limits.iter().filter(move |limit| {
                let is_new = !kinds.contains(&limit.kind);
                kinds.push(limit.kind);
                is_new
            });
            first.map(move |limit| (one.with("limit", limit_name(limit.kind)), number(limit.bytes, limit.used)))
        })
    };
    writer.gauge("leaktrace_memory_limit_bytes", "What limits the memory of a process.", of(|bytes, _| bytes))?;
    writer.gauge("leaktrace_memory_used_bytes", "What is in use of it, as it counts.", of(|_, used| used))
}

fn limit_name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::CgroupMax => "cgroup_max",
        LimitKind::CgroupHigh => "cgroup_high",
        LimitKind::CgroupV1 => "cgroup_v1",
        LimitKind::AddressSpace => "address_space",
        LimitKind::Data => "data",
        LimitKind::Machine => "machine",
    }
}

fn time_left(listed: &[Listed<'_>], writer: &mut Writer<'_>) -> fmt::Result {
    let left = listed.iter().flat_map(|one| {
        let signals = one.analysis.map_or(&[][..], |analysis| &analysis.signals);
        signals.iter().filter_map(|signal| {
            let (what, eta) = match signal {
                ProcessSignal::OutOfMemory { eta, .. } => ("memory", eta),
                ProcessSignal::OutOfDescriptors { eta, .. } => ("descriptors", eta),
                ProcessSignal::NearMemoryLimit { .. } | ProcessSignal::Growth { .. } => return None,
            };
            Some((one.with("of", what), eta.expected.as_secs_f64()))
        })
    });
    writer.gauge("leaktrace_time_left_seconds", "Until a process runs out of memory or descriptors.", left)
}
