//! `cargo xtask bench pair`: what a malloc and its free cost, untraced and traced.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{
    Machine, Options,
    footprint::{self, Footprint},
    leaktrace,
    programs::{Batch, Bench, CHANGING_STACKS, FramePointers, SAME_STACK, Target, Work, install_needs, stacks_name},
    promise::{self, Bound::AtMost},
    table::{Spread, Table, median, number},
    tracers::{Started, Tracer, start_bpftrace, start_leaktrace},
    write_json,
};
use crate::{shell, workspace::Workspace};

/// Tracing is to add no more than this share of what bpftrace adds.
const LIMIT_OF_BPFTRACE: f64 = 0.15;
/// Tracing is to add no more than this to what the probes cost by themselves, in nanoseconds a pair.
const LIMIT_OVER_EMPTY: f64 = 700.0;
/// Depths of the stack: a loop called by main has main and three frames of libc above it; and a longer one.
const FRAMES: [usize; 2] = [5, 10];

/// What traces the target, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Variant {
    Untraced,
    EmptyProbes,
    Leaktrace,
    /// One address in so many that the loop's is hardly among them: what a pair costs that is not tracked.
    Sampled,
    Bpftrace,
}

impl Variant {
    const ALL: [Self; 5] = [Self::Untraced, Self::EmptyProbes, Self::Leaktrace, Self::Sampled, Self::Bpftrace];

    fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::EmptyProbes => "empty probes",
            Self::Leaktrace => "leaktrace",
            Self::Sampled => "leaktrace --sample 4096",
            Self::Bpftrace => "bpftrace",
        }
    }

    /// Starts it and waits until its probes are on.
    fn start(self, bench: &Bench, pid: u32) -> Result<Option<Tracer>> {
        let started = match self {
            Self::Untraced => return Ok(None),
            Self::Bpftrace => {
                let script = bench.sources.join("malloc_free.bt");
                return start_bpftrace(&mut bench.bpftrace(&script, pid)).map(Some);
            }
            Self::EmptyProbes => {
                start_leaktrace(&mut bench.leaktrace(pid, Path::new("/dev/null"), &["--empty-probes"]))?
            }
            Self::Leaktrace => start_leaktrace(&mut bench.leaktrace(pid, &bench.report(), &[]))?,
            Self::Sampled => start_leaktrace(&mut bench.leaktrace(pid, &bench.report(), &["--sample", "4096"]))?,
        };
        match started {
            Started::Tracing(tracer) => Ok(Some(tracer)),
            Started::Refused => bail!("{} does not know its arguments", bench.leaktrace.display()),
        }
    }

    /// The nanoseconds of a pair while this traces the target.
    fn measure(self, bench: &Bench, target: &mut Target, work: Work, window: Duration) -> Result<f64> {
        let tracer = self.start(bench, target.pid())?;
        let batches = target.measure(window)?;
        if let Some(tracer) = tracer {
            tracer.stop()?;
        }
        if self == Self::Leaktrace {
            bench.check_report(work)?;
        }
        let pairs: Vec<f64> = batches.iter().map(Batch::ns_per_pair).collect();
        median(&pairs).context("no batches")
    }
}

/// The nanoseconds of a pair, for each variant by round.
#[derive(Debug, Serialize)]
struct Measured {
    work: Work,
    rounds: Vec<(Variant, Vec<f64>)>,
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seconds: f64,
    pairs: Vec<Measured>,
    footprint: Footprint,
    attach_ms: Vec<f64>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc"), ("bpftrace", "bpftrace"), ("redis-server", "redis-server")])?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let machine = Machine::read()?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    // With frame pointers, so that bpftrace finds the same frames.
    let program = bench.compile(FramePointers::Kept)?;

    println!("{}", machine.line());
    println!(
        "ns per malloc+free pair; rounds: {} of {:?} per variant, in turns; median of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    println!("{}", bpftrace_note()?);
    let mut pairs = Vec::new();
    for frames in FRAMES {
        for stacks in [SAME_STACK, CHANGING_STACKS] {
            let measured = measure(&bench, &program, Work { frames, stacks, rate: 0 }, options)?;
            println!("\nStack of {frames} frames, {}\n\n{}", stacks_name(stacks), show(&measured)?);
            pairs.push(measured);
        }
    }
    let footprint = footprint::of_tracing(&bench, &program, options)?;
    println!("\n{}", footprint.show());
    let attach_ms = footprint::attach_times(&bench, options.rounds)?;
    println!("{}", footprint::show_attach_times(&attach_ms));
    let seconds = options.seconds.as_secs_f64();
    write_json(options.json.as_deref(), &Figures { machine, seconds, pairs, footprint, attach_ms })
}

/// What has to be known to judge the comparison.
fn bpftrace_note() -> Result<String> {
    let version = shell::capture(std::process::Command::new("bpftrace").arg("--version"))?;
    Ok(format!(
        "{version} runs xtask/bench/malloc_free.bt. It probes the first instruction of each function; where the kernel\n\
         cannot emulate that one (in glibc's free), a hit is single-stepped, which leaktrace avoids by its choice of point."
    ))
}

fn measure(bench: &Bench, program: &Path, work: Work, options: &Options) -> Result<Measured> {
    let mut target = bench.start_target(program, work)?;
    let mut rounds: Vec<(Variant, Vec<f64>)> = Variant::ALL.map(|variant| (variant, Vec::new())).into();
    for _ in 0..options.rounds {
        for (variant, values) in &mut rounds {
            let value = variant.measure(bench, &mut target, work, options.seconds);
            values.push(value.with_context(|| format!("measuring: {}", variant.name()))?);
        }
    }
    Ok(Measured { work, rounds })
}

/// The table and the verdicts.
fn show(measured: &Measured) -> Result<String> {
    let spread = |wanted: Variant| {
        let (_, values) = measured.rounds.iter().find(|(variant, _)| *variant == wanted)?;
        Spread::of(values)
    };
    let added = |variant: Variant| Some(spread(variant)?.median - spread(Variant::Untraced)?.median);
    let bpftrace = added(Variant::Bpftrace).context("bpftrace was not measured")?;
    let empty = added(Variant::EmptyProbes).context("empty probes were not measured")?;
    let traced = added(Variant::Leaktrace).context("leaktrace was not measured")?;

    let mut table = Table::new(&["variant", "ns/pair", "added", "of bpftrace's", "over empty probes"]);
    for variant in Variant::ALL {
        let (Some(spread), Some(added)) = (spread(variant), added(variant)) else { continue };
        let is_traced = variant != Variant::Untraced;
        let only = |shown: bool, text: String| if shown { text } else { String::new() };
        table.row([
            variant.name().to_owned(),
            spread.show(),
            only(is_traced, number(added)),
            only(is_traced, format!("{:.3}", added / bpftrace)),
            only(is_traced && variant != Variant::EmptyProbes, number(added - empty)),
        ]);
    }
    Ok(format!(
        "{}\n{}\n{}",
        table.render(),
        promise::show("traced / bpftrace", traced / bpftrace, "", AtMost(LIMIT_OF_BPFTRACE)),
        promise::show("traced over empty probes", traced - empty, " ns", AtMost(LIMIT_OVER_EMPTY)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: [&[f64]; 5]) -> Measured {
        let rounds = Variant::ALL.into_iter().zip(values.map(<[f64]>::to_vec)).collect();
        Measured { work: Work { frames: 5, stacks: SAME_STACK, rate: 0 }, rounds }
    }

    #[test]
    fn costs_are_what_a_variant_adds_to_the_untraced_pair() {
        let values: [&[f64]; 5] = [
            &[10.0, 10.0, 12.0],
            &[1010.0, 900.0, 1100.0],
            &[1510.0, 1500.0, 1700.0],
            &[1210.0, 1200.0, 1300.0],
            &[12_010.0, 12_010.0, 12_010.0],
        ];
        let text = show(&measured(values)).unwrap();
        assert!(text.contains("PASS  traced / bpftrace: 0.125 (at most 0.150)\n"), "{text}");
        assert!(text.ends_with("PASS  traced over empty probes: 500 ns (at most 700 ns)"), "{text}");
        let line = text.lines().find(|line| line.starts_with("leaktrace")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["leaktrace", "1,510", "(1,500–1,700)", "1,500", "0.125", "500"]);
    }

    #[test]
    fn a_variant_without_rounds_is_an_error() {
        assert!(show(&measured([&[1.0], &[2.0], &[3.0], &[4.0], &[]])).is_err());
    }
}
