//! `cargo xtask bench`: what tracing costs the traced process, and what leaktrace itself needs.
//!
//! A benchmark measures on the machine it runs on, next to its alternatives and in turns with them; limits are printed
//! beside the figures, and exceeding one is no failure.
//!
//! Without a benchmark's name it is `comparison`: `workloads` under `peers`, in one table (`results`). The others look at one
//! part each, some beside what is promised of it (`promise`).

mod comparison;
mod fds;
mod footprint;
mod hour;
mod live;
mod overhead;
mod pair;
mod peers;
mod programs;
mod promise;
mod redis;
mod results;
mod table;
mod threads;
mod tracers;
mod unwind;
mod workloads;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{shell, workspace::Workspace};

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// A malloc+free pair: untraced, with empty probes, traced by leaktrace, traced by bpftrace; and leaktrace's own
    /// memory, CPU time and time to attach
    Pair(Options),
    /// System calls with their descriptors traced: getppid, and open and close; untraced, by leaktrace, by strace; and
    /// leaktrace's own CPU time at 50,000 opens and closes a second
    Fds(Options),
    /// What leaktrace says that it costs the target, beside what it does
    Overhead(Options),
    /// Stack walks by unwind tables: time per event at several depths, and building the tables
    Unwind(Options),
    /// Throughput of a redis-server under redis-benchmark: untraced, by leaktrace's modes, by bpftrace
    Redis(Options),
    /// Whether a traced program with more threads gets as much more done as one with empty probes
    Threads(Options),
    /// Twenty million live blocks: time to the report, memory, and estimates beside what the program itself counted
    Live(live::Options),
    /// An hour with a limit to the cost: leaktrace's memory, loss, what it says that it costs, and whether it finds a leak
    Hour(hour::Options),
}

/// The whole comparison, or one benchmark.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    comparison: comparison::Options,
}

/// How it is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds over all variants; the medians over the rounds are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds for each variant in each round
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Write the raw figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    require_root()?;
    let Some(benchmark) = &bench.benchmark else { return comparison::run(&bench.comparison) };
    match benchmark {
        Benchmark::Pair(options) => pair::run(options),
        Benchmark::Fds(options) => fds::run(options),
        Benchmark::Overhead(options) => overhead::run(options),
        Benchmark::Unwind(options) => unwind::run(options),
        Benchmark::Redis(options) => redis::run(options),
        Benchmark::Threads(options) => threads::run(options),
        Benchmark::Live(options) => live::run(options),
        Benchmark::Hour(options) => hour::run(options),
    }
}

fn require_root() -> Result<()> {
    if shell::is_root() {
        return Ok(());
    }
    let mut again = Command::new("cargo");
    again.arg("xtask").args(env::args_os().skip(1));
    bail!(
        "the benchmark loads BPF programs and needs root. Run: sudo env \"PATH=$PATH\" \"HOME=$HOME\" {}",
        shell::render(&again)
    )
}

/// The leaktrace to measure: the one named by `LEAKTRACE_BIN`, or that of this checkout, built as it is released.
fn leaktrace(workspace: &Workspace) -> Result<PathBuf> {
    if env::var_os("LEAKTRACE_BIN").is_some() {
        return leaktrace_tests::tracer::binary();
    }
    workspace.build_released()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let in_range = seconds.filter(|seconds| (0.1..=3600.0).contains(&seconds.as_secs_f64()));
    in_range.ok_or_else(|| "not a number of seconds from 0.1 to 3600".to_owned())
}

/// What the figures were measured on.
#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
    date: String,
    /// Processes that wanted a CPU in the last minute: what else ran here.
    load: f64,
}

impl Machine {
    fn read() -> Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        Ok(Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: cpu_model(&cpu).unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            date: shell::capture(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]))?,
            load: load()?,
        })
    }

    fn line(&self) -> String {
        let Self { kernel, cpu, cores, date, load } = self;
        format!("Linux {kernel}, {cpu}, {cores} cores, {date}, load average before {load:.2}")
    }
}

/// The load average of the last minute.
fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    text.split(' ').next().and_then(|load| load.parse().ok()).context("/proc/loadavg has no number")
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

/// What a benchmark measured in the same way for each of several things.
#[derive(Debug, Serialize)]
struct Figures<M> {
    machine: Machine,
    seconds: f64,
    measured: Vec<M>,
}

impl<M: Serialize> Figures<M> {
    /// Writes them where the options say so.
    fn write(options: &Options, machine: Machine, measured: Vec<M>) -> Result<()> {
        let seconds = options.seconds.as_secs_f64();
        write_json(options.json.as_deref(), &Self { machine, seconds, measured })
    }
}

fn write_json(file: Option<&Path>, figures: &impl Serialize) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_a_fraction() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "-1", "1s", "nan", "inf", "1e9"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_cpu_is_named_once() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(cpu_model(text), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu_model("Features : fp\n"), None);
    }
}
