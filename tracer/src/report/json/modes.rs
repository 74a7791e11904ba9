//! How memory is followed, and how it was before.

use serde::Serialize;

use crate::{
    aggregate::{Mode, ModeSince, Modes, SampleRate},
    report::mode_words::mode_name,
};

/// Where what tracing costs has a limit.
#[derive(Serialize)]
pub(super) struct JsonModes {
    /// In the order in which they came; the last one is the present one.
    latest: Vec<JsonMode>,
    /// How many there were before those.
    earlier: u64,
    /// The share of the time that system calls are looked at, where that was not always all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_share: Option<f64>,
}

#[derive(Serialize)]
struct JsonMode {
    mode: &'static str,
    /// In seconds since the start.
    since_s: f64,
    /// One block in this many is tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// One block is tracked for so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    every_bytes: Option<u32>,
    /// The share of the time that blocks are tracked, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

impl JsonModes {
    /// `None` where there is no limit.
    pub(super) fn new(Modes { latest, earlier, calls }: &Modes) -> Option<Self> {
        let mode = |&ModeSince { since, mode }: &ModeSince| {
            let (rate, every_bytes, share) = match mode {
                Mode::Sampled(SampleRate::Blocks(blocks)) => (Some(blocks), None, None),
                Mode::Sampled(SampleRate::Bytes(bytes)) => (None, Some(bytes), None),
                Mode::Windows(share) => (None, None, Some(share)),
                Mode::Hits | Mode::All | Mode::PageFaults => (None, None, None),
            };
            JsonMode { mode: mode_name(mode), since_s: since.as_secs_f64(), rate, every_bytes, share }
        };
        (!latest.is_empty() || calls.is_some()).then(|| Self {
            latest: latest.iter().map(mode).collect(),
            earlier: *earlier,
            calls_share: *calls,
        })
    }
}
