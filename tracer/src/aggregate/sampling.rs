//! Estimates where only some of the blocks are tracked, and how far off they may be.
//!
//! Each block, or each address, is tracked with a probability `1/w`, whatever the others: Poisson sampling. What is tracked,
//! times its `w`, estimates all without bias (Horvitz and Thompson, A Generalization of Sampling Without Replacement From a
//! Finite Universe, 1952), and the variance is estimated by the sum of the squares of what is tracked, each times `w (w - 1)`
//! (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, section 3.5). `w` is the same for all blocks, or
//! smaller for larger ones: see [`SampleRate`].
//!
//! - What is outstanding: an address holds one block, so blocks are the units.
//! - What was freed: one address may have held many blocks, which are in the sample together. The squares are of what each
//!   address freed, by the sketch in [`tracer_common::sampling::SampledFrees`]. Each free counts for the `w` of its time.
//! - What was allocated is the sum of the two, and its error no larger than the sum of theirs.

use std::ops::AddAssign;

use tracer_common::sampling::{SKETCH, SampleState};

use super::{
    BlockCounters,
    quantile::{Z, student_beyond_normal},
    windows::{Seen, Spread},
};
use crate::{analyze::Estimate, report::units::bytes};

/// The quantile for 95 % in the middle of Student's t distribution with [`SKETCH`] degrees of freedom: the variance itself is estimated from so many
/// sums.
const T: f64 = 2.306;
const _: () = assert!(SKETCH == 8);

/// How many blocks are tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleRate {
    /// One in so many.
    Blocks(u32),
    /// One for so many bytes: of small blocks fewer, and of those that large all.
    Bytes(u32),
}

impl Default for SampleRate {
    fn default() -> Self {
        Self::Blocks(1)
    }
}

impl SampleRate {
    /// As a state of the programs says it.
    pub fn of(state: SampleState) -> Self {
        if state.is_by_size() { Self::Bytes(state.rate()) } else { Self::Blocks(state.rate()) }
    }

    /// The number, of blocks or bytes.
    pub fn number(self) -> u32 {
        let (Self::Blocks(number) | Self::Bytes(number)) = self;
        number
    }

    /// The same unit with another number.
    pub fn with(self, number: u32) -> Self {
        match self {
            Self::Blocks(_) => Self::Blocks(number),
            Self::Bytes(_) => Self::Bytes(number),
        }
    }

    /// How many blocks a tracked one of this size stands for.
    fn weight(self, size: u64) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks.into(),
            Self::Bytes(bytes) => SampleState::of_bytes(bytes).weight(size),
        }
    }

    /// Whether that is all of them.
    pub fn is_all(self) -> bool {
        self.number() <= 1
    }

    /// In a word or two.
    pub fn short(self) -> String {
        match self {
            Self::Blocks(blocks) => format!("1 in {blocks}"),
            Self::Bytes(size) => format!("1 per {}", whole(size)),
        }
    }

    /// After "estimated from".
    pub fn words(self) -> String {
        match self {
            Self::Blocks(blocks) => format!("1 block in {blocks}"),
            Self::Bytes(size) => format!("1 block per {}", whole(size)),
        }
    }
}

/// A power of two, which needs no decimal.
fn whole(size: u32) -> String {
    bytes(size.into()).replace(".0 ", " ")
}

/// What the tracked blocks of a site stand for, and how alike they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Of their number.
    pub objects: Weight,
    /// Of their bytes.
    pub bytes: Weight,
}

/// What a tracked block stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    /// In the mean, as a multiple of the rate's number.
    pub mean: f64,
    /// The square of the mean of what each stands for, over the mean of the squares: 1 when all are alike.
    pub evenness: f64,
    /// The variance over the sum of the squares: 0 when all blocks are tracked.
    pub chance: f64,
}

impl Weights {
    /// Of blocks that were not looked at: as if they all had this size.
    fn of_size(rate: SampleRate, size: u64) -> Self {
        let mut weighing = Weighing::default();
        weighing.add(size.max(1), rate.weight(size));
        weighing.weights(rate)
    }
}

/// Adds up what blocks stand for, to see their [`Weights`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighing {
    objects: f64,
    bytes: f64,
    weighed_objects: Weighed,
    weighed_bytes: Weighed,
}

impl Weighing {
    /// Takes a block of this size that stands for `weight` blocks.
    pub fn add(&mut self, size: u64, weight: u64) {
        let (size, weight) = (size as f64, weight as f64);
        self.objects += 1.0;
        self.bytes += size;
        self.weighed_objects += Weighed::of(1.0, weight);
        self.weighed_bytes += Weighed::of(size, weight);
    }

    /// In multiples of the rate's number.
    pub fn weights(&self, rate: SampleRate) -> Weights {
        let times = f64::from(rate.number());
        let weight = |weighed: Weighed, counted: f64| {
            let Weighed { sum, squares, variance } = weighed;
            // Blocks without a byte.
            if counted <= 0.0 {
                return Weight { mean: 1.0, evenness: 1.0, chance: 1.0 - 1.0 / times };
            }
            let evenness = sum * sum / (self.objects * squares);
            Weight { mean: sum / counted / times, evenness, chance: variance / squares }
        };
        Weights { objects: weight(self.weighed_objects, self.objects), bytes: weight(self.weighed_bytes, self.bytes) }
    }
}

/// A sum of what blocks stand for, of the squares, and of what each adds to the variance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weighed {
    /// The sum: an estimate.
    pub sum: f64,
    /// The squares' sum.
    pub squares: f64,
    /// The estimate's variance.
    pub variance: f64,
}

impl Weighed {
    fn of(amount: f64, weight: f64) -> Self {
        let sum = amount * weight;
        Self { sum, squares: sum * sum, variance: sum * (sum - amount) }
    }

    fn new(counted: u64, weight: Weight, times: f64, objects: u64) -> Self {
        let sum = counted as f64 * weight.mean * times;
        let squares = if objects == 0 { 0.0 } else { sum * sum / (objects as f64 * weight.evenness) };
        Self { sum, squares, variance: squares * weight.chance }
    }
}

impl AddAssign for Weighed {
    fn add_assign(&mut self, Self { sum, squares, variance }: Self) {
        self.sum += sum;
        self.squares += squares;
        self.variance += variance;
    }
}

/// The rate of sampling rose by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// To this.
    pub rate: SampleRate,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
}

/// What was freed while not all blocks were tracked: see [`tracer_common::sampling::SampledFrees`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampledFrees {
    /// Estimated bytes beyond those that were counted.
    pub more_bytes: u64,
    /// The same of blocks.
    pub more_objects: u64,
    /// Sketch of the estimated bytes by address.
    pub bytes: [i64; SKETCH],
    /// Sketch of the estimated blocks by address.
    pub objects: [i64; SKETCH],
}

/// What estimates of one or several sites rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampled {
    /// How many blocks a tracked one stands for, in the mean.
    pub rate: u32,
    /// Tracked blocks that are outstanding.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that they stand for.
    pub weighed_objects: Weighed,
    /// Bytes that they stand for.
    pub weighed_bytes: Weighed,
    /// Sketch of the estimated bytes that were freed.
    pub(crate) freed_bytes: [f64; SKETCH],
    /// Sketch of the estimated blocks that were freed.
    pub(crate) freed_objects: [f64; SKETCH],
    /// The estimates.
    pub(crate) estimated: BlockCounters,
    /// Where blocks are tracked for some of the time only: then the errors come from this, and not from the rest.
    pub(crate) spread: Option<Spread>,
}

impl Sampled {
    /// Of what was counted at a site. `weights` are those of its blocks, if they were looked at.
    pub fn new(rate: SampleRate, counted: BlockCounters, frees: &SampledFrees, weights: Option<&Weights>) -> Self {
        let (objects, bytes) = (counted.inuse_objects(), counted.inuse_bytes());
        let weights = weights.copied().unwrap_or_else(|| Weights::of_size(rate, bytes / objects.max(1)));
        let times = f64::from(rate.number());
        let weighed_objects = Weighed::new(objects, weights.objects, times, objects);
        let weighed_bytes = Weighed::new(bytes, weights.bytes, times, objects);
        let free_bytes = counted.free_bytes.saturating_add(frees.more_bytes);
        let free_objects = counted.free_objects.saturating_add(frees.more_objects);
        let estimated = BlockCounters {
            alloc_bytes: free_bytes.saturating_add(weighed_bytes.sum.round() as u64),
            alloc_objects: free_objects.saturating_add(weighed_objects.sum.round() as u64),
            free_bytes,
            free_objects,
        };
        Self {
            rate: (weights.objects.mean * times).round().max(1.0) as u32,
            objects,
            bytes,
            weighed_objects,
            weighed_bytes,
            freed_bytes: frees.bytes.map(|sum| sum as f64),
            freed_objects: frees.objects.map(|sum| sum as f64),
            estimated,
            spread: None,
        }
    }

    /// Of what windows have shown. `rate` as it is with the share of the time.
    pub(super) fn of_windows(rate: u32, seen: &Seen) -> Self {
        let Seen { counters, spread, tracked: (bytes, objects), size: _ } = *seen;
        Self { rate, objects, bytes, estimated: counters, spread: Some(spread), ..Self::default() }
    }

    /// How many blocks a tracked one stands for, in the mean.
    pub(super) fn mean_weight(&self) -> u32 {
        (self.weighed_objects.sum / self.objects.max(1) as f64).round().max(1.0) as u32
    }

    /// The estimates, without their errors.
    pub fn counters(&self) -> BlockCounters {
        self.estimated
    }

    /// Blocks outstanding.
    pub fn inuse_objects(&self) -> Estimate {
        if let Some(spread) = &self.spread {
            return spread.interval(self.estimated.inuse_objects() as f64, spread.inuse_objects);
        }
        self.inuse(self.objects, self.weighed_objects)
    }

    /// Bytes outstanding.
    pub fn inuse_bytes(&self) -> Estimate {
        if let Some(spread) = &self.spread {
            return spread.interval(self.estimated.inuse_bytes() as f64, spread.inuse_bytes);
        }
        self.inuse(self.bytes, self.weighed_bytes)
    }

    /// Wilson's interval (1927) for the expectation of a count, which holds for few as well. What was seen is there.
    fn inuse(&self, seen: u64, Weighed { sum: value, squares, variance }: Weighed) -> Estimate {
        if squares <= 0.0 {
            return Estimate::exact(value);
        }
        // So many blocks that stand for the same would be as certain (Kish, Survey Sampling, 1965: the effective sample
        // size).
        let alike = value * value / squares;
        // How different they are is known from the sample alone: towards Student's t.
        let unknown = student_beyond_normal(alike) * (1.0 - alike / self.objects as f64).max(0.0);
        let quantile = if unknown.is_finite() { Z + unknown } else { Z };
        let missing = quantile * quantile * variance / squares;
        let (middle, margin) = (alike + missing / 2.0, (missing * (alike + missing / 4.0)).sqrt());
        let scale = value / alike;
        let low = (scale * (middle - margin)).max(seen as f64).min(value);
        Estimate { value, low, high: (scale * (middle + margin)).max(value) }
    }

    /// Blocks freed.
    pub fn free_objects(&self) -> Estimate {
        match &self.spread {
            Some(spread) => spread.interval(self.estimated.free_objects as f64, spread.free_objects),
            None => freed(self.estimated.free_objects, &self.freed_objects),
        }
    }

    /// Bytes freed.
    pub fn free_bytes(&self) -> Estimate {
        match &self.spread {
            Some(spread) => spread.interval(self.estimated.free_bytes as f64, spread.free_bytes),
            None => freed(self.estimated.free_bytes, &self.freed_bytes),
        }
    }

    /// Blocks allocated.
    pub fn alloc_objects(&self) -> Estimate {
        sum(self.inuse_objects(), self.free_objects())
    }

    /// Bytes allocated.
    pub fn alloc_bytes(&self) -> Estimate {
        sum(self.inuse_bytes(), self.free_bytes())
    }
}

fn freed(value: u64, sketch: &[f64; SKETCH]) -> Estimate {
    let value = value as f64;
    let margin = T * sketch.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    Estimate { value, low: (value - margin).max(0.0), high: value + margin }
}

fn sum(one: Estimate, other: Estimate) -> Estimate {
    Estimate { value: one.value + other.value, low: one.low + other.low, high: one.high + other.high }
}

impl AddAssign for Sampled {
    fn add_assign(&mut self, other: Self) {
        let Self {
            rate,
            objects,
            bytes,
            weighed_objects,
            weighed_bytes,
            freed_bytes,
            freed_objects,
            estimated,
            spread,
        } = other;
        self.rate = self.rate.max(rate);
        self.objects += objects;
        self.bytes += bytes;
        self.weighed_objects += weighed_objects;
        self.weighed_bytes += weighed_bytes;
        self.estimated += estimated;
        if let Some(spread) = spread {
            *self.spread.get_or_insert_default() += spread;
        }
        for (sum, more) in self.freed_bytes.iter_mut().zip(freed_bytes) {
            *sum += more;
        }
        for (sum, more) in self.freed_objects.iter_mut().zip(freed_objects) {
            *sum += more;
        }
    }
}

#[cfg(test)]
#[path = "sampling_tests.rs"]
mod tests;
