//! What estimates rest on, where not all blocks are tracked.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tracer_common::sampling::SKETCH;

use super::{Counters, RowReader};
use crate::{
    aggregate::{SampleRate, Sampled, Sampling, SiteId, Spread, Turns, Weighed},
    record::{error::Malformed, format::nanos, rows::Rows},
};

/// Of one site, keyed by it, or of all.
#[derive(Clone, PartialEq, Message)]
struct SampledRow {
    #[prost(uint32, tag = "1")]
    rate: u32,
    #[prost(uint64, tag = "2")]
    objects: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(double, repeated, tag = "5")]
    freed_bytes: Vec<f64>,
    #[prost(double, repeated, tag = "6")]
    freed_objects: Vec<f64>,
    #[prost(message, optional, tag = "7")]
    estimated: Option<Counters>,
    #[prost(message, optional, tag = "8")]
    spread: Option<SpreadRow>,
    #[prost(message, optional, tag = "9")]
    weighed_objects: Option<WeighedRow>,
    #[prost(message, optional, tag = "10")]
    weighed_bytes: Option<WeighedRow>,
}

#[derive(Clone, PartialEq, Message)]
struct WeighedRow {
    #[prost(double, tag = "1")]
    sum: f64,
    #[prost(double, tag = "2")]
    squares: f64,
    #[prost(double, tag = "3")]
    variance: f64,
}

impl From<Weighed> for WeighedRow {
    fn from(Weighed { sum, squares, variance }: Weighed) -> Self {
        Self { sum, squares, variance }
    }
}

impl From<WeighedRow> for Weighed {
    fn from(WeighedRow { sum, squares, variance }: WeighedRow) -> Self {
        Self { sum, squares, variance }
    }
}

#[derive(Clone, PartialEq, Message)]
struct SpreadRow {
    #[prost(uint64, tag = "1")]
    windows: u64,
    #[prost(double, tag = "2")]
    inuse_bytes: f64,
    #[prost(double, tag = "3")]
    inuse_objects: f64,
    #[prost(double, tag = "4")]
    free_bytes: f64,
    #[prost(double, tag = "5")]
    free_objects: f64,
}

impl From<Spread> for SpreadRow {
    fn from(spread: Spread) -> Self {
        let Spread { windows, inuse_bytes, inuse_objects, free_bytes, free_objects } = spread;
        Self { windows, inuse_bytes, inuse_objects, free_bytes, free_objects }
    }
}

impl From<SpreadRow> for Spread {
    fn from(row: SpreadRow) -> Self {
        let SpreadRow { windows, inuse_bytes, inuse_objects, free_bytes, free_objects } = row;
        Self { windows, inuse_bytes, inuse_objects, free_bytes, free_objects }
    }
}

#[derive(Clone, PartialEq, Message)]
struct TurnsRow {
    #[prost(double, tag = "1")]
    share: f64,
    #[prost(uint64, tag = "2")]
    since_ns: u64,
    #[prost(uint64, tag = "3")]
    windows: u64,
}

/// Sampling as a whole.
#[derive(Clone, PartialEq, Message)]
struct SamplingRow {
    #[prost(message, optional, tag = "1")]
    totals: Option<SampledRow>,
    #[prost(message, repeated, tag = "2")]
    raised: Vec<RaisedRow>,
    #[prost(message, optional, tag = "3")]
    turns: Option<TurnsRow>,
    /// In bytes when the rates are.
    #[prost(uint32, optional, tag = "4")]
    every_bytes: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct RaisedRow {
    #[prost(uint64, tag = "1")]
    at_ns: u64,
    #[prost(uint32, tag = "2")]
    rate: u32,
}

impl From<&Sampled> for SampledRow {
    fn from(sampled: &Sampled) -> Self {
        let Sampled {
            rate,
            objects,
            bytes,
            weighed_objects,
            weighed_bytes,
            freed_bytes,
            freed_objects,
            estimated,
            spread,
        } = sampled;
        Self {
            rate: *rate,
            objects: *objects,
            bytes: *bytes,
            freed_bytes: sums(freed_bytes),
            freed_objects: sums(freed_objects),
            estimated: Some((*estimated).into()),
            spread: spread.map(SpreadRow::from),
            weighed_objects: Some((*weighed_objects).into()),
            weighed_bytes: Some((*weighed_bytes).into()),
        }
    }
}

/// Sites of which nothing was freed have none.
fn sums(sketch: &[f64; SKETCH]) -> Vec<f64> {
    if sketch.iter().all(|sum| *sum == 0.0) { Vec::new() } else { sketch.to_vec() }
}

impl SampledRow {
    /// `None` if that is no sampling.
    fn into_sampled(self) -> Option<Sampled> {
        fn sketch(sums: Vec<f64>) -> Option<[f64; SKETCH]> {
            if sums.is_empty() { Some([0.0; SKETCH]) } else { sums.try_into().ok() }
        }
        let Self {
            rate,
            objects,
            bytes,
            freed_bytes,
            freed_objects,
            estimated,
            spread,
            weighed_objects,
            weighed_bytes,
        } = self;
        (rate > 0).then_some(Sampled {
            rate,
            objects,
            bytes,
            weighed_objects: weighed_objects.unwrap_or_default().into(),
            weighed_bytes: weighed_bytes.unwrap_or_default().into(),
            freed_bytes: sketch(freed_bytes)?,
            freed_objects: sketch(freed_objects)?,
            estimated: estimated.unwrap_or_default().into(),
            spread: spread.map(Spread::from),
        })
    }
}

/// Adds what a site's estimates rest on, if they are estimates.
pub(super) fn site_to_row(kind: u32, id: SiteId, sampled: Option<&Sampled>, rows: &mut Rows) {
    if let Some(sampled) = sampled {
        rows.add(kind, u64::from(id.0), &SampledRow::from(sampled));
    }
}

/// The same, by their sites.
pub(super) fn sites_from_rows(
    reader: &mut RowReader<'_>,
    kind: u32,
) -> Result<HashMap<SiteId, Box<Sampled>>, Malformed> {
    let sampled = reader
        .all(kind, |key, row: SampledRow| Some((SiteId(u32::try_from(key).ok()?), Box::new(row.into_sampled()?))))?;
    Ok(sampled.into_iter().collect())
}

/// Adds sampling as a whole, if there is any.
pub(super) fn to_row(kind: u32, sampling: Option<&Sampling>, rows: &mut Rows) {
    let Some(Sampling { rate, raised, totals, turns }) = sampling else { return };
    let every_bytes = match rate {
        SampleRate::Bytes(bytes) => Some(*bytes),
        SampleRate::Blocks(_) => None,
    };
    let raised = raised.iter().map(|&(at, rate)| RaisedRow { at_ns: nanos(at), rate: rate.number() }).collect();
    let turns = turns.map(|Turns { share, since, windows }| TurnsRow { share, since_ns: nanos(since), windows });
    rows.add(kind, 0, &SamplingRow { totals: Some(totals.into()), raised, turns, every_bytes });
}

/// Sampling as a whole.
pub(super) fn from_row(reader: &RowReader<'_>, kind: u32) -> Result<Option<Sampling>, Malformed> {
    let Some(SamplingRow { totals, raised, turns, every_bytes }) = reader.one(kind)? else { return Ok(None) };
    let Some(totals) = totals.and_then(SampledRow::into_sampled) else { return Ok(None) };
    let rate = every_bytes.map_or(SampleRate::Blocks(totals.rate), SampleRate::Bytes);
    let raised = raised.into_iter();
    let raised = raised.map(|RaisedRow { at_ns, rate: to }| (Duration::from_nanos(at_ns), rate.with(to))).collect();
    let turns = turns.map(|TurnsRow { share, since_ns, windows }| Turns {
        share,
        since: Duration::from_nanos(since_ns),
        windows,
    });
    Ok(Some(Sampling { rate, raised, totals, turns }))
}
