//! What the analysis found, in words: growth, time left, what memory is, verdicts.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{
    units::{bytes, count, duration, signed_bytes},
    untrusted::displayable,
};
use crate::{
    aggregate::{Snapshot, Tgid},
    analyze::{
        Estimate, ProcessAnalysis,
        process::{Eta, ProcessSignal},
        verdict::{Label, Verdict},
    },
    target::limits::MemoryLimit,
};

/// The lines of the header about the processes.
pub(super) fn write_analysis(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    analysis_lines(snapshot).iter().try_for_each(|(label, words)| writeln!(out, "{label:<12} {words}"))
}

/// The label of what is wrong.
pub(super) const WARNING: &str = "WARNING";

/// The same, label and words of each line. All of it is displayable.
pub(super) fn analysis_lines(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let one_of_many = snapshot.analysis.len() > 1;
    let mut lines = Vec::new();
    for (Tgid(pid), analysis) in &snapshot.analysis {
        let whose = if one_of_many { format!("process {pid}: ") } else { String::new() };
        process_lines(&whose, analysis, &mut lines);
    }
    lines.extend(verdict_counts(snapshot).map(|counts| ("verdicts", counts)));
    lines
}

fn process_lines(whose: &str, analysis: &ProcessAnalysis, lines: &mut Vec<(&'static str, String)>) {
    let ProcessAnalysis { reading, resident, limits, signals, explanation, .. } = analysis;
    if let Some(rss) = reading.rss {
        let growth = resident.map_or_else(String::new, |growth| format!(", {} an hour", change(&growth.per_hour)));
        let limit = limits.iter().find(|limit| limit.kind.is_fatal()).map_or_else(String::new, of_limit);
        lines.push(("resident", format!("{whose}{}{growth}{limit}", bytes(rss))));
    }
    lines.extend(signals.iter().map(|signal| (WARNING, format!("{whose}{}", signal_words(signal)))));
    lines.extend(explanation.iter().map(|found| ("made of", format!("{whose}{}", displayable(&found.words)))));
}

fn of_limit(limit: &MemoryLimit) -> String {
    let percent = (limit.pressure().share() * 100.0).round();
    format!("; {percent} % used of {} ({})", bytes(limit.bytes), limit_name(limit))
}

fn limit_name(limit: &MemoryLimit) -> String {
    match limit.cgroup.as_str() {
        "" => limit.kind.name().to_owned(),
        cgroup => format!("{} of {}", limit.kind.name(), displayable(cgroup)),
    }
}

/// A change with its interval.
fn change(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    format!("{} ({} to {})", signed_bytes(value), signed_bytes(low), signed_bytes(high))
}

/// What is wrong, in words.
pub(crate) fn signal_words(signal: &ProcessSignal) -> String {
    match signal {
        ProcessSignal::OutOfMemory { limit, eta } => {
            format!("out of memory {}: {} of {}", eta_words(eta), bytes(limit.bytes), limit_name(limit))
        }
        ProcessSignal::OutOfDescriptors { pressure, eta } => {
            format!("out of descriptors {}: {} of {} open", eta_words(eta), count(pressure.used), count(pressure.limit))
        }
        ProcessSignal::NearMemoryLimit { limit, mark } => {
            format!("more than {mark} % of {} in use: {}", limit_name(limit), bytes(limit.used))
        }
        ProcessSignal::Growth { growth, resident, mark } => {
            let what = if *resident { "resident memory" } else { "outstanding memory" };
            format!("{what} grows by {} an hour, more than {}", change(&growth.per_hour), bytes(*mark))
        }
    }
}

fn eta_words(Eta { expected, earliest, latest }: &Eta) -> String {
    // To the second is no use for hours.
    let short = |time: Duration| duration(Duration::from_secs(time.as_secs()));
    let latest = latest.map_or_else(|| "never".to_owned(), short);
    format!("in {} ({} to {latest})", short(*expected), short(*earliest))
}

fn verdict_counts(snapshot: &Snapshot) -> Option<String> {
    const LABELS: [Label; 6] =
        [Label::Leaking, Label::Growing, Label::Bounded, Label::Steady, Label::Churn, Label::StartUp];
    let of = |label: Label| {
        let count = snapshot.sites.iter().filter_map(|site| site.verdict.as_ref()).filter(|v| v.label == label).count();
        (count > 0).then(|| format!("{count} {}", label.name()))
    };
    let counts: Vec<String> = LABELS.into_iter().filter_map(of).collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

/// The line of a site.
pub(super) fn write_verdict(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "    {}", verdict_words(verdict))
}

/// A verdict with its reason.
pub(super) fn verdict_words(verdict: &Verdict) -> String {
    let Verdict { label, confidence, reason, since, .. } = verdict;
    let name = if *label == Label::Leaking { "LEAKING" } else { label.name() };
    let percent = (confidence * 100.0).round();
    format!("{name} ({percent} % sure) since {}: {reason}", duration(*since))
}
