//! Which blocks are tracked when not all are: those with a hash below a threshold.
//!
//! - By address: a free knows without a lookup whether its block can be in the table.
//! - By birth: the time of the call decides, so that it is known at the entry of the function, and nothing need be done at
//!   its return. Each allocation is a draw of its own, whatever its address.
//!
//! The threshold may rise with the size, so that one block is tracked for so many bytes, and a large one always (Poisson
//! sampling with probability proportional to size: Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992,
//! section 3.5). A higher rate keeps a part of what a lower one kept, so the rate can rise while blocks are outstanding.

use crate::assert_layout;

/// The highest rate that can be asked for.
pub const MAX_RATE: u32 = 1 << 20;
/// The same in bytes for each tracked block.
pub const MAX_BYTES: u32 = 1 << 26;
/// A rate that has come here by itself rises no further.
pub const MAX_RAISED_RATE: u32 = 1 << 24;
/// The same in bytes.
pub const MAX_RAISED_BYTES: u32 = 1 << 28;

/// Nothing is tracked for now.
const CLOSED: u64 = 1 << 63;
/// The time of birth decides, and not the address.
const BY_BIRTH: u64 = 1 << 62;
/// The rate is in bytes.
const BY_SIZE: u64 = 1 << 61;
const FLAGS: u64 = CLOSED | BY_BIRTH | BY_SIZE;

/// How sampling stands, in one word that changes as a whole: the rate in the high half, below three flags; the highest hash
/// that is tracked, of a block of one byte, in the low half.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleState(pub u64);

impl SampleState {
    /// One block in `rate` is tracked.
    pub const fn of(rate: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate as u64 };
        Self(rate << 32 | ((1 << 32) / rate - 1))
    }

    /// One block is tracked for so many bytes, a power of two.
    pub const fn of_bytes(bytes: u32) -> Self {
        Self(Self::of(bytes).0 | BY_SIZE).by_birth()
    }

    /// The same, but chosen by the time of birth.
    pub const fn by_birth(self) -> Self {
        Self(self.0 | BY_BIRTH)
    }

    /// How many blocks a tracked one stands for; if that depends on the size, the bytes that it does.
    #[inline(always)]
    pub const fn rate(self) -> u32 {
        ((self.0 & !FLAGS) >> 32) as u32
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

    /// Whether the time of birth decides.
    #[inline(always)]
    pub const fn is_by_birth(self) -> bool {
        self.0 & BY_BIRTH != 0
    }

    /// Whether the rate is in bytes.
    #[inline(always)]
    pub const fn is_by_size(self) -> bool {
        self.0 & BY_SIZE != 0
    }

    /// Whether every block is tracked.
    #[inline(always)]
    pub const fn is_all(self) -> bool {
        (self.0 & !(BY_BIRTH | BY_SIZE)) >> 32 <= 1
    }

    /// The hash that decides about a block.
    #[inline(always)]
    pub const fn hash(self, tgid: u32, address: u64, born_ns: u64) -> u64 {
        if self.is_by_birth() { mixed(born_ns) } else { mixed(address ^ (tgid as u64) << 40) }
    }

    /// Whether a block of this hash and size is tracked.
    #[inline(always)]
    pub const fn keeps(self, hash: u64, size: u64) -> bool {
        self.is_all() || !self.is_closed() && hash >> 32 < ((self.0 & 0xFFFF_FFFF) + 1) << self.shift(size)
    }

    /// Whether a block is tracked. Where all are, nothing is hashed.
    #[inline(always)]
    pub const fn keeps_block(self, tgid: u32, address: u64, born_ns: u64, size: u64) -> bool {
        self.is_all() || self.keeps(self.hash(tgid, address, born_ns), size)
    }

    /// Whether a block at this address can be tracked, whatever else it is.
    #[inline(always)]
    pub const fn may_keep(self, tgid: u32, address: u64) -> bool {
        self.is_all() || !self.is_closed() && (self.is_by_birth() || self.keeps(self.hash(tgid, address, 0), 1))
    }

    /// How many blocks a tracked one of this size stands for.
    #[inline(always)]
    pub const fn weight(self, size: u64) -> u64 {
        let weight = self.rate() as u64 >> self.shift(size);
        if weight == 0 { 1 } else { weight }
    }

    /// So often is a block of this size twice as likely to be tracked as one of a byte: blocks from one power of two to the
    /// next are alike, so that each stands for a whole number of them.
    #[inline(always)]
    const fn shift(self, size: u64) -> u32 {
        if !self.is_by_size() {
            return 0;
        }
        let shift = (size | 1).ilog2();
        if shift > 31 { 31 } else { shift }
    }

    /// Half of what is tracked now.
    #[inline(always)]
    pub const fn doubled(self) -> Self {
        let (flags, rate, threshold) = (self.0 & FLAGS, self.rate() as u64, self.0 & 0xFFFF_FFFF);
        Self(flags | rate << 33 | (((threshold + 1) >> 1) - 1))
    }

    /// Whether the rate rises no further.
    #[inline(always)]
    pub const fn is_at_most(self) -> bool {
        self.rate() >= if self.is_by_size() { MAX_RAISED_BYTES } else { MAX_RAISED_RATE }
    }
}

/// A hash: the finalizer of Austin Appleby's MurmurHash3 (fmix64). One multiplication would spread blocks that lie at equal
/// distances evenly, which is no random sample.
#[inline(always)]
const fn mixed(value: u64) -> u64 {
    let mut hash = value;
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
    /// Functions that were seen to call others that allocate, a bit for each code of a [`crate::heap::Function`].
    pub nesting: u64,
}
assert_layout!(SampleControl, size 48, state at 0, mark at 8, limit at 16, window at 24, opened_ns at 32, nesting at 40);

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
/// By address, what is given out again and again at one is in the sample each time or never, so frees are no independent
/// draws: addresses are. How much one of them weighs is estimated by the sketch: each address adds its frees to one of the sums,
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

    fn tracks(state: SampleState, tgid: u32, address: u64) -> bool {
        let tracked = state.keeps(state.hash(tgid, address, 0), 1);
        assert_eq!(state.may_keep(tgid, address), tracked);
        tracked
    }

    /// When blocks are born, evenly enough for a bad hash.
    fn births() -> impl Iterator<Item = u64> {
        (0..1_000_000_u64).map(|index| 0x1234_5678_9abc + index * 1_009)
    }

    #[test]
    fn by_birth_every_address_may_be_tracked_and_the_share_is_right() {
        for rate in [2_u32, 7, 64, 1_000] {
            let state = SampleState::of(rate).by_birth();
            assert!(state.may_keep(7, 0x10) && state.rate() == rate && state.weight(1 << 20) == u64::from(rate));
            let kept = births().filter(|born| state.keeps(state.hash(7, 0x10, *born), 48)).count() as f64;
            let expected = 1e6 / f64::from(rate);
            assert!((kept - expected).powi(2) <= 25.0 * expected, "1 in {rate}: {kept} of {expected}");
        }
    }

    #[test]
    fn what_is_kept_by_size_stands_for_all_bytes() {
        let state = SampleState::of_bytes(64 << 10);
        for size in [0, 1, 16, 48, 1_000, 4_096, 65_535, 65_536, 1 << 20, 1 << 40] {
            let kept = births().filter(|born| state.keeps(state.hash(7, 0x10, *born), size)).count() as f64;
            let estimated = kept * state.weight(size) as f64;
            let error = (1e6 * state.weight(size) as f64).sqrt();
            assert!((estimated - 1e6).abs() <= 5.0 * error, "{size}: {estimated}");
            let all = size >= 65_536;
            assert_eq!((kept == 1e6, state.weight(size) == 1), (all, all), "{size}");
        }
    }

    #[test]
    fn a_doubled_rate_keeps_a_part_by_birth_and_by_size() {
        for state in [SampleState::of(64).by_birth(), SampleState::of_bytes(4_096)] {
            let doubled = state.doubled();
            assert_eq!((doubled.rate(), doubled.weight(32)), (2 * state.rate(), 2 * state.weight(32)));
            assert!(births().all(|born| {
                let hash = state.hash(1, 0, born);
                state.keeps(hash, 32) || !doubled.keeps(hash, 32)
            }));
            assert!(state.closed().doubled().is_closed() && state.closed().doubled().is_by_birth());
        }
        assert!(
            SampleState::of_bytes(MAX_RAISED_BYTES).is_at_most()
                && !SampleState::of_bytes(MAX_RAISED_RATE).is_at_most()
        );
    }

    #[test]
    fn a_rate_of_one_tracks_everything() {
        let state = SampleState::of(1);
        assert!(state.is_all() && state.rate() == 1);
        assert!((0..1000).all(|address| tracks(state, 7, address << 4)));
        assert_eq!(state.doubled(), SampleState::of(2));
    }

    #[test]
    fn what_is_closed_tracks_nothing_and_knows_its_rate() {
        for rate in [1, 64, MAX_RAISED_RATE] {
            let (open, closed) = (SampleState::of(rate), SampleState::of(rate).closed());
            assert!(closed.is_closed() && !closed.is_all() && closed.rate() == rate);
            assert!((0..100_000).all(|address| !tracks(closed, 7, address << 4)));
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
            assert!(addresses().all(|address| tracks(state, 1, address) || !tracks(doubled, 1, address)));
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
                let tracked = (0..BLOCKS).filter(|index| tracks(state, 4127, start + index * stride)).count() as f64;
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
