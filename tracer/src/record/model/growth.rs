//! What page faults say of the processes.

use std::time::Duration;

use prost::Message;

use super::RowReader;
use crate::{
    aggregate::{Faulted, PageFaults, ProcessFaults, Resident, Tgid},
    record::{error::Malformed, format::nanos, limits::LIST, rows::Rows},
};

#[derive(Clone, PartialEq, Message)]
struct GrowthRow {
    #[prost(uint64, tag = "1")]
    period: u64,
    #[prost(message, repeated, tag = "2")]
    processes: Vec<ProcessRow>,
    #[prost(uint64, tag = "3")]
    since_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessRow {
    #[prost(uint32, tag = "1")]
    tgid: u32,
    #[prost(uint64, tag = "2")]
    samples: u64,
    #[prost(uint64, optional, tag = "3")]
    at_attach: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    now: Option<u64>,
}

pub(super) fn to_row(kind: u32, faults: &PageFaults, rows: &mut Rows) {
    let PageFaults { period, since, processes } = faults;
    let process = |ProcessFaults { tgid, faulted, resident }: &ProcessFaults| ProcessRow {
        tgid: tgid.0,
        samples: faulted.samples,
        at_attach: resident.map(|resident| resident.at_attach),
        now: resident.map(|resident| resident.now),
    };
    let processes = processes.iter().map(process).collect();
    rows.add(kind, 0, &GrowthRow { period: *period, processes, since_ns: nanos(*since) });
}

pub(super) fn from_rows(reader: &RowReader<'_>, kind: u32) -> Result<Option<PageFaults>, Malformed> {
    let Some(GrowthRow { period, mut processes, since_ns }) = reader.one(kind)? else { return Ok(None) };
    processes.truncate(LIST);
    let process = |ProcessRow { tgid, samples, at_attach, now }: ProcessRow| ProcessFaults {
        tgid: Tgid(tgid),
        faulted: Faulted { samples, period },
        resident: at_attach.zip(now).map(|(at_attach, now)| Resident { at_attach, now }),
    };
    let since = Duration::from_nanos(since_ns);
    Ok(Some(PageFaults { period, since, processes: processes.into_iter().map(process).collect() }))
}

/// What a sum over all of them may come to.
pub(super) fn sum(faults: &PageFaults) -> u128 {
    let of = |ProcessFaults { tgid: _, faulted, resident }: &ProcessFaults| {
        let Resident { at_attach, now } = resident.unwrap_or_default();
        // As bytes: what is shown of them.
        u128::from(faulted.samples) * u128::from(faulted.period) * 4096 + u128::from(at_attach) + u128::from(now)
    };
    faults.processes.iter().map(of).sum()
}
