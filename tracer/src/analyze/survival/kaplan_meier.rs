//! The share of blocks that reach an age.

use std::time::Duration;

use super::buckets::{AGE_BUCKETS, bucket_ages};
use crate::analyze::{Estimate, trend::normal_quantile};

/// The curve at the end of one bucket of ages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The age. Of the last bucket, which has no end, its beginning.
    pub age: Duration,
    /// The share of blocks that live longer.
    pub share: Estimate,
    /// Blocks that reached the bucket.
    pub at_risk: u64,
}

/// When half of the blocks are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Median {
    /// Between these ages: the ends of a bucket.
    Between(Duration, Duration),
    /// More than half of them are older than anything that is known.
    Beyond(Duration),
}

/// A survival curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survival {
    /// By rising age, as far as there were blocks to follow.
    steps: Vec<Step>,
}

impl Survival {
    /// Kaplan & Meier 1958 (J. Am. Stat. Assoc. 53:457), `S = product (1 - d/n)` over the `d` that died of `n` that reached each
    /// bucket. Ages are known by bucket only, so those still alive in a bucket count half there, as in life tables (Cutler &
    /// Ederer 1958, J. Chronic Dis. 8:699): otherwise they would all seem to have survived it.
    ///
    /// Greenwood 1926 (Rep. Public Health Med. Subj. 33:1) has the variance, `S^2 sum d / (n(n-d))`; the interval is
    /// symmetric for `log(-log S)` (Kalbfleisch & Prentice 1980, section 1.3), which keeps it within 0 and 1. Where nobody has
    /// died, or everybody, it is that of as many equal outcomes, `(alpha/2)^(1/n)` (Clopper & Pearson 1934).
    pub(super) fn estimate(freed: &[u64; AGE_BUCKETS], live: &[u64; AGE_BUCKETS], confidence: f64) -> Self {
        let tail = (0.5 - confidence / 2.0).clamp(1e-9, 0.5);
        let z = -normal_quantile(tail);
        let mut at_risk: u64 = freed.iter().chain(live).copied().fold(0, u64::saturating_add);
        let (mut share, mut variance) = (1.0, 0.0);
        let mut highest = 1.0;
        let mut steps = Vec::new();
        for bucket in 0..AGE_BUCKETS {
            if at_risk == 0 {
                break;
            }
            let (died, censored) = (freed[bucket], live[bucket]);
            let exposed = at_risk as f64 - censored as f64 / 2.0;
            let survived = exposed - died as f64;
            share *= survived / exposed;
            if survived > 0.0 {
                variance += died as f64 / (exposed * survived);
            }
            let same = tail.powf(1.0 / exposed);
            let (low, high) = if share >= 1.0 {
                (same, 1.0)
            } else if share <= 0.0 {
                (0.0, highest * (1.0 - same))
            } else {
                let log: f64 = -f64::ln(share);
                let spread = (z * f64::sqrt(variance) / log).exp();
                ((-log * spread).exp(), (-log / spread).exp())
            };
            highest = high;
            let ages = bucket_ages(bucket);
            let age = if ages.end == Duration::MAX { ages.start } else { ages.end };
            steps.push(Step {
                age,
                share: Estimate { value: share, low: low.min(share), high: high.max(share) },
                at_risk,
            });
            at_risk = at_risk.saturating_sub(died).saturating_sub(censored);
        }
        Self { steps }
    }

    /// The curve itself.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The share of blocks that get older than this. Within a bucket, deaths are taken to be spread evenly. `None` beyond
    /// what is known.
    pub fn beyond(&self, age: Duration) -> Option<Estimate> {
        let (mut from, mut before) = (Duration::ZERO, Estimate::exact(1.0));
        for step in &self.steps {
            if age <= step.age {
                let part = (age - from).as_secs_f64() / (step.age - from).as_secs_f64().max(f64::MIN_POSITIVE);
                let at = |before: f64, after: f64| before + (after - before) * part;
                return Some(Estimate {
                    value: at(before.value, step.share.value),
                    low: at(before.low, step.share.low),
                    high: at(before.high, step.share.high),
                });
            }
            (from, before) = (step.age, step.share);
        }
        None
    }

    /// When half of them are dead; `None` without blocks.
    pub fn median(&self) -> Option<Median> {
        let last = self.steps.last()?;
        let Some(index) = self.steps.iter().position(|step| step.share.value <= 0.5) else {
            return Some(Median::Beyond(last.age));
        };
        let from = index.checked_sub(1).map_or(Duration::ZERO, |before| self.steps[before].age);
        // The last bucket has no end.
        Some(if from == self.steps[index].age {
            Median::Beyond(from)
        } else {
            Median::Between(from, self.steps[index].age)
        })
    }
}
