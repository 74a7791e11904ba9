//! Page faults that are followed in place of blocks: from the beginning, or from some time on.
//!
//! Then blocks are of the past. Nobody sees them end, so their sites are left out until they are tracked again, and a note says what
//! they came to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracer_common::event::SiteKind;

use super::Aggregator;
use crate::{
    aggregate::{BlockCounters, Faulted, Note, PageFaults, ProcessFaults, Tgid},
    event::Reading,
    report::units::{bytes, counted, duration},
};

/// Page faults since some time.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// Faults for each that is looked at.
    period: u64,
    /// Since when, since tracing began.
    since: Duration,
    /// What had been looked at before, by site.
    before: Vec<u64>,
    /// What was known of blocks then, when they were tracked.
    blocks: Option<Past>,
}

/// What was known of blocks when they were tracked last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) totals: BlockCounters,
    sites: u64,
    estimated: bool,
}

impl Following {
    /// From the beginning on.
    pub(super) fn all_the_time(period: u64) -> Self {
        Self { period, ..Self::default() }
    }
}

impl Aggregator {
    /// Page faults are followed from here on, one in `period` of them; blocks are not tracked any more, and forgotten after
    /// `reading`.
    pub fn follow_faults(&mut self, period: u64, reading: &Reading) {
        let past = self.blocks_now(reading);
        self.following = Some(Following {
            period,
            since: self.since_start(reading.now_ns),
            before: reading.faults.clone(),
            blocks: self.session.heap.then_some(past),
        });
        // What is resident is compared with what is faulted in from here on.
        self.resident.clear();
    }

    /// Page faults are followed no more; blocks are tracked from here on.
    pub fn follow_blocks(&mut self, reading: &Reading) {
        self.following = None;
        self.resident.clear();
        // Rates are not over the time when nobody looked.
        self.rates_from(reading);
    }

    /// Whether page faults are followed.
    pub fn follows_faults(&self) -> bool {
        self.following.is_some()
    }

    /// Whether blocks of that kind are of the past.
    pub(super) fn is_past(&self, kind: SiteKind) -> bool {
        self.following.is_some() && kind == SiteKind::Heap
    }

    pub(super) fn blocks_now(&self, reading: &Reading) -> Past {
        let mut past = Past {
            totals: BlockCounters::default(),
            sites: 0,
            estimated: self.windows.is_some() || reading.sample.is_some(),
        };
        for site in self.heap_sites() {
            let counted = reading.counters.get(site.raw.id.0 as usize).copied().unwrap_or_default();
            let counters = self.sampled(site, counted, reading).map_or(counted, |sampled| sampled.counters());
            past.totals += counters;
            past.sites += u64::from(counters.inuse_objects() > 0);
        }
        past
    }

    /// What a site of page faults rests on; `None` for one of another kind, and while they are not followed.
    pub(super) fn faulted(&self, index: usize, kind: SiteKind, samples: Option<u64>) -> Option<Faulted> {
        let Following { period, before, .. } = self.following.as_ref().filter(|_| kind.is_faulted())?;
        let before = before.get(index).copied().unwrap_or(0);
        Some(Faulted { samples: samples.unwrap_or(0).saturating_sub(before), period: *period })
    }

    /// What they say, when they are followed.
    pub(super) fn page_faults(&self, by_process: &BTreeMap<Tgid, Faulted>) -> Option<PageFaults> {
        let Following { period, since, .. } = *self.following.as_ref()?;
        let known: BTreeSet<Tgid> = by_process.keys().chain(self.resident.keys()).copied().collect();
        let of = |tgid: Tgid| ProcessFaults {
            tgid,
            faulted: by_process.get(&tgid).copied().unwrap_or(Faulted { samples: 0, period }),
            resident: self.resident.get(&tgid).copied(),
        };
        Some(PageFaults { period, since, processes: known.into_iter().map(of).collect() })
    }

    /// What is said of the blocks that are not tracked any more.
    pub(super) fn past_note(&self) -> Option<Note> {
        let Following { since, blocks, .. } = self.following.as_ref()?;
        let Past { totals, sites, estimated } = (*blocks)?;
        let since = duration(*since);
        let held = if totals.inuse_objects() == 0 {
            String::new()
        } else {
            let (mark, sites) = (if estimated { "~" } else { "" }, counted(sites, "call site", "call sites"));
            format!("; {mark}{} were outstanding then, of {sites}, which are not shown", bytes(totals.inuse_bytes()))
        };
        let what = format!(
            "blocks are not tracked since {since}, as there is too little room for that in --max-overhead: page faults are \
             followed instead{held}"
        );
        Some(Note { what: what.into(), pids: Vec::new() })
    }
}
