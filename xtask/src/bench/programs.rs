//! The programs of a benchmark: the C program that allocates and says how long that takes, and the commands of what traces it.
//!
//! The target has one CPU for itself; everything else, this harness too, has the other one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::{
    process::{Guarded, Lines},
    report::{Report, Site},
};
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;

use crate::{apt, shell, workspace::Workspace};

/// Time from a tracer's word that it is ready, or from its end, until the target's rate is taken for steady.
const SETTLE: Duration = Duration::from_millis(300);
/// Keys of a bpftrace map, for what is outstanding at once. Its table of stacks takes a kilobyte for each.
const BPFTRACE_KEYS: &str = "65536";

/// Where the programs go, and what they run on.
#[derive(Debug)]
pub(super) struct Bench {
    /// `target/bench`.
    pub(super) folder: PathBuf,
    pub(super) sources: PathBuf,
    pub(super) leaktrace: PathBuf,
    target_cpu: usize,
    all_cpus: CpuSet,
}

/// How the C programs are compiled, so that a walk by frame pointers finds the same frames as one by tables.
pub(super) const FRAME_POINTERS: [&str; 6] =
    ["-O2", "-g", "-Wall", "-Wextra", "-fno-optimize-sibling-calls", "-fno-omit-frame-pointer"];

impl Bench {
    /// Takes the programs that are built, and leaves the last CPU to the target.
    pub(super) fn prepare(workspace: &Workspace, leaktrace: PathBuf) -> Result<Self> {
        let folder = workspace.target.join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (all_cpus, target_cpu) = allowed_cpus()?;
        if all_cpus.count() > 1 {
            let mut others = all_cpus;
            others.unset(target_cpu);
            sched_setaffinity(None, &others).context("cannot leave a CPU to the target")?;
        } else {
            println!("warning: one CPU for the target and its tracer: the figures include the tracer's own work");
        }
        Ok(Self { folder, sources: workspace.root.join("xtask/bench"), leaktrace, target_cpu, all_cpus })
    }

    /// What `start` starts has the target's CPU and no other.
    pub(super) fn on_target_cpu<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut target = CpuSet::new();
        target.set(self.target_cpu);
        Self::on_cpus(&target, start)
    }

    /// What `start` starts has all CPUs.
    pub(super) fn on_all_cpus<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        Self::on_cpus(&self.all_cpus, start)
    }

    /// A child begins with the CPUs of the thread that starts it.
    fn on_cpus<T>(cpus: &CpuSet, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = sched_getaffinity(None)?;
        sched_setaffinity(None, cpus).context("cannot choose CPUs")?;
        let started = start();
        sched_setaffinity(None, &own).context("cannot take back CPUs")?;
        started
    }

    /// Compiles the C program.
    pub(super) fn compile(&self, frames: FramePointers) -> Result<PathBuf> {
        let (name, flag) = match frames {
            FramePointers::Kept => ("pair-fp", "-fno-omit-frame-pointer"),
            FramePointers::Omitted => ("pair", "-fomit-frame-pointer"),
        };
        let program = self.folder.join(name);
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-g", "-Wall", "-Wextra", "-fno-builtin", "-fno-optimize-sibling-calls", flag, "-o"]);
        gcc.arg(&program).arg(self.sources.join("pair.c"));
        shell::run(&mut gcc)?;
        Ok(program)
    }

    /// Compiles another C program of the benchmarks, with frame pointers.
    pub(super) fn compile_alone(&self, name: &str) -> Result<PathBuf> {
        let program = self.folder.join(name);
        let mut gcc = Command::new("gcc");
        gcc.args(FRAME_POINTERS).arg("-o").arg(&program).arg(self.sources.join(name).with_extension("c"));
        shell::run(&mut gcc)?;
        Ok(program)
    }

    /// The CPU that is the target's alone.
    pub(super) fn target_cpu(&self) -> usize {
        self.target_cpu
    }

    /// Starts the C program on its CPU.
    pub(super) fn start_target(&self, program: &Path, work: Work) -> Result<Target> {
        let Work { frames, stacks, rate } = work;
        let arguments = [frames, self.target_cpu, stacks, rate].map(|argument| argument.to_string());
        start_program(program, &arguments.each_ref().map(String::as_str))
    }

    /// leaktrace on a process, which writes its report to `report`.
    pub(super) fn leaktrace(&self, pid: u32, report: &Path, options: &[&str]) -> Command {
        let mut command = Command::new(&self.leaktrace);
        // The duration is for the case that nobody is left to end it.
        command.args(["-p", &pid.to_string(), "--duration", "600s", "--format", "json", "-o"]);
        command.arg(report).args(options);
        command
    }

    /// Where the report of a run goes.
    pub(super) fn report(&self) -> PathBuf {
        self.folder.join("report.json")
    }

    /// Warns where leaktrace saw other stacks than the target has, or lost something: then the figures are of less work.
    pub(super) fn check_report(&self, work: Work) -> Result<()> {
        let file = self.report();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let report: Report = serde_json::from_str(&text).context("not the JSON that was promised")?;
        let depth = |site: &Site| site.frames.iter().filter(|frame| !frame.inlined).count();
        let mut depths: Vec<usize> = report.sites.iter().map(depth).collect();
        depths.sort_unstable();
        if depths != vec![work.frames; work.stacks] {
            println!(
                "warning: {} stacks of {} frames each were seen as stacks of {depths:?}",
                work.stacks, work.frames
            );
        }
        if !report.loss.is_empty() {
            println!("warning: events were lost: {:?}", report.loss);
        }
        Ok(())
    }

    /// bpftrace on a process, with a script that takes its id.
    pub(super) fn bpftrace(&self, script: &Path, pid: u32) -> Command {
        let mut command = Command::new("bpftrace");
        command.env("BPFTRACE_MAP_KEYS_MAX", BPFTRACE_KEYS);
        // Otherwise it reads the symbols again for each stack that it prints.
        command.env("BPFTRACE_CACHE_USER_SYMBOLS", "1");
        command.args(["-B", "none"]).arg(script).arg(pid.to_string());
        command
    }
}

/// Starts a C program that says in batches how long it took.
pub(super) fn start_program(program: &Path, arguments: &[&str]) -> Result<Target> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Guarded::spawn(&mut command)?;
    let stdout = process.child().stdout.take().context("the target has no stdout")?;
    Ok(Target { process, lines: Lines::read(stdout) })
}

/// The CPUs that this process may use, and the last of them.
fn allowed_cpus() -> Result<(CpuSet, usize)> {
    let allowed = sched_getaffinity(None).context("cannot read the CPU affinity")?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu)).context("no CPU is allowed")?;
    Ok((allowed, last))
}

/// Whether the C program has frame pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramePointers {
    Kept,
    Omitted,
}

/// Always the same stack: what a tracer that remembers the last stack is best at.
pub(super) const SAME_STACK: usize = 1;
/// Every stack another one than the last, as many as the C program has.
pub(super) const CHANGING_STACKS: usize = 16;

/// What the stacks of a run are called.
pub(super) fn stacks_name(stacks: usize) -> &'static str {
    if stacks == SAME_STACK { "same stack each time" } else { "another stack each time" }
}

/// What the C program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Work {
    /// Return addresses that a walk from malloc meets.
    pub(super) frames: usize,
    /// Different stacks, in turn.
    pub(super) stacks: usize,
    /// Pairs per second; 0: as fast as it goes.
    pub(super) rate: usize,
}

/// A number of malloc+free pairs and the time they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    begun_ns: u64,
    ended_ns: u64,
    pub(super) pairs: u64,
}

impl Batch {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(|word| word.parse().ok());
        let batch = Self { begun_ns: numbers.next()??, ended_ns: numbers.next()??, pairs: numbers.next()?? };
        (batch.pairs > 0 && batch.ended_ns > batch.begun_ns && numbers.next().is_none()).then_some(batch)
    }

    pub(super) fn ns_per_pair(&self) -> f64 {
        (self.ended_ns - self.begun_ns) as f64 / self.pairs as f64
    }
}

/// The running C program.
#[derive(Debug)]
pub(super) struct Target {
    process: Guarded,
    lines: Lines,
}

impl Target {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The batches that began after the target had settled and ended within `window` from then on.
    pub(super) fn measure(&mut self, window: Duration) -> Result<Vec<Batch>> {
        thread::sleep(SETTLE);
        let from = now_ns();
        thread::sleep(window);
        let to = now_ns();
        let mut batches = Vec::new();
        loop {
            let line = self.lines.next_line("a batch of the target")?;
            let Some(line) = line else { bail!("the target ended: {}", self.process.wait()?) };
            // All lines are kept for whoever wants them; here nobody does.
            self.lines.seen.clear();
            let batch = Batch::parse(&line).with_context(|| format!("the target said {line:?}"))?;
            if batch.ended_ns > to {
                break;
            }
            if batch.begun_ns >= from {
                batches.push(batch);
            }
        }
        ensure!(batches.len() > 2, "{} batches in {window:?}: give it more --seconds", batches.len());
        Ok(batches)
    }
}

/// `CLOCK_MONOTONIC`, which is the target's clock too.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Installs what the benchmarks need.
pub(super) fn install_needs(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|(_, program)| shell::which(program).is_none()).map(|(package, _)| *package).collect();
    apt::install(&missing, "the benchmark")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_three_numbers() {
        let batch = Batch::parse("1000 3000 250").unwrap();
        assert_eq!(batch, Batch { begun_ns: 1000, ended_ns: 3000, pairs: 250 });
        assert!((batch.ns_per_pair() - 8.0).abs() < 1e-9);
        for bad in ["", "1 2", "1 2 3 4", "2 1 3", "1 2 0", "a 2 3", "usage: pair"] {
            assert_eq!(Batch::parse(bad), None, "{bad}");
        }
    }
}
