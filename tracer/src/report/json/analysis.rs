//! Verdicts, and what the processes are doing as a whole.

use serde::Serialize;

use crate::{
    aggregate::Tgid,
    analyze::{
        Estimate, ProcessAnalysis,
        history::ProcessReading,
        process::{Eta, Explanation, Growth, Part, PartKind, ProcessSignal},
        verdict::{Rate, Verdict},
    },
    target::limits::MemoryLimit,
};

/// A value with its 95 % interval.
#[derive(Serialize)]
pub(super) struct JsonEstimate {
    value: f64,
    low: f64,
    high: f64,
}

impl From<Estimate> for JsonEstimate {
    fn from(Estimate { value, low, high }: Estimate) -> Self {
        Self { value, low, high }
    }
}

#[derive(Serialize)]
pub(super) struct JsonVerdict<'a> {
    label: &'static str,
    confidence: f64,
    reason: &'a str,
    since_s: f64,
    inuse_bytes_per_s: Option<JsonEstimate>,
    inuse_objects_per_s: Option<JsonEstimate>,
}

impl<'a> From<&'a Verdict> for JsonVerdict<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        let Verdict { label, confidence, reason, rate, since } = verdict;
        let (bytes, objects) = rate.map(|Rate { bytes, objects }| (bytes, objects)).unzip();
        Self {
            label: label.name(),
            confidence: *confidence,
            reason,
            since_s: since.as_secs_f64(),
            inuse_bytes_per_s: bytes.map(JsonEstimate::from),
            inuse_objects_per_s: objects.map(JsonEstimate::from),
        }
    }
}

#[derive(Serialize)]
pub(super) struct JsonAnalysis<'a> {
    pid: u32,
    rss_bytes: Option<u64>,
    pss_bytes: Option<u64>,
    cgroup_bytes: Option<u64>,
    outstanding_bytes: Option<u64>,
    rss_bytes_per_hour: Option<JsonEstimate>,
    outstanding_bytes_per_hour: Option<JsonEstimate>,
    open_fds_per_hour: Option<JsonEstimate>,
    limits: Vec<JsonLimit<'a>>,
    signals: Vec<JsonProcessSignal>,
    /// RSS in its parts, which add up to it.
    rss_parts: Vec<JsonPart>,
    explanation: Option<&'a str>,
}

impl<'a> From<&'a (Tgid, ProcessAnalysis)> for JsonAnalysis<'a> {
    fn from((Tgid(pid), analysis): &'a (Tgid, ProcessAnalysis)) -> Self {
        let ProcessAnalysis { reading, resident, outstanding, open_fds, limits, signals, explanation } = analysis;
        let ProcessReading { rss, pss, cgroup, outstanding: bytes, .. } = reading;
        let per_hour = |growth: &Option<Growth>| growth.map(|growth| growth.per_hour.into());
        Self {
            pid: *pid,
            rss_bytes: *rss,
            pss_bytes: *pss,
            cgroup_bytes: *cgroup,
            outstanding_bytes: *bytes,
            rss_bytes_per_hour: per_hour(resident),
            outstanding_bytes_per_hour: per_hour(outstanding),
            open_fds_per_hour: per_hour(open_fds),
            limits: limits.iter().map(JsonLimit::from).collect(),
            signals: signals.iter().map(JsonProcessSignal::from).collect(),
            rss_parts: explanation.iter().flat_map(|found| &found.parts).map(JsonPart::from).collect(),
            explanation: explanation.as_ref().map(|Explanation { words, .. }| words.as_str()),
        }
    }
}

#[derive(Serialize)]
struct JsonLimit<'a> {
    kind: &'static str,
    cgroup: &'a str,
    limit_bytes: u64,
    used_bytes: u64,
}

impl<'a> From<&'a MemoryLimit> for JsonLimit<'a> {
    fn from(MemoryLimit { kind, bytes, used, cgroup }: &'a MemoryLimit) -> Self {
        Self { kind: kind.name(), cgroup, limit_bytes: *bytes, used_bytes: *used }
    }
}

#[derive(Serialize)]
struct JsonPart {
    kind: &'static str,
    bytes: u64,
}

impl From<&Part> for JsonPart {
    fn from(Part { kind, bytes }: &Part) -> Self {
        let kind = match kind {
            PartKind::Blocks => "blocks",
            PartKind::BeforeAttach => "before_attach",
            PartKind::Mapped => "mapped",
            PartKind::Files => "files",
            PartKind::Shared => "shared",
            PartKind::LazyFree => "lazy_free",
            PartKind::Retained => "retained",
        };
        Self { kind, bytes: *bytes }
    }
}

/// Seconds from the end of the window on.
#[derive(Serialize)]
struct JsonEta {
    expected_s: f64,
    earliest_s: f64,
    /// Absent when it may never be.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_s: Option<f64>,
}

impl From<&Eta> for JsonEta {
    fn from(Eta { expected, earliest, latest }: &Eta) -> Self {
        Self {
            expected_s: expected.as_secs_f64(),
            earliest_s: earliest.as_secs_f64(),
            latest_s: latest.map(|latest| latest.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
enum JsonProcessSignal {
    OutOfMemory { limit: &'static str, eta: JsonEta },
    OutOfDescriptors { open: u64, limit: u64, eta: JsonEta },
    NearMemoryLimit { limit: &'static str, mark_percent: u8 },
    Growth { of: &'static str, bytes_per_hour: JsonEstimate, mark_bytes_per_hour: u64 },
}

impl From<&ProcessSignal> for JsonProcessSignal {
    fn from(signal: &ProcessSignal) -> Self {
        match signal {
            ProcessSignal::OutOfMemory { limit, eta } => {
                Self::OutOfMemory { limit: limit.kind.name(), eta: eta.into() }
            }
            ProcessSignal::OutOfDescriptors { pressure, eta } => {
                Self::OutOfDescriptors { open: pressure.used, limit: pressure.limit, eta: eta.into() }
            }
            ProcessSignal::NearMemoryLimit { limit, mark } => {
                Self::NearMemoryLimit { limit: limit.kind.name(), mark_percent: *mark }
            }
            ProcessSignal::Growth { growth, resident, mark } => Self::Growth {
                of: if *resident { "rss" } else { "outstanding" },
                bytes_per_hour: growth.per_hour.into(),
                mark_bytes_per_hour: *mark,
            },
        }
    }
}
