//! Ages in powers of two of nanoseconds.

use std::{ops::Range, time::Duration};

/// How many buckets of ages there are.
pub const AGE_BUCKETS: usize = 32;
/// The first bucket holds ages below `1 << FIRST_AGE_SHIFT` nanoseconds (66 microseconds); each other one reaches to twice
/// the end of the one before, and the last one, from 19.5 hours on, has no end.
pub const FIRST_AGE_SHIFT: u32 = 16;

/// The bucket of an age. The programs in the kernel compute the same: bits of the age, less [`FIRST_AGE_SHIFT`].
pub fn age_bucket(age_ns: u64) -> usize {
    let bits = u64::BITS - age_ns.leading_zeros();
    (bits.saturating_sub(FIRST_AGE_SHIFT) as usize).min(AGE_BUCKETS - 1)
}

/// The ages that a bucket holds. The last one's end is the end of time.
pub fn bucket_ages(bucket: usize) -> Range<Duration> {
    let edge = |bucket: usize| 1u64 << (FIRST_AGE_SHIFT as usize + bucket.min(AGE_BUCKETS) - 1);
    let start = if bucket == 0 { Duration::ZERO } else { Duration::from_nanos(edge(bucket)) };
    let end = if bucket + 1 >= AGE_BUCKETS { Duration::MAX } else { Duration::from_nanos(edge(bucket + 1)) };
    start..end
}
