//! How long the blocks of a site live, and how many of them stay.
//!
//! In: [`Lifetimes`]: how many blocks died at which age, counted in the kernel, and how many live at which age, from a look
//! at the table of outstanding blocks. Out: a [`Survival`] curve by Kaplan & Meier: the share of blocks that reach an age,
//! with its interval; the median lifetime; Laplace's estimate of a leak.
//!
//! Every block is followed from its birth, so a block that still lives is censored at its age, and says that much.

mod buckets;
mod kaplan_meier;
mod live;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use buckets::{AGE_BUCKETS, FIRST_AGE_SHIFT, age_bucket, bucket_ages};
pub use kaplan_meier::{Median, Step, Survival};
pub use live::{Cohort, LiveAges};

/// What is known of the ages of a site's blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lifetimes {
    /// Blocks freed since attach, by the [`age_bucket`] at which they were.
    pub freed: [u64; AGE_BUCKETS],
    /// Blocks outstanding, by age.
    pub live: LiveAges,
    /// When the outstanding blocks were looked at, since attach.
    pub looked_at: Duration,
    /// What one of them stands for.
    pub weighs: Weighs,
}

/// How many blocks one that is tracked stands for, and how many bytes each of its bytes: 1 where all are tracked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighs {
    /// Blocks.
    pub objects: f64,
    /// Bytes.
    pub bytes: f64,
}

impl Default for Weighs {
    fn default() -> Self {
        Self { objects: 1.0, bytes: 1.0 }
    }
}

impl Weighs {
    /// This many times as much.
    pub fn times(self, times: f64) -> Self {
        Self { objects: self.objects * times, bytes: self.bytes * times }
    }
}

impl Lifetimes {
    /// The survival curve, with intervals of this confidence.
    pub fn survival(&self, confidence: f64) -> Survival {
        Survival::estimate(&self.freed, &self.live.by_bucket(), confidence)
    }

    /// Age of the oldest outstanding block.
    pub fn oldest(&self) -> Option<Duration> {
        self.live.oldest()
    }

    /// Blocks freed at an age of at least the beginning of this bucket.
    pub fn freed_from(&self, bucket: usize) -> u64 {
        self.freed[bucket.min(AGE_BUCKETS)..].iter().sum()
    }
}

/// How many blocks of a site were freed, and how many are outstanding, by the [`age_bucket`] of their age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Freed since attach.
    pub freed: [u64; AGE_BUCKETS],
    /// Outstanding at the last look.
    pub live: [u64; AGE_BUCKETS],
}

impl Ages {
    /// Of two sites' blocks together.
    pub fn with(&self, other: &Self) -> Self {
        let sum =
            |a: &[u64; AGE_BUCKETS], b: &[u64; AGE_BUCKETS]| std::array::from_fn(|at| a[at].saturating_add(b[at]));
        Self { freed: sum(&self.freed, &other.freed), live: sum(&self.live, &other.live) }
    }

    /// The survival curve, with intervals of this confidence.
    pub fn survival(&self, confidence: f64) -> Survival {
        Survival::estimate(&self.freed, &self.live, confidence)
    }
}

impl From<&Lifetimes> for Ages {
    fn from(lifetimes: &Lifetimes) -> Self {
        let Lifetimes { freed, live, looked_at: _, weighs: _ } = lifetimes;
        Self { freed: *freed, live: live.by_bucket() }
    }
}

/// The probability that the next block is not freed, by Laplace's rule of succession: `1 - (frees + 1) / (allocs + 2)`. As
/// Scalene has it (Berger, Stern & Altmayer Pizzorno 2023, OSDI). Says nothing of whether it only lives long.
pub fn leak_probability(allocs: u64, frees: u64) -> f64 {
    1.0 - (frees.min(allocs) as f64 + 1.0) / (allocs as f64 + 2.0)
}
