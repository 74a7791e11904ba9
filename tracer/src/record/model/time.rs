//! Ages as points in time: what does not happen does not change them.

use std::time::Duration;

use crate::record::format::nanos;

/// A point in time, in nanoseconds since tracing began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(i64);

impl Moment {
    /// So long after tracing began.
    pub(super) fn after(elapsed: Duration) -> Self {
        Self(i64::try_from(nanos(elapsed)).unwrap_or(i64::MAX))
    }

    /// So long before this one, as it is written; may be before the beginning.
    pub(super) fn before(self, age: Duration) -> i64 {
        self.0.saturating_sub(i64::try_from(nanos(age)).unwrap_or(i64::MAX))
    }

    /// The moment so written.
    pub(super) fn at(written: i64) -> Self {
        Self(written)
    }

    /// How long ago that was; what is later was now.
    pub(super) fn since(self, written: i64) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(written)).unwrap_or(0))
    }
}
