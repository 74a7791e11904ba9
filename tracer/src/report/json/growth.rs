//! What page faults say: of a site, and of the processes as a whole.

use serde::Serialize;

use super::analysis::JsonEstimate;
use crate::aggregate::{Balance, Faulted, PageFaults, ProcessFaults, Resident};

/// What a site of page faults rests on.
#[derive(Serialize)]
pub(super) struct JsonFaulted {
    samples: u64,
    bytes: JsonEstimate,
}

impl From<Faulted> for JsonFaulted {
    fn from(faulted: Faulted) -> Self {
        Self { samples: faulted.samples, bytes: faulted.bytes_estimate().into() }
    }
}

/// All processes together, and each.
#[derive(Serialize)]
pub(super) struct JsonGrowth {
    /// One fault in this many is looked at.
    period: u64,
    faulted: JsonFaulted,
    /// Since when they are followed, in seconds since the start.
    since_s: f64,
    /// By how much resident memory grew since then; negative when it shrank.
    rss_growth_bytes: Option<i64>,
    /// What was faulted in and given back since, or took the place of other memory.
    given_back_bytes: Option<u64>,
    /// What became resident without a fault of its own: huge pages, or pages mapped ahead.
    unseen_bytes: Option<u64>,
    processes: Vec<JsonProcessFaults>,
}

#[derive(Serialize)]
struct JsonProcessFaults {
    pid: u32,
    faulted: JsonFaulted,
    rss_at_attach_bytes: Option<u64>,
    rss_bytes: Option<u64>,
}

impl From<&PageFaults> for JsonGrowth {
    fn from(faults: &PageFaults) -> Self {
        let PageFaults { period, since, processes } = faults;
        let (given_back_bytes, unseen_bytes) = match faults.balance() {
            None => (None, None),
            Some(Balance::GivenBack(bytes)) => (Some(bytes), Some(0)),
            Some(Balance::Kept) => (Some(0), Some(0)),
            Some(Balance::Unseen(bytes)) => (Some(0), Some(bytes)),
        };
        Self {
            period: *period,
            since_s: since.as_secs_f64(),
            faulted: faults.faulted().into(),
            rss_growth_bytes: faults.resident().map(Resident::growth),
            given_back_bytes,
            unseen_bytes,
            processes: processes.iter().map(JsonProcessFaults::from).collect(),
        }
    }
}

impl From<&ProcessFaults> for JsonProcessFaults {
    fn from(ProcessFaults { tgid, faulted, resident }: &ProcessFaults) -> Self {
        let (at_attach, now) = resident.map(|Resident { at_attach, now }| (at_attach, now)).unzip();
        Self { pid: tgid.0, faulted: (*faulted).into(), rss_at_attach_bytes: at_attach, rss_bytes: now }
    }
}
