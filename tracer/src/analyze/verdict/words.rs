//! Why a site is called what it is: a sentence with figures.

use std::time::Duration;

use super::{Course, Rate, Span, accumulation::Accumulation};
use crate::{
    analyze::{
        history::SitePoint,
        survival::{Lifetimes, Median},
    },
    report::units::{bytes, counted, duration, signed_bytes},
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

fn outstanding(point: &SitePoint) -> String {
    let counters = &point.counters;
    // Descriptors have no bytes.
    match counters.inuse_bytes() {
        0 => format!("{} outstanding", counted(counters.inuse_objects(), "item", "items")),
        size => format!("{} in {}", bytes(size), blocks(counters.inuse_objects() as f64)),
    }
}

fn per_hour(rate: &Rate) -> String {
    if rate.bytes.value == 0.0 {
        return format!("{:+.0} an hour", rate.objects.value * 3_600.0);
    }
    format!("{} an hour", signed_bytes(rate.bytes.value * 3_600.0))
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

pub(super) fn leaking(newest: &SitePoint, found: &Accumulation, rate: &Rate, lifetimes: Option<&Lifetimes>) -> String {
    let (count, window) = (blocks(found.steadiness.objects), seconds(found.window));
    let now = outstanding(newest);
    let growth = per_hour(rate);
    if found.died_young == 0 {
        return format!(
            "none of its blocks is freed: {count} more in the last {window}, at a steady rate ({growth}); {now}"
        );
    }
    let others =
        lifetime(lifetimes).unwrap_or_else(|| format!("{} were freed earlier", blocks(found.died_young as f64)));
    format!(
        "blocks that reach an age of {} are not freed any more: {count} of the last {window} are still there, added at a steady \
         rate ({growth}), while {others}; {now}",
        seconds(found.young)
    )
}

pub(super) fn doubted(newest: &SitePoint, found: &Accumulation, doubt: Doubt, per_s: f64) -> String {
    let grown = format!("{} more in the last {}", blocks(found.steadiness.objects), seconds(found.window));
    let instead = match doubt {
        Doubt::Replaced => "blocks from before the attach are freed, which these may replace",
        Doubt::Lost => "calls could not be counted, and frees may be among them",
    };
    format!("{grown}, but {per_s:.1} times a second {instead}; {}", outstanding(newest))
}

pub(super) fn uncollected(newest: &SitePoint, found: &Accumulation) -> String {
    let grown = format!("{} more in the last {}", blocks(found.steadiness.objects), seconds(found.window));
    format!(
        "{grown}, but the garbage collector has freed nothing old since: they may be garbage; {}",
        outstanding(newest)
    )
}

pub(super) fn growing(newest: &SitePoint, rate: &Rate, found: Option<&Accumulation>, course: &Course) -> String {
    let growth = per_hour(rate);
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
    format!("more and more is outstanding ({growth}{why}), watched for {watched}; {}", outstanding(newest))
}

pub(super) fn bounded(newest: &SitePoint, course: &Course) -> String {
    let (Span { now, first, .. }, reached) = (course.span, course.reached());
    let (grew, since) = (seconds(reached - first), seconds(now - reached));
    format!("it grew for {grew} and has not grown in the {since} since; {}", outstanding(newest))
}

pub(super) fn steady(newest: &SitePoint, span: &Span) -> String {
    format!("no growth in {}; {}", seconds(span.now - span.first), outstanding(newest))
}

pub(super) fn churn(newest: &SitePoint, span: &Span, lifetimes: Option<&Lifetimes>) -> String {
    let freed = blocks(span.freed as f64);
    let life = lifetime(lifetimes).map(|words| format!(", {words}")).unwrap_or_default();
    format!("{freed} freed in the last two minutes and as many allocated{life}; {}", outstanding(newest))
}

pub(super) fn all_freed(newest: &SitePoint) -> String {
    format!("all of its {} have been freed", blocks(newest.counters.alloc_objects as f64))
}

pub(super) fn held(newest: &SitePoint, span: &Span) -> String {
    let Span { now, first, last, .. } = *span;
    let took = if last - first < 1.0 { "at once".to_owned() } else { format!("within {}", seconds(last - first)) };
    format!("allocated {took}, {} ago, and nothing since; {}", seconds(now - last), outstanding(newest))
}

pub(super) fn pre_existing(open: u64) -> String {
    format!("{} open since before the attach; who opened them is not known", counted(open, "descriptor", "descriptors"))
}
