//! From counters and new stacks to a [`Snapshot`].
//!
//! In: batches of an event source, an explicit clock, the symbolizer's answers. Out: the [`Snapshot`], the one value
//! that every view shows. Pure: no clock, no file and no kernel is touched here.

mod snapshot;

pub use snapshot::{
    BlockCounters, LossCount, ProbeStatus, Rates, SiteId, SiteSnapshot, Snapshot, StatCount, TargetInfo, TargetState,
    Tgid,
};
