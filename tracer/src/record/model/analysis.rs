//! What the processes are doing as a whole.

use std::time::Duration;

use prost::Message;

use super::{codes, verdicts::EstimateRow};
use crate::{
    aggregate::Tgid,
    analyze::{
        ProcessAnalysis,
        history::ProcessReading,
        process::{Eta, Explanation, Growth, Part, Pressure, ProcessSignal},
    },
    record::{format::nanos, limits::LIST},
    target::limits::MemoryLimit,
};

/// Keyed by its place.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AnalysisRow {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(message, optional, tag = "2")]
    reading: Option<ReadingRow>,
    #[prost(message, optional, tag = "3")]
    resident: Option<GrowthRow>,
    #[prost(message, optional, tag = "4")]
    outstanding: Option<GrowthRow>,
    #[prost(message, optional, tag = "5")]
    open_fds: Option<GrowthRow>,
    #[prost(message, repeated, tag = "6")]
    limits: Vec<LimitRow>,
    #[prost(message, repeated, tag = "7")]
    signals: Vec<SignalRow>,
    #[prost(message, optional, tag = "8")]
    explanation: Option<ExplanationRow>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadingRow {
    #[prost(uint64, optional, tag = "1")]
    rss: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pss: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    cgroup: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    outstanding: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    open_fds: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    unknown_frees: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    lost: Option<u64>,
}

impl From<&ProcessReading> for ReadingRow {
    fn from(reading: &ProcessReading) -> Self {
        let ProcessReading { rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost } = *reading;
        Self { rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost }
    }
}

impl From<ReadingRow> for ProcessReading {
    fn from(reading: ReadingRow) -> Self {
        let ReadingRow { rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost } = reading;
        Self { rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost }
    }
}

#[derive(Clone, PartialEq, Message)]
struct GrowthRow {
    #[prost(message, optional, tag = "1")]
    per_s: Option<EstimateRow>,
    #[prost(message, optional, tag = "2")]
    per_hour: Option<EstimateRow>,
    #[prost(bool, tag = "3")]
    certain: bool,
    #[prost(uint64, tag = "4")]
    now: u64,
}

impl From<&Growth> for GrowthRow {
    fn from(growth: &Growth) -> Self {
        let Growth { per_s, per_hour, certain, now } = *growth;
        Self { per_s: Some(per_s.into()), per_hour: Some(per_hour.into()), certain, now }
    }
}

impl From<GrowthRow> for Growth {
    fn from(growth: GrowthRow) -> Self {
        let GrowthRow { per_s, per_hour, certain, now } = growth;
        let [per_s, per_hour] = [per_s, per_hour].map(|estimate| estimate.unwrap_or_default().into());
        Self { per_s, per_hour, certain, now }
    }
}

#[derive(Clone, PartialEq, Message)]
struct LimitRow {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint64, tag = "3")]
    used: u64,
    #[prost(string, tag = "4")]
    cgroup: String,
}

impl From<&MemoryLimit> for LimitRow {
    fn from(limit: &MemoryLimit) -> Self {
        let MemoryLimit { kind, bytes, used, cgroup } = limit;
        Self { kind: codes::of_limit_kind(kind), bytes: *bytes, used: *used, cgroup: cgroup.clone() }
    }
}

fn limit(row: LimitRow) -> Option<MemoryLimit> {
    let LimitRow { kind, bytes, used, cgroup } = row;
    Some(MemoryLimit { kind: codes::limit_kind(kind)?, bytes, used, cgroup })
}

#[derive(Clone, PartialEq, Message)]
struct EtaRow {
    #[prost(uint64, tag = "1")]
    expected_ns: u64,
    #[prost(uint64, tag = "2")]
    earliest_ns: u64,
    #[prost(uint64, optional, tag = "3")]
    latest_ns: Option<u64>,
}

impl From<&Eta> for EtaRow {
    fn from(eta: &Eta) -> Self {
        let Eta { expected, earliest, latest } = eta;
        Self { expected_ns: nanos(*expected), earliest_ns: nanos(*earliest), latest_ns: latest.map(nanos) }
    }
}

impl From<EtaRow> for Eta {
    fn from(eta: EtaRow) -> Self {
        let EtaRow { expected_ns, earliest_ns, latest_ns } = eta;
        let [expected, earliest] = [expected_ns, earliest_ns].map(Duration::from_nanos);
        Self { expected, earliest, latest: latest_ns.map(Duration::from_nanos) }
    }
}

/// Values of [`SignalRow::sort`].
const OUT_OF_MEMORY: u32 = 1;
const OUT_OF_DESCRIPTORS: u32 = 2;
const NEAR_MEMORY_LIMIT: u32 = 3;
const GROWTH: u32 = 4;

/// All sorts in one: fields that a sort does not have are not written.
#[derive(Clone, PartialEq, Message)]
struct SignalRow {
    #[prost(uint32, tag = "1")]
    sort: u32,
    #[prost(message, optional, tag = "2")]
    limit: Option<LimitRow>,
    #[prost(message, optional, tag = "3")]
    eta: Option<EtaRow>,
    #[prost(uint64, tag = "4")]
    pressure_used: u64,
    #[prost(uint64, tag = "5")]
    pressure_limit: u64,
    /// In percent, or bytes per hour.
    #[prost(uint64, tag = "6")]
    mark: u64,
    #[prost(message, optional, tag = "7")]
    growth: Option<GrowthRow>,
    #[prost(bool, tag = "8")]
    resident: bool,
}

impl From<&ProcessSignal> for SignalRow {
    fn from(signal: &ProcessSignal) -> Self {
        let nothing = Self::default();
        match signal {
            ProcessSignal::OutOfMemory { limit, eta } => {
                Self { sort: OUT_OF_MEMORY, limit: Some(limit.into()), eta: Some(eta.into()), ..nothing }
            }
            ProcessSignal::OutOfDescriptors { pressure: Pressure { used, limit }, eta } => Self {
                sort: OUT_OF_DESCRIPTORS,
                pressure_used: *used,
                pressure_limit: *limit,
                eta: Some(eta.into()),
                ..nothing
            },
            ProcessSignal::NearMemoryLimit { limit, mark } => {
                Self { sort: NEAR_MEMORY_LIMIT, limit: Some(limit.into()), mark: u64::from(*mark), ..nothing }
            }
            ProcessSignal::Growth { growth, resident, mark } => {
                Self { sort: GROWTH, growth: Some(growth.into()), resident: *resident, mark: *mark, ..nothing }
            }
        }
    }
}

fn signal(row: SignalRow) -> Option<ProcessSignal> {
    let SignalRow { sort, limit: of, eta, pressure_used, pressure_limit, mark, growth, resident } = row;
    let eta = eta.map(Eta::from);
    Some(match sort {
        OUT_OF_MEMORY => ProcessSignal::OutOfMemory { limit: limit(of?)?, eta: eta? },
        OUT_OF_DESCRIPTORS => ProcessSignal::OutOfDescriptors {
            pressure: Pressure { used: pressure_used, limit: pressure_limit },
            eta: eta?,
        },
        NEAR_MEMORY_LIMIT => ProcessSignal::NearMemoryLimit { limit: limit(of?)?, mark: u8::try_from(mark).ok()? },
        GROWTH => ProcessSignal::Growth { growth: growth?.into(), resident, mark },
        _ => return None,
    })
}

#[derive(Clone, PartialEq, Message)]
struct ExplanationRow {
    #[prost(message, repeated, tag = "1")]
    parts: Vec<PartRow>,
    #[prost(string, tag = "2")]
    words: String,
}

#[derive(Clone, PartialEq, Message)]
struct PartRow {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    bytes: u64,
}

fn part(PartRow { kind, bytes }: PartRow) -> Option<Part> {
    Some(Part { kind: codes::part_kind(kind)?, bytes })
}

pub(super) fn to_row(Tgid(pid): Tgid, analysis: &ProcessAnalysis) -> AnalysisRow {
    let ProcessAnalysis { reading, resident, outstanding, open_fds, limits, signals, explanation } = analysis;
    let [resident, outstanding, open_fds] =
        [resident, outstanding, open_fds].map(|growth| growth.as_ref().map(GrowthRow::from));
    AnalysisRow {
        pid,
        reading: Some(reading.into()),
        resident,
        outstanding,
        open_fds,
        limits: limits.iter().map(LimitRow::from).collect(),
        signals: signals.iter().map(SignalRow::from).collect(),
        explanation: explanation.as_ref().map(|Explanation { parts, words }| ExplanationRow {
            parts: parts
                .iter()
                .map(|Part { kind, bytes }| PartRow { kind: codes::of_part_kind(kind), bytes: *bytes })
                .collect(),
            words: words.clone(),
        }),
    }
}

/// Counts in `unknown` the pieces that only a later leaktrace knows, or writes so many of.
pub(super) fn from_row(row: AnalysisRow, unknown: &mut u64) -> (Tgid, ProcessAnalysis) {
    let AnalysisRow { pid, reading, resident, outstanding, open_fds, limits, signals, explanation } = row;
    let [resident, outstanding, open_fds] = [resident, outstanding, open_fds].map(|growth| growth.map(Growth::from));
    let analysis = ProcessAnalysis {
        reading: reading.unwrap_or_default().into(),
        resident,
        outstanding,
        open_fds,
        limits: known(limits, limit, unknown),
        signals: known(signals, signal, unknown),
        explanation: explanation
            .map(|ExplanationRow { parts, words }| Explanation { parts: known(parts, part, unknown), words }),
    };
    (Tgid(pid), analysis)
}

fn known<Row, T>(rows: Vec<Row>, read: impl Fn(Row) -> Option<T>, unknown: &mut u64) -> Vec<T> {
    let all = rows.len();
    let mut read: Vec<T> = rows.into_iter().take(LIST).filter_map(read).collect();
    // It may have been made in the room of the rows, which may be all that there is of them.
    read.shrink_to_fit();
    *unknown += (all - read.len()) as u64;
    read
}
