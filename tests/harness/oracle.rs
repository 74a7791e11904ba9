//! The oracle: an allocation counter preloaded into a leaker (`oracle.c`), which gives the report that leaktrace should
//! give. It shows that a leaker does what its ledger says, without the tracer and without root; so that when the two
//! disagree under leaktrace, leaktrace is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    leaker::{Build, Frames, Leaker, compile},
    ledger::{Ledger, Match, Scope},
    report::{Counters, Frame, Report, Site, Target},
    tracer::report_path,
    wait_for,
};

/// What `oracle.c` writes.
#[derive(Debug, Deserialize)]
struct Raw {
    pid: u32,
    stats: BTreeMap<String, u64>,
    sites: Vec<RawSite>,
}

#[derive(Debug, Deserialize)]
struct RawSite {
    alloc_bytes: u64,
    alloc_objects: u64,
    free_bytes: u64,
    free_objects: u64,
    frames: Vec<RawFrame>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct RawFrame {
    module: String,
    offset: u64,
}

/// Runs a program with the oracle in it; returns what it says and what the oracle counted.
pub fn observe(program: &mut Command) -> Result<(Ledger, Report)> {
    let oracle = Build::c(concat!(env!("CARGO_MANIFEST_DIR"), "/harness/oracle.c"), Frames::NoPointers)
        .shared()
        .arg("-fvisibility=hidden")
        .compile()?;
    let output = report_path()?;
    let mut leaker = Leaker::start_program(program.env("LD_PRELOAD", oracle).env("LEAKER_ORACLE", &output))?;
    let ledger = leaker.release()?;
    let text = wait_for("the oracle's report", || Ok(fs::read_to_string(&output).ok()))?;
    let raw = serde_json::from_str(&text).with_context(|| format!("bad oracle report:\n{text}"))?;
    leaker.finish()?;
    Ok((ledger, report(raw)?))
}

/// [`observe`] for the leaker of that file name, and the comparison.
pub fn observe_and_check(file: &str, matching: Match, scope: Scope) -> Result<()> {
    let (ledger, report) = observe(&mut Command::new(compile(file)?))?;
    ledger.check(&report, matching, scope)
}

fn report(raw: Raw) -> Result<Report> {
    let names = symbolize(raw.sites.iter().flat_map(|site| &site.frames))?;
    let mut sites = Vec::new();
    for (id, site) in (0..).zip(raw.sites) {
        let RawSite { alloc_bytes, alloc_objects, free_bytes, free_objects, frames } = site;
        let counters = Counters {
            inuse_bytes: alloc_bytes - free_bytes,
            inuse_objects: alloc_objects - free_objects,
            alloc_bytes,
            alloc_objects,
            free_bytes,
            free_objects,
        };
        let frames = frames.into_iter().flat_map(|frame| names[&frame].clone()).collect();
        sites.push(Site {
            startup: false,
            id,
            kind: "heap".to_owned(),
            tgid: raw.pid,
            counters,
            oldest_age_s: None,
            stack: "complete".to_owned(),
            frames,
        });
    }
    sites.sort_by_key(|site| std::cmp::Reverse(site.counters.inuse_bytes));
    Ok(Report {
        ranges: Vec::new(),
        schema: "leaktrace/1".to_owned(),
        target: Target { pid: raw.pid, comm: String::new(), exe: String::new(), cmdline: Vec::new() },
        processes: Vec::new(),
        state: "detached".to_owned(),
        started: serde_json::Value::Null,
        elapsed_s: 0.0,
        totals: sites.iter().map(|site| site.counters).sum(),
        sites,
        loss: BTreeMap::new(),
        stats: raw.stats,
        probes: Vec::new(),
    })
}

/// Names of the frames' functions, inlined ones first, by binutils' addr2line.
fn symbolize<'a>(frames: impl Iterator<Item = &'a RawFrame>) -> Result<HashMap<RawFrame, Vec<Frame>>> {
    let frames: BTreeSet<&RawFrame> = frames.collect();
    let mut names = HashMap::new();
    let modules: BTreeSet<&str> = frames.iter().map(|frame| frame.module.as_str()).collect();
    for module in modules {
        let frames: Vec<&RawFrame> = frames.iter().copied().filter(|frame| frame.module == module).collect();
        let answers = addr2line(module, &frames)?;
        for (frame, functions) in frames.into_iter().zip(answers) {
            let frames = functions.iter().map(|function| Frame {
                function: Some(function.clone()),
                module: Some(module.to_owned()),
                file: None,
                line: None,
                inlined: false,
                address: frame.offset,
                reason: None,
            });
            names.insert(frame.clone(), frames.collect());
        }
    }
    Ok(names)
}

/// For each frame, its functions.
fn addr2line(module: &str, frames: &[&RawFrame]) -> Result<Vec<Vec<String>>> {
    let mut child = Command::new("addr2line")
        .args(["--addresses", "--functions", "--demangle", "--inlines", "--exe", module])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run addr2line: install binutils")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let input: String = frames.iter().map(|frame| format!("{:#x}\n", frame.offset)).collect();
    // By a thread of its own: addr2line answers while it reads, and would block on a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().ok().context("the writer panicked")??;
    let mut answers: Vec<Vec<String>> = Vec::new();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            answers.push(Vec::new());
        } else {
            answers.last_mut().context("addr2line: a function before an address")?.push(line.to_owned());
            // The source line.
            lines.next();
        }
    }
    ensure!(answers.len() == frames.len(), "addr2line answered {} of {} addresses", answers.len(), frames.len());
    Ok(answers)
}
