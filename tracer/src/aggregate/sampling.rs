//! Estimates where only some of the blocks are tracked, and how far off they may be.
//!
//! Of all addresses each is tracked with the same probability `1/N`, whatever the others: Bernoulli sampling. Counts of
//! what is tracked, times `N`, estimate all without bias (Horvitz and Thompson, A Generalization of Sampling Without
//! Replacement From a Finite Universe, 1952), and the variance is estimated by `N (N - 1)` times the sum of the squares of
//! what is tracked (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, section 3.2).
//!
//! - What is outstanding: an address holds one block, so blocks are the units.
//! - What was freed: one address may have held many blocks, which are in the sample together. The squares are of what each
//!   address freed, by the sketch in [`tracer_common::sampling::SampledFrees`]. Each free counts for the `N` of its time.
//! - What was allocated is the sum of the two, and its error no larger than the sum of theirs.

use std::ops::AddAssign;

use tracer_common::sampling::SKETCH;

use super::{
    BlockCounters,
    quantile::{Z, student_beyond_normal},
    windows::{Seen, Spread},
};
use crate::analyze::Estimate;

/// The quantile for 95 % in the middle of Student's t distribution with [`SKETCH`] degrees of freedom: the variance itself is estimated from so many
/// sums.
const T: f64 = 2.306;
const _: () = assert!(SKETCH == 8);

/// The rate of sampling rose by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// To one block in this many.
    pub rate: u32,
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
    /// How many blocks a tracked one stands for.
    pub rate: u32,
    /// Tracked blocks that are outstanding.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum of the squares of their bytes.
    pub squares: f64,
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
    /// Of what was counted at a site. `evenness` is the square of the mean size of its outstanding blocks over the mean
    /// of the squares: 1 when all have one size.
    pub fn new(rate: u32, counted: BlockCounters, frees: &SampledFrees, evenness: f64) -> Self {
        let (objects, bytes) = (counted.inuse_objects(), counted.inuse_bytes());
        let free_bytes = counted.free_bytes.saturating_add(frees.more_bytes);
        let free_objects = counted.free_objects.saturating_add(frees.more_objects);
        let times = u64::from(rate);
        let estimated = BlockCounters {
            alloc_bytes: free_bytes.saturating_add(bytes.saturating_mul(times)),
            alloc_objects: free_objects.saturating_add(objects.saturating_mul(times)),
            free_bytes,
            free_objects,
        };
        let squares = if objects == 0 { 0.0 } else { (bytes as f64).powi(2) / (objects as f64 * evenness) };
        Self {
            rate,
            objects,
            bytes,
            squares,
            freed_bytes: frees.bytes.map(|sum| sum as f64),
            freed_objects: frees.objects.map(|sum| sum as f64),
            estimated,
            spread: None,
        }
    }

    /// Of what windows have shown. `rate` as it is with the share of the time.
    pub(super) fn of_windows(rate: u32, seen: &Seen) -> Self {
        let Seen { counters, spread, tracked: (bytes, objects) } = *seen;
        Self { rate, objects, bytes, estimated: counters, spread: Some(spread), ..Self::default() }
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
        self.inuse(self.objects as f64, self.objects as f64, Z)
    }

    /// Bytes outstanding.
    pub fn inuse_bytes(&self) -> Estimate {
        if let Some(spread) = &self.spread {
            return spread.interval(self.estimated.inuse_bytes() as f64, spread.inuse_bytes);
        }
        let (bytes, objects) = (self.bytes as f64, self.objects as f64);
        // As many blocks of one size would be as certain (Kish, Survey Sampling, 1965: the effective sample size).
        let alike = if self.squares > 0.0 { bytes * bytes / self.squares } else { objects };
        // How different the sizes are is known from the sample alone: towards Student's t.
        let unknown = student_beyond_normal(alike) * (1.0 - alike / objects).max(0.0);
        self.inuse(bytes, alike, if unknown.is_finite() { Z + unknown } else { Z })
    }

    /// Wilson's interval (1927) for the expectation of a count, which holds for few as well. What was seen is there.
    fn inuse(&self, sum: f64, alike: f64, quantile: f64) -> Estimate {
        let times = f64::from(self.rate);
        let missing = quantile * quantile * (1.0 - 1.0 / times);
        let value = sum * times;
        if alike <= 0.0 {
            return Estimate::exact(value);
        }
        let (middle, margin) = (alike + missing / 2.0, (missing * (alike + missing / 4.0)).sqrt());
        let scale = value / alike;
        let low = (scale * (middle - margin)).max(sum).min(value);
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
        let Self { rate, objects, bytes, squares, freed_bytes, freed_objects, estimated, spread } = other;
        self.rate = self.rate.max(rate);
        self.objects += objects;
        self.bytes += bytes;
        self.squares += squares;
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
