//! Code made at run time: named by the map that the process writes for perf, if it is the process's own.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{chown, symlink},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::{Leaker, compile, leakers_dir},
    ledger::{
        Ledger,
        Match::{AnyFrame, Innermost},
        Scope::ListedSites,
    },
    report::{Frame, Report, Site},
    tracer::{Tracer, report_path, trace, trace_with},
    wait_for,
};

/// A process's map for perf, gone with its test.
pub(crate) struct PerfMap(PathBuf);

impl PerfMap {
    pub(crate) fn of(pid: u32) -> Self {
        Self(PathBuf::from(format!("/tmp/perf-{pid}.map")))
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        // One left behind is no reason to fail.
        let _ = fs::remove_file(&self.0);
    }
}

/// Line of the script that holds this text, from 1.
fn line_of(script: &str, text: &str) -> Result<u32> {
    let line = script.lines().position(|line| line.contains(text)).context("no such line")?;
    Ok(u32::try_from(line)? + 1)
}

#[test]
fn code_made_at_run_time_has_the_names_of_its_map() -> Result<()> {
    let leaker = Leaker::start("jit.c")?;
    let _map = PerfMap::of(leaker.pid());
    let (ledger, report) = trace(leaker)?;
    ledger.check(&report, Innermost, ListedSites)?;
    // The frame pointer led on from the code that no table describes.
    let site = report.sites.iter().find(|site| site.frame_is(0, "jitted_leak")).context("no jitted_leak")?;
    ensure!((1..site.frames.len()).any(|frame| site.frame_is(frame, "main")), "no main:\n{report}");
    Ok(())
}

/// Traces `jit.c` after something was done to its map, which must keep the names in it out of the report.
fn trace_without_names(spoil: impl FnOnce(&PerfMap) -> Result<()>, words: &[&str]) -> Result<()> {
    let mut leaker = Leaker::start("jit.c")?;
    let map = PerfMap::of(leaker.pid());
    spoil(&map)?;
    let tracer = Tracer::attach(leaker.pid())?;
    let ledger = leaker.release()?;
    tracer.signal(rustix::process::Signal::INT)?;
    let ended = tracer.wait()?;
    let report = ended.report()?;
    for entry in &ledger.entries {
        let named = report.sites.iter().any(|site| (0..site.frames.len()).any(|at| site.frame_is(at, &entry.site)));
        ensure!(!named, "{} is named:\n{report}", entry.site);
        let unnamed = report.sites.iter().find(|site| Some(site.counters.inuse_bytes) == entry.inuse_bytes);
        let frame = unnamed.and_then(|site| site.frames.first()).with_context(|| format!("no site:\n{report}"))?;
        ensure!(frame.reason.as_deref() == Some("anonymous_memory"), "another reason: {frame:?}");
    }
    let path = map.0.to_str().context("a path that is not text")?;
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.contains(path)).collect();
    let [warning] = warnings[..] else { anyhow::bail!("{} warnings:\n{}", warnings.len(), ended.stderr) };
    for word in words {
        ensure!(warning.contains(word), "the warning does not say {word:?}: {warning}");
    }
    leaker.finish()
}

#[test]
fn a_map_of_another_user_is_not_used() -> Result<()> {
    trace_without_names(|map| Ok(chown(&map.0, Some(65534), None)?), &["user 65534"])
}

#[test]
fn a_link_to_a_map_is_not_followed() -> Result<()> {
    let mut real = None;
    trace_without_names(
        |map| {
            let moved = real.insert(PerfMap(map.0.with_extension("moved")));
            fs::rename(&map.0, &moved.0)?;
            Ok(symlink(&moved.0, &map.0)?)
        },
        &["regular file"],
    )
}

/// With its own pid 1 and its own `/tmp`, as in a container.
#[test]
fn a_map_is_found_where_the_process_sees_it() -> Result<()> {
    let program = compile("jit.c")?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "--", "sh", "-c"]);
    // By a descriptor, because the program may itself lie below /tmp.
    command.args(["exec 9<\"$0\" && mount -t tmpfs none /tmp && exec /proc/self/fd/9"]).arg(program);
    let mut leaker = Leaker::start_program(&mut command)?;
    let outer = leaker.pid();
    let pid: u32 = wait_for("the program in its namespace", || {
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
        Ok(children.split_whitespace().next().and_then(|pid| pid.parse().ok()))
    })?;
    let tracer = Tracer::attach(pid)?;
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    leaker.finish()?;
    ledger.check(&report, Innermost, ListedSites)
}

/// A folder for what V8 writes into the one it is started in, gone with its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // One left behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Traces `jit.js` while it keeps that many buffers.
fn node(options: &[&str], count: u32) -> Result<(Ledger, Report)> {
    let scratch = Scratch(report_path()?.with_extension("node"));
    fs::create_dir_all(&scratch.0)?;
    let mut command = Command::new("node");
    command.current_dir(&scratch.0).arg("--perf-basic-prof").args(options);
    let leaker = Leaker::start_program(command.arg(leakers_dir().join("jit.js")).arg(count.to_string()))?;
    let _map = PerfMap::of(leaker.pid());
    trace(leaker)
}

/// The frame of a JavaScript function, optimized or not.
pub(crate) fn javascript<'a>(frames: &'a [Frame], function: &str) -> Option<&'a Frame> {
    frames.iter().find(|frame| {
        let name = frame.function.as_deref().and_then(|name| name.strip_prefix("JS:"));
        name.is_some_and(|name| name.trim_start_matches(['~', '^', '+', '*']) == function)
    })
}

/// Buffers of the ledger's size that the report finds below `leakBuffer`, and all that it finds.
fn buffers(ledger: &Ledger, report: &Report) -> Result<(u64, u64)> {
    let entry = ledger.entry("leakBuffer")?;
    let size = entry.inuse_bytes.zip(entry.inuse_objects).map(|(bytes, objects)| bytes / objects).context("no size")?;
    let (mut named, mut all) = (0, 0);
    for site in &report.sites {
        let counters = site.counters;
        if counters.inuse_objects == 0 || counters.inuse_bytes != counters.inuse_objects * size {
            continue;
        }
        all += counters.inuse_objects;
        let Some(frame) = javascript(&site.frames, "leakBuffer") else { continue };
        named += counters.inuse_objects;
        let script = leakers_dir().join("jit.js");
        ensure!(frame.file.as_deref() == script.to_str(), "another file: {frame:?}");
        let line = line_of(include_str!("../../leakers/jit.js"), "function leakBuffer")?;
        ensure!(frame.line == Some(line), "another line: {frame:?}");
    }
    Ok((named, all))
}

#[test]
fn node_names_its_compiled_functions() -> Result<()> {
    const COUNT: u32 = 20_011;

    // What the optimizing compiler inlines goes by the name of the function it was inlined into: V8 says no more.
    let (ledger, report) = node(&["--no-turbo-inlining"], COUNT)?;
    let (named, all) = buffers(&ledger, &report)?;
    ensure!(all == u64::from(COUNT), "{all} buffers instead of {COUNT}:\n{report}");
    // The first rounds are interpreted: the interpreter is what calls, for all functions.
    ensure!(named > all / 2, "only {named} of {all} buffers are below a named function:\n{report}");
    Ok(())
}

#[test]
fn node_names_its_interpreted_functions_when_it_is_told_to() -> Result<()> {
    const COUNT: u32 = 211;

    let (ledger, report) = node(&["--interpreted-frames-native-stack"], COUNT)?;
    let (named, all) = buffers(&ledger, &report)?;
    ensure!((named, all) == (COUNT.into(), COUNT.into()), "{named} named and {all} in all of {COUNT}:\n{report}");
    Ok(())
}

/// V8 takes pages of its range for code as it compiles: they are known before it does.
#[test]
fn code_that_node_has_just_made_does_not_end_a_stack() -> Result<()> {
    const COUNT: u32 = 101;

    let mut command = Command::new("node");
    // Each function has code of its own from its first call on.
    command.arg("--always-sparkplug").arg(leakers_dir().join("jit_many.js")).arg(COUNT.to_string());
    // The compilers call the allocator for small blocks from tens of thousands of stacks, which would all be in the report.
    // The buffers are so large that each is in the sample.
    let (ledger, report) = trace_with(Leaker::start_program(&mut command)?, &["--sample", "64KiB"])?;
    let entry = ledger.entry("leakBuffer")?;
    let is_of_ledger = |site: &&Site| {
        let counters = site.counters;
        counters.inuse_objects > 0
            && Some(counters.inuse_bytes * u64::from(COUNT))
                == entry.inuse_bytes.map(|bytes| bytes * counters.inuse_objects)
    };
    let sites: Vec<&Site> = report.sites.iter().filter(is_of_ledger).collect();
    let all: u64 = sites.iter().map(|site| site.counters.inuse_objects).sum();
    ensure!(all == u64::from(COUNT), "{all} buffers instead of {COUNT}:\n{report}");
    let short = sites.iter().filter(|site| site.stack != "complete").count();
    ensure!(
        short == 0,
        "{short} of {} stacks end too soon, {:?}",
        sites.len(),
        sites.iter().find(|site| site.stack != "complete")
    );
    Ok(())
}

/// The Pythons that write maps (3.12 and newer), in the path and of pyenv's, one of each version.
pub(crate) fn pythons() -> BTreeMap<String, PathBuf> {
    let minors = 12..20;
    let in_path = ["python3".into()].into_iter().chain(minors.map(|minor| format!("python3.{minor}").into()));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok()).into_iter().flatten().flatten();
    let all = in_path.chain(versions.map(|version| version.path().join("bin/python3")));
    let with_version = all.filter_map(|python| {
        const TEST: &str = "import os, sys; os.remove(f'/tmp/perf-{os.getpid()}.map')\n\
            print(sys.version_info[:2]); sys.exit(not sys.is_stack_trampoline_active())";
        let output = Command::new(&python).args(["-X", "perf", "-c", TEST]).output().ok()?;
        output.status.success().then(|| (String::from_utf8_lossy(&output.stdout).into_owned(), python))
    });
    with_version.collect()
}

#[test]
fn python_names_its_functions() -> Result<()> {
    let pythons = pythons();
    ensure!(!pythons.is_empty(), "no Python with -X perf: install Python 3.12 or newer");
    pythons.into_values().try_for_each(|python| {
        let what = python.display().to_string();
        names_its_functions(python).context(what)
    })
}

/// The trampolines that give the functions their addresses have neither unwind information nor frame pointers, and do
/// not end the stack.
fn names_its_functions(python: PathBuf) -> Result<()> {
    let script = leakers_dir().join("jit.py");
    let leaker = Leaker::start_program(Command::new(python).args(["-X", "perf"]).arg(&script))?;
    let _map = PerfMap::of(leaker.pid());
    let (ledger, report) = trace(leaker)?;
    ledger.check(&report, AnyFrame, ListedSites)?;
    let is = |frame: &&Frame, name: &str| frame.function.as_deref() == Some(name);
    let through = |site: &&Site| site.frames.iter().any(|frame| is(&frame, "py::leak_bytes"));
    for site in report.sites.iter().filter(through) {
        let frame = site.frames.iter().find(|frame| is(frame, "py::leak_bytes"));
        ensure!(frame.is_some_and(|frame| frame.file.as_deref() == script.to_str()), "another file: {frame:?}");
        let after = site.frames.iter().skip_while(|frame| !is(frame, "py::leak_bytes"));
        let callers: Vec<_> = after.filter(|frame| is(frame, "py::<module>") || is(frame, "_start")).collect();
        ensure!(site.stack == "complete" && callers.len() == 2, "the stack ends too soon:\n{report}");
    }
    Ok(())
}
