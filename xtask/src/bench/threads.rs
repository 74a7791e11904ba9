//! `cargo xtask bench threads`: whether a traced program with more threads gets as much more done as it does with empty
//! probes. What is shared between threads would show here: a lock, or a counter that all of them write to.

use std::time::Duration;

use anyhow::{Context as _, Result};
use leaktrace_tests::folder::Folder;
use serde::Serialize;

use super::{
    Figures, Machine, Options, leaktrace,
    peers::{Attached, Mode},
    programs::{Bench, install_needs},
    promise::{self, Bound::AtLeast},
    table::{Spread, Table, median},
    workloads::{Programs, Timing, start_threads},
};
use crate::workspace::Workspace;

/// The first is what the others are compared with.
const THREADS: [u32; 3] = [1, 2, 8];
const MODES: [Mode; 2] = [Mode::EmptyProbes, Mode::Full];
/// Of the scaling with empty probes, at least.
const LIMIT: f64 = 0.8;
const WARM_UP: Duration = Duration::from_millis(300);

/// Rates of a number of threads in a mode, by round.
#[derive(Debug, Serialize)]
struct Measured {
    mode: &'static str,
    threads: u32,
    rates: Vec<f64>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc")])?;
    let machine = Machine::read()?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    let programs = Programs::compile(&bench)?;
    println!("{}", machine.line());
    println!(
        "operations per second, all threads together; rounds: {} of {:?}, in turns; median of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    let mut cases = Vec::new();
    for threads in THREADS {
        for mode in MODES {
            cases.push((mode, Measured { mode: mode.name(), threads, rates: Vec::new() }));
        }
    }
    let timing = Timing { warm_up: WARM_UP, window: options.seconds };
    for _ in 0..options.rounds {
        for (mode, measured) in &mut cases {
            let folder = Folder::new("bench")?;
            let mut program = start_threads(&bench, &programs, measured.threads)?;
            let attached = Attached::leaktrace(&bench, *mode, program.pid(), folder.path())?;
            measured.rates.push(program.work(timing)?);
            attached.stop(false)?;
        }
    }
    let measured: Vec<Measured> = cases.into_iter().map(|(_, measured)| measured).collect();
    println!("\n{}", show(&measured)?);
    Figures::write(options, machine, measured)
}

fn show(measured: &[Measured]) -> Result<String> {
    let find = |mode: Mode, threads: u32| {
        let found = measured.iter().find(|line| line.mode == mode.name() && line.threads == threads);
        found.with_context(|| format!("{}, {threads} threads were not measured", mode.name()))
    };
    // How much more so many threads get done than one, round by round.
    let scaling = |mode: Mode, threads: u32| -> Result<Vec<f64>> {
        let (one, many) = (find(mode, THREADS[0])?, find(mode, threads)?);
        Ok(many.rates.iter().zip(&one.rates).map(|(many, one)| many / one).collect())
    };
    let mut table = Table::new(&["threads", "empty probes", "leaktrace", "scaling", "leaktrace's"]);
    let mut promises = String::new();
    for threads in THREADS {
        let rates = |mode| Ok::<_, anyhow::Error>(Spread::of(&find(mode, threads)?.rates).context("no rounds")?.show());
        let (empty, full) = (scaling(Mode::EmptyProbes, threads)?, scaling(Mode::Full, threads)?);
        let times = |scalings: &[f64]| median(scalings).map_or_else(String::new, |scaling| format!("{scaling:.2}"));
        table.row([threads.to_string(), rates(Mode::EmptyProbes)?, rates(Mode::Full)?, times(&empty), times(&full)]);
        if threads > THREADS[0] {
            let shares: Vec<f64> = full.iter().zip(&empty).map(|(full, empty)| full / empty).collect();
            let what = format!("{threads} threads, scaling of that with empty probes");
            promises +=
                &format!("\n{}", promise::show(&what, median(&shares).context("no rounds")?, "", AtLeast(LIMIT)));
        }
    }
    Ok(table.render() + &promises)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_compared_with_that_of_empty_probes() {
        let line = |mode: Mode, threads, rate| Measured { mode: mode.name(), threads, rates: vec![rate] };
        let (empty, full) = (Mode::EmptyProbes, Mode::Full);
        let measured = [
            line(empty, 1, 100.0),
            line(empty, 2, 200.0),
            line(empty, 8, 160.0),
            line(full, 1, 50.0),
            line(full, 2, 75.0),
            line(full, 8, 76.0),
        ];
        let text = show(&measured).unwrap();
        assert!(text.contains("over  2 threads, scaling of that with empty probes: 0.750 (at least 0.800)"), "{text}");
        assert!(text.contains("PASS  8 threads, scaling of that with empty probes: 0.950 (at least 0.800)"), "{text}");
        assert!(show(&measured[1..]).is_err());
    }
}
