//! Recordings: what is in them is what the run reported, whatever became of leaktrace and of the program, for any user;
//! and two of them say what a fix has changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    folder::Folder,
    launch::launch,
    leaker::{Build, Frames, Leaker, compile, leakers_dir},
    ledger::{Ledger, Match::Innermost, Scope::Everything, Scope::ListedSites},
    programs::short_c,
    recording::{RecordingFile, as_nobody, expect_equal, frames, give_to_nobody, offline, run_offline, variant},
    report::Report,
    tracer::{Tracer, report_path, run},
    wait_for,
};
use rustix::process::Signal;
use serde_json::Value;

/// Records all that a leaker does; returns the last report besides.
fn record(mut leaker: Leaker, file: &RecordingFile, options: &[&str]) -> Result<(Ledger, Value)> {
    let options = [&["--duration", "600s", "--record", file.argument()?], options].concat();
    let tracer = Tracer::attach_with(leaker.pid(), &options)?;
    let ledger = leaker.release()?;
    let json = tracer.interrupt()?.json()?;
    leaker.finish()?;
    Ok((ledger, json))
}

/// What it said besides; it must have ended with this code, and not by a panic.
fn expect_end(output: &Output, code: i32) -> Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(code), "{} instead of {code}:\n{stderr}", output.status);
    ensure!(!stderr.contains("panicked"), "{stderr}");
    Ok(stderr)
}

#[test]
fn a_recording_reports_what_the_run_reported() -> Result<()> {
    let suppressions = report_path()?;
    fs::write(&suppressions, "leak:^kept$\n")?;
    let options = ["--suppressions", suppressions.to_str().context("a path")?];
    for (program, options) in [("two_builds.c", &options[..]), ("reallocs.c", &[]), ("ranges.c", &[])] {
        let file = RecordingFile::new()?;
        let (_, live) = record(Leaker::start(program)?, &file, options)?;
        ensure!(
            options.is_empty() || !live["suppressions"].as_array().is_some_and(Vec::is_empty),
            "nothing suppressed"
        );
        expect_equal(&live, &file.json(&[])?).with_context(|| program.to_owned())?;
    }
    Ok(())
}

#[test]
fn what_was_found_is_recorded_and_checked_by_rules() -> Result<()> {
    let (mut leaker, file) = (Leaker::start("steady.c")?, RecordingFile::new()?);
    let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "600s", "--record", file.argument()?])?;
    leaker.say("go")?;
    wait_for("a verdict in the recording", || {
        let Ok(json) = file.json(&[]) else { return Ok(None) };
        let sites = json["sites"].as_array().context("sites")?.clone();
        Ok(sites.iter().any(|site| !site["verdict"].is_null()).then_some(()))
    })?;
    let live = tracer.interrupt()?.json()?;
    let recorded = file.json(&[])?;
    expect_equal(&live, &recorded)?;
    ensure!(recorded["analysis"][0]["rss_bytes"].as_u64() > Some(0), "{}", recorded["analysis"]);
    let broken = run_offline(&["report", file.argument()?, "--fail-on", "rss>1B"])?;
    ensure!(expect_end(&broken, 1)?.contains("rule rss>1B is broken"), "{broken:?}");
    expect_end(&run_offline(&["report", file.argument()?, "--fail-on", "rss>1TB"])?, 0)?;
    Ok(())
}

/// `report` reads it as a user without any right, when the program's file is gone.
#[test]
fn a_killed_leaktrace_leaves_what_it_had_recorded() -> Result<()> {
    let (folder, file) = (Folder::new("gone")?, RecordingFile::new()?);
    let program = folder.install(&compile("simple.c")?, "simple", 0o755)?;
    let mut leaker = Leaker::start_program(&mut Command::new(&program))?;
    let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "600s", "--record", file.argument()?])?;
    let mode = fs::metadata(file.path())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the file's mode is {mode:o}");
    let ledger = leaker.release()?;
    wait_for("the leak to be recorded", || {
        let report = file.report();
        Ok(report.ok().filter(|report| ledger.check(report, Innermost, Everything).is_ok()).map(drop))
    })?;
    tracer.signal(Signal::KILL)?;
    tracer.wait()?;
    leaker.finish()?;
    drop(folder);
    ensure!(!program.exists());

    let arguments = ["report", file.argument()?, "--format", "json"];
    let stderr = expect_end(&as_nobody(&arguments)?, 3)?;
    ensure!(stderr.contains("a recording is its owner's"), "{stderr}");
    give_to_nobody(file.path())?;
    let output = as_nobody(&arguments)?;
    expect_end(&output, 0)?;
    let report = Report::parse(&String::from_utf8(output.stdout)?)?;
    ledger.check(&report, Innermost, Everything)?;
    ensure!(report.state == "running", "nobody saw its end, and it is {:?}", report.state);
    let leak = report.sites.iter().find(|site| site.frame_is(0, "simple_leak")).context("no simple_leak")?;
    let source = leak.frames[0].file.as_deref();
    ensure!(source.is_some_and(|source| source.ends_with("simple.c")), "{:?}", leak.frames[0]);
    expect_end(&as_nobody(&["diff", file.argument()?, file.argument()?])?, 0)?;
    Ok(())
}

#[test]
fn a_recording_that_is_cut_off_or_damaged_has_the_windows_before() -> Result<()> {
    let file = RecordingFile::new()?;
    record(Leaker::start("two_builds.c")?, &file, &["--interval", "100ms"])?;
    let bytes = fs::read(file.path())?;
    let frames = frames(&bytes)?;
    let &(begin, _) = frames.last().context("no frames")?;
    let windows = |bytes: &[u8]| -> Result<String> {
        let path = variant(&file, bytes)?;
        let stderr = expect_end(&run_offline(&["report".as_ref(), path.as_os_str()])?, 0)?;
        let words: Vec<&str> = stderr.split_whitespace().skip_while(|word| *word != "of").collect();
        Ok(words.get(1).context("no number of windows")?.trim_end_matches(',').to_owned())
    };
    let (all, before) = (windows(&bytes)?, windows(&bytes[..begin])?);
    ensure!(all.parse::<u32>()? == before.parse::<u32>()? + 1, "{all} windows, {before} without the last one");
    for len in begin..bytes.len() {
        let found = windows(&bytes[..len])?;
        ensure!(found == before, "{found} windows in {len} of {} bytes", bytes.len());
    }
    // Bytes over the whole file, so that every sort of frame has its turn.
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let path = variant(&file, &damaged)?;
        let output = run_offline(&["report".as_ref(), path.as_os_str()])?;
        let stderr = expect_end(&output, output.status.code().filter(|code| *code == 0).unwrap_or(3))?;
        let words = ["damaged", "not a recording", "use leaktrace", "cut off"];
        ensure!(words.iter().any(|word| stderr.contains(word)), "byte {at}: {stderr}");
    }
    Ok(())
}

#[test]
fn a_program_that_is_started_is_recorded_to_its_end() -> Result<()> {
    let (program, file) = (short_c().compile()?, RecordingFile::new()?);
    let output = run_offline(&[
        "record".as_ref(),
        "-o".as_ref(),
        file.path().as_os_str(),
        "--".as_ref(),
        program.as_os_str(),
        "41".as_ref(),
    ])?;
    let stderr = expect_end(&output, 41)?;
    ensure!(stderr.contains("recorded "), "{stderr}");
    let lines: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    Ledger::parse(&lines)?.check(&file.report()?, Innermost, ListedSites)?;
    let json = file.json(&[])?;
    ensure!(json["ending"]["exit_code"] == 41, "{}", json["ending"]);
    ensure!(json["state"] == "exited", "{}", json["state"]);

    // With a report besides, the two are one.
    let file = RecordingFile::new()?;
    let launched = launch(&["--record", file.argument()?], &[program.as_os_str(), "43".as_ref()], "")?;
    expect_equal(&launched.json()?, &file.json(&[])?)
}

#[test]
fn record_says_what_it_did_and_replaces_nothing_unasked() -> Result<()> {
    let (leaker, file) = (Leaker::start("steady.c")?, RecordingFile::new()?);
    let pid = leaker.pid().to_string();
    let record = |more: &[&str]| -> Result<Output> {
        run_offline(&[&["record", "-p", &pid, "--duration", "300ms", "-o", file.argument()?], more].concat())
    };
    let first = record(&[])?;
    let stderr = expect_end(&first, 0)?;
    ensure!(first.stdout.is_empty() && stderr.contains("leaktrace: recorded "), "{first:?}");
    let bytes = fs::read(file.path())?;
    let refused = run(&["record", "-p", &pid, "-o", file.argument()?])?;
    refused.expect_cannot_trace(&["exists already", "--overwrite"])?;
    ensure!(fs::read(file.path())? == bytes, "it was written to");
    expect_end(&record(&["--overwrite"])?, 0)?;
    ensure!(fs::read(file.path())? != bytes, "it was not replaced");

    // A link is replaced, not followed.
    let other = file.path().with_file_name("other");
    fs::write(&other, "of someone else")?;
    fs::remove_file(file.path())?;
    symlink(&other, file.path())?;
    run(&["record", "-p", &pid, "-o", file.argument()?])?.expect_cannot_trace(&["exists already"])?;
    expect_end(&record(&["--overwrite"])?, 0)?;
    ensure!(fs::read(&other)? == b"of someone else" && !fs::symlink_metadata(file.path())?.is_symlink());
    // What cannot be traced leaves no file.
    fs::remove_file(file.path())?;
    run(&["record", "-p", "4194304", "-o", file.argument()?])?.expect_cannot_trace(&["4194304"])?;
    ensure!(!file.path().exists(), "an empty file is left");
    Ok(())
}

fn start(build: &Build) -> Result<Leaker> {
    Leaker::start_program(&mut Command::new(build.compile()?))
}

/// Where a changed site is, how it changed, and by how much.
type Changed = BTreeMap<(String, String), (String, i64, i64)>;

fn changed(diff: &Value) -> Result<Changed> {
    let mut changed = Changed::new();
    for site in diff["sites"].as_array().context("no sites")? {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let number = |name: &str| site[name].as_i64().context("no number");
        let names =
            site["frames"].as_array().context("no frames")?.iter().filter_map(|frame| frame["function"].as_str());
        let known = ["fixed_later", "kept", "kept_more", "kept_later", "open_report"];
        let function = names.into_iter().find(|name| known.contains(name)).unwrap_or("elsewhere");
        let key = (text(&site["kind"])?, function.to_owned());
        let what = (text(&site["change"])?, number("change_bytes")?, number("change_objects")?);
        ensure!(changed.insert(key.clone(), what).is_none(), "{key:?} twice");
    }
    Ok(changed)
}

#[test]
fn a_fixed_leak_is_gone_in_the_next_build() -> Result<()> {
    let build = || Build::c(leakers_dir().join("two_builds.c"), Frames::NoPointers);
    let (before, after) = (RecordingFile::new()?, RecordingFile::new()?);
    let (_, json) = record(start(&build())?, &before, &[])?;
    record(start(&build().arg("-DFIXED"))?, &after, &[])?;
    let report = report_path()?;
    fs::write(&report, serde_json::to_string(&json)?)?;
    let report = report.to_str().context("a path")?;
    let (before, after) = (before.argument()?, after.argument()?);
    let change = |kind: &str, function: &str, change: &str, bytes, objects| {
        ((kind.to_owned(), function.to_owned()), (change.to_owned(), bytes, objects))
    };
    let expected = Changed::from([
        change("heap", "fixed_later", "gone", -101 * 1009, -101),
        change("heap", "kept_later", "new", 2003, 1),
        change("heap", "kept_more", "grown", 4 * 31, 4),
        change("fd", "open_report", "gone", 0, -7),
    ]);
    for (side, name) in [(before, "recording"), (report, "report")] {
        let diff: Value = serde_json::from_str(&offline(&["diff", side, after, "--format", "json"])?)?;
        ensure!(changed(&diff)? == expected, "{name}: {:#?}", changed(&diff)?);
        let counts = serde_json::json!({"new": 1, "grown": 1, "shrunk": 0, "gone": 2, "same": 1});
        ensure!(diff["counts"] == counts, "{name}: {}", diff["counts"]);
    }
    let same: Value = serde_json::from_str(&offline(&["diff", report, before, "--format", "json"])?)?;
    ensure!(changed(&same)?.is_empty(), "a report is not its recording: {same:#}");

    let text = offline(&["diff", before, after])?;
    for words in ["1 new, 1 grown, 0 shrunk, 2 gone, 1 the same", "fixed_later", "-99.5 KiB, -101 objects"] {
        ensure!(text.contains(words), "no {words:?} in:\n{text}");
    }
    let rule = |rule: &str| run_offline(&["diff", before, after, "--fail-on", rule]);
    let stderr = expect_end(&rule("new>0")?, 1)?;
    ensure!(stderr.contains("rule new>0 is broken, it is 1"), "{stderr}");
    for holds in ["inuse>0", "grown>1", "fds>0"] {
        expect_end(&rule(holds)?, 0)?;
    }
    expect_end(&rule("leaking>0")?, 2)?;
    Ok(())
}

#[test]
fn any_time_of_a_run_can_be_reported() -> Result<()> {
    let (mut leaker, file) = (Leaker::start("simple.c")?, RecordingFile::new()?);
    let options = ["--duration", "600s", "--interval", "100ms", "--record", file.argument()?];
    let tracer = Tracer::attach_with(leaker.pid(), &options)?;
    wait_for("windows before the release", || {
        let last = file.json(&[]).ok();
        Ok(last.filter(|last| last["elapsed_s"].as_f64() > Some(0.15)).map(drop))
    })?;
    leaker.release()?;
    let end = tracer.interrupt()?.json()?;
    let then = file.json(&["--at", "150ms"])?;
    ensure!(then["elapsed_s"].as_f64() <= Some(0.15) && then["totals"]["alloc_objects"] == 0, "{}", then["totals"]);
    ensure!(then["state"] == "running", "{}", then["state"]);
    expect_equal(&end, &file.json(&["--at", "1h"])?)?;
    let text = offline(&["report", file.argument()?])?;
    ensure!(text.contains("DETACHED") && text.contains("simple_leak"), "{text}");
    let early = run_offline(&["report", file.argument()?, "--at", "1970-01-01T00:00:00Z"])?;
    ensure!(expect_end(&early, 3)?.contains("the first one is of"), "{early:?}");
    leaker.finish()
}

/// Files for other tools are those that the run itself wrote.
#[test]
fn a_recording_is_exported_as_its_run_was() -> Result<()> {
    let options: [&[&str]; 4] = [
        &["--format", "folded"],
        &["--format", "folded", "--by", "alloc"],
        &["--format", "svg"],
        &["--format", "pprof"],
    ];
    for options in options {
        let (mut leaker, file) = (Leaker::start("cpp_heap.cpp")?, RecordingFile::new()?);
        let options = [options, &["--duration", "600s", "--record", file.argument()?]].concat();
        let tracer = Tracer::attach_with(leaker.pid(), &options)?;
        leaker.release()?;
        let live = tracer.interrupt()?.written()?;
        leaker.finish()?;
        let exported = run_offline(&[&["report", file.argument()?], &options[..options.len() - 4]].concat())?;
        expect_end(&exported, 0)?;
        ensure!(live.len() > 100 && live == exported.stdout, "{options:?}: the files differ");
    }
    let (leaker, file) = (Leaker::start("two_builds.c")?, RecordingFile::new()?);
    record(leaker, &file, &["--interval", "100ms"])?;
    let page = offline(&["report", file.argument()?, "--format", "html"])?;
    ensure!(page.contains("fixed_later") && page.contains("<svg"), "{page}");
    let growth = offline(&["report", file.argument()?, "--format", "folded", "--by", "growth"])?;
    ensure!(growth.lines().all(|line| line.rsplit_once(' ').is_some()), "{growth}");
    for (wrong, words) in [(["text", "inuse"], "--by is for"), (["pprof", "growth"], "go tool pprof -base")] {
        let [format, by] = wrong;
        let refused = run_offline(&["report", file.argument()?, "--format", format, "--by", by])?;
        ensure!(expect_end(&refused, 2)?.contains(words), "{refused:?}");
    }
    Ok(())
}
