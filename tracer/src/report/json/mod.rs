//! The Snapshot as one JSON object, schema [`SCHEMA`]. Fields may be added to a schema; a change of meaning is a new one.
//!
//! Text of the target is passed on as it is: JSON's own escaping makes it harmless until somebody prints it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde::{Serialize, Serializer};

use super::state_name;
use crate::{
    aggregate::{
        BlockCounters, IncompleteCount, LossCount, ProbeStatus, Rates, SiteSnapshot, Snapshot, StatCount, TargetInfo,
    },
    symbolize::{Frame, Stack},
};

/// Name and version of the schema.
pub const SCHEMA: &str = "leaktrace/1";

/// Writes `snapshot` as one indented JSON object and a final newline.
pub fn write_json(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &JsonDocument::from(snapshot))?;
    writeln!(out)
}

#[derive(Serialize)]
struct JsonDocument<'a> {
    schema: &'static str,
    target: JsonTarget<'a>,
    state: &'static str,
    started: String,
    elapsed_s: f64,
    totals: JsonCounters,
    rates: JsonRates,
    loss: BTreeMap<&'static str, u64>,
    incomplete_stacks: BTreeMap<&'static str, u64>,
    stats: BTreeMap<&'static str, u64>,
    probes: Vec<JsonProbe<'a>>,
    #[serde(serialize_with = "sites")]
    sites: &'a [SiteSnapshot],
}

impl<'a> From<&'a Snapshot> for JsonDocument<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        let Snapshot {
            started,
            elapsed,
            window,
            target,
            state,
            sites,
            totals,
            rates,
            loss,
            incomplete,
            stats,
            probes,
            descriptors: _,
        } = snapshot;
        Self {
            schema: SCHEMA,
            target: target.into(),
            state: state_name(state),
            started: started.to_string(),
            elapsed_s: elapsed.as_secs_f64(),
            totals: (*totals).into(),
            rates: JsonRates::new(*rates, *window),
            incomplete_stacks: nonzero(
                incomplete.iter().map(|&IncompleteCount { end, objects }| (end.name(), objects)),
            ),
            loss: nonzero(loss.iter().map(|&LossCount { cause, count }| (cause.name(), count))),
            stats: nonzero(stats.iter().map(|&StatCount { stat, count }| (stat.name(), count))),
            probes: probes.iter().map(JsonProbe::from).collect(),
            sites,
        }
    }
}

fn nonzero(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    counts.filter(|&(_, count)| count > 0).collect()
}

/// Converts one site at a time: a document can hold tens of thousands of them.
fn sites<S: Serializer>(sites: &[SiteSnapshot], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sites.iter().map(JsonSite::from))
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
}

impl<'a> From<&'a ProbeStatus> for JsonProbe<'a> {
    fn from(probe: &'a ProbeStatus) -> Self {
        let ProbeStatus { module, symbol, offset, kind, hits } = probe;
        Self { module, symbol, offset: *offset, kind, hits: *hits }
    }
}

#[derive(Serialize)]
struct JsonSite<'a> {
    id: u32,
    kind: &'static str,
    tgid: u32,
    #[serde(flatten)]
    counters: JsonCounters,
    oldest_age_s: Option<f64>,
    stack: &'static str,
    frames: Vec<JsonFrame<'a>>,
}

impl<'a> From<&'a SiteSnapshot> for JsonSite<'a> {
    fn from(site: &'a SiteSnapshot) -> Self {
        let SiteSnapshot { id, tgid, kind, counters, oldest, stack } = site;
        let Stack { frames, end } = &**stack;
        Self {
            id: id.0,
            kind: kind.name(),
            tgid: tgid.0,
            counters: (*counters).into(),
            oldest_age_s: oldest.map(|age| age.as_secs_f64()),
            stack: end.name(),
            frames: frames.iter().map(JsonFrame::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonFrame<'a> {
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
        let Frame { address, function, module, module_offset, file, line, inlined } = frame;
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::testing;

    fn parsed(snapshot: &Snapshot) -> Value {
        let mut out = Vec::new();
        write_json(snapshot, &mut out).expect("writes to memory");
        assert!(out.ends_with(b"}\n"));
        serde_json::from_slice(&out).expect("is JSON")
    }

    #[test]
    fn every_field_of_the_document_reads_back() {
        let document = parsed(&testing::lossy());
        let (mut fields, sites) = match document {
            Value::Object(mut fields) => {
                let sites = fields.remove("sites").expect("has sites");
                (fields, sites)
            }
            other => panic!("not an object: {other}"),
        };
        assert_eq!(sites.as_array().map(Vec::len), Some(7));
        let probes = fields.remove("probes").expect("has probes");
        assert_eq!(
            probes[0],
            json!({"module": "/usr/lib/libc.so.6", "symbol": "malloc", "offset": 4, "kind": "entry", "hits": 104729})
        );
        assert_eq!(
            Value::Object(fields),
            json!({
                "schema": "leaktrace/1",
                "target": {
                    "pid": 4242,
                    "comm": "imgserver",
                    "exe": "/usr/bin/imgserver",
                    "cmdline": ["imgserver", "--port", "8080"],
                },
                "state": "running",
                "started": "2026-03-01T09:30:00Z",
                "elapsed_s": 245.5,
                "totals": {
                    "inuse_bytes": 13_655_075, "inuse_objects": 8_287,
                    "alloc_bytes": 62_062_723, "alloc_objects": 137_113,
                    "free_bytes": 48_407_648, "free_objects": 128_826,
                },
                "rates": {
                    "window_s": 1.0, "allocs_per_s": 1234.5, "frees_per_s": 1201.0,
                    "alloc_bytes_per_s": 532_480.0, "inuse_bytes_per_s": 54_272.0,
                },
                "loss": {"live_table_full": 1009, "missed_free": 13},
                "incomplete_stacks": {"no_row": 211},
                "stats": {"null_frees": 17, "unknown_frees": 211},
            })
        );
    }

    #[test]
    fn every_field_of_a_site_and_its_frames_reads_back() {
        let document = parsed(&testing::normal());
        let site = &document["sites"][0];
        assert_eq!(
            *site,
            json!({
                "id": 7, "kind": "heap", "tgid": 4242,
                "inuse_bytes": 12_582_917, "inuse_objects": 1_021,
                "alloc_bytes": 25_165_843, "alloc_objects": 2_039,
                "free_bytes": 12_582_926, "free_objects": 1_018,
                "oldest_age_s": 241.5,
                "stack": "complete",
                "frames": [
                    {"function": "operator new(unsigned long)", "module": "/usr/lib/libstdc++.so.6", "file": null,
                     "line": null, "inlined": false, "address": "0x7f00000a1b2c", "module_offset": "0xa1b2c",
                     "reason": null},
                    {"function": "img::Pool::grow(unsigned long)", "module": "/usr/bin/imgserver",
                     "file": "src/pool.cc", "line": 88, "inlined": true, "address": "0x55550000c0de",
                     "module_offset": "0xc0de", "reason": null},
                    {"function": "img::Cache::insert(std::string const&, img::Image)", "module": "/usr/bin/imgserver",
                     "file": "src/cache.cc", "line": 142, "inlined": false, "address": "0x55550000c0de",
                     "module_offset": "0xc0de", "reason": null},
                    {"function": "main", "module": "/usr/bin/imgserver", "file": "src/main.cc", "line": 31,
                     "inlined": false, "address": "0x555500001234", "module_offset": "0x1234", "reason": null},
                ],
            })
        );
        let cut = &document["sites"][3];
        assert_eq!(cut["stack"], "no_row");
        assert_eq!(
            cut["frames"][0],
            json!({"function": null, "module": "/opt/plugins/filter.so", "file": null, "line": null, "inlined": false,
                   "address": "0x7f1100002468", "module_offset": "0x2468", "reason": "no_symbols_in_module"})
        );
        assert_eq!(document["sites"][6]["oldest_age_s"], Value::Null);
    }

    #[test]
    fn hostile_text_survives_the_round_trip_and_leaves_no_raw_control_byte() {
        let snapshot = testing::hostile();
        let mut out = Vec::new();
        write_json(&snapshot, &mut out).expect("writes to memory");
        assert!(!out.iter().any(|&byte| byte < 0x20 && byte != b'\n'));
        let document: Value = serde_json::from_slice(&out).expect("is JSON");
        assert_eq!(document["target"]["comm"], snapshot.target.comm.as_str());
        assert_eq!(
            document["sites"][0]["frames"][0]["function"].as_str(),
            snapshot.sites[0].stack.frames[0].function.as_deref().ok()
        );
    }

    #[test]
    fn states_have_stable_names() {
        for (snapshot, name) in [(testing::normal(), "running"), (testing::exited(), "exited")] {
            assert_eq!(parsed(&snapshot)["state"], name);
        }
    }

    #[test]
    fn nothing_seen_is_an_empty_list() {
        let document = parsed(&testing::empty());
        assert_eq!(document["sites"], json!([]));
        assert_eq!(document["loss"], json!({}));
    }
}
