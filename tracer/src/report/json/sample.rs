//! What estimates rest on, and their errors.

use serde::Serialize;

use crate::{
    aggregate::{Sampled, Sampling},
    analyze::Estimate,
};

/// Sampling as a whole.
#[derive(Serialize)]
pub(super) struct JsonSample {
    /// When the rate rose by itself, in seconds since the start.
    raised: Vec<JsonRaised>,
    #[serde(flatten)]
    totals: JsonSampled,
}

#[derive(Serialize)]
struct JsonRaised {
    at_s: f64,
    rate: u32,
}

/// Estimates of one or all sites: the interval that each lies in, at 95 % confidence.
#[derive(Serialize)]
pub(super) struct JsonSampled {
    /// One block in this many is tracked.
    rate: u32,
    /// Of what is outstanding, the part that is tracked.
    tracked_bytes: u64,
    tracked_objects: u64,
    inuse_bytes: JsonEstimate,
    inuse_objects: JsonEstimate,
    alloc_bytes: JsonEstimate,
    alloc_objects: JsonEstimate,
    free_bytes: JsonEstimate,
    free_objects: JsonEstimate,
}

#[derive(Serialize)]
struct JsonEstimate {
    value: f64,
    low: f64,
    high: f64,
}

impl From<&Sampling> for JsonSample {
    fn from(sampling: &Sampling) -> Self {
        let Sampling { rate: _, raised, totals } = sampling;
        let raised = raised.iter().map(|&(at, rate)| JsonRaised { at_s: at.as_secs_f64(), rate }).collect();
        Self { raised, totals: totals.into() }
    }
}

impl From<&Sampled> for JsonSampled {
    fn from(sampled: &Sampled) -> Self {
        Self {
            rate: sampled.rate,
            tracked_bytes: sampled.bytes,
            tracked_objects: sampled.objects,
            inuse_bytes: sampled.inuse_bytes().into(),
            inuse_objects: sampled.inuse_objects().into(),
            alloc_bytes: sampled.alloc_bytes().into(),
            alloc_objects: sampled.alloc_objects().into(),
            free_bytes: sampled.free_bytes().into(),
            free_objects: sampled.free_objects().into(),
        }
    }
}

impl From<Estimate> for JsonEstimate {
    fn from(Estimate { value, low, high }: Estimate) -> Self {
        Self { value, low, high }
    }
}
