//! When the blocks were born that stayed: evenly all the time, less and less often, or only in the beginning.
//!
//! A leak adds survivors at a steady rate. What fills (a cache, a pool, tables) adds them ever more slowly, or stops. So
//! the births of survivors are taken for a point process whose rate is tested for a decline.

use crate::analyze::{Estimate, history::SitePoint, survival::LiveAges};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Stretches of equal length whose rates are compared.
const SLOTS: usize = 12;
/// Up to this many bursts, the pauses between them say more than the rates of slots.
const BURSTS: usize = 2 * SLOTS;
/// Stretches without births between two bursts, on average: of what comes about once a stretch, some stretches have none by
/// chance, and what is between those are no bursts.
const APART: f64 = 1.5;
/// Parts of the window that must all have births.
const QUARTERS: usize = 4;
/// A rate that declines by less than this over the window (a seventh) is as steady as load ever is.
const STEADY: f64 = 0.15;
/// Deviations of the decline by which a steady rate may seem to decline: 1 % do by more.
const CHANCE: f64 = 2.33;
/// The decline of what levels off: a cache that has seen two thirds of its keys.
const LEVELS_OFF: f64 = 1.0;
/// Deviations by which the decline must be below that: one in a thousand that level off seem not to.
const SURE: f64 = 3.0;
/// What levels off has done so when the last quarter adds less than this share.
const LATEST: f64 = 0.05;
/// Bursts of one size or another hide a decline of their sizes up to this.
const SIZES: f64 = 0.6;
/// A pause in births up to this many times the longest one before is no end of them.
const PAUSE: f64 = 1.5;
/// Nor is one of this many seconds: a reading or two may be late.
const LATE: f64 = 2.0;

/// Survivors born in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Births {
    /// Seconds before now, the later end first.
    to: f64,
    from: f64,
    objects: f64,
    bytes: f64,
}

/// Births of all survivors, the latest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Survivors(Vec<Births>);

/// What births over a window look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steadiness {
    /// Blocks.
    pub(super) objects: f64,
    /// Stretches of a second or so with births.
    pub(super) steps: usize,
    /// Every quarter has births.
    pub(super) everywhere: bool,
    /// The share of all survivors, from before the window too, that were born in the last quarter.
    pub(super) latest: f64,
    /// They have not ended.
    pub(super) going_on: bool,
    /// By how much their rate declines over the window, as a power of e; negative when it rises.
    pub(super) decline: f64,
    /// Its standard error.
    pub(super) error: f64,
    /// The same of the blocks, where the others are of bursts.
    sizes: Option<f64>,
}

impl Steadiness {
    /// Whether the births go on at a steady or rising rate: their decline is within chance, and not that of something that
    /// levels off.
    pub(super) fn is_steady(&self) -> bool {
        let most = (CHANCE * self.error).max(STEADY).min(LEVELS_OFF - SURE * self.error);
        self.everywhere && self.going_on && self.decline <= most && self.sizes.is_none_or(|decline| decline <= SIZES)
    }

    /// Whether what levels off has not yet: the last quarter's births are a fair share of all.
    pub(super) fn matters(&self) -> bool {
        !self.declines() || self.latest >= LATEST
    }

    /// Whether their rate declines, beyond chance; or as much as what levels off, which makes any dispersion look large.
    pub(super) fn declines(&self) -> bool {
        let levels_off = self.sizes.is_some_and(|decline| decline > LEVELS_OFF);
        levels_off || self.decline > (CHANCE * self.error).clamp(STEADY, LEVELS_OFF)
    }
}

impl Survivors {
    /// Of a site that frees nothing: each point's rise is born since the point before.
    pub(super) fn of_points(points: &[SitePoint]) -> Self {
        let Some(now) = points.last().map(|point| point.at) else { return Self::default() };
        let age = |point: &SitePoint| (now - point.at).as_secs_f64();
        let births = points.windows(2).rev().filter_map(|pair| {
            let (before, after) = (&pair[0].counters, &pair[1].counters);
            let objects = after.alloc_objects.saturating_sub(before.alloc_objects) as f64;
            let bytes = after.alloc_bytes.saturating_sub(before.alloc_bytes) as f64;
            (objects > 0.0).then(|| Births { to: age(&pair[1]), from: age(&pair[0]), objects, bytes })
        });
        Self(births.collect())
    }

    /// Of a look at the outstanding blocks.
    pub(super) fn of_ages(live: &LiveAges) -> Self {
        let births = live.cohorts().map(|cohort| Births {
            to: cohort.from.as_secs_f64(),
            from: cohort.to.as_secs_f64(),
            objects: cohort.objects as f64,
            bytes: cohort.bytes as f64,
        });
        Self(births.collect())
    }

    /// Objects and bytes born between two ages; of a stretch that is partly so, its part.
    fn between(&self, to: f64, from: f64) -> (f64, f64) {
        self.0.iter().fold((0.0, 0.0), |(objects, bytes), births| {
            let part = (births.from.min(from) - births.to.max(to)) / (births.from - births.to);
            if part > 0.0 { (objects + births.objects * part, bytes + births.bytes * part) } else { (objects, bytes) }
        })
    }

    /// Survivors of at least this age.
    pub(super) fn older(&self, age: f64) -> f64 {
        self.between(age, f64::MAX).0
    }

    /// Births per second between two ages.
    pub(super) fn rate(&self, young: f64, old: f64) -> f64 {
        self.between(young, old).0 / (old - young)
    }

    /// Judges the births of those aged between `young` and `old` seconds. `None` without any two of them.
    pub(super) fn steadiness(&self, young: f64, old: f64) -> Option<Steadiness> {
        // Whole stretches only, by their middles.
        let middle = |births: &Births| f64::midpoint(births.to, births.from);
        let inside: Vec<&Births> = self.0.iter().filter(|births| (young..=old).contains(&middle(births))).collect();
        let (last, first) = (inside.first()?, inside.last()?);
        let objects: f64 = inside.iter().map(|births| births.objects).sum();
        // Where in their stretches the first one and the last one were, when all in it are evenly apart.
        let begin = first.from - (first.from - first.to) / (first.objects + 1.0);
        let end = last.to + (last.from - last.to) / (last.objects + 1.0);
        if inside.len() < 2 || begin <= end {
            return None;
        }

        let quarter = (old - young) / QUARTERS as f64;
        let born = |part: usize| self.between(young + quarter * part as f64, young + quarter * (part + 1) as f64).0;
        let latest = born(0) / self.older(young).max(1.0);
        // The part of one block in a stretch may be small.
        let everywhere = (0..QUARTERS).all(|part| born(part) > 0.05);
        let pauses = inside.windows(2).map(|pair| middle(pair[1]) - middle(pair[0]));
        let longest = pauses.fold(0.0, f64::max);
        let going_on = last.to - young <= longest * PAUSE + LATE;

        let ages: f64 = inside.iter().map(|births| births.objects * middle(births)).sum();
        let decline = decline(objects, ages, begin, end);
        let steps = inside.len();
        if let Some(bursts) = bursts(&inside) {
            // As many events, at their middles; of a renewal process, the pauses' variation takes the place of
            // the dispersion (Cox & Lewis 1966, section 4.2).
            let (begin, end) = (bursts[bursts.len() - 1], bursts[0]);
            let sizes = Some(decline);
            let decline = self::decline(bursts.len() as f64, bursts.iter().sum(), begin, end);
            let error = (12.0 * variation(&bursts) / (bursts.len() - 2) as f64).sqrt();
            return Some(Steadiness { objects, steps, everywhere, latest, going_on, decline, error, sizes });
        }
        let error = (12.0 * self.dispersion(young, old) / (objects - 2.0).max(1.0)).sqrt();
        Some(Steadiness { objects, steps, everywhere, latest, going_on, decline, error, sizes: None })
    }

    /// How much more the births of slots vary than those of a Poisson process, where it is 1. From slot to slot (von
    /// Neumann 1941, Ann. Math. Stat. 12:367), which a slow change of the rate does not enlarge.
    fn dispersion(&self, young: f64, old: f64) -> f64 {
        let slots = self.slots(young, old).map(|(objects, _)| objects);
        let mean = slots.iter().sum::<f64>() / SLOTS as f64;
        let squares: f64 = slots.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
        let variance = squares / 2.0 / (SLOTS - 1) as f64;
        if mean > 0.0 { (variance / mean).max(1.0 / (SLOTS as f64 * mean)).max(0.02) } else { 1.0 }
    }

    fn slots(&self, young: f64, old: f64) -> [(f64, f64); SLOTS] {
        let slot = (old - young) / SLOTS as f64;
        std::array::from_fn(|index| self.between(young + slot * index as f64, young + slot * (index + 1) as f64))
    }

    /// Objects and bytes born per second between two ages, with Student's 95 % intervals from the slots' rates.
    pub(super) fn rates(&self, young: f64, old: f64) -> (Estimate, Estimate) {
        let slots = self.slots(young, old);
        let slot = (old - young) / SLOTS as f64;
        let student = StudentsT::new(0.0, 1.0, (SLOTS - 1) as f64).expect("more than one slot");
        let of = |values: [f64; SLOTS]| {
            let mean = values.iter().sum::<f64>() / SLOTS as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let error = (squares / (SLOTS * (SLOTS - 1)) as f64).sqrt();
            Estimate::around(mean / slot, student.inverse_cdf(0.975) * error / slot)
        };
        (of(slots.map(|(objects, _)| objects)), of(slots.map(|(_, bytes)| bytes)))
    }
}

/// Laplace's test (Cox & Lewis 1966, The Statistical Analysis of Series of Events, section 3.3), between the first birth and the
/// last, so that it does not matter where the window begins: for a rate that declines as `exp(-decline t / length)` the mean
/// place of those in between is `1/2 - decline / 12`. `ages` is the sum over all.
fn decline(count: f64, ages: f64, begin: f64, end: f64) -> f64 {
    if count < 3.0 {
        return 0.0;
    }
    let mean = (ages - begin - end) / (count - 2.0);
    12.0 * (0.5 - (begin - mean) / (begin - end))
}

/// The middles of the bursts that births come in, the latest first; `None` when they come in too few or too many, or all the
/// time. Stretches that touch are one, as if all were as wide as the widest, which is what ages are known to there: otherwise
/// few births would seem to come in bursts where stretches are narrow.
fn bursts(inside: &[&Births]) -> Option<Vec<f64>> {
    let width = |births: &Births| births.from - births.to;
    let widest = inside.iter().map(|births| width(births)).fold(0.0, f64::max);
    let together = |later: &&Births, earlier: &&Births| earlier.to - later.from < widest - width(later) + 1e-6;
    let bursts: Vec<&[&Births]> = inside.chunk_by(together).collect();
    let apart: f64 = bursts.windows(2).map(|pair| pair[1][0].to - pair[0][pair[0].len() - 1].from).sum();
    let middle = |burst: &&[&Births]| f64::midpoint(burst[0].to, burst[burst.len() - 1].from);
    ((4..=BURSTS).contains(&bursts.len()) && apart >= APART * widest * (bursts.len() - 1) as f64)
        .then(|| bursts.iter().map(middle).collect())
}

/// The squared coefficient of variation of the pauses.
fn variation(moments: &[f64]) -> f64 {
    let pauses: Vec<f64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
    let squares: f64 = pauses.iter().map(|pause| (pause - mean).powi(2)).sum();
    (squares / (pauses.len() - 1) as f64 / (mean * mean)).max(0.01)
}
