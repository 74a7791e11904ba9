//! Where events and counters come from.

use std::time::Duration;

use thiserror::Error;

use super::raw::{DecodeError, RawEvent};
use crate::aggregate::{
    BlockCounters, LossCount, ProbeStatus, Raised, SampleRate, SampledFrees, SiteMap, StatCount, Weights,
};
use crate::analyze::{
    sizes::Sizes,
    survival::{AGE_BUCKETS, LiveAges, Weighs},
};

/// Why a source failed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A record that does not follow the protocol.
    #[error("the BPF programs and this binary do not belong together: {0}; rebuild with `cargo xtask bpf`")]
    Protocol(#[from] DecodeError),
    /// A counter could not be read.
    #[error("a counter cannot be read: {0}")]
    Read(String),
}

/// Counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The moment: `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
    /// By site id; of blocks, of those that are tracked.
    pub counters: Vec<BlockCounters>,
    /// Page faults that were looked at, by site id; empty where none are.
    pub faults: Vec<u64>,
    /// When not all blocks are tracked, or were not.
    pub sample: Option<SampleReading>,
    /// Losses that happened.
    pub loss: Vec<LossCount>,
    /// What else was seen.
    pub stats: Vec<StatCount>,
    /// CPU time of the traced processes since the attach, where it was read.
    pub cpu: Option<Duration>,
    /// The program that looks at system calls, if one does, and how many it has seen of the traced processes.
    pub calls: Option<ProbeStatus>,
    /// The probes and their hits.
    pub probes: Vec<ProbeStatus>,
}

/// What the counters of blocks stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleReading {
    /// How many blocks are tracked.
    pub rate: SampleRate,
    /// When that rose by itself.
    pub raised: Vec<Raised>,
    /// By site id.
    pub frees: Vec<SampledFrees>,
}

/// A look at all outstanding blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// When the oldest outstanding block of each site was born: `CLOCK_MONOTONIC`, nanoseconds.
    pub oldest_born_ns: SiteMap<u64>,
    /// What each site's blocks stand for, as multiples of the rate.
    pub weights: SiteMap<Weights>,
    /// What one of them stands for, in blocks and bytes.
    pub weighs: SiteMap<Weighs>,
    /// Blocks seen.
    pub blocks: u64,
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Ages of each site's blocks: of those that are outstanding, and of those that were freed.
    pub ages: SiteMap<(LiveAges, [u64; AGE_BUCKETS])>,
    /// Sizes of each site's outstanding blocks.
    pub sizes: SiteMap<Sizes>,
}

/// A source of events: the kernel, a recording, or made up.
pub trait EventSource {
    /// Reads the counters of the first `sites` site ids. Ids are handed out in order, so after a poll the highest id
    /// seen says how many there are.
    ///
    /// # Errors
    /// When the source is broken; it cannot be used further.
    fn read(&mut self, sites: usize, reading: &mut Reading) -> Result<(), SourceError>;

    /// Appends what has happened since the last call. Does not block.
    ///
    /// # Errors
    /// When the source is broken; it cannot be used further.
    fn poll(&mut self, events: &mut Vec<RawEvent>) -> Result<(), SourceError>;
}
