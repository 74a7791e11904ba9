//! A source of made-up sites that behave by a formula, under a clock that the caller moves.

use std::time::Duration;

use tracer_common::{event::SiteKind, stack::StackEnd};

use super::{
    raw::{RawEvent, SiteStack},
    source::{EventSource, Reading, SourceError},
};
use crate::aggregate::{BlockCounters, SiteId, Tgid};

/// How a made-up site behaves. All blocks of a site have one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Allocates at a steady rate and never frees.
    Leak {
        /// Blocks per second.
        per_s: f64,
        /// Bytes of a block.
        size: u64,
    },
    /// Frees each block as soon as the next one is allocated.
    Churn {
        /// Blocks per second.
        per_s: f64,
        /// Bytes of a block.
        size: u64,
    },
    /// Keeps the newest blocks up to a limit.
    Cache {
        /// Blocks per second.
        per_s: f64,
        /// Bytes of a block.
        size: u64,
        /// Blocks kept.
        limit: u64,
    },
    /// Allocates once, at the start.
    Startup {
        /// Blocks.
        objects: u64,
        /// Bytes of a block.
        size: u64,
    },
}

impl Pattern {
    /// The counters after some time.
    pub fn counters(self, elapsed: Duration) -> BlockCounters {
        let count = |per_s: f64| (per_s * elapsed.as_secs_f64()) as u64;
        let (allocated, kept, size) = match self {
            Self::Leak { per_s, size } => (count(per_s), u64::MAX, size),
            Self::Churn { per_s, size } => (count(per_s), 1, size),
            Self::Cache { per_s, size, limit } => (count(per_s), limit, size),
            Self::Startup { objects, size } => (objects, u64::MAX, size),
        };
        let freed = allocated.saturating_sub(kept);
        BlockCounters {
            alloc_bytes: allocated * size,
            alloc_objects: allocated,
            free_bytes: freed * size,
            free_objects: freed,
        }
    }
}

/// Made-up sites, one for each pattern.
#[derive(Clone, Debug)]
pub struct Synthetic {
    tgid: Tgid,
    patterns: Vec<Pattern>,
    announced: bool,
    elapsed: Duration,
}

impl Synthetic {
    /// A source whose site ids are the indices of the patterns.
    pub fn new(tgid: Tgid, patterns: Vec<Pattern>) -> Self {
        Self { tgid, patterns, announced: false, elapsed: Duration::ZERO }
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }
}

impl EventSource for Synthetic {
    fn read(&mut self, sites: usize, reading: &mut Reading) -> Result<(), SourceError> {
        *reading = Reading {
            faults: Vec::new(),
            now_ns: self.elapsed.as_nanos() as u64,
            counters: self.patterns.iter().take(sites).map(|pattern| pattern.counters(self.elapsed)).collect(),
            ..Reading::default()
        };
        Ok(())
    }

    fn poll(&mut self, events: &mut Vec<RawEvent>) -> Result<(), SourceError> {
        if !std::mem::replace(&mut self.announced, true) {
            events.extend((0..self.patterns.len() as u32).map(|id| {
                RawEvent::NewSite(SiteStack {
                    id: SiteId(id),
                    tgid: self.tgid,
                    image: 0,
                    kind: SiteKind::Heap,
                    frames: [u64::from(id) << 12 | 0x40_0000, 0x41_0000, 0x42_0000].into(),
                    end: StackEnd::Complete,
                    exact: 0,
                })
            }));
        }
        Ok(())
    }
}
