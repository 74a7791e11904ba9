//! `cargo xtask bench`: programs under leaktrace and under what else finds leaks, in rounds, as one table.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use leaktrace_tests::folder::Folder;

use super::{
    Machine, footprint, leaktrace, load,
    peers::{self, PLANTED, Tool},
    programs::Bench,
    results::{Line, Results, Run},
    seconds,
    workloads::{Programs, Timing, Workload},
};
use crate::workspace::Workspace;

/// Until caches and a tool's tables are warm.
const WARM_UP: Duration = Duration::from_millis(300);
const QUICK: Duration = Duration::from_millis(500);
/// Above this load average something else runs, and the figures are not for keeping.
const QUIET: f64 = 0.7;

/// How the comparison is made.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds over all workloads and tools; the medians over the rounds are shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a workload works for each tool in each round
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// One round of half a second each: whether it runs, not what it costs
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// These workloads alone
    #[arg(long = "workload", value_enum, value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Keep the table as docs/benchmarks.md, if nothing else runs on this machine
    #[arg(long)]
    write: bool,
}

impl Options {
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    fn window(&self) -> Duration {
        if self.quick { QUICK } else { self.seconds }
    }

    fn workloads(&self) -> &[Workload] {
        if self.workloads.is_empty() { clap::ValueEnum::value_variants() } else { &self.workloads }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(
        !options.write || (options.workloads.is_empty() && !options.quick),
        "--write keeps the whole table: leave out --workload and --quick"
    );
    peers::install()?;
    // Before the build, which is work that the load average would have.
    let machine = Machine::read()?;
    ensure!(
        !options.write || machine.load <= QUIET,
        "something else runs here (load average {:.2}), and such figures are not for keeping: wait, or leave out --write",
        machine.load
    );
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    let programs = Programs::compile(&bench)?;
    let tools = Tool::all(&bench)?;
    println!("{}", machine.line());
    let begun = Instant::now();
    let results = measure(&bench, &programs, &tools, options)?;
    let after = load()?;
    let page = page(&machine, after, begun.elapsed(), options, &results.markdown());
    println!("\n{page}");
    if machine.load > QUIET {
        println!(
            "warning: something else ran here (load average {:.2}): these figures are not for keeping",
            machine.load
        );
    }
    if options.write { write(&workspace, &page) } else { Ok(()) }
}

fn measure(bench: &Bench, programs: &Programs, tools: &[Tool], options: &Options) -> Result<Results> {
    let mut cases = Vec::new();
    for &workload in options.workloads() {
        for &tool in tools {
            let line = Line { workload: workload.name(), tool: tool.name(), ..Line::default() };
            cases.push((workload, tool, line));
        }
    }
    for round in 0..options.rounds() {
        for (workload, tool, line) in &mut cases {
            // What has failed once is not waited for again.
            if line.failure.is_some() {
                line.runs.push(None);
                continue;
            }
            let begun = Instant::now();
            // Reports are the same in each round, and some take longer than the run.
            let outcome = run_once(bench, programs, *workload, *tool, options.window(), round == 0);
            match outcome {
                Ok((run, named)) => {
                    line.runs.push(Some(run));
                    line.named = line.named.or(named);
                }
                Err(error) => {
                    line.runs.push(None);
                    line.failure = Some(format!("{error:#}"));
                }
            }
            let state = line.failure.as_deref().map_or_else(String::new, |failure| format!(": {failure}"));
            let took = begun.elapsed().as_secs_f64();
            println!("    round {}, {}, {}, {took:.1} s{state}", round + 1, line.workload, line.tool);
        }
    }
    let lines = cases.into_iter().map(|(_, _, line)| line).collect();
    Ok(Results { lines, planted: PLANTED.len(), reference: Tool::Bpftrace.name() })
}

/// One workload under one tool; and how many of its leaks the tool names, if that is asked.
fn run_once(
    bench: &Bench,
    programs: &Programs,
    workload: Workload,
    tool: Tool,
    window: Duration,
    asked: bool,
) -> Result<(Run, Option<usize>)> {
    let folder = Folder::new("bench")?;
    let wanted = asked && workload.is_planted();
    let mut command = tool.command(&workload.words(programs)?, folder.path())?;
    let mut subject = workload.start(bench, &mut command)?;
    let attached = tool.attach(bench, subject.pid(), folder.path())?;
    let rate = subject.work(Timing { warm_up: WARM_UP + tool.settles_within(), window })?;
    // While both are still there, and have done everything.
    let mut bytes = footprint::peak_bytes(subject.pid())?;
    let mut report = None;
    if let Some(attached) = attached {
        bytes += attached.bytes()?;
        report = attached.stop(wanted)?;
    }
    subject.finish()?;
    let launched = tool.report(&workload.program(programs), folder.path(), wanted)?;
    let named = report.or(launched).filter(|_| wanted).map(|report| peers::planted_in(&report));
    Ok((Run { rate, bytes: bytes as f64 }, named))
}

/// What is kept: the table, and what has to be known to read it.
fn page(machine: &Machine, load_after: f64, took: Duration, options: &Options, table: &str) -> String {
    let Machine { kernel, cpu, cores, date, load } = machine;
    format!(
        "# Benchmarks\n\n\
         `cargo xtask bench --write` makes this page; it installs the other tools from Debian.\n\n\
         - {date}, {cpu}, {cores} cores, Linux {kernel}; load average {load:.2} before and {load_after:.2} after\n\
         - {versions}\n\
         - {rounds} of {seconds} s for each line, in turns, {minutes:.0} minutes in all; medians, with the lowest and highest\n\n\
         **Slowdown** is how much longer an operation takes than in the untraced run of the same round. **Added time** is that of a \
         tool (slowdown - 1) as a share of what the bpftrace script adds (`xtask/bench/memleak.bt`, which does what bcc's memleak \
         does). **Memory** is the peak of the program and the tool together, BPF maps included, over that of the untraced \
         program. Our programs leak at {planted} sites, 2 MB each while they run; the last column says how many of these functions the \
         tool's report names.\n\n\
         leaktrace and bpftrace attach to the running program; the others need it to be started under them. heaptrack records \
         as with `--raw`; jemalloc's profiler samples (512 KiB on average) and replaces the allocator, so it can be \
         faster than untraced; gperftools replaces it too. The program has one of the CPUs for itself, the one with threads has all. \
         `--growth` samples page faults and `--max-overhead` traces for a share of the time: in a run of seconds they may have seen \
         too little of a leak of 2 MB to name it.\n\n\
         {table}",
        versions = peers::versions(),
        rounds = match options.rounds() {
            1 => "1 round".to_owned(),
            rounds => format!("{rounds} rounds"),
        },
        seconds = options.window().as_secs_f64(),
        minutes = (took.as_secs_f64() / 60.0).ceil(),
        planted = PLANTED.len(),
    )
}

fn write(workspace: &Workspace, page: &str) -> Result<()> {
    let path = workspace.root.join("docs/benchmarks.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    println!("    written: {}", path.display());
    Ok(())
}
