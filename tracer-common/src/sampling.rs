//! Which blocks are tracked when not all are: those whose address has a hash below a threshold.
//!
//! The address alone decides, so a free knows without a lookup whether its block can be in the table. A higher rate keeps
//! a part of what a lower one kept, so the rate can rise while blocks are outstanding.

use crate::assert_layout;

/// The highest rate that can be asked for.
pub const MAX_RATE: u32 = 1 << 20;
/// A rate that has come here by itself rises no further.
pub const MAX_RAISED_RATE: u32 = 1 << 24;

/// Nothing is tracked for now.
const CLOSED: u64 = 1 << 63;

/// How sampling stands, in one word that changes as a whole: the rate in the high half, below a bit that says that nothing
/// is tracked for now; the highest hash that is tracked in the low half.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleState(pub u64);

impl SampleState {
    /// One block in `rate` is tracked.
    pub const fn of(rate: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate as u64 };
        Self(rate << 32 | ((1 << 32) / rate - 1))
    }

    /// How many blocks a tracked one stands for.
    #[inline(always)]
    pub const fn rate(self) -> u32 {
        (self.0 >> 32) as u32 & (u32::MAX >> 1)
    }

    /// The same, but with nothing tracked.
    pub const fn closed(self) -> Self {
        Self(self.0 | CLOSED)
    }

    /// The same, and what it says is tracked.
    pub const fn opened(self) -> Self {
        Self(self.0 & !CLOSED)
    }

    /// Whether nothing is tracked for now.
    #[inline(always)]
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether every block is tracked.
    #[inline(always)]
    pub const fn is_all(self) -> bool {
        self.0 >> 32 <= 1
    }

    /// Whether a block at this address is tracked.
    #[inline(always)]
    pub const fn tracks(self, tgid: u32, address: u64) -> bool {
        self.is_all() || !self.is_closed() && block_hash(tgid, address) >> 32 <= self.0 & 0xFFFF_FFFF
    }

    /// Half of what is tracked now.
    #[inline(always)]
    pub const fn doubled(self) -> Self {
        let (closed, rate, threshold) = (self.0 & CLOSED, self.rate() as u64, self.0 & 0xFFFF_FFFF);
        Self(closed | rate << 33 | (((threshold + 1) >> 1) - 1))
    }
}

/// A hash of a block's place: the finalizer of Austin Appleby's MurmurHash3 (fmix64). One multiplication would spread
/// blocks that lie at equal distances evenly, which is no random sample.
#[inline(always)]
pub const fn block_hash(tgid: u32, address: u64) -> u64 {
    let mut hash = address ^ (tgid as u64) << 40;
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

/// What the programs go by; user space maps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleControl {
    /// A [`SampleState`].
    pub state: u64,
    /// Blocks in the hash map from which on the rate doubles.
    pub mark: u64,
    /// Blocks that the hash map can hold.
    pub limit: u64,
    /// When tracking is for some of the time: the number of the present or last window.
    pub window: u64,
    /// When that began: `CLOCK_MONOTONIC`, nanoseconds. What was born before may have been freed unseen.
    pub opened_ns: u64,
}
assert_layout!(SampleControl, size 40, state at 0, mark at 8, limit at 16, window at 24, opened_ns at 32);

/// The mark to begin with: 80 % of the limit.
pub const fn first_mark(limit: u64) -> u64 {
    limit - limit / 5
}

/// The mark after one was reached: half of what was still free then.
#[inline(always)]
pub const fn next_mark(mark: u64, limit: u64) -> u64 {
    mark + (limit.saturating_sub(mark) >> 1)
}

/// Sums of a [`SampledFrees`] sketch.
pub const SKETCH: usize = 8;

/// What is kept of the frees of a site's blocks while not all blocks are tracked.
///
/// An address that is given out again and again is in the sample each time or never, so frees are no independent draws:
/// addresses are. How much one of them weighs is estimated by the sketch: each address adds its frees to one of the sums,
/// or takes them off, as its hash says; the sums' squares add up to the squares of what each address freed, in the mean
/// (Charikar, Chen and Farach-Colton, Finding Frequent Items in Data Streams, 2002; after Alon, Matias and Szegedy, 1996).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampledFrees {
    /// Bytes that were freed, as estimated, beyond those in the site's counters.
    pub more_bytes: u64,
    /// The same of blocks.
    pub more_objects: u64,
    /// Sketch of the estimated bytes by address, two's complement.
    pub bytes: [u64; SKETCH],
    /// Sketch of the estimated blocks by address, two's complement.
    pub objects: [u64; SKETCH],
}
assert_layout!(SampledFrees, size 16 + 16 * SKETCH, more_bytes at 0, more_objects at 8, bytes at 16, objects at 16 + 8 * SKETCH);

/// The sum that a block's place belongs to, and what it counts there: 1 or -1.
#[inline(always)]
pub const fn sketch_place(hash: u64) -> (usize, u64) {
    (hash as usize & (SKETCH - 1), if hash & SKETCH as u64 == 0 { 1 } else { u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_one_tracks_everything() {
        let state = SampleState::of(1);
        assert!(state.is_all() && state.rate() == 1);
        assert!((0..1000).all(|address| state.tracks(7, address << 4)));
        assert_eq!(state.doubled(), SampleState::of(2));
    }

    #[test]
    fn what_is_closed_tracks_nothing_and_knows_its_rate() {
        for rate in [1, 64, MAX_RAISED_RATE] {
            let (open, closed) = (SampleState::of(rate), SampleState::of(rate).closed());
            assert!(closed.is_closed() && !closed.is_all() && closed.rate() == rate);
            assert!((0..100_000).all(|address| !closed.tracks(7, address << 4)));
            assert_eq!(closed.opened(), open);
            assert_eq!(closed.doubled(), open.doubled().closed());
        }
    }

    #[test]
    fn a_doubled_rate_keeps_a_part_of_what_there_was() {
        for rate in [1, 2, 3, 64, 1000, 65_537, MAX_RATE] {
            let state = SampleState::of(rate);
            let doubled = state.doubled();
            assert_eq!(doubled.rate(), 2 * rate);
            let addresses = || (0..1_000_000).map(|index| 0x7f00_0000_0000 + index * 48);
            assert!(addresses().all(|address| state.tracks(1, address) || !doubled.tracks(1, address)));
        }
    }

    /// Whatever the distance between blocks, the share that is tracked is right within 5 standard deviations.
    #[test]
    fn the_share_is_right_at_any_stride() {
        const BLOCKS: u64 = 100_000;
        for rate in [2_u32, 7, 64] {
            for stride in [16, 32, 4096, 64 << 10, 16 * 17_711, 16 * 75_025] {
                let state = SampleState::of(rate);
                let start = 0x7f12_3400_0010_u64;
                let tracked = (0..BLOCKS).filter(|index| state.tracks(4127, start + index * stride)).count() as f64;
                let expected = BLOCKS as f64 / f64::from(rate);
                let distance = (tracked - expected) * (tracked - expected);
                assert!(distance <= 25.0 * expected, "1 in {rate}, stride {stride}: {tracked} of {expected}");
            }
        }
    }

    #[test]
    fn marks_come_ever_closer_to_the_limit() {
        let mut mark = first_mark(5003);
        assert_eq!(mark, 4003);
        for expected in [4503, 4753, 4878] {
            mark = next_mark(mark, 5003);
            assert_eq!(mark, expected);
        }
        assert_eq!(next_mark(7, 3), 7);
    }
}
