//! The comparison finds every sort of difference: shown on literal reports.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    FdLedger, FdReport,
    ledger::Correcting::{Anything, AsTold},
};

/// One heap site; seven files opened at `open_file`, of which five were closed; a pipe from before.
fn document() -> Value {
    let frame = |function: &str| json!({"function": function, "module": "/c", "file": null, "line": null, "inlined": false, "address": "0x1"});
    json!({
        "schema": "leaktrace/1",
        "target": {"pid": 7, "comm": "c", "exe": "/c", "cmdline": ["c"]},
        "state": "detached", "started": "2020-01-01T00:00:00Z", "elapsed_s": 1.5, "loss": {}, "stats": {}, "probes": [],
        "totals": {"inuse_bytes": 6, "inuse_objects": 2, "alloc_bytes": 15, "alloc_objects": 5, "free_bytes": 9,
                   "free_objects": 3},
        "sites": [
            {"id": 1, "kind": "heap", "tgid": 7, "inuse_bytes": 6, "inuse_objects": 2, "alloc_bytes": 15,
             "alloc_objects": 5, "free_bytes": 9, "free_objects": 3, "oldest_age_s": 0.5, "stack": "complete",
             "frames": [frame("inner")]},
            {"id": 2, "kind": "fd", "tgid": 7, "open": 2, "opened": 7, "closed": 5, "oldest_age_s": 0.5,
             "kinds": {"file": 2}, "stack": "complete", "frames": [frame("open64"), frame("open_file"), frame("main")]},
        ],
        "fds": [
            {"tgid": 7, "fd": 0, "kind": "pipe", "detail": "", "origin": "before_attach", "site": null, "age_s": null},
            {"tgid": 7, "fd": 3, "kind": "file", "detail": "/f", "origin": "site", "site": 2, "age_s": 0.5},
            {"tgid": 7, "fd": 5, "kind": "file", "detail": "/f", "origin": "site", "site": 2, "age_s": 0.25},
        ],
        "peers": [], "limits": {"nofile_soft": 1024, "nofile_hard": 4096, "open": 3}, "fd_signals": [],
        "fd_corrections": {"unseen_closes": 0, "unseen_opens": 0, "replaced": 0}, "fd_limitations": [],
        "fds_looked_s": 0.125,
    })
}

fn report(document: Value) -> Result<FdReport> {
    Ok(serde_json::from_value(document)?)
}

fn ledger(lines: &[&str]) -> Result<FdLedger> {
    FdLedger::parse(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
}

const LINES: [&str; 5] = [
    r#"{"fd_site":"open_file","opened":7,"closed":5,"open":2}"#,
    r#"{"fd":0,"kind":"pipe","origin":"before_attach"}"#,
    r#"{"fd":3,"kind":"file","origin":"site","at":"open_file"}"#,
    r#"{"fd":5,"kind":"file","origin":"site","at":"open_file"}"#,
    r#"{"unseen_closes":0,"unseen_opens":0,"replaced":0}"#,
];

#[test]
fn what_is_equal_passes() -> Result<()> {
    ledger(&LINES)?.check(&report(document())?)
}

#[test]
fn heap_sites_and_those_of_descriptors_are_told_apart() -> Result<()> {
    let heap: crate::report::Report = serde_json::from_value(document())?;
    assert_eq!(heap.sites.iter().map(|site| site.id).collect::<Vec<_>>(), [1]);
    heap.check_arithmetic()?;
    assert_eq!(report(document())?.sites.iter().map(|site| site.id).collect::<Vec<_>>(), [2]);
    Ok(())
}

/// Changes one value of the report, and expects a difference that is told in these words.
fn expect_difference(pointer: &str, value: Value, words: &str) -> Result<()> {
    let mut changed = document();
    *changed.pointer_mut(pointer).expect("a place in the report") = value;
    let error = ledger(&LINES)?.check(&report(changed)?).expect_err(pointer);
    assert!(error.to_string().contains(words), "{pointer}: {error}");
    Ok(())
}

#[test]
fn every_difference_is_found() -> Result<()> {
    expect_difference("/sites/1/opened", json!(8), "open_file: opened: the program says 7, the report 8")?;
    expect_difference("/sites/1/closed", json!(4), "open_file: closed: the program says 5, the report 4")?;
    expect_difference("/sites/1/open", json!(3), "open_file: open: the program says 2, the report 3")?;
    expect_difference("/sites/1/frames/1/function", json!("other"), "site 2 of the report, which opened 7, is 0")?;
    expect_difference("/sites/1/kind", json!("heap2"), "open_file: opened: the program says 7, the report 0")?;
    expect_difference("/sites/1/kinds/file", json!(1), "its kinds")?;
    expect_difference("/sites/1/tgid", json!(8), "belongs to process 8")?;
    expect_difference("/fds/1/fd", json!(4), "descriptor 3 is not in the report")?;
    expect_difference("/fds/1/fd", json!(4), "descriptor 4 of the report is not open")?;
    expect_difference("/fds/1/fd", json!(5), "descriptor 5 is there twice")?;
    expect_difference("/fds/1/kind", json!("pipe"), "descriptor 3: the program says file site")?;
    expect_difference("/fds/1/origin", json!("unseen"), "descriptor 3: the program says file site")?;
    expect_difference("/fds/1/site", json!(null), "descriptor 3: the program says file site")?;
    expect_difference("/fds/1/site", json!(1), "descriptor 3 has no such site")?;
    expect_difference("/fds/0/origin", json!("unseen"), "descriptor 0: the program says pipe before_attach")?;
    expect_difference("/fd_corrections/replaced", json!(1), "corrections")?;
    expect_difference("/fd_corrections/unseen_closes", json!(1), "corrections")?;
    expect_difference("/limits/open", json!(4), "3 are listed")?;
    expect_difference("/loss", json!({"ring_full": 1}), "events were lost")
}

#[test]
fn a_site_is_of_one_function_alone() -> Result<()> {
    let both = [r#"{"fd_site":"main","opened":7,"closed":7,"open":0}"#].into_iter().chain(LINES).collect::<Vec<_>>();
    let error = ledger(&both)?.check(&report(document())?).expect_err("two owners").to_string();
    assert!(error.contains("is 2 of the program's"), "{error}");
    Ok(())
}

#[test]
fn corrections_are_what_the_program_expects() -> Result<()> {
    let expecting = |numbers: &'static str| ledger(&[LINES[0], LINES[1], LINES[2], LINES[3], numbers]);
    let mut changed = document();
    changed["fd_corrections"] = json!({"unseen_closes": 3, "unseen_opens": 2, "replaced": 0});
    let changed = report(changed)?;
    assert!(expecting(LINES[4])?.check(&changed).is_err());
    expecting(LINES[4])?.check_with(&changed, Anything)?;
    expecting(r#"{"unseen_closes":3,"unseen_opens":2,"replaced":0}"#)?.check_with(&changed, AsTold)?;
    // The same numbers, had nobody looked in between.
    expecting(r#"{"unseen_closes":1,"unseen_opens":0,"replaced":2}"#)?.check(&changed)?;
    assert!(expecting(r#"{"unseen_closes":2,"unseen_opens":0,"replaced":2}"#)?.check(&changed).is_err());
    Ok(())
}

#[test]
fn a_ledger_that_contradicts_itself_or_is_cut_is_no_ledger() -> Result<()> {
    assert!(ledger(&LINES[..4]).is_err(), "it was cut");
    assert!(ledger(&[LINES[0], LINES[1], LINES[2], LINES[4]]).is_err(), "one that is open is not listed");
    assert!(ledger(&[r#"{"fd_site":"f","opened":3,"closed":1,"open":1}"#, LINES[4]]).is_err());
    assert!(ledger(&[r#"{"fd_site":"f","opened":3}"#, LINES[4]]).is_err());
    let said = ledger(&LINES)?;
    let kernel = |fds: &[(u32, &str)]| fds.iter().map(|&(fd, kind)| (fd, kind.to_owned())).collect();
    said.check_open(&kernel(&[(0, "pipe"), (3, "file"), (5, "file")]))?;
    assert!(said.check_open(&kernel(&[(0, "pipe"), (3, "file")])).is_err());
    assert!(said.check_open(&kernel(&[(0, "pipe"), (3, "file"), (5, "tcp")])).is_err());
    assert!(said.check_open(&kernel(&[(0, "pipe"), (3, "file"), (5, "file"), (6, "file")])).is_err());
    Ok(())
}
