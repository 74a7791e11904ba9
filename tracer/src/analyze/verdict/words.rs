//! Why a site is called what it is: a sentence with figures.

use std::time::Duration;

use super::{Course, Evidence, Rate, Span, accumulation::Accumulation};
use crate::{
    aggregate::BlockCounters,
    analyze::survival::{Lifetimes, Median},
    report::{
        estimates::estimate_mark,
        units::{bytes, counted, duration, signed_bytes},
    },
};

/// Another explanation of what looks like a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Blocks from before the attach are being replaced.
    Replaced,
    /// Frees may have been lost.
    Lost,
}

fn blocks(count: f64) -> String {
    counted(count.round().max(0.0) as u64, "block", "blocks")
}

fn seconds(seconds: f64) -> String {
    duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// What stands before numbers of blocks and bytes.
fn mark(evidence: &Evidence) -> &'static str {
    estimate_mark(evidence.context.sampled.is_some())
}

fn counters(evidence: &Evidence) -> BlockCounters {
    evidence.recent.last().map(|newest| newest.counters).unwrap_or_default()
}

fn outstanding(evidence: &Evidence) -> String {
    let (mark, counters) = (mark(evidence), counters(evidence));
    // Descriptors have no bytes.
    match counters.inuse_bytes() {
        0 => format!("{mark}{} outstanding", counted(counters.inuse_objects(), "item", "items")),
        size => format!("{mark}{} in {mark}{}", bytes(size), blocks(counters.inuse_objects() as f64)),
    }
}

fn more(evidence: &Evidence, found: &Accumulation) -> String {
    format!("{}{}", mark(evidence), blocks(found.objects()))
}

fn per_hour(evidence: &Evidence, rate: &Rate) -> String {
    let mark = mark(evidence);
    if rate.bytes.value == 0.0 {
        return format!("{mark}{:+.0} an hour", rate.objects.value * 3_600.0);
    }
    format!("{mark}{} an hour", signed_bytes(rate.bytes.value * 3_600.0))
}

/// What becomes of the blocks that are freed.
fn lifetime(lifetimes: Option<&Lifetimes>) -> Option<String> {
    match lifetimes?.survival(0.95).median()? {
        Median::Between(_, to) => Some(format!("half of its blocks are freed within {}", short(to))),
        Median::Beyond(_) => None,
    }
}

fn short(span: Duration) -> String {
    crate::report::units::latency(span)
}

pub(super) fn leaking(evidence: &Evidence, found: &Accumulation, rate: &Rate) -> String {
    let (count, window) = (more(evidence, found), seconds(found.window));
    let now = outstanding(evidence);
    let growth = per_hour(evidence, rate);
    if found.died_young == 0 {
        return format!(
            "none of its blocks is freed: {count} more in the last {window}, at a steady rate ({growth}); {now}"
        );
    }
    let others = lifetime(evidence.lifetimes)
        .unwrap_or_else(|| format!("{}{} were freed earlier", mark(evidence), blocks(found.all_died_young())));
    format!(
        "blocks that reach an age of {} are not freed any more: {count} of the last {window} are still there, added at a steady \
         rate ({growth}), while {others}; {now}",
        seconds(found.young)
    )
}

pub(super) fn doubted(evidence: &Evidence, found: &Accumulation, doubt: Doubt, per_s: f64) -> String {
    let grown = format!("{} more in the last {}", more(evidence, found), seconds(found.window));
    let instead = match doubt {
        Doubt::Replaced => "blocks from before the attach are freed, which these may replace",
        Doubt::Lost => "calls could not be counted, and frees may be among them",
    };
    format!("{grown}, but {per_s:.1} times a second {instead}; {}", outstanding(evidence))
}

pub(super) fn uncollected(evidence: &Evidence, found: &Accumulation) -> String {
    let grown = format!("{} more in the last {}", more(evidence, found), seconds(found.window));
    format!(
        "{grown}, but the garbage collector has freed nothing old since: they may be garbage; {}",
        outstanding(evidence)
    )
}

pub(super) fn growing(evidence: &Evidence, rate: &Rate, found: Option<&Accumulation>, course: &Course) -> String {
    let growth = per_hour(evidence, rate);
    let watched = seconds(course.span.now - course.span.first);
    let why = match found {
        Some(found) if found.steadiness.declines() => {
            format!(
                ", ever more slowly ({:.0} % in {})",
                100.0 * (f64::exp(-found.steadiness.decline) - 1.0),
                seconds(found.window)
            )
        }
        _ => String::new(),
    };
    format!("more and more is outstanding ({growth}{why}), watched for {watched}; {}", outstanding(evidence))
}

pub(super) fn bounded(evidence: &Evidence, course: &Course) -> String {
    let (Span { now, first, .. }, reached) = (course.span, course.reached());
    let (grew, since) = (seconds(reached - first), seconds(now - reached));
    format!("it grew for {grew} and has not grown in the {since} since; {}", outstanding(evidence))
}

pub(super) fn steady(evidence: &Evidence, span: &Span) -> String {
    format!("no growth in {}; {}", seconds(span.now - span.first), outstanding(evidence))
}

pub(super) fn churn(evidence: &Evidence, span: &Span) -> String {
    let freed = format!("{}{}", mark(evidence), blocks(span.freed as f64));
    let life = lifetime(evidence.lifetimes).map(|words| format!(", {words}")).unwrap_or_default();
    format!("{freed} freed in the last two minutes and as many allocated{life}; {}", outstanding(evidence))
}

pub(super) fn all_freed(evidence: &Evidence) -> String {
    format!("all of its {}{} have been freed", mark(evidence), blocks(counters(evidence).alloc_objects as f64))
}

pub(super) fn held(evidence: &Evidence, span: &Span) -> String {
    let Span { now, first, last, .. } = *span;
    let took = if last - first < 1.0 { "at once".to_owned() } else { format!("within {}", seconds(last - first)) };
    format!("allocated {took}, {} ago, and nothing since; {}", seconds(now - last), outstanding(evidence))
}

/// What was found before blocks began to be followed anew.
pub(super) fn of_before(reason: &str, since: Duration) -> String {
    format!("before {}, since when blocks are followed anew: {reason}", duration(since))
}

pub(super) fn pre_existing(open: u64) -> String {
    format!("{} open since before the attach; who opened them is not known", counted(open, "descriptor", "descriptors"))
}
