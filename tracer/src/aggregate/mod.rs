//! From counters and new stacks to a [`Snapshot`].
//!
//! In: the events and readings of an [`crate::event::EventSource`], an explicit clock, the symbolizer's answers. Out:
//! the [`Snapshot`], the one value that every view shows. Pure: no clock, no file and no kernel is touched here.

mod aggregator;
mod descriptors;
mod fd_tables;
mod fds;
mod growth;
mod mode;
mod peers;
mod processes;
mod quantile;
mod ranges;
mod sampling;
mod site_map;
mod snapshot;
mod windows;
pub mod work;

pub use aggregator::{Aggregator, Session};
pub use descriptors::{
    Corrections, Descriptors, Direction, Endpoint, Fd, FdKind, FdLimits, FdSignal, FdSite, OpenFd, Origin, Peer,
    Socket, TcpState,
};
pub use fd_tables::{Comparison, FdTables, OpenRecord};
pub use fds::counted_by;
pub use growth::{Balance, Faulted, PageFaults, ProcessFaults, Resident};
pub use mode::{Mode, ModeSince, Modes};
pub use processes::{ImageKey, ProcessSnapshot, Processes};
pub use ranges::{RangeChange, RangeTurn, Ranges};
pub use sampling::{Raised, SampleRate, Sampled, SampledFrees, Weighed, Weighing, Weight, Weights};
pub use site_map::SiteMap;
pub use snapshot::{
    BlockCounters, Ending, Feature, IncompleteCount, LossCount, Note, Overhead, OwnCost, ProbeStatus, Rates, Sampling,
    SiteId, SiteSnapshot, Snapshot, StatCount, Suppressed, TargetInfo, TargetState, Tgid, Turns,
};
pub use windows::{Duty, Spread};
