//! Every field, read back.

use serde_json::{Value, json};

use super::super::tests::parsed;
use crate::{
    aggregate::{Endpoint, Snapshot},
    report::testing,
};

const FIELDS: [&str; 7] = ["fds", "peers", "limits", "fd_signals", "fd_corrections", "fd_limitations", "fds_looked_s"];

fn fd_fields(snapshot: &Snapshot) -> Value {
    let document = parsed(snapshot);
    FIELDS.iter().map(|field| ((*field).to_owned(), document[field].clone())).collect()
}

#[test]
fn fd_sites_come_after_heap_sites_with_every_field() {
    let document = parsed(&testing::normal_fds());
    let sites = document["sites"].as_array().expect("a list");
    let kinds: Vec<_> = sites.iter().map(|site| site["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, [vec!["heap"; 7], vec!["fd"; 8]].concat());
    let mut site = sites[7].clone();
    let frames = site["frames"].take();
    assert_eq!(frames.as_array().map(Vec::len), Some(5));
    assert_eq!(
        frames[1],
        json!({"function": "pg::Connection::open(pg::Config const&)", "module": "/usr/bin/imgserver",
               "file": "src/pg/connection.cc", "line": 88, "inlined": false, "address": "0x555500031000",
               "module_offset": "0x31000", "reason": null})
    );
    assert_eq!(
        site,
        json!({"id": 17, "kind": "fd", "tgid": 4242, "open": 41, "opened": 211, "closed": 170, "oldest_age_s": 241.0, "verdict": null,
               "kinds": {"tcp": 41}, "stack": "complete", "frames": null})
    );
    assert_eq!(sites[11]["kinds"], json!({"eventfd": 2, "pipe": 2, "epoll": 1}));
    assert_eq!((&sites[13]["open"], &sites[13]["oldest_age_s"]), (&json!(0), &Value::Null));
    assert_eq!((&sites[14]["id"], &sites[14]["opened"]), (&json!(43), &json!(0)), "it only connected");
    assert_eq!(document["traced"], json!(["heap", "fds"]));
}

#[test]
fn every_field_of_an_open_descriptor_reads_back() {
    let document = parsed(&testing::normal_fds());
    let fds = document["fds"].as_array().expect("a list");
    assert_eq!(fds.len(), 112);
    let without_socket = json!({
        "tgid": 4242, "fd": 4, "kind": "file", "detail": "/var/log/imgserver.log", "origin": "before_attach",
        "site": null, "age_s": null, "direction": null, "local": null, "peer": null, "state": null, "idle_s": null,
        "rx_bytes": null, "tx_bytes": null, "recv_queue": null, "send_queue": null, "connect_latency_s": null,
        "close_wait_s": null, "connected_by": null,
    });
    assert_eq!(fds[4], without_socket);
    assert_eq!(
        fds[8],
        json!({
            "tgid": 4242, "fd": 8, "kind": "tcp", "detail": "", "origin": "site", "site": 17, "age_s": 241.0,
            "direction": "outbound", "local": "127.0.0.1:50021", "peer": "127.0.0.1:5432", "state": "ESTABLISHED",
            "idle_s": 240.0, "rx_bytes": 431, "tx_bytes": 127, "recv_queue": 0, "send_queue": 0,
            "connect_latency_s": 0.00031, "close_wait_s": null, "connected_by": null,
        })
    );
    assert_eq!(
        (&fds[49]["direction"], &fds[49]["state"], &fds[49]["close_wait_s"], &fds[49]["recv_queue"]),
        (&json!("inbound"), &json!("CLOSE_WAIT"), &json!(182.0), &json!(1))
    );
    assert_eq!(fds[95]["peer"], "/run/systemd/journal/dev-log");
    assert_eq!((&fds[107]["peer"], &fds[107]["connected_by"]), (&json!("[2001:db8::17]:9200"), &json!(43)));
    assert_eq!((&fds[110]["origin"], &fds[110]["detail"]), (&json!("unseen"), &json!("scratch")));
}

#[test]
fn every_other_field_reads_back() {
    let mut fields = fd_fields(&testing::normal_fds());
    assert_eq!(fields["fds"].take().as_array().map(Vec::len), Some(112));
    let peers = fields["peers"].take();
    assert_eq!(peers.as_array().map(Vec::len), Some(5));
    assert_eq!(
        peers[0],
        json!({"direction": "outbound", "endpoint": "127.0.0.1:5432", "service": "postgresql", "open": 41, "idle": 36,
               "close_wait": 0, "oldest_age_s": 241.0, "opened": 211, "closed": 170, "opened_per_min": 52.5,
               "closed_per_min": 41.0, "growing": true, "connect_latency_s": 0.00031, "sites": [17], "connected_by": []})
    );
    assert_eq!((&peers[1]["direction"], &peers[1]["close_wait"]), (&json!("inbound"), &json!(13)));
    assert_eq!((&peers[4]["sites"], &peers[4]["connected_by"]), (&json!([41]), &json!([43])));
    assert_eq!(
        fields,
        json!({
            "fds": null, "peers": null,
            "limits": {"nofile_soft": 128, "nofile_hard": 4096, "open": 112},
            "fd_signals": [
                {"signal": "near_limit", "mark": 80},
                {"signal": "close_wait", "count": 13, "oldest_s": 182.0, "site": 19, "endpoint": "0.0.0.0:8080"},
                {"signal": "unreleased", "direction": "outbound", "endpoint": "127.0.0.1:5432", "opened_per_min": 52.5,
                 "closed_per_min": 41.0},
                {"signal": "growth", "per_min": 17.5, "over_s": 180.0, "site": 17},
                {"signal": "half_open", "count": 3, "oldest_s": 13.0, "endpoint": "[2001:db8::17]:9200"},
            ],
            "fd_corrections": {"unseen_closes": 3, "unseen_opens": 2, "replaced": 1},
            "fd_limitations": ["unix sockets: the other end's process cannot be read here"],
            "fds_looked_s": 0.4,
        })
    );
}

#[test]
fn signals_are_named_as_everywhere() {
    let snapshot = testing::normal_fds();
    let document = parsed(&snapshot);
    let signals = &snapshot.descriptors.as_ref().expect("traced").signals;
    for (signal, written) in signals.iter().zip(document["fd_signals"].as_array().expect("a list")) {
        assert_eq!(written["signal"], signal.name());
    }
}

#[test]
fn what_is_not_traced_is_null_and_what_is_not_there_is_empty() {
    let nothing = json!({
        "peers": [], "limits": null, "fd_signals": [],
        "fd_corrections": {"unseen_closes": 0, "unseen_opens": 0, "replaced": 0}, "fd_limitations": [],
        "fds_looked_s": null,
    });
    for (snapshot, fds) in [(testing::normal(), Value::Null), (testing::no_fds(), json!([]))] {
        let mut expected = nothing.clone();
        expected["fds"] = fds;
        assert_eq!(fd_fields(&snapshot), expected);
    }
}

#[test]
fn hostile_endpoints_and_paths_survive_the_round_trip() {
    let snapshot = testing::hostile_fds();
    let document = parsed(&snapshot);
    let descriptors = snapshot.descriptors.as_ref().expect("traced");
    for (fd, written) in descriptors.open.iter().zip(document["fds"].as_array().expect("a list")) {
        assert_eq!(written["detail"], &*fd.detail);
    }
    for (peer, written) in descriptors.peers.iter().zip(document["peers"].as_array().expect("a list")) {
        let Endpoint::Unix(path) = &peer.endpoint else { panic!("not a path") };
        assert_eq!(written["endpoint"], &**path);
    }
    // What JSON has no number for.
    assert_eq!(document["fd_signals"][0]["per_min"], Value::Null);
}
