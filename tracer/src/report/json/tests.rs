//! Every field, read back.

use serde_json::{Value, json};

use super::*;
use crate::report::testing;

pub(super) fn parsed(snapshot: &Snapshot) -> Value {
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
    for descriptors in ["fds", "peers", "limits", "fd_signals", "fd_corrections", "fd_limitations", "fds_looked_s"] {
        fields.remove(descriptors).expect("has the descriptors' part, which has tests of its own");
    }
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
            "processes": [],
            "state": "running",
            "notes": [],
            "analysis": [],
            "suppressions": [],
            "traced": ["heap"],
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
            "features": [
                {"name": "kernel", "used": "6.12.9-arch1-1", "best": true},
                {"name": "probes", "used": "uprobe_multi: one link for many probes", "best": true},
                {"name": "descriptors", "used": "listed through /proc", "best": false},
            ],
            "own_cost": {"cpu_s": 1.307, "resident_bytes": 34_603_008},
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
            "verdict": null,
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

#[test]
fn page_faults_come_with_their_intervals() {
    let document = parsed(&testing::growth());
    assert_eq!(document["traced"], json!(["growth"]));
    let growth = &document["growth"];
    assert_eq!((&growth["period"], &growth["faulted"]["samples"]), (&json!(97), &json!(2_557)));
    assert_eq!(growth["rss_growth_bytes"], 200 << 20);
    assert_eq!(growth["given_back_bytes"], 2_557 * 97 * 4096 - (200 << 20));
    let sites = document["sites"].as_array().expect("sites");
    for site in sites {
        assert_eq!(site["kind"] == "page_fault", site["faulted"].is_object(), "{site}");
        if let Some(bytes) = site["faulted"].get("bytes") {
            let [low, value, high] = ["low", "value", "high"].map(|field| bytes[field].as_f64().expect(field));
            assert!(low < value && value < high && Some(value) == site["alloc_bytes"].as_f64(), "{site}");
        }
    }
}

#[test]
fn the_way_of_following_memory_comes_with_those_before() {
    let document = parsed(&testing::growth_for_the_budget());
    assert_eq!(document["traced"], json!(["growth"]));
    assert_eq!(document["growth"]["since_s"], 131.0);
    assert_eq!(document["modes"]["earlier"], 0);
    assert_eq!(document["modes"]["latest"][2], json!({"mode": "windows", "since_s": 3.26, "share": 1.0 / 64.0}));
    assert_eq!(document["modes"]["latest"][3], json!({"mode": "page_faults", "since_s": 131.0}));
    assert!(parsed(&testing::growth()).get("modes").is_none(), "without a limit there is one way");
}

#[test]
fn every_report_is_as_the_published_schema_has_it() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/leaktrace-report.schema.json")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let reports = [
        testing::normal,
        testing::judged,
        testing::lossy,
        testing::exited,
        testing::several,
        testing::empty,
        testing::hostile,
        testing::normal_fds,
        testing::no_fds,
        testing::fds_alone,
        testing::hostile_fds,
        testing::growth,
        testing::growth_for_the_budget,
        testing::sampled,
    ];
    for report in reports {
        let report = parsed(&report());
        let faults: Vec<String> =
            schema.iter_errors(&report).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
    let mut other = parsed(&testing::normal());
    other["sites"][0]["inuse_bytes"] = json!(-1);
    assert!(!schema.is_valid(&other), "it takes anything");
}

#[test]
fn estimates_come_with_their_intervals() {
    let document = parsed(&testing::sampled());
    let sample = &document["sample"];
    assert_eq!(sample["rate"], 64);
    assert_eq!(sample["raised"], json!([{"at_s": 12.3, "rate": 32}, {"at_s": 199.0, "rate": 64}]));
    assert_eq!(document["overhead"], json!({"percent": 47.0 / 930.0 * 100.0, "probes_s": 0.047, "cpu_s": 0.93}));
    let sites = document["sites"].as_array().expect("sites");
    for part in sites.iter().chain([&json!({"sample": sample})]).map(|site| &site["sample"]) {
        assert!(part["tracked_objects"].is_u64() && part["tracked_bytes"].is_u64(), "{part}");
        for number in ["inuse_bytes", "inuse_objects", "alloc_bytes", "alloc_objects", "free_bytes", "free_objects"] {
            let [low, value, high] = ["low", "value", "high"].map(|field| part[number][field].as_f64().expect(number));
            assert!(low <= value && value <= high, "{number}: {part}");
        }
    }
    assert_eq!(sites[0]["sample"]["inuse_bytes"]["value"].as_f64(), sites[0]["inuse_bytes"].as_f64());
}
