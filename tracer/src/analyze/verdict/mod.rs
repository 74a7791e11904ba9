//! What a site is doing, in one word, with the reason.
//!
//! In: the points of a site ([`super::history`]), its lifetimes ([`super::survival`]) and what is known of the whole process
//! ([`Context`]). Out: a [`Judgement`]; and with [`Verdicts`], which remembers, a [`Verdict`] that does not flap.
//!
//! # What is called leaking
//! Only what a watch can know: blocks that outlive all that are freed have been added at a steady rate, in every part of the
//! window, until now ([`accumulation`]). Where the rate declines it may be filling up, and is called growing. What fills at a
//! steady rate and stops suddenly (a cache of unique keys below its limit) cannot be told from a leak until it stops or
//! evicts; so no site is leaking before it has been watched for [`accumulation::LEAST_WATCH`] seconds, and the confidence
//! says what is left of that doubt. A cache without limit and eviction is a leak by behaviour: as long as its keys keep
//! coming it is called leaking, and growing once they repeat.

mod accumulation;
mod births;
mod faulted;
mod level;
mod words;

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
mod verdicts;

use std::time::Duration;

pub use faulted::{FaultCourse, FaultEvidence, judge_faulted, of_mappings_alone};
pub use verdicts::{Verdict, Verdicts};

use self::{accumulation::Accumulation, level::Level};
use super::{
    Estimate,
    history::SitePoint,
    survival::Lifetimes,
    trend::{self, Point},
};

/// A site is not judged before it is this old.
const LEAST_AGE: f64 = 8.0;
/// What a site reaches within this time of its first block, it had from the beginning.
const START: f64 = 10.0;
/// A program starts up for this long.
const START_UP: f64 = 15.0;
/// A site that has not allocated for this long has stopped.
const SILENCE: f64 = 10.0;
/// Blocks that were not young, freed in a process with a garbage collector, before it is taken to have come by.
const COLLECTED: u64 = 20;
/// Blocks freed in the last two minutes for each outstanding one, of a site that churns.
const CHURN: f64 = 3.0;

/// What a site is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// Blocks that are not freed are added all the time.
    Leaking,
    /// More and more is outstanding; it may be warming up.
    Growing,
    /// It grew and has reached a plateau: a cache or a pool.
    Bounded,
    /// About as much is outstanding all the time.
    Steady,
    /// So it is, and what is outstanding is replaced all the time.
    Churn,
    /// It allocated while the program started, and keeps that.
    StartUp,
    /// It is from before the attach (descriptors).
    PreExisting,
}

impl Label {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaking => "leaking",
            Self::Growing => "growing",
            Self::Bounded => "bounded",
            Self::Steady => "steady",
            Self::Churn => "churn",
            Self::StartUp => "start-up",
            Self::PreExisting => "pre-existing",
        }
    }
}

/// What the process as a whole says about each of its sites.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Context {
    /// How long it had been running at the attach; `None` when that is not known.
    pub ran_before: Option<Duration>,
    /// Frees of unknown blocks per second over the last minute. They are of blocks from before the attach, which sites now
    /// replace: that looks like growth, and is none.
    pub unknown_frees_per_s: f64,
    /// Calls that are in no counter (loss of any cause), per second over the last minute. A free among them leaves its
    /// block outstanding for ever.
    pub lost_per_s: f64,
    /// Of a process whose garbage is collected: how many blocks that were not young have been freed. Before there are any,
    /// what survives may be garbage.
    pub collected: Option<u64>,
    /// Growth of resident memory, bytes per second.
    pub resident: Option<Estimate>,
    /// Growth of all outstanding bytes per second.
    pub outstanding: Option<Estimate>,
    /// Where what is known of the site is estimated from a part of its blocks: how far off what is outstanding may be, as a
    /// share of it.
    pub sampled: Option<f64>,
}

/// What is known of a site.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its last two minutes, a point each interval: `History::site(id, 2 min)`.
    pub recent: &'a [SitePoint],
    /// All since the attach: `History::site(id, elapsed)`.
    pub whole: &'a [SitePoint],
    /// Ages of its blocks; `None` before the first look. Without them, a site that frees anything is not called leaking.
    pub lifetimes: Option<&'a Lifetimes>,
    /// Of its process.
    pub context: &'a Context,
}

/// How fast a site grows, with 95 % intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Bytes per second.
    pub bytes: Estimate,
    /// Blocks per second.
    pub objects: Estimate,
}

impl Rate {
    fn widened(self, share: f64) -> Self {
        Self { bytes: self.bytes.widened(share), objects: self.objects.widened(share) }
    }
}

/// What a site is doing, as of now.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// In one word.
    pub label: Label,
    /// How sure that is, from 0 to 1. A judgement, not a probability.
    pub confidence: f64,
    /// Why, in a sentence with figures.
    pub reason: String,
    /// How fast it grows, if it is leaking or growing.
    pub rate: Option<Rate>,
}

impl Judgement {
    /// The judgement of descriptors from before the attach.
    pub fn pre_existing(open: u64) -> Self {
        let reason = words::pre_existing(open);
        Self { label: Label::PreExisting, confidence: 1.0, reason, rate: None }
    }
}

/// When a site had its blocks.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Seconds since the attach of the newest point, the first block and the last one.
    now: f64,
    first: f64,
    last: f64,
    /// Blocks freed in the recent points.
    freed: u64,
}

/// What the points of a site say by themselves.
#[derive(Clone, Copy, Debug)]
struct Course {
    span: Span,
    bytes: Level,
    objects: Level,
}

/// Judges a site. `None` when it is too young, or never had a block.
pub fn judge(evidence: &Evidence) -> Option<Judgement> {
    let newest = evidence.recent.last()?;
    let span = span(evidence)?;
    let age = span.now - span.first;
    if age < LEAST_AGE {
        return None;
    }
    let as_old = 1.0 - START / (age + START);
    let judged = |label, confidence: f64, reason| {
        Some(Judgement { label, confidence: confidence.clamp(0.05, 0.99), reason, rate: None })
    };
    // Most sites of a large program are of these kinds, which cost nothing to see.
    if newest.counters.inuse_objects() == 0 {
        return judged(Label::Churn, 0.9, words::all_freed(evidence));
    }
    if span.now - span.last >= SILENCE && span.freed == 0 && span.last - span.first < START {
        let early =
            span.last <= START_UP && evidence.context.ran_before.is_none_or(|before| before.as_secs_f64() < 60.0);
        return judged(if early { Label::StartUp } else { Label::Steady }, as_old, words::held(evidence, &span));
    }

    let accumulation = accumulation::find(evidence, span.first);
    let found = accumulation.as_ref().filter(|found| found.goes_on());
    let widened = |rate: Rate| rate.widened(evidence.context.sampled.unwrap_or(0.0));
    let rate = found.and_then(|found| found.rate(evidence)).map(widened);
    if let Some((found, rate)) = found.zip(rate).filter(|(found, _)| found.is_leak()) {
        return Some(leak(evidence, found, rate));
    }
    let course = course(evidence, span);
    if let Some(growth) = rate.or_else(|| course.growth().map(widened)) {
        let reason = words::growing(evidence, &growth, accumulation.as_ref(), &course);
        return Some(Judgement { label: Label::Growing, confidence: 0.7, reason, rate: Some(growth) });
    }
    let reached = course.reached();
    if reached - span.first > START {
        judged(Label::Bounded, 1.0 - 20.0 / (span.now - reached + 40.0), words::bounded(evidence, &course))
    } else if span.freed as f64 >= CHURN * course.objects.level.max(1.0) {
        judged(Label::Churn, as_old, words::churn(evidence, &span))
    } else {
        judged(Label::Steady, as_old, words::steady(evidence, &span))
    }
}

/// Calls it leaking, unless there is another explanation.
fn leak(evidence: &Evidence, found: &Accumulation, rate: Rate) -> Judgement {
    let Context { ran_before, unknown_frees_per_s, lost_per_s, collected, resident, outstanding, .. } =
        *evidence.context;
    if collected.is_some_and(|blocks| blocks < COLLECTED) {
        let reason = words::uncollected(evidence, found);
        return Judgement { label: Label::Growing, confidence: 0.5, reason, rate: Some(rate) };
    }
    // Resident memory grows by what is outstanding: it is not merely replaced.
    let confirmed = resident.zip(outstanding).is_some_and(|(resident, outstanding)| {
        outstanding.is_positive() && resident.low >= accumulation::CONFIRMED * outstanding.value
    });
    // Lost calls are counted as they are, whatever the blocks that are tracked stand for.
    let weighs = evidence.lifetimes.map_or(1.0, |lifetimes| lifetimes.weighs.objects);
    let explained =
        [(unknown_frees_per_s, 1.0, words::Doubt::Replaced), (lost_per_s, weighs, words::Doubt::Lost)].into_iter();
    let explains =
        |(per_s, stands_for, _): &(f64, f64, _)| *per_s * stands_for >= accumulation::EXPLAINED * rate.objects.value;
    let doubt = explained.clone().find(explains).map(|(per_s, stands_for, doubt)| (per_s * stands_for, doubt));
    if let Some((per_s, doubt)) = doubt.filter(|_| !confirmed) {
        let reason = words::doubted(evidence, found, doubt, per_s);
        return Judgement { label: Label::Growing, confidence: 0.6, reason, rate: Some(rate) };
    }
    Judgement {
        label: Label::Leaking,
        confidence: found.confidence(ran_before),
        reason: words::leaking(evidence, found, &rate),
        rate: Some(rate),
    }
}

fn seconds(point: &SitePoint) -> f64 {
    point.at.as_secs_f64()
}

fn span(evidence: &Evidence) -> Option<Span> {
    let now = seconds(evidence.recent.last()?);
    // What is in the fine points is known to the second; what is before them, to a window. Each change is taken to have come
    // at the point before, which is not too late.
    let changes = |points: &[SitePoint]| -> Option<(f64, f64)> {
        let begun = points.first().filter(|point| point.counters.alloc_objects > 0);
        let rises = points.windows(2).filter(|pair| pair[1].counters.alloc_objects > pair[0].counters.alloc_objects);
        let mut all = begun.map(|_| 0.0).into_iter().chain(rises.map(|pair| seconds(&pair[0])));
        let first = all.next()?;
        Some((first, all.last().unwrap_or(first)))
    };
    let whole = changes(evidence.whole)?;
    let (first, last) = match changes(evidence.recent) {
        // All of its life is in the fine points, or they begin after it did.
        Some(fine) if fine.0 > 0.0 || evidence.recent[0].at <= evidence.whole[0].at => fine,
        Some(fine) => (whole.0, if fine.1 > 0.0 { fine.1 } else { whole.1 }),
        None => whole,
    };
    let freed = evidence.recent.first().zip(evidence.recent.last());
    let freed = freed.map_or(0, |(a, b)| b.counters.free_objects - a.counters.free_objects);
    Some(Span { now, first, last, freed })
}

fn course(evidence: &Evidence, span: Span) -> Course {
    let begin = evidence.recent.iter().position(|point| seconds(point) >= span.first).unwrap_or(0);
    let recent = &evidence.recent[begin..];
    // The last minute is enough to see what it does now; before that, what it had done.
    let minute = &recent[recent.len().saturating_sub(accumulation::LEAST_WATCH as usize + 5)..];
    let series = |value: fn(&SitePoint) -> u64| {
        let points = |points: &[SitePoint]| -> Vec<Point> {
            points.iter().map(|point| Point { at: seconds(point), value: value(point) as f64 }).collect()
        };
        let (short, long) = (level::level(&points(minute)), level::level(&points(evidence.whole)));
        // A slow rise shows over the whole time only.
        Level {
            rises: short.rises || long.rises,
            reached: long.reached,
            trend: short.trend.filter(|_| short.rises || !long.rises).or(long.trend),
            ..short
        }
    };
    let bytes = series(|point| point.counters.inuse_bytes());
    let objects = match block_size(minute).filter(|size| block_size(evidence.whole) == Some(*size)) {
        Some(size) => bytes.scaled(1.0 / size as f64),
        None => series(|point| point.counters.inuse_objects()),
    };
    Course { span, bytes, objects }
}

/// The size of a site's blocks, when all have the same.
fn block_size(points: &[SitePoint]) -> Option<u64> {
    let newest = points.last()?.counters;
    let size = newest.inuse_bytes().checked_div(newest.inuse_objects()).filter(|size| *size > 0)?;
    let same =
        |point: &SitePoint| point.counters.inuse_objects().checked_mul(size) == Some(point.counters.inuse_bytes());
    points.iter().all(same).then_some(size)
}

impl Course {
    /// Seconds since the attach after which it was about what it is.
    fn reached(&self) -> f64 {
        self.bytes.reached.max(self.objects.reached)
    }

    /// How fast it grows, if it does.
    fn growth(&self) -> Option<Rate> {
        let slope = |level: &Level| level.trend.map_or(Estimate::exact(0.0), |trend: trend::Trend| trend.slope);
        (self.bytes.rises || self.objects.rises)
            .then(|| Rate { bytes: slope(&self.bytes), objects: slope(&self.objects) })
    }
}
