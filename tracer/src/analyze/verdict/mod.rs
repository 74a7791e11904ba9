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
mod level;
mod words;

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
mod verdicts;

use std::time::Duration;

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
    /// Growth of resident memory, bytes per second.
    pub resident: Option<Estimate>,
    /// Growth of all outstanding bytes per second.
    pub outstanding: Option<Estimate>,
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

/// What the points of a site say by themselves.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// Seconds since the attach of the newest point, the first block and the last one.
    now: f64,
    first: f64,
    last: f64,
    bytes: Level,
    objects: Level,
    /// Blocks freed in the recent points.
    freed: u64,
}

/// Judges a site. `None` when it is too young, or never had a block.
pub fn judge(evidence: &Evidence) -> Option<Judgement> {
    let newest = evidence.recent.last()?;
    let course = course(evidence)?;
    let age = course.now - course.first;
    if age < LEAST_AGE {
        return None;
    }
    let accumulation = accumulation::find(evidence, course.first);
    if let Some(found) = accumulation.as_ref().filter(|found| found.is_leak()) {
        return Some(leak(evidence, found));
    }
    let silent = course.now - course.last;
    let (label, confidence, reason) = if newest.counters.inuse_objects() == 0 {
        (Label::Churn, 0.9, words::all_freed(newest))
    } else if silent >= SILENCE && course.freed == 0 && course.last - course.first < START {
        let held = words::held(newest, course.first, course.last, course.now);
        let early =
            course.last <= START_UP && evidence.context.ran_before.is_none_or(|before| before.as_secs_f64() < 60.0);
        (if early { Label::StartUp } else { Label::Steady }, 1.0 - START / (age + START), held)
    } else if let Some(growth) = growth(&course, accumulation.as_ref()) {
        let reason = words::growing(newest, &growth, accumulation.as_ref(), &course);
        return Some(Judgement { label: Label::Growing, confidence: 0.7, reason, rate: Some(growth) });
    } else if course.bytes.reached.max(course.objects.reached) - course.first > START {
        let reason = words::bounded(newest, &course);
        (Label::Bounded, 1.0 - 20.0 / (course.now - course.bytes.reached + 40.0), reason)
    } else if course.freed as f64 >= CHURN * course.objects.level.max(1.0) {
        (Label::Churn, 1.0 - START / (age + START), words::churn(newest, &course, evidence.lifetimes))
    } else {
        (Label::Steady, 1.0 - START / (age + START), words::steady(newest, &course))
    };
    Some(Judgement { label, confidence: confidence.clamp(0.05, 0.99), reason, rate: None })
}

/// Calls it leaking, unless there is another explanation.
fn leak(evidence: &Evidence, found: &Accumulation) -> Judgement {
    let Context { ran_before, unknown_frees_per_s, lost_per_s, resident, outstanding } = *evidence.context;
    let rate = found.rate;
    let newest = evidence.recent.last().expect("it was judged");
    // Resident memory grows by what is outstanding: it is not merely replaced.
    let confirmed = resident.zip(outstanding).is_some_and(|(resident, outstanding)| {
        outstanding.is_positive() && resident.low >= accumulation::CONFIRMED * outstanding.value
    });
    let explained = [(unknown_frees_per_s, words::Doubt::Replaced), (lost_per_s, words::Doubt::Lost)];
    let doubt = explained.into_iter().find(|(per_s, _)| *per_s >= accumulation::EXPLAINED * rate.objects.value);
    if let Some((per_s, doubt)) = doubt.filter(|_| !confirmed) {
        let reason = words::doubted(newest, found, doubt, per_s);
        return Judgement { label: Label::Growing, confidence: 0.6, reason, rate: Some(rate) };
    }
    Judgement {
        label: Label::Leaking,
        confidence: found.confidence(ran_before),
        reason: words::leaking(newest, found, evidence.lifetimes),
        rate: Some(rate),
    }
}

fn course(evidence: &Evidence) -> Option<Course> {
    let seconds = |point: &SitePoint| point.at.as_secs_f64();
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
    let begin = evidence.recent.iter().position(|point| seconds(point) >= first).unwrap_or(0);
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
    let freed = |points: &[SitePoint]| {
        points.first().zip(points.last()).map_or(0, |(a, b)| b.counters.free_objects - a.counters.free_objects)
    };
    Some(Course {
        now,
        first,
        last,
        bytes: series(|point| point.counters.inuse_bytes()),
        objects: series(|point| point.counters.inuse_objects()),
        freed: freed(evidence.recent),
    })
}

/// How fast it grows, if it does.
fn growth(course: &Course, accumulation: Option<&Accumulation>) -> Option<Rate> {
    if let Some(found) = accumulation.filter(|found| found.goes_on()) {
        return Some(found.rate);
    }
    let slope = |level: &Level| level.trend.map_or(Estimate::exact(0.0), |trend: trend::Trend| trend.slope);
    (course.bytes.rises || course.objects.rises)
        .then(|| Rate { bytes: slope(&course.bytes), objects: slope(&course.objects) })
}
