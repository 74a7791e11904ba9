//! A Snapshot in Prometheus's text format.
//!
//! Names follow Prometheus's rules: base units, `_total` for what only grows since the attach. The same quantity has the
//! name that it has in JSON. Text of the target is displayable before it is escaped.

mod descriptors;
mod growth;
mod heap;
mod process;
mod text;
mod writer;

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use self::writer::{Labelled, Writer};
use super::own;
use crate::{
    aggregate::{LossCount, Snapshot, TargetState},
    analyze::verdict::{Label, Verdict},
    report::mode_words::mode_name,
};

/// The media type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes everything that is known now.
pub(super) fn encode(snapshot: Option<Arc<Snapshot>>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(snapshot)));
    let mut open_metrics = String::new();
    prometheus_client::encoding::text::encode(&mut open_metrics, &registry)?;
    Ok(text::from_open_metrics(&open_metrics))
}

#[derive(Debug)]
struct Exposition(Option<Arc<Snapshot>>);

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        own_numbers(&mut writer)?;
        let Some(snapshot) = &self.0 else { return Ok(()) };
        run(snapshot, &mut writer)?;
        if snapshot.heap_traced {
            heap::write(snapshot, &mut writer)?;
        }
        if let Some(faults) = &snapshot.growth {
            growth::write(snapshot, faults, &mut writer)?;
        }
        process::write(snapshot, &mut writer)?;
        match &snapshot.descriptors {
            Some(descriptors) => descriptors::write(descriptors, &mut writer),
            None => Ok(()),
        }
    }
}

/// Under the names that every exporter has them.
fn own_numbers(writer: &mut Writer<'_>) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION").into())];
    writer.gauge("leaktrace_build_info", "The leaktrace that is asked.", [(version, 1_u64)])?;
    let Ok(own::Own { cpu, resident }) = own::own() else { return Ok(()) };
    writer.counter("process_cpu_seconds", "CPU time of leaktrace itself.", [([], cpu.as_secs_f64())])?;
    writer.gauge("process_resident_memory_bytes", "Resident memory of leaktrace itself.", [([], resident)])
}

/// Whether and for how long something is traced, and what is missing in the numbers.
fn run(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let Snapshot { started, elapsed, state, loss, incomplete, probes, sample, overhead, .. } = snapshot;
    let running = u64::from(*state == TargetState::Running);
    writer.gauge("leaktrace_up", "Whether what is traced is still there.", [([], running)])?;
    let started = started.as_millisecond() as f64 / 1e3;
    writer.gauge("leaktrace_start_time_seconds", "When tracing began, since 1970.", [([], started)])?;
    writer.gauge(
        "leaktrace_traced_seconds",
        "How long it had been traced for these numbers.",
        [([], elapsed.as_secs_f64())],
    )?;
    let lost = tracer_common::counter::LossCause::ALL.iter().map(|&cause| {
        let count = loss.iter().find(|loss| loss.cause == cause).map_or(0, |&LossCount { count, .. }| count);
        ([("cause", cause.name().into())], count)
    });
    writer.counter("leaktrace_loss", "Events that are missing in the numbers, by cause.", lost)?;
    let reasons = incomplete.iter().map(|part| ([("reason", part.end.name().into())], part.objects));
    writer.gauge("leaktrace_incomplete_stack_objects", "Blocks allocated whose stack is not whole.", reasons)?;
    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    for probe in probes {
        *hits.entry(probe.kind).or_default() += probe.hits;
    }
    let hits = hits.into_iter().map(|(kind, hits)| ([("kind", kind.into())], hits));
    writer.counter("leaktrace_probe_hits", "Times that probes were hit; each costs the target a trap.", hits)?;
    if snapshot.heap_traced {
        let rate = sample.as_ref().map_or(1, |sample| u64::from(sample.totals.rate));
        let help = "One block in this many is tracked; more than 1 means that numbers of memory are estimates.";
        writer.gauge("leaktrace_sample_rate", help, [([], rate)])?;
    }
    if let Some(present) = snapshot.modes.present() {
        let help = "How memory is followed at present, to keep to the limit of the overhead.";
        writer.gauge("leaktrace_mode", help, [([("mode", mode_name(present.mode).into())], 1_u64)])?;
        let help = "How often that has changed.";
        writer.counter("leaktrace_mode_changes", help, [([], snapshot.modes.changes())])?;
    }
    if let Some(share) = snapshot.modes.calls {
        let help = "Share of the time that system calls are looked at, to keep to the limit; absent when that always was all the time.";
        writer.gauge("leaktrace_system_calls_ratio", help, [([], share)])?;
    }
    let share = overhead.iter().map(|overhead| ([], overhead.share()));
    let help = "Share of the CPU time of what is traced that the probes take, over the last window.";
    writer.gauge("leaktrace_overhead_ratio", help, share)?;
    verdicts(snapshot, writer)
}

/// How many call sites do what. Those that the user calls no leaks are left out.
fn verdicts(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let memory = snapshot.sites.iter().filter(|site| !site.suppressed).filter_map(|site| site.verdict.as_deref());
    let descriptors = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites);
    let memory = by_label("memory", &memory);
    let descriptors = by_label("descriptors", &descriptors.filter_map(|site| site.verdict.as_deref()));
    let counts = memory.into_iter().chain(descriptors);
    writer.gauge("leaktrace_judged_sites", "Call sites by what they are doing.", counts)
}

fn by_label<'a>(
    of: &'static str,
    verdicts: &(impl Iterator<Item = &'a Verdict> + Clone),
) -> Vec<([Labelled<'a>; 2], u64)> {
    let labels = [Label::Leaking, Label::Growing, Label::Bounded, Label::Steady, Label::Churn, Label::StartUp];
    let count = |label| verdicts.clone().filter(|verdict| verdict.label == label).count() as u64;
    labels.map(|label| ([("of", of.into()), ("verdict", label.name().into())], count(label))).into()
}

#[cfg(test)]
mod tests;
