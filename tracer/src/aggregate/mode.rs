//! How memory is followed where what that costs has a limit: the present way, and those before.

use std::time::Duration;

use super::SampleRate;

/// A way of following memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// No block is tracked: it is found out what that would cost.
    Hits,
    /// All blocks are tracked.
    All,
    /// Some of the blocks.
    Sampled(SampleRate),
    /// Blocks, for this share of the time, from 0 to 1.
    Windows(f64),
    /// No block is tracked, and no probe is in place: page faults are followed.
    PageFaults,
}

/// A way, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModeSince {
    /// Since when, since tracing began.
    pub since: Duration,
    /// The way.
    pub mode: Mode,
}

/// The ways in the order in which they came. Empty where the cost has no limit: then there is one way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modes {
    /// The last ones; the present one is the last of all.
    pub latest: Vec<ModeSince>,
    /// How many there were before those.
    pub earlier: u64,
    /// The share of the time that system calls are looked at, from 0 to 1; `None` where that always was all the time.
    pub calls: Option<f64>,
}

impl Modes {
    /// How many of the last ones are kept: a load that varies moves on every few minutes, for as long as it is traced.
    pub const KEPT: usize = 16;

    /// Another way from now on.
    pub(super) fn enter(&mut self, since: Duration, mode: Mode) {
        if self.present().is_some_and(|present| present.mode == mode) {
            return;
        }
        if self.latest.len() == Self::KEPT {
            self.latest.remove(0);
            self.earlier += 1;
        }
        self.latest.push(ModeSince { since, mode });
    }

    /// The present one.
    pub fn present(&self) -> Option<ModeSince> {
        self.latest.last().copied()
    }

    /// The one before, unless that was only to find out what tracking would cost.
    pub fn previous(&self) -> Option<ModeSince> {
        let before = self.latest.len().checked_sub(2)?;
        self.latest.get(before).copied().filter(|before| before.mode != Mode::Hits)
    }

    /// How often the way changed.
    pub fn changes(&self) -> u64 {
        self.earlier.saturating_add((self.latest.len() as u64).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_all_are_counted() {
        let mut modes = Modes::default();
        assert_eq!((modes.present(), modes.previous(), modes.changes()), (None, None, 0));
        modes.enter(Duration::ZERO, Mode::Hits);
        modes.enter(Duration::from_millis(250), Mode::All);
        modes.enter(Duration::from_secs(7), Mode::All);
        assert_eq!((modes.previous(), modes.changes()), (None, 1), "counting is no way before");
        for second in 1..=23 {
            let mode = if second % 2 == 0 { Mode::All } else { Mode::PageFaults };
            modes.enter(Duration::from_secs(second), mode);
        }
        assert_eq!((modes.latest.len(), modes.changes()), (Modes::KEPT, 24));
        let present = ModeSince { since: Duration::from_secs(23), mode: Mode::PageFaults };
        assert_eq!(modes.present(), Some(present));
        assert_eq!(modes.previous().map(|before| before.mode), Some(Mode::All));
    }
}
