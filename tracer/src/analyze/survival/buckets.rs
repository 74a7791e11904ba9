//! Ages in powers of two of nanoseconds.

use std::{ops::Range, time::Duration};

pub use tracer_common::heap::{AGE_BUCKETS, FIRST_AGE_SHIFT, age_bucket};

/// The ages that a bucket holds. The last one's end is the end of time.
pub fn bucket_ages(bucket: usize) -> Range<Duration> {
    let edge = |bucket: usize| 1u64 << (FIRST_AGE_SHIFT as usize + bucket.min(AGE_BUCKETS) - 1);
    let start = if bucket == 0 { Duration::ZERO } else { Duration::from_nanos(edge(bucket)) };
    let end = if bucket + 1 >= AGE_BUCKETS { Duration::MAX } else { Duration::from_nanos(edge(bucket + 1)) };
    start..end
}
