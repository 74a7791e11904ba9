//! The history of one process.

use std::{collections::VecDeque, time::Duration};

use super::{LEVELS, end_of, time_of};

/// A process at one moment. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessReading {
    /// Resident bytes.
    pub rss: Option<u64>,
    /// Resident bytes, shared ones by their share.
    pub pss: Option<u64>,
    /// Bytes charged to its cgroup.
    pub cgroup: Option<u64>,
    /// Bytes outstanding at all of its sites.
    pub outstanding: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Frees since attach of blocks that are not known: from before the attach, mostly.
    pub unknown_frees: Option<u64>,
    /// Calls since attach that are in no counter.
    pub lost: Option<u64>,
}

impl ProcessReading {
    /// Field by field, where both are known; else the one that is.
    fn with(self, other: Self, choose: impl Fn(u64, u64) -> u64) -> Self {
        let each = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(choose(a, b)),
            (a, b) => a.or(b),
        };
        let Self { rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost } = other;
        Self {
            rss: each(self.rss, rss),
            pss: each(self.pss, pss),
            cgroup: each(self.cgroup, cgroup),
            outstanding: each(self.outstanding, outstanding),
            open_fds: each(self.open_fds, open_fds),
            unknown_frees: each(self.unknown_frees, unknown_frees),
            lost: each(self.lost, lost),
        }
    }
}

/// A process in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessWindow {
    /// When the window ends, since attach.
    pub at: Duration,
    /// The last that was read in it.
    pub last: ProcessReading,
    /// The lowest of each.
    pub low: ProcessReading,
    /// The highest of each.
    pub high: ProcessReading,
}

/// All levels of a process.
#[derive(Debug, Default)]
pub(super) struct ProcessHistory {
    /// Windows with their numbers; `at` is not used.
    levels: [VecDeque<(u64, ProcessWindow)>; LEVELS.len()],
}

impl ProcessHistory {
    /// Takes a reading at an interval.
    pub(super) fn push(&mut self, interval: u64, reading: ProcessReading) {
        for (windows, level) in self.levels.iter_mut().zip(LEVELS) {
            let number = interval / level.factor;
            match windows.back_mut().filter(|(last, _)| *last == number) {
                Some((_, window)) => {
                    window.low = window.low.with(reading, u64::min);
                    window.high = window.high.with(reading, u64::max);
                    window.last = window.last.with(reading, |_, newer| newer);
                }
                None => windows.push_back((
                    number,
                    ProcessWindow { at: Duration::ZERO, last: reading, low: reading, high: reading },
                )),
            }
            let oldest = (number + 1).saturating_sub(level.windows);
            while windows.front().is_some_and(|(first, _)| *first < oldest) {
                windows.pop_front();
            }
        }
    }

    /// Those of the last `count` windows of a level that have a reading.
    pub(super) fn windows(&self, level: usize, now: u64, count: u64, interval: Duration) -> Vec<ProcessWindow> {
        let first = (now / LEVELS[level].factor + 1).saturating_sub(count);
        let recent = self.levels[level].iter().filter(|(number, _)| *number >= first);
        recent
            .map(|(number, window)| ProcessWindow { at: time_of(end_of(*number, level, now), interval), ..*window })
            .collect()
    }

    /// Bytes that it takes.
    pub(super) fn allocated_bytes(&self) -> usize {
        let windows: usize = self.levels.iter().map(VecDeque::capacity).sum();
        size_of::<Self>() + windows * size_of::<(u64, ProcessWindow)>()
    }
}
