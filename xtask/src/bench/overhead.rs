//! `cargo xtask bench overhead`: what leaktrace says that it costs the target, beside what it does.
//!
//! The truth is the time that a loop of malloc and free takes longer for being traced, as a share of the time it takes then.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{
    Figures, Machine, Options, leaktrace,
    programs::{Batch, Bench, CHANGING_STACKS, FramePointers, SAME_STACK, Target, Work, install_needs, stacks_name},
    table::{Table, median, number},
    tracers::{Started, start_leaktrace},
};
use crate::workspace::Workspace;

/// What is said is to be no further from the truth than this share of it.
const LIMIT: f64 = 0.25;
const WORKS: [Work; 3] = [
    Work { frames: 5, stacks: SAME_STACK, rate: 0 },
    Work { frames: 10, stacks: SAME_STACK, rate: 0 },
    Work { frames: 10, stacks: CHANGING_STACKS, rate: 0 },
];
const OPTIONS: [&[&str]; 2] = [&[], &["--sample", "4096"]];

/// One way to trace one loop, by round: nanoseconds of a pair, untraced and traced, and what leaktrace says, in percent.
#[derive(Debug, Serialize)]
struct Measured {
    work: Work,
    options: &'static [&'static str],
    rounds: Vec<Round>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    untraced: f64,
    traced: f64,
    said: f64,
}

impl Round {
    /// Percent of the traced time.
    fn truth(&self) -> f64 {
        (self.traced - self.untraced) / self.traced * 100.0
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc")])?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let machine = Machine::read()?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    let program = bench.compile(FramePointers::Kept)?;
    println!("{}", machine.line());
    let mut measured = Vec::new();
    for work in WORKS {
        for arguments in OPTIONS {
            let mut target = bench.start_target(&program, work)?;
            let rounds = (0..options.rounds).map(|_| round(&bench, &mut target, arguments, options));
            measured.push(Measured { work, options: arguments, rounds: rounds.collect::<Result<_>>()? });
        }
    }
    println!("\n{}", show(&measured)?);
    Figures::write(options, machine, measured)
}

fn round(bench: &Bench, target: &mut Target, arguments: &[&str], options: &Options) -> Result<Round> {
    let untraced = pair(&target.measure(options.seconds)?)?;
    let mut command = bench.leaktrace(target.pid(), &bench.report(), arguments);
    let Started::Tracing(tracer) = start_leaktrace(&mut command)? else { bail!("leaktrace refused its arguments") };
    let traced = pair(&target.measure(options.seconds)?)?;
    tracer.stop()?;
    Ok(Round { untraced, traced, said: said(&bench.report())? })
}

fn pair(batches: &[Batch]) -> Result<f64> {
    let pairs: Vec<f64> = batches.iter().map(Batch::ns_per_pair).collect();
    median(&pairs).context("no batches")
}

fn said(report: &Path) -> Result<f64> {
    let text = fs::read_to_string(report).with_context(|| format!("cannot read {}", report.display()))?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let overhead = |field: &str| {
        report["overhead"][field].as_f64().with_context(|| format!("the report has no {field} of the overhead"))
    };
    // Not its percentage, which ends at 100.
    Ok(overhead("probes_s")? / overhead("cpu_s")? * 100.0)
}

fn show(measured: &[Measured]) -> Result<String> {
    let mut table = Table::new(&["loop", "ns/pair", "traced", "truth", "leaktrace says", "off by"]);
    let mut farthest = 0.0_f64;
    for Measured { work, options, rounds } in measured {
        let of = |value: fn(&Round) -> f64| {
            median(&rounds.iter().map(value).collect::<Vec<_>>()).context("nothing was measured")
        };
        let (truth, said) = (of(Round::truth)?, of(|round| round.said)?);
        let off = said / truth - 1.0;
        farthest = farthest.max(off.abs());
        table.row([
            format!("{} frames, {} {}", work.frames, stacks_name(work.stacks), options.join(" ")).trim_end().to_owned(),
            number(of(|round| round.untraced)?),
            number(of(|round| round.traced)?),
            format!("{truth:.1} %"),
            format!("{said:.1} %"),
            format!("{:+.1} %", off * 100.0),
        ]);
    }
    Ok(format!("{}\nfarthest off: {:.1} % (limit {:.0} %)", table.render(), farthest * 100.0, LIMIT * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stands_beside_what_is() {
        let round = Round { untraced: 100.0, traced: 400.0, said: 60.0 };
        let text = show(&[Measured { work: WORKS[0], options: OPTIONS[1], rounds: vec![round] }]).unwrap();
        assert!(text.contains("75.0 %") && text.contains("60.0 %") && text.contains("-20.0 %"), "{text}");
        assert!(text.ends_with("farthest off: 20.0 % (limit 25 %)"), "{text}");
    }
}
