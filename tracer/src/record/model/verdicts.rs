//! Verdicts on sites. Apart from the sites' rows, because either changes without the other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use prost::Message;

use super::{RowReader, codes};
use crate::{
    aggregate::SiteId,
    analyze::{
        Estimate,
        verdict::{Rate, Verdict},
    },
    record::{error::Malformed, format::nanos, rows::Rows},
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct EstimateRow {
    // Required, so that a negative zero is written, too.
    #[prost(double, required, tag = "1")]
    value: f64,
    #[prost(double, required, tag = "2")]
    low: f64,
    #[prost(double, required, tag = "3")]
    high: f64,
}

impl From<Estimate> for EstimateRow {
    fn from(estimate: Estimate) -> Self {
        let Estimate { value, low, high } = estimate;
        Self { value, low, high }
    }
}

impl From<EstimateRow> for Estimate {
    fn from(estimate: EstimateRow) -> Self {
        let EstimateRow { value, low, high } = estimate;
        Self { value, low, high }
    }
}

#[derive(Clone, PartialEq, Message)]
struct RateRow {
    #[prost(message, optional, tag = "1")]
    bytes: Option<EstimateRow>,
    #[prost(message, optional, tag = "2")]
    objects: Option<EstimateRow>,
}

/// Keyed by its site.
#[derive(Clone, PartialEq, Message)]
struct VerdictRow {
    #[prost(uint32, tag = "1")]
    label: u32,
    #[prost(double, tag = "2")]
    confidence: f64,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(message, optional, tag = "4")]
    rate: Option<RateRow>,
    #[prost(uint64, tag = "5")]
    since_ns: u64,
}

/// Adds the verdict on a site, if there is one.
pub(super) fn to_row(kind: u32, id: SiteId, verdict: Option<&Verdict>, rows: &mut Rows) {
    let Some(Verdict { label, confidence, reason, rate, since }) = verdict else { return };
    let row = VerdictRow {
        label: codes::of_label(label),
        confidence: *confidence,
        reason: reason.clone(),
        rate: rate.map(|Rate { bytes, objects }| RateRow { bytes: Some(bytes.into()), objects: Some(objects.into()) }),
        since_ns: nanos(*since),
    };
    rows.add(kind, u64::from(id.0), &row);
}

/// The verdicts of a kind, by their sites.
pub(super) fn from_rows(reader: &mut RowReader<'_>, kind: u32) -> Result<HashMap<SiteId, Arc<Verdict>>, Malformed> {
    let verdicts = reader.all(kind, |key, row: VerdictRow| {
        let VerdictRow { label, confidence, reason, rate, since_ns } = row;
        let estimate = |row: Option<EstimateRow>| row.unwrap_or_default().into();
        let verdict = Verdict {
            label: codes::label(label)?,
            confidence,
            reason,
            rate: rate.map(|RateRow { bytes, objects }| Rate { bytes: estimate(bytes), objects: estimate(objects) }),
            since: Duration::from_nanos(since_ns),
        };
        Some((SiteId(u32::try_from(key).ok()?), Arc::new(verdict)))
    })?;
    Ok(verdicts.into_iter().collect())
}
