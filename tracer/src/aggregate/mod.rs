//! From counters and new stacks to a [`Snapshot`].
//!
//! In: the events and readings of an [`crate::event::EventSource`], an explicit clock, the symbolizer's answers. Out:
//! the [`Snapshot`], the one value that every view shows. Pure: no clock, no file and no kernel is touched here.

mod aggregator;
mod snapshot;

pub use aggregator::{Aggregator, Session};
pub use snapshot::{
    BlockCounters, IncompleteCount, LossCount, ProbeStatus, Rates, SiteId, SiteSnapshot, Snapshot, StatCount,
    TargetInfo, TargetState, Tgid,
};
