//! The Snapshot as one JSON object, schema [`SCHEMA`]. Fields may be added to a schema; a change of meaning is a new one.
//!
//! Text of the target is passed on as it is: JSON's own escaping makes it harmless until somebody prints it.

mod analysis;
mod descriptors;
mod growth;
mod modes;
mod sample;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde::{Serialize, Serializer};

use self::{
    analysis::{JsonAnalysis, JsonVerdict},
    descriptors::{JsonDescriptors, JsonFdSite},
    growth::{JsonFaulted, JsonGrowth},
    modes::JsonModes,
    sample::{JsonSample, JsonSampled},
};
use super::{startup::is_startup, state_name};
use crate::{
    aggregate::{
        BlockCounters, Ending, FdSite, Feature, IncompleteCount, LossCount, Overhead, OwnCost, ProbeStatus,
        ProcessSnapshot, Rates, SiteSnapshot, Snapshot, StatCount, Suppressed, TargetInfo,
    },
    analyze::sizes::SizeBucket,
    symbolize::{Frame, Stack},
};

/// Name and version of the schema.
pub const SCHEMA: &str = "leaktrace/1";

/// The `kind` of a site that opened descriptors; what allocated is named by its [`SiteSnapshot::kind`].
const SITE_FD: &str = "fd";

/// Writes `snapshot` as one indented JSON object and a final newline.
pub fn write_json(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &JsonDocument::from(snapshot))?;
    writeln!(out)
}

#[derive(Serialize)]
struct JsonDocument<'a> {
    schema: &'static str,
    target: JsonTarget<'a>,
    processes: Vec<JsonProcess<'a>>,
    state: &'static str,
    /// How it ended, when leaktrace started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<JsonEnding>,
    /// What the numbers do not say.
    notes: Vec<&'a str>,
    /// What the processes are doing as a whole.
    analysis: Vec<JsonAnalysis<'a>>,
    /// Suppressions that were used.
    suppressions: Vec<JsonSuppressed<'a>>,
    started: String,
    elapsed_s: f64,
    /// What is traced, of `heap`, `growth` and `fds`: an empty list of what is not says nothing.
    traced: Vec<&'static str>,
    totals: JsonCounters,
    /// When the numbers of memory are estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<JsonSample>,
    rates: JsonRates,
    /// What page faults say, when they are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<JsonGrowth>,
    /// How memory is followed, where what that costs has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    modes: Option<JsonModes>,
    loss: BTreeMap<&'static str, u64>,
    incomplete_stacks: BTreeMap<&'static str, u64>,
    stats: BTreeMap<&'static str, u64>,
    probes: Vec<JsonProbe<'a>>,
    /// What of the kernel is in use.
    features: Vec<JsonFeature<'a>>,
    /// What leaktrace itself costs.
    own_cost: Option<JsonOwnCost>,
    /// What the probes, and looking at system calls, cost the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    overhead: Option<JsonOverhead>,
    sites: JsonSites<'a>,
    #[serde(flatten)]
    descriptors: JsonDescriptors<'a>,
}

impl<'a> From<&'a Snapshot> for JsonDocument<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        let Snapshot {
            started,
            elapsed,
            window,
            target,
            processes,
            state,
            ending,
            analysis,
            suppressions,
            notes,
            heap_traced,
            growth,
            modes,
            sites: _,
            totals,
            sample,
            rates,
            loss,
            incomplete,
            stats,
            probes,
            features,
            own_cost,
            overhead,
            descriptors,
        } = snapshot;
        let descriptors = descriptors.as_ref();
        Self {
            schema: SCHEMA,
            target: target.into(),
            processes: processes.iter().map(JsonProcess::from).collect(),
            state: state_name(state),
            ending: ending.map(JsonEnding::from),
            suppressions: suppressions.iter().map(JsonSuppressed::from).collect(),
            analysis: analysis.iter().map(JsonAnalysis::from).collect(),
            notes: notes.iter().map(|note| note.what.as_ref()).collect(),
            started: started.to_string(),
            elapsed_s: elapsed.as_secs_f64(),
            traced: [("heap", *heap_traced), ("growth", growth.is_some()), ("fds", descriptors.is_some())]
                .into_iter()
                .filter_map(|(what, traced)| traced.then_some(what))
                .collect(),
            totals: (*totals).into(),
            sample: sample.as_ref().map(JsonSample::from),
            rates: JsonRates::new(*rates, *window),
            growth: growth.as_ref().map(JsonGrowth::from),
            modes: JsonModes::new(modes),
            incomplete_stacks: nonzero(
                incomplete.iter().map(|&IncompleteCount { end, objects }| (end.name(), objects)),
            ),
            loss: nonzero(loss.iter().map(|&LossCount { cause, count }| (cause.name(), count))),
            stats: nonzero(stats.iter().map(|&StatCount { stat, count }| (stat.name(), count))),
            probes: probes.iter().map(JsonProbe::from).collect(),
            features: features.iter().map(JsonFeature::from).collect(),
            own_cost: own_cost.map(JsonOwnCost::from),
            overhead: overhead.as_ref().map(JsonOverhead::from),
            sites: JsonSites { snapshot, fds: descriptors.map_or(&[], |descriptors| &descriptors.sites) },
            descriptors: descriptors.into(),
        }
    }
}

fn nonzero(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    counts.filter(|&(_, count)| count > 0).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum JsonEnding {
    ExitCode(i32),
    Signal(i32),
}

impl From<Ending> for JsonEnding {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Code(code) => Self::ExitCode(code),
            Ending::Signal(signal) => Self::Signal(signal),
        }
    }
}

#[derive(Serialize)]
struct JsonSuppressed<'a> {
    pattern: &'a str,
    sites: u64,
    inuse_bytes: u64,
    inuse_objects: u64,
}

impl<'a> From<&'a Suppressed> for JsonSuppressed<'a> {
    fn from(Suppressed { pattern, sites, inuse_bytes, inuse_objects }: &'a Suppressed) -> Self {
        Self { pattern, sites: *sites, inuse_bytes: *inuse_bytes, inuse_objects: *inuse_objects }
    }
}

/// One list, of what allocated and then of what opened descriptors.
struct JsonSites<'a> {
    snapshot: &'a Snapshot,
    fds: &'a [FdSite],
}

impl Serialize for JsonSites<'_> {
    /// Converts one site at a time: a document can hold tens of thousands of them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let heap = self.snapshot.sites.iter().map(|site| {
            let startup = is_startup(self.snapshot, site);
            JsonSite::Heap(Box::new(JsonHeapSite { startup, ..site.into() }))
        });
        let fds = self.fds.iter().map(|site| JsonSite::Fd(Box::new(site.into())));
        serializer.collect_seq(heap.chain(fds))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonSite<'a> {
    Heap(Box<JsonHeapSite<'a>>),
    Fd(Box<JsonFdSite<'a>>),
}

#[derive(Serialize)]
struct JsonTarget<'a> {
    pid: u32,
    comm: &'a str,
    exe: &'a str,
    cmdline: &'a [String],
}

impl<'a> From<&'a TargetInfo> for JsonTarget<'a> {
    fn from(target: &'a TargetInfo) -> Self {
        let TargetInfo { pid, comm, exe, cmdline } = target;
        Self { pid: pid.0, comm, exe, cmdline }
    }
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    #[serde(flatten)]
    target: JsonTarget<'a>,
    parent: Option<u32>,
    state: &'static str,
    began_s: f64,
    ended_s: Option<f64>,
    unseen_s: f64,
    #[serde(flatten)]
    totals: JsonCounters,
    open_fds: Option<u64>,
}

impl<'a> From<&'a ProcessSnapshot> for JsonProcess<'a> {
    fn from(process: &'a ProcessSnapshot) -> Self {
        let ProcessSnapshot { info, parent, state, began, ended, unseen, totals, fds } = process;
        Self {
            target: info.into(),
            parent: parent.map(|parent| parent.0),
            state: state_name(state),
            began_s: began.as_secs_f64(),
            ended_s: ended.map(|ended| ended.as_secs_f64()),
            unseen_s: unseen.as_secs_f64(),
            totals: (*totals).into(),
            open_fds: *fds,
        }
    }
}

#[derive(Serialize)]
struct JsonCounters {
    inuse_bytes: u64,
    inuse_objects: u64,
    alloc_bytes: u64,
    alloc_objects: u64,
    free_bytes: u64,
    free_objects: u64,
}

impl From<BlockCounters> for JsonCounters {
    fn from(counters: BlockCounters) -> Self {
        let (inuse_bytes, inuse_objects) = (counters.inuse_bytes(), counters.inuse_objects());
        let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = counters;
        Self { inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects }
    }
}

#[derive(Serialize)]
struct JsonRates {
    window_s: f64,
    allocs_per_s: f64,
    frees_per_s: f64,
    alloc_bytes_per_s: f64,
    inuse_bytes_per_s: f64,
}

impl JsonRates {
    fn new(rates: Rates, window: Duration) -> Self {
        let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s } = rates;
        Self { window_s: window.as_secs_f64(), allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s }
    }
}

#[derive(Serialize)]
struct JsonProbe<'a> {
    module: &'a str,
    symbol: &'a str,
    offset: u64,
    kind: &'static str,
    hits: u64,
    /// Nanoseconds of the target that a hit takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_ns: Option<u64>,
}

#[derive(Serialize)]
struct JsonOverhead {
    /// Of the target's CPU time, over the window.
    percent: f64,
    probes_s: f64,
    cpu_s: f64,
    /// What it is kept below, as --max-overhead says.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_percent: Option<f64>,
}

impl From<&Overhead> for JsonOverhead {
    fn from(overhead: &Overhead) -> Self {
        let Overhead { probes, cpu, limit } = overhead;
        Self {
            percent: overhead.share() * 100.0,
            probes_s: probes.as_secs_f64(),
            cpu_s: cpu.as_secs_f64(),
            limit_percent: limit.map(|limit| limit * 100.0),
        }
    }
}

impl<'a> From<&'a ProbeStatus> for JsonProbe<'a> {
    fn from(probe: &'a ProbeStatus) -> Self {
        let ProbeStatus { module, symbol, offset, kind, hits, cost } = probe;
        let cost_ns = cost.map(|cost| cost.as_nanos() as u64);
        Self { module, symbol, offset: *offset, kind, hits: *hits, cost_ns }
    }
}

#[derive(Serialize)]
struct JsonFeature<'a> {
    name: &'a str,
    used: &'a str,
    best: bool,
}

impl<'a> From<&'a Feature> for JsonFeature<'a> {
    fn from(feature: &'a Feature) -> Self {
        let Feature { name, used, best } = feature;
        Self { name, used, best: *best }
    }
}

#[derive(Serialize)]
struct JsonOwnCost {
    cpu_s: f64,
    resident_bytes: u64,
}

impl From<OwnCost> for JsonOwnCost {
    fn from(OwnCost { cpu, resident }: OwnCost) -> Self {
        Self { cpu_s: cpu.as_secs_f64(), resident_bytes: resident }
    }
}

#[derive(Serialize)]
struct JsonHeapSite<'a> {
    id: u32,
    kind: &'static str,
    tgid: u32,
    #[serde(flatten)]
    counters: JsonCounters,
    /// What a site of page faults rests on; its other numbers are estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    faulted: Option<JsonFaulted>,
    /// When these are estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<JsonSampled>,
    oldest_age_s: Option<f64>,
    /// Absent before the first look at the blocks, or when none is outstanding.
    #[serde(skip_serializing_if = "Option::is_none")]
    sizes: Option<Vec<JsonSizes>>,
    /// Of the program's start, before any code of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    startup: bool,
    /// The user says that it is no leak.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suppressed: bool,
    verdict: Option<JsonVerdict<'a>>,
    stack: &'static str,
    frames: Vec<JsonFrame<'a>>,
}

impl<'a> From<&'a SiteSnapshot> for JsonHeapSite<'a> {
    fn from(site: &'a SiteSnapshot) -> Self {
        let SiteSnapshot {
            id,
            tgid,
            kind,
            counters,
            faulted,
            sampled,
            oldest,
            stack,
            verdict,
            ages: _,
            sizes,
            suppressed,
        } = site;
        let Stack { frames, end } = &**stack;
        Self {
            id: id.0,
            kind: kind.name(),
            tgid: tgid.0,
            counters: (*counters).into(),
            faulted: faulted.map(JsonFaulted::from),
            sample: sampled.as_deref().map(JsonSampled::from),
            oldest_age_s: oldest.map(|age| age.as_secs_f64()),
            sizes: sizes.as_deref().map(|sizes| sizes.buckets().iter().map(JsonSizes::from).collect()),
            startup: false,
            suppressed: *suppressed,
            verdict: verdict.as_deref().map(JsonVerdict::from),
            stack: end.name(),
            frames: frames.iter().map(JsonFrame::from).collect(),
        }
    }
}

/// Outstanding blocks of similar sizes.
#[derive(Serialize)]
struct JsonSizes {
    least: u64,
    most: u64,
    objects: u64,
    bytes: u64,
}

impl From<&SizeBucket> for JsonSizes {
    fn from(bucket: &SizeBucket) -> Self {
        let sizes = bucket.sizes();
        Self { least: *sizes.start(), most: *sizes.end(), objects: bucket.objects, bytes: bucket.bytes }
    }
}

#[derive(Serialize)]
pub(in crate::report) struct JsonFrame<'a> {
    function: Option<&'a str>,
    module: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    inlined: bool,
    address: Hex,
    module_offset: Option<Hex>,
    reason: Option<&'static str>,
}

impl<'a> From<&'a Frame> for JsonFrame<'a> {
    fn from(frame: &'a Frame) -> Self {
        let Frame { address, function, module, module_offset, build_id: _, file, line, inlined } = frame;
        Self {
            function: function.as_deref().ok(),
            module: module.as_deref(),
            file: file.as_deref(),
            line: *line,
            inlined: *inlined,
            address: Hex(*address),
            module_offset: module_offset.map(Hex),
            reason: function.as_ref().err().map(|reason| reason.name()),
        }
    }
}

/// Addresses are strings: JSON readers keep numbers as doubles, which do not hold 64 bits.
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

#[cfg(test)]
mod tests;
