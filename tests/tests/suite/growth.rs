//! Growth by page faults: what grows a process is found by call site, as an estimate within its error, with no probe in the
//! process.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::Ledger,
    tracer::{Tracer, run},
};
use serde_json::Value;

use crate::servers::{Connection, Redis, python};

/// Standard errors that an estimate may be off by: that is once in ten thousand runs and more.
const SIGMAS: f64 = 4.0;
const PAGE: f64 = 4096.0;

/// A traced process's report, checked against the published schema.
fn traced(leaker: Leaker, options: &[&str]) -> Result<(Ledger, Value)> {
    let mut leaker = leaker;
    let tracer = Tracer::attach_with(leaker.pid(), &[&["--duration", "600s", "--growth"], options].concat())?;
    let (probes, tracepoints) = held(&tracer)?;
    ensure!(probes == 0 && tracepoints > 2, "{probes} probes and {tracepoints} tracepoints");
    let ledger = leaker.release()?;
    let ended = tracer.interrupt()?;
    ended.report()?;
    let report = ended.json()?;
    leaker.finish()?;
    Ok((ledger, report))
}

/// Whether anything was put into the process: system calls are seen in the kernel.
pub(crate) fn has_probes(report: &Value) -> bool {
    report["probes"].as_array().is_none_or(|probes| probes.iter().any(|probe| probe["kind"] != "tracepoint"))
}

/// What a leaktrace holds: links to probes, and to tracepoints.
fn held(tracer: &Tracer) -> Result<(usize, usize)> {
    let (mut probes, mut tracepoints) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", tracer.pid()))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        match info.lines().find_map(|line| line.strip_prefix("link_type:")).map(str::trim) {
            Some("tracing" | "raw_tracepoint") => tracepoints += 1,
            Some(kind) if kind.contains("probe") || kind.contains("perf") => probes += 1,
            _ => {}
        }
    }
    Ok((probes, tracepoints))
}

fn sites<'a>(report: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    report["sites"].as_array().into_iter().flatten().filter(move |site| site["kind"] == kind)
}

/// Samples and bytes faulted in at sites with a function that has this in its name.
fn faulted(report: &Value, function: &str) -> (u64, f64) {
    let is_in = |frame: &Value| frame["function"].as_str().is_some_and(|name| name.contains(function));
    let with =
        sites(report, "page_fault").filter(|site| site["frames"].as_array().is_some_and(|f| f.iter().any(is_in)));
    with.map(|site| (site["faulted"]["samples"].as_u64().unwrap_or(0), site["alloc_bytes"].as_f64().unwrap_or(0.0)))
        .fold((0, 0.0), |(samples, bytes), (more, size)| (samples + more, bytes + size))
}

/// Checks an estimate against the truth.
fn expect_about(what: &str, (samples, estimate): (u64, f64), truth: f64, period: f64) -> Result<()> {
    // By the truth, which the estimate is spread around; a part of a period on either side comes besides.
    let sigma = (truth / (period * PAGE)).sqrt() * period * PAGE;
    let off = (estimate - truth).abs();
    ensure!(
        off <= SIGMAS * sigma + 2.0 * period * PAGE,
        "{what}: {estimate} from {samples} samples instead of {truth}, which is {:.1} sigma",
        off / sigma
    );
    Ok(())
}

fn verdicts(report: &Value) -> impl Iterator<Item = &str> {
    report["sites"].as_array().into_iter().flatten().filter_map(|site| site["verdict"]["label"].as_str())
}

/// System calls are looked at whatever else the machine does, so what is mapped is exact.
#[test]
fn sites_are_found_and_estimated_within_their_errors() -> Result<()> {
    let (ledger, report) = traced(Leaker::start("growth.c")?, &["--max-overhead", "100"])?;
    let text = serde_json::to_string_pretty(&report)?;
    let period = report["growth"]["period"].as_f64().context("no period")?;
    let truth = |function: &str| -> Result<f64> {
        let entry = ledger.entries.iter().find(|entry| entry.site == function).context("no such entry")?;
        Ok(entry.alloc_bytes.context("it knows")? as f64)
    };
    for function in ["grow_small", "grow_large", "grow_mapped", "touch_again"] {
        expect_about(function, faulted(&report, function), truth(function)?, period).with_context(|| text.clone())?;
    }
    let order = ["grow_small", "grow_large", "touch_again", "use"].map(|function| faulted(&report, function).1);
    ensure!(order.is_sorted_by(|a, b| a >= b), "the greatest first: {order:?}");
    ensure!(faulted(&report, "use").0 <= 1, "pages that are used again do not fault");

    // What became of it.
    let growth = &report["growth"];
    let grown = ["grow_small", "grow_large", "grow_mapped"].into_iter().map(truth).sum::<Result<f64>>()?;
    let rss = growth["rss_growth_bytes"].as_f64().context("RSS is known")?;
    ensure!((rss - grown).abs() < 0.05 * grown, "RSS grew by {rss}, not by {grown}");
    let again = truth("touch_again")?;
    let back = growth["given_back_bytes"].as_f64().context("is known")?;
    expect_about("given back", (0, back), again, period).or_else(|error| {
        // Or too little to be told from the error of the whole.
        let error_of_all = SIGMAS * ((grown + again) / (period * PAGE)).sqrt() * period * PAGE;
        if (back - again).abs() <= error_of_all { Ok(()) } else { Err(error) }
    })?;
    ensure!(growth["unseen_bytes"].as_f64() < Some(0.1 * grown), "{growth}");

    // Exactly, and by whom although an allocator asked.
    let mapped: u64 = sites(&report, "mmap")
        .filter(|site| site["frames"].as_array().is_some_and(|f| f.iter().any(|f| f["function"] == "grow_mapped")))
        .filter_map(|site| site["inuse_bytes"].as_u64())
        .sum();
    ensure!(mapped as f64 == truth("grow_mapped")?, "{mapped} mapped");
    let by_malloc = sites(&report, "mmap")
        .any(|site| site["frames"].as_array().is_some_and(|f| f.iter().any(|f| f["function"] == "grow_large")));
    ensure!(by_malloc, "what malloc maps has its stack:\n{text}");

    ensure!(!has_probes(&report) && report["loss"] == serde_json::json!({}), "{text}");
    ensure!(!verdicts(&report).any(|label| label == "leaking"), "growth alone is no leak");
    Ok(())
}

#[test]
fn the_detach_is_quick_and_leaves_nothing() -> Result<()> {
    let mut leaker = Leaker::start("growth.c")?;
    let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "600s", "--growth"])?;
    leaker.release()?;
    let begun = Instant::now();
    let ended = tracer.interrupt()?;
    ensure!(begun.elapsed().as_secs() < 5, "it took {:?} to end", begun.elapsed());
    ensure!(ended.status.success(), "{}", ended.stderr);
    leaker.finish()?;
    Ok(())
}

#[test]
fn what_is_only_used_again_does_not_grow() -> Result<()> {
    // Twelve seconds: verdicts take some.
    let script = "import mmap\nimport sys, time\nm = mmap.mmap(-1, 311 * 4096)\nprint('ready', flush=True)\n\
                  sys.stdin.readline()\nend = time.monotonic() + 12\nwhile time.monotonic() < end:\n    \
                  m[:] = b'x' * (311 * 4096)\n    m.madvise(mmap.MADV_DONTNEED)\n    time.sleep(0.005)\n\
                  print('{\"site\":\"-\"}')\nprint('done', flush=True)\nsys.stdin.readline()\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]);
    let (_, report) = traced(Leaker::start_program(&mut command)?, &[])?;
    let growth = &report["growth"];
    let (given_back, rss) = (&growth["given_back_bytes"], &growth["rss_growth_bytes"]);
    ensure!(given_back.as_u64() > Some(100 << 20) && rss.as_i64() < Some(16 << 20), "{growth}");
    let labels: Vec<&str> = verdicts(&report).collect();
    ensure!(labels.contains(&"churn") && !labels.contains(&"growing"), "{labels:?}: {growth}");
    Ok(())
}

#[test]
fn threads_that_come_later_are_seen() -> Result<()> {
    let script = "import sys, threading\nkept = []\ndef grow_in_thread():\n    kept.append(bytearray(40 * 4096 + 1))\n\
                  print('ready', flush=True)\nsys.stdin.readline()\nfor i in range(503):\n    \
                  thread = threading.Thread(target=grow_in_thread)\n    thread.start()\n    thread.join()\n\
                  print('{\"site\":\"-\"}')\nprint('done', flush=True)\nsys.stdin.readline()\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]);
    let (_, report) = traced(Leaker::start_program(&mut command)?, &[])?;
    // Each thread has fewer faults than are needed for one sample.
    let kept = 503.0 * 41.0 * PAGE;
    let period = report["growth"]["period"].as_f64().context("no period")?;
    let all = report["growth"]["faulted"]["bytes"]["value"].as_f64().context("an estimate")?;
    let sigma = (kept / (period * PAGE)).sqrt() * period * PAGE;
    ensure!(all > kept - SIGMAS * sigma, "{all} of {kept}: {}", report["growth"]);
    Ok(())
}

#[test]
fn python_grows_by_bytearrays() -> Result<()> {
    let (_, report) = traced(Leaker::start_program(&mut python())?, &[])?;
    let period = report["growth"]["period"].as_f64().context("no period")?;
    let (samples, bytes) = faulted(&report, "memset");
    // The kept ones are cleared; their edges are touched by the allocator itself.
    let kept = 211.0 * 100_003.0;
    let sigma = (kept / (period * PAGE)).sqrt() * period * PAGE;
    ensure!(bytes > 0.9 * kept - SIGMAS * sigma, "{bytes} from {samples} samples: {}", report["growth"]);
    ensure!(!has_probes(&report), "it has probes");
    Ok(())
}

#[test]
fn redis_grows_by_what_is_set() -> Result<()> {
    const KEYS: usize = 2_003;
    const VALUE_BYTES: usize = 20_011;

    let redis = Redis::start()?;
    let mut connection = Connection::new(&redis.socket)?;
    let tracer = Tracer::attach_with(redis.server.pid(), &["--duration", "600s", "--growth"])?;
    let value = "v".repeat(VALUE_BYTES);
    for key in 0..KEYS {
        let answer = connection.command(&["SET", &format!("key:{key}"), &value])?;
        ensure!(answer == "+OK", "redis answered {answer}");
    }
    let ended = tracer.interrupt()?;
    ended.report()?;
    let report = ended.json()?;
    ensure!(redis.command(&["PING"])? == "+PONG", "redis is not well");
    let growth = &report["growth"];
    let faulted = growth["faulted"]["bytes"]["high"].as_f64().context("an estimate")?;
    ensure!(faulted > (KEYS * VALUE_BYTES) as f64, "{KEYS} values of {VALUE_BYTES} bytes: {growth}");
    let rss = growth["rss_growth_bytes"].as_f64().context("RSS is known")?;
    ensure!(rss > 0.9 * (KEYS * VALUE_BYTES) as f64, "{growth}");
    let whole = sites(&report, "page_fault").filter(|site| site["stack"] == "complete").count();
    ensure!(whole > 0, "{growth}");
    Ok(())
}

#[test]
fn descriptors_are_traced_besides() -> Result<()> {
    let (_, report) = traced(Leaker::start("growth.c")?, &["--fds"])?;
    ensure!(report["traced"] == serde_json::json!(["growth", "fds"]), "{}", report["traced"]);
    ensure!(sites(&report, "page_fault").next().is_some() && report["fds"].is_array(), "both are there");
    Ok(())
}

#[test]
fn other_choices_are_refused() -> Result<()> {
    run(&["-p", "1", "--growth", "--heap"])?.expect_refusal(2, &["--growth", "--heap"])
}
