//! What estimates rest on, and their errors.

use serde::Serialize;

use crate::{
    aggregate::{SampleRate, Sampled, Sampling, Turns},
    analyze::Estimate,
};

/// Sampling as a whole.
#[derive(Serialize)]
pub(super) struct JsonSample {
    /// When one block is tracked for so many bytes, and not one in so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    every_bytes: Option<u32>,
    /// When the rate rose by itself, in seconds since the start.
    raised: Vec<JsonRaised>,
    /// When blocks are tracked for some of the time only.
    #[serde(skip_serializing_if = "Option::is_none")]
    turns: Option<JsonTurns>,
    #[serde(flatten)]
    totals: JsonSampled,
}

#[derive(Serialize)]
struct JsonRaised {
    at_s: f64,
    /// To one block in so many, or for so many bytes.
    rate: u32,
}

#[derive(Serialize)]
struct JsonTurns {
    /// The share of the time that they are tracked, from 0 to 1.
    share: f64,
    /// Since when, in seconds since the start; what was outstanding then is followed no longer.
    since_s: f64,
    /// How often they have been tracked since then.
    windows: u64,
}

/// Estimates of one or all sites: the interval that each lies in, at 95 % confidence.
#[derive(Serialize)]
pub(super) struct JsonSampled {
    /// One block in this many is tracked, in the mean.
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
        let Sampling { rate, raised, totals, turns } = sampling;
        let every_bytes = match rate {
            SampleRate::Bytes(bytes) => Some(*bytes),
            SampleRate::Blocks(_) => None,
        };
        let raised =
            raised.iter().map(|&(at, rate)| JsonRaised { at_s: at.as_secs_f64(), rate: rate.number() }).collect();
        let turns =
            turns.map(|Turns { share, since, windows }| JsonTurns { share, since_s: since.as_secs_f64(), windows });
        Self { every_bytes, raised, turns, totals: totals.into() }
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
