//! gdb as a witness: it stops a process at every call of an allocator and walks the stack in its own way (`gdb_stacks.py`).
//!
//! In: a process that is held, and the addresses of the allocators. Out: the stacks it saw, each with its calls. The
//! frames of inlined functions and tail calls, which gdb makes up from debug information, are only counted.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    modules::Described,
    process::{Guarded, Lines},
    tracer::report_path,
};

/// What gdb is told to do.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Addresses of the allocating functions.
    pub entries: Vec<u64>,
    /// After this many calls the process goes on by itself.
    pub most_calls: u64,
    /// Leave out other threads' calls.
    pub main_thread_only: bool,
    /// Where code is described; all other code keeps a frame pointer in rbp. Without this, gdb guesses there.
    pub frame_pointers_outside_of: Option<Described>,
}

/// What gdb saw.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Calls from outside of the allocators.
    pub calls: u64,
    /// Calls of one allocator by another.
    pub nested: u64,
    /// Pseudo-frames of inlined functions.
    pub inlined: u64,
    /// Pseudo-frames of tail calls.
    pub tail_calls: u64,
    /// The stacks.
    pub stacks: Vec<GdbStack>,
}

/// A stack and the calls that came from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GdbStack {
    /// How many.
    pub calls: u64,
    /// Innermost first; the allocator's own frame is left out.
    pub frames: Vec<GdbFrame>,
    /// Why gdb went no further.
    pub end: String,
}

/// One frame, by gdb.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GdbFrame {
    /// Its program counter.
    pub pc: u64,
    /// The function.
    pub name: Option<String>,
    /// Whether it is the kernel's call of a signal handler.
    pub signal: bool,
}

impl Seen {
    /// Program counters at which the kernel calls signal handlers.
    pub fn signal_frames(&self) -> HashSet<u64> {
        self.stacks.iter().flat_map(|stack| &stack.frames).filter(|frame| frame.signal).map(|frame| frame.pc).collect()
    }
}

/// For `gdb_stacks.py`.
#[derive(Serialize)]
struct Settings<'a> {
    entries: &'a [u64],
    most_calls: u64,
    main_thread_only: bool,
    described: Option<&'a Path>,
    stop: &'a Path,
    report: &'a Path,
}

/// A gdb that watches a process.
#[derive(Debug)]
pub struct Gdb {
    process: Guarded,
    stdout: Lines,
    stop: PathBuf,
    report: PathBuf,
}

impl Gdb {
    /// Attaches to a process and waits until all breakpoints are in.
    pub fn attach(pid: u32, watch: &Watch) -> Result<Self> {
        let Watch { entries, most_calls, main_thread_only, frame_pointers_outside_of } = watch;
        let report = report_path()?.with_extension("gdb.json");
        let (stop, described) = (report.with_extension("stop"), report.with_extension("described"));
        for file in [&report, &stop] {
            ensure!(!file.exists(), "{} is left from another run", file.display());
        }
        if let Some(Described(ranges)) = frame_pointers_outside_of {
            fs::write(&described, serde_json::to_vec(ranges)?)?;
        }
        let settings = serde_json::to_string(&Settings {
            entries,
            most_calls: *most_calls,
            main_thread_only: *main_thread_only,
            described: frame_pointers_outside_of.as_ref().map(|_| described.as_path()),
            stop: &stop,
            report: &report,
        })?;
        let mut command = Command::new("gdb");
        command.args(["-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off"]);
        command.args(["-p", &pid.to_string()]);
        // A JSON text in a Python string: what Rust escapes in Debug, Python reads back.
        command.arg("-ex").arg(format!("python import json; SETTINGS = json.loads({settings:?})"));
        command.arg("-x").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/harness/gdb_stacks.py"));
        let mut process = Guarded::spawn(
            command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()),
        )?;
        let stdout = process.child().stdout.take().context("no stdout")?;
        let mut gdb = Self { process, stdout: Lines::read(stdout), stop, report };
        let armed = gdb.stdout.find("gdb to set its breakpoints", |line| line == "armed")?;
        // It has read this before.
        if frame_pointers_outside_of.is_some() {
            fs::remove_file(described)?;
        }
        ensure!(armed.is_some(), "gdb ended: {}\n{}", gdb.process.wait()?, gdb.stdout.rest()?);
        Ok(gdb)
    }

    /// From now on calls do not count.
    pub fn stop(&self) -> Result<()> {
        fs::write(&self.stop, b"").with_context(|| format!("cannot write {}", self.stop.display()))
    }

    /// What it saw. The process must have ended, or do a call after [`Self::stop`].
    pub fn finish(mut self) -> Result<Seen> {
        let status = self.process.wait()?;
        let output = self.stdout.rest()?;
        let text = fs::read_to_string(&self.report).with_context(|| format!("gdb: {status}, no report\n{output}"))?;
        serde_json::from_str(&text).context("gdb's report is not as it should be")
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        // Either is there only in some cases, and neither is missed.
        let _ = fs::remove_file(&self.stop);
        let _ = fs::remove_file(&self.report);
    }
}
