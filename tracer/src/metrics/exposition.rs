//! A Snapshot in the OpenMetrics text format.
//!
//! Names follow Prometheus's rules: base units, `_total` for what only grows since the attach. The same quantity has the
//! name that it has in JSON. Text of the target is displayable before it is escaped.

mod descriptors;
mod heap;
mod process;
mod writer;

use std::{fmt, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use self::writer::Writer;
use super::own;
use crate::{
    aggregate::{LossCount, Snapshot, TargetState},
    analyze::verdict::Label,
};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes everything that is known now.
pub(super) fn encode(snapshot: Option<Arc<Snapshot>>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(snapshot)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
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
    writer.gauge("leaktrace_build", "The leaktrace that is asked.", [(version, 1)])?;
    let Ok(own::Own { cpu, resident }) = own::own() else { return Ok(()) };
    writer.counter("process_cpu_seconds", "CPU time of leaktrace itself.", [([], cpu.as_secs_f64())])?;
    writer.gauge("process_resident_memory_bytes", "Resident memory of leaktrace itself.", [([], resident)])
}

/// Whether and for how long something is traced, and what is missing in the numbers.
fn run(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let Snapshot { started, elapsed, state, loss, incomplete, .. } = snapshot;
    let running = u64::from(*state == TargetState::Running);
    writer.gauge("leaktrace_up", "Whether what is traced is still there.", [([], running)])?;
    let started = started.as_millisecond() as f64 / 1e3;
    writer.gauge("leaktrace_start_time_seconds", "When tracing began, since 1970.", [([], started)])?;
    writer.gauge("leaktrace_traced_seconds", "How long it had been traced for these numbers.", [([], elapsed.as_secs_f64())])?;
    let lost = tracer_common::counter::LossCause::ALL.iter().map(|&cause| {
        let count = loss.iter().find(|loss| loss.cause == cause).map_or(0, |&LossCount { count, .. }| count);
        ([("cause", cause.name().into())], count)
    });
    writer.counter("leaktrace_loss", "Events that are missing in the numbers, by cause.", lost)?;
    let reasons = incomplete.iter().map(|part| ([("reason", part.end.name().into())], part.objects));
    writer.gauge("leaktrace_incomplete_stack_objects", "Blocks allocated whose stack is not whole.", reasons)?;
    let labels = [Label::Leaking, Label::Growing, Label::Bounded, Label::Steady, Label::Churn, Label::StartUp];
    let verdicts = labels.map(|label| {
        let of_heap = snapshot.sites.iter().filter(|site| !site.suppressed).filter_map(|site| site.verdict.as_deref());
        ([("verdict", label.name().into())], of_heap.filter(|verdict| verdict.label == label).count() as u64)
    });
    writer.gauge("leaktrace_judged_sites", "Call sites of memory by what they are doing.", verdicts)
}

#[cfg(test)]
mod tests;
