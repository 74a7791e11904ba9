//! Blocks that are not freed and become more and more.

use super::{
    Evidence, Rate, START_UP,
    births::{Steadiness, Survivors},
};
use crate::analyze::{
    Estimate,
    history::SitePoint,
    survival::{AGE_BUCKETS, Weighs, bucket_ages},
    trend::{Point, slope_in_steps, trend},
};
use std::time::Duration;

/// Seconds for which a site must be watched, and its process, before it can be called leaking.
pub(super) const LEAST_WATCH: f64 = 55.0;
/// Seconds over which survivors must have been added.
const LEAST_WINDOW: f64 = 45.0;
/// In a long watch, growth must have lasted for this share of it: what has been quiet for hours may grow for minutes.
const LEAST_SHARE: f64 = 0.1;
/// But this many seconds are always enough.
const ENOUGH: f64 = 600.0;
/// A window with this share of the site's age has all but how it began.
const MOST_OF_IT: f64 = 0.74;
/// The rate before a shorter window, after the start, may be this many times its rate.
const NO_MORE: f64 = 1.15;
/// The share of the window's length that is just before it.
const JUST_BEFORE: f64 = 1.0 / 6.0;
/// Seconds over which growth shows.
const LEAST_GROWTH: f64 = 10.0;
/// Survivors have this share of the window at most to prove that they are none of those that are freed.
const PROOF: f64 = 0.3;
/// Of the blocks that reach the age of survivors, this share may be freed.
const MORTAL: f64 = 0.02;
/// Fewer survivors are none.
const LEAST_SURVIVORS: f64 = 3.0;
/// Seconds (or stretches of them) in which survivors must have been born.
const LEAST_STEPS: usize = 5;
/// Growth is explained by frees of unknown blocks, or lost ones, when there are half as many.
pub(super) const EXPLAINED: f64 = 0.5;
/// Growth of what is outstanding is real when resident memory grows at half of its rate.
pub(super) const CONFIRMED: f64 = 0.5;

/// Survivors, and how they became so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accumulation {
    /// Ages of them in seconds: those that were born in the window and have outlived what is freed.
    pub(super) young: f64,
    pub(super) window: f64,
    pub(super) steadiness: Steadiness,
    /// What one of its blocks stands for: what is told is of all, what is concluded goes by those that were seen.
    weighs: Weighs,
    /// Blocks that died before the age of survivors.
    pub(super) died_young: u64,
    /// The watch was long enough.
    long: bool,
    /// There were no more births before the window: what declines slowly looks steady in a short one.
    new: bool,
}

impl Accumulation {
    /// How fast they become more. Costs as much as all else that is found out about a site.
    pub(super) fn rate(&self, evidence: &Evidence) -> Option<Rate> {
        if frees(evidence) == 0 {
            return of_points(fine_enough(evidence, self.window), self.window);
        }
        let (objects, bytes) = Survivors::of_ages(&evidence.lifetimes?.live).rates(self.young, self.window);
        Some(Rate { bytes: bytes.scaled(self.weighs.bytes), objects: objects.scaled(self.weighs.objects) })
    }

    /// Blocks that became more.
    pub(super) fn objects(&self) -> f64 {
        self.steadiness.objects * self.weighs.objects
    }

    /// Blocks that died before the age of survivors, all of them.
    pub(super) fn all_died_young(&self) -> f64 {
        self.died_young as f64 * self.weighs.objects
    }

    /// Whether this is what leaks do.
    pub(super) fn is_leak(&self) -> bool {
        self.long && self.new && self.steadiness.is_steady() && self.steadiness.steps >= LEAST_STEPS
    }

    /// Whether more and more survive, perhaps ever more slowly.
    pub(super) fn goes_on(&self) -> bool {
        let Steadiness { everywhere, going_on, steps, .. } = self.steadiness;
        everywhere && going_on && steps >= LEAST_STEPS && self.new && self.steadiness.matters()
    }

    /// How sure it is that this is a leak. Where others of the site's blocks are freed young, survivors are exceptions;
    /// otherwise something may be filling at a steady rate, which becomes less likely the longer it takes, and when the
    /// program has been running for long.
    pub(super) fn confidence(&self, ran_before: Option<Duration>) -> f64 {
        let filling = if self.died_young as f64 >= self.steadiness.objects { 0.1 } else { 0.35 };
        let filling = filling * (LEAST_WATCH / self.window).min(1.0).sqrt();
        let settled = ran_before.is_some_and(|before| before.as_secs_f64() >= 10.0 * self.window);
        let filling = if settled { filling / 2.0 } else { filling };
        let few = 0.5f64.powf(self.steadiness.steps as f64 / 2.0);
        ((1.0 - filling) * (1.0 - few)).clamp(0.05, 0.99)
    }
}

/// The survivors of the longest window in which they are what a leak leaves; else of the longest in which there are any.
pub(super) fn find(evidence: &Evidence, first: f64) -> Option<Accumulation> {
    let now = evidence.recent.last()?.at.as_secs_f64();
    let age = now - first;
    let least = (LEAST_SHARE * now).clamp(LEAST_WINDOW, ENOUGH);
    let mut any = None;
    for window in windows(age) {
        let Some(mut found) = within(evidence, window, age) else { continue };
        found.long = now >= LEAST_WATCH && window >= least;
        if found.is_leak() {
            return Some(found);
        }
        // Of what is none, that which goes on.
        let better = any.as_ref().is_none_or(|any: &Accumulation| found.goes_on() && !any.goes_on());
        if better {
            any = Some(found);
        }
    }
    any
}

/// Seconds of windows that end now: all of the site's age, a little less (it may have begun with a burst), and halves.
fn windows(age: f64) -> impl Iterator<Item = f64> {
    let halves = std::iter::successors(Some(age), |window| Some(window / 2.0));
    let long = |window: &f64| *window >= LEAST_GROWTH;
    halves.take_while(long).flat_map(|window| [window, window * 0.87, window * 0.75]).filter(long)
}

fn frees(evidence: &Evidence) -> u64 {
    evidence.recent.last().map_or(0, |newest| newest.counters.free_objects)
}

fn within(evidence: &Evidence, window: f64, age: f64) -> Option<Accumulation> {
    if frees(evidence) == 0 {
        let survivors = Survivors::of_points(fine_enough(evidence, window));
        let steadiness = survivors.steadiness(0.0, window)?;
        let new = is_new(&Survivors::of_points(evidence.whole), 0.0, window, age);
        // Of the counters, which are estimates already.
        let weighs = Weighs::default();
        return Some(Accumulation { young: 0.0, window, steadiness, weighs, died_young: 0, long: false, new });
    }
    let lifetimes = evidence.lifetimes?;
    let survivors = Survivors::of_ages(&lifetimes.live);
    let (young, died_old) = (0..AGE_BUCKETS)
        .map(|bucket| (bucket_ages(bucket).start.as_secs_f64(), lifetimes.freed_from(bucket)))
        .take_while(|(young, _)| *young <= PROOF * window)
        .find(|(young, died)| {
            let alive = survivors.older(*young);
            alive >= LEAST_SURVIVORS && *died as f64 <= MORTAL * (alive + *died as f64)
        })?;
    let steadiness = survivors.steadiness(young, window)?;
    let died_young = lifetimes.freed_from(0) - died_old;
    let new = is_new(&survivors, young, window, age);
    let weighs = lifetimes.weighs;
    Some(Accumulation { young, window, steadiness, weighs, died_young, long: false, new })
}

/// Whether there were no more births before the window than in it, but for the start; and in any case not just before it: a
/// rate that declines does so at its beginning as well.
fn is_new(survivors: &Survivors, young: f64, window: f64, age: f64) -> bool {
    let most = NO_MORE * survivors.rate(young, window);
    let (just, start) = (age.min(window * (1.0 + JUST_BEFORE)), age - START_UP);
    let just_before = survivors.rate(window, just) * (just - window);
    // One block more is none.
    let no_more_just_before = just <= window || just_before <= most * (just - window) + 1.0;
    let mostly = window >= MOST_OF_IT * age || window >= start;
    no_more_just_before && (mostly || survivors.rate(window, start) <= most)
}

/// The points that reach over the window, as fine as there are.
fn fine_enough<'a>(evidence: &Evidence<'a>, window: f64) -> &'a [SitePoint] {
    let reaches = |points: &[SitePoint]| {
        points.first().zip(points.last()).is_some_and(|(first, last)| (last.at - first.at).as_secs_f64() >= window)
    };
    if reaches(evidence.recent) || !reaches(evidence.whole) { evidence.recent } else { evidence.whole }
}

/// The slopes of what is outstanding over the window.
fn of_points(points: &[SitePoint], window: f64) -> Option<Rate> {
    let now = points.last()?.at;
    let inside: Vec<&SitePoint> =
        points.iter().filter(|point| (now - point.at).as_secs_f64() <= window + 0.5).collect();
    let slope = |value: fn(&SitePoint) -> u64| -> Option<Estimate> {
        let series: Vec<Point> =
            inside.iter().map(|point| Point { at: point.at.as_secs_f64(), value: value(point) as f64 }).collect();
        Some(slope_in_steps(&series, trend(&series, 0.95)?.slope))
    };
    Some(Rate {
        bytes: slope(|point| point.counters.inuse_bytes())?,
        objects: slope(|point| point.counters.inuse_objects())?,
    })
}
