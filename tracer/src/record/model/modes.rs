//! How memory is followed, and how it was before.

use std::time::Duration;

use prost::Message;

use super::{RowReader, Rows};
use crate::{
    aggregate::{Mode, ModeSince, Modes, SampleRate},
    record::{error::Malformed, format::nanos},
};

#[derive(Clone, PartialEq, Message)]
struct ModesRow {
    #[prost(message, repeated, tag = "1")]
    latest: Vec<ModeRow>,
    #[prost(uint64, tag = "2")]
    earlier: u64,
    #[prost(double, optional, tag = "3")]
    calls: Option<f64>,
}

/// What is not there does not belong to the way.
#[derive(Clone, Copy, PartialEq, Message)]
struct ModeRow {
    #[prost(uint64, tag = "1")]
    since_ns: u64,
    #[prost(uint32, tag = "2")]
    way: u32,
    #[prost(uint32, optional, tag = "3")]
    rate: Option<u32>,
    #[prost(double, optional, tag = "4")]
    share: Option<f64>,
}

const HITS: u32 = 1;
const ALL: u32 = 2;
const SAMPLED: u32 = 3;
const WINDOWS: u32 = 4;
const PAGE_FAULTS: u32 = 5;
const SAMPLED_BY_SIZE: u32 = 6;

pub(super) fn to_row(kind: u32, modes: &Modes, rows: &mut Rows) {
    let Modes { latest, earlier, calls } = modes;
    let row = |&ModeSince { since, mode }: &ModeSince| {
        let (way, rate, share) = match mode {
            Mode::Hits => (HITS, None, None),
            Mode::All => (ALL, None, None),
            Mode::Sampled(SampleRate::Blocks(rate)) => (SAMPLED, Some(rate), None),
            Mode::Sampled(SampleRate::Bytes(rate)) => (SAMPLED_BY_SIZE, Some(rate), None),
            Mode::Windows(share) => (WINDOWS, None, Some(share)),
            Mode::PageFaults => (PAGE_FAULTS, None, None),
        };
        ModeRow { since_ns: nanos(since), way, rate, share }
    };
    if !latest.is_empty() || calls.is_some() {
        rows.add(kind, 0, &ModesRow { latest: latest.iter().map(row).collect(), earlier: *earlier, calls: *calls });
    }
}

pub(super) fn from_row(reader: &RowReader<'_>, kind: u32, unknown: &mut u64) -> Result<Modes, Malformed> {
    let ModesRow { latest, earlier, calls } = reader.one(kind)?.unwrap_or_default();
    let mode = |ModeRow { since_ns, way, rate, share }: ModeRow| {
        let mode = match way {
            HITS => Mode::Hits,
            ALL => Mode::All,
            SAMPLED => Mode::Sampled(SampleRate::Blocks(rate?)),
            SAMPLED_BY_SIZE => Mode::Sampled(SampleRate::Bytes(rate?)),
            WINDOWS => Mode::Windows(share?),
            PAGE_FAULTS => Mode::PageFaults,
            _ => return None,
        };
        Some(ModeSince { since: Duration::from_nanos(since_ns), mode })
    };
    let rows = latest.len();
    let latest: Vec<ModeSince> = latest.into_iter().take(Modes::KEPT).filter_map(mode).collect();
    *unknown += (rows - latest.len()) as u64;
    Ok(Modes { latest, earlier, calls })
}
