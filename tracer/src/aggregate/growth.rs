//! What page faults say of a process's growth: memory that was touched for the first time, by the code that touched it.
//!
//! One fault in a period is looked at and stands for all of it, so everything here is an estimate. Nobody sees memory being
//! given back; what resident memory did meanwhile tells how much of it was.

use std::time::Duration;

use super::{BlockCounters, Tgid, quantile::Z};
use crate::analyze::Estimate;

/// Bytes that a fault brings. One that brings a huge page is taken for the same, since the kernel counts it as one.
const PAGE: u64 = 4096;

/// Memory that was faulted in, as far as the faults that were looked at tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faulted {
    /// Faults that were looked at.
    pub samples: u64,
    /// Faults that each of them stands for.
    pub period: u64,
}

impl Faulted {
    /// Faults, about.
    pub fn faults(self) -> u64 {
        self.samples.saturating_mul(self.period)
    }

    /// Bytes, about.
    pub fn bytes(self) -> u64 {
        self.faults().saturating_mul(PAGE)
    }

    /// As a site's counters: nothing of it is seen to be freed.
    pub fn counters(self) -> BlockCounters {
        BlockCounters { alloc_bytes: self.bytes(), alloc_objects: self.faults(), ..BlockCounters::default() }
    }

    /// Faults with their 95 % interval: that of a Poisson variable by its observed value (Byar's approximation), whose
    /// standard error is the square root of the number of samples.
    pub fn faults_estimate(self) -> Estimate {
        let samples = self.samples as f64;
        let bound = |count: f64, side: f64| {
            let root = 1.0 - 1.0 / (9.0 * count) + side * Z / (3.0 * count.sqrt());
            count * root.powi(3)
        };
        let low = if self.samples == 0 { 0.0 } else { bound(samples, -1.0).max(0.0) };
        Estimate { value: samples, low, high: bound(samples + 1.0, 1.0) }.scaled(self.period as f64)
    }

    /// Bytes with their 95 % interval.
    pub fn bytes_estimate(self) -> Estimate {
        self.faults_estimate().scaled(PAGE as f64)
    }
}

impl std::ops::AddAssign for Faulted {
    fn add_assign(&mut self, other: Self) {
        let Self { samples, period } = other;
        self.samples += samples;
        self.period = self.period.max(period);
    }
}

/// Resident memory, then and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// When its page faults began to be followed, bytes.
    pub at_attach: u64,
    /// As of the last reading, bytes.
    pub now: u64,
}

impl Resident {
    /// By how much it grew.
    pub fn growth(self) -> i64 {
        i64::try_from(self.now).unwrap_or(i64::MAX).saturating_sub_unsigned(self.at_attach)
    }
}

/// What page faults say of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFaults {
    /// The process.
    pub tgid: Tgid,
    /// What it faulted in.
    pub faulted: Faulted,
    /// Its resident memory; `None` before it was read.
    pub resident: Option<Resident>,
}

/// What page faults say of all traced processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFaults {
    /// One fault in this many is looked at.
    pub period: u64,
    /// Since when they are followed, since tracing began: what is said is of the time since then.
    pub since: Duration,
    /// Each process.
    pub processes: Vec<ProcessFaults>,
}

/// How what was faulted in compares with the growth of resident memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// So much of what was faulted in was given back, or replaced what was there.
    GivenBack(u64),
    /// Both are the same, within the error.
    Kept,
    /// So much more became resident than was seen in faults: by huge pages, or pages mapped ahead.
    Unseen(u64),
}

impl PageFaults {
    /// What all processes faulted in.
    pub fn faulted(&self) -> Faulted {
        let mut sum = Faulted { samples: 0, period: self.period };
        self.processes.iter().for_each(|process| sum += process.faulted);
        sum
    }

    /// Growth of resident memory, of the processes where it is known.
    pub fn resident(&self) -> Option<Resident> {
        let known = self.processes.iter().filter_map(|process| process.resident);
        known.reduce(|a, b| Resident { at_attach: a.at_attach + b.at_attach, now: a.now + b.now })
    }

    /// What became of what was faulted in.
    pub fn balance(&self) -> Option<Balance> {
        let grown = self.resident()?.growth() as f64;
        let Estimate { value, low, high } = self.faulted().bytes_estimate();
        Some(if low > grown {
            Balance::GivenBack((value - grown) as u64)
        } else if high < grown {
            Balance::Unseen((grown - value) as u64)
        } else {
            Balance::Kept
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulted(samples: u64) -> Faulted {
        Faulted { samples, period: 97 }
    }

    #[test]
    fn the_error_is_that_of_a_count() {
        assert_eq!(faulted(100).bytes(), 100 * 97 * 4096);
        let Estimate { value, low, high } = faulted(10_000).faults_estimate();
        assert_eq!(value, 970_000.0);
        let sigma = 97.0 * 100.0;
        assert!((value - low - Z * sigma).abs() < 0.02 * sigma && (high - value - Z * sigma).abs() < 0.05 * sigma);
        // Garwood's exact intervals, for a period of one.
        let exact = |samples| Faulted { samples, period: 1 }.faults_estimate();
        for (samples, low, high) in [(0, 0.0, 3.69), (1, 0.025, 5.57), (5, 1.62, 11.67), (30, 20.24, 42.83)] {
            let found = exact(samples);
            assert!((found.low - low).abs() < 0.05 && (found.high - high).abs() < 0.1, "{samples}: {found:?}");
        }
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // A site has one fault in eleven of a process; the period is counted over all of them, at a random phase.
        let (mut covered, mut state) = (0, 7_u64);
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for _ in 0..400 {
            let (mut left, mut truth, mut samples) = (random() % 97, 0_u64, 0);
            for _ in 0..40_000 {
                let is_its = random() % 11 == 0;
                truth += u64::from(is_its);
                left += 1;
                if left == 97 {
                    (left, samples) = (0, samples + u64::from(is_its));
                }
            }
            covered += u32::from(faulted(samples).faults_estimate().covers(truth as f64));
        }
        assert!(covered >= 370, "{covered} of 400");
    }

    #[test]
    fn what_was_given_back_is_the_difference() {
        let of = |samples, at_attach, now| {
            let process =
                ProcessFaults { tgid: Tgid(1), faulted: faulted(samples), resident: Some(Resident { at_attach, now }) };
            PageFaults {
                period: 97,
                since: Duration::ZERO,
                processes: vec![process, ProcessFaults { resident: None, ..process }],
            }
        };
        let bytes = 2 * 5_000 * 97 * 4096;
        assert_eq!(of(5_000, 1 << 20, 3 << 20).balance(), Some(Balance::GivenBack(bytes - (2 << 20))));
        assert_eq!(of(5_000, 3 << 20, 1 << 20).balance(), Some(Balance::GivenBack(bytes + (2 << 20))));
        assert_eq!(of(5_000, 1 << 20, bytes + (2 << 20)).balance(), Some(Balance::Kept));
        assert_eq!(of(5_000, 0, 2 * bytes).balance(), Some(Balance::Unseen(bytes)));
        assert_eq!(of(0, 7, 7).balance(), Some(Balance::Kept));
        assert_eq!(PageFaults::default().balance(), None);
    }
}
