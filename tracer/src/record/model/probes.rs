//! Probes, and how often each was hit.

use std::time::Duration;

use prost::Message;

use super::{RowReader, codes, kind};
use crate::{
    aggregate::ProbeStatus,
    record::{error::Malformed, format::nanos, rows::Rows},
};

#[derive(Clone, PartialEq, Message)]
struct ProbeRow {
    #[prost(string, tag = "1")]
    module: String,
    #[prost(string, tag = "2")]
    symbol: String,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(string, tag = "4")]
    kind: String,
}

/// Of all probes, in their order: apart from them, because the rest does not change.
#[derive(Clone, PartialEq, Message)]
struct HitsRow {
    #[prost(uint64, repeated, tag = "1")]
    hits: Vec<u64>,
    /// What a hit costs, in nanoseconds and 1; 0 where that is not known.
    #[prost(uint64, repeated, tag = "2")]
    costs: Vec<u64>,
}

/// Adds the probes, in their order.
pub(super) fn to_rows(probes: &[ProbeStatus], rows: &mut Rows) {
    for (place, ProbeStatus { module, symbol, offset, kind, hits: _, cost: _ }) in (0..).zip(probes) {
        let (module, symbol, kind) = (module.clone(), symbol.clone(), (*kind).to_owned());
        rows.add(kind::PROBE, place, &ProbeRow { module, symbol, offset: *offset, kind });
    }
    if !probes.is_empty() {
        let hits = probes.iter().map(|probe| probe.hits).collect();
        let costs = probes.iter().map(|probe| probe.cost.map_or(0, |cost| nanos(cost).saturating_add(1))).collect();
        rows.add(kind::HITS, 0, &HitsRow { hits, costs });
    }
}

/// The probes, in their order.
pub(super) fn from_rows(reader: &mut RowReader<'_>) -> Result<Vec<ProbeStatus>, Malformed> {
    let hits = reader.one::<HitsRow>(kind::HITS)?.unwrap_or_default();
    reader.all(kind::PROBE, |place, row| probe(row, usize::try_from(place).ok()?, &hits))
}

fn probe(row: ProbeRow, place: usize, HitsRow { hits, costs }: &HitsRow) -> Option<ProbeStatus> {
    let ProbeRow { module, symbol, offset, kind } = row;
    let hits = hits.get(place).copied().unwrap_or_default();
    let cost = costs.get(place).and_then(|cost| cost.checked_sub(1)).map(Duration::from_nanos);
    Some(ProbeStatus { module, symbol, offset, kind: codes::probe_kind(&kind)?, hits, cost })
}
