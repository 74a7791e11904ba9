//! `cargo xtask bench redis`: the throughput of a redis-server under redis-benchmark, untraced and traced.

use std::time::Duration;

use anyhow::{Context as _, Result};
use leaktrace_tests::folder::Folder;
use serde::Serialize;

use super::{
    Figures, Machine, Options, leaktrace,
    peers::{self, Attached, Mode, Tool},
    programs::Bench,
    promise::{self, Bound::AtLeast},
    table::{Spread, Table, median},
    workloads::{Rates, Redis, Timing},
};
use crate::workspace::Workspace;

/// What is left of the untraced throughput, at least.
const GROWTH: f64 = 0.98;
const BUDGET: f64 = 0.96;
/// How many times the throughput of the server that bpftrace traces.
const OF_BPFTRACE: f64 = 3.0;
const WARM_UP: Duration = Duration::from_millis(500);
/// What the rates before and after may differ by. Where the machine's own speed changed by more, a round is measured again,
/// so many times at most: the steadiest one counts.
const STEADY: f64 = 0.04;
const ATTEMPTS: usize = 4;

/// Operations per second while a tool traced the server, and what they were just before and after, by round.
#[derive(Debug, Default, Serialize)]
struct Rounds {
    traced: Vec<f64>,
    untraced: Vec<f64>,
}

impl Rounds {
    /// What is left of the untraced rate. Within a round, since the machine's speed changes from one to the next.
    fn left(&self) -> Option<f64> {
        let shares: Vec<f64> =
            self.traced.iter().zip(&self.untraced).map(|(traced, untraced)| traced / untraced).collect();
        median(&shares)
    }
}

/// One of the operations' rates.
type Operation = fn(&Measured) -> &Rounds;

/// A tool, and its rates.
#[derive(Debug, Serialize)]
struct Measured {
    tool: &'static str,
    set: Rounds,
    get: Rounds,
}

impl Measured {
    fn add(&mut self, round: &Round) {
        for (rounds, rate) in
            [(&mut self.set, (|rates| rates.set) as fn(&Rates) -> f64), (&mut self.get, |rates| rates.get)]
        {
            rounds.traced.push(rate(&round.traced));
            rounds.untraced.push((rate(&round.before) + rate(&round.after)) / 2.0);
        }
    }
}

/// What one server did before, while and after it was traced.
#[derive(Debug)]
struct Round {
    before: Rates,
    traced: Rates,
    after: Rates,
}

impl Round {
    /// How far the untraced rates are from each other.
    fn unsteadiness(&self) -> f64 {
        let apart = |before: f64, after: f64| (before - after).abs() / before.max(after);
        apart(self.before.set, self.after.set).max(apart(self.before.get, self.after.get))
    }
}

/// The first round that is steady, or the steadiest. What was measured while the server was traced has no say in that.
fn steadiest(mut measure: impl FnMut() -> Result<Round>) -> Result<Round> {
    let mut best = measure()?;
    for _ in 1..ATTEMPTS {
        if best.unsteadiness() <= STEADY {
            break;
        }
        let again = measure()?;
        if again.unsteadiness() < best.unsteadiness() {
            best = again;
        }
    }
    Ok(best)
}

pub(super) fn run(options: &Options) -> Result<()> {
    peers::install()?;
    let machine = Machine::read()?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    println!("{}", machine.line());
    println!("redis-server and redis-benchmark have a CPU each; leaktrace and bpftrace are on redis-benchmark's");
    println!(
        "operations per second; rounds: {} of {:?} for each operation, before, while and after the server is traced; median \
         of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    let is_of_promises = |tool: &Tool| matches!(tool, Tool::Leaktrace(_) | Tool::Bpftrace);
    let tools: Vec<Tool> = Tool::all(&bench)?.into_iter().filter(is_of_promises).collect();
    let line = |tool: &Tool| Measured { tool: tool.name(), set: Rounds::default(), get: Rounds::default() };
    let mut measured: Vec<Measured> = tools.iter().map(line).collect();
    for _ in 0..options.rounds {
        for (tool, line) in tools.iter().zip(&mut measured) {
            let round = steadiest(|| measure(&bench, *tool, options));
            line.add(&round.with_context(|| format!("measuring: {}", tool.name()))?);
        }
    }
    println!("\n{}", show(&measured));
    Figures::write(options, machine, measured)
}

/// A new server for each tool: what one has left behind is nothing of the next one's.
fn measure(bench: &Bench, tool: Tool, options: &Options) -> Result<Round> {
    let folder = Folder::new("bench")?;
    let mut redis = Redis::alone(bench)?;
    // The window is of both operations.
    let window = options.seconds * 2;
    let untraced = Timing { warm_up: WARM_UP, window };
    let before = redis.work(untraced)?;
    let attached = tool.attach(bench, redis.pid(), folder.path())?;
    let traced = redis.work(Timing { warm_up: WARM_UP + tool.settles_within(), window })?;
    attached.map(|attached: Attached| attached.stop(false)).transpose()?;
    let after = redis.work(untraced)?;
    redis.finish()?;
    Ok(Round { before, traced, after })
}

/// The table, and a line for each promise about what was measured.
fn show(measured: &[Measured]) -> String {
    let mut table = Table::new(&["tool", "SET", "of untraced", "GET", "of untraced"]);
    for line in measured {
        let cell = |rounds: &Rounds| Spread::of(&rounds.traced).map_or_else(String::new, |spread| spread.show());
        let left = |rounds: &Rounds| rounds.left().map_or_else(String::new, |left| format!("{left:.3}"));
        table.row([line.tool.to_owned(), cell(&line.set), left(&line.set), cell(&line.get), left(&line.get)]);
    }
    let mut text = table.render();
    let operations: [(&str, Operation); 2] = [("SET", |line| &line.set), ("GET", |line| &line.get)];
    let left = |tool: Tool, rounds: Operation| rounds(measured.iter().find(|line| line.tool == tool.name())?).left();
    for (mode, bound) in [(Mode::Growth, GROWTH), (Mode::Budget, BUDGET)] {
        for (operation, rounds) in operations {
            if let Some(share) = left(Tool::Leaktrace(mode), rounds) {
                let what = format!("{operation}, {} / untraced", mode.name());
                text += &format!("\n{}", promise::show(&what, share, "", AtLeast(bound)));
            }
        }
    }
    for (operation, rounds) in operations {
        let full = Tool::Leaktrace(Mode::Full);
        if let (Some(full), Some(bpftrace)) = (left(full, rounds), left(Tool::Bpftrace, rounds)) {
            let what = format!("{operation}, {} / {}", Mode::Full.name(), Tool::Bpftrace.name());
            text += &format!("\n{}", promise::show(&what, full / bpftrace, "", AtLeast(OF_BPFTRACE)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_in_which_the_machine_changed_its_speed_is_measured_again() {
        let rates = |both: f64| Rates { set: both, get: both };
        let measured = |rounds: &[(f64, f64)]| {
            let mut rounds = rounds.iter().map(|(before, after)| Round {
                before: rates(*before),
                traced: rates(1.0),
                after: rates(*after),
            });
            let best = steadiest(|| rounds.next().context("asked for more")).unwrap();
            (best.before.set, rounds.len())
        };
        assert_eq!(measured(&[(100.0, 97.0), (100.0, 100.0)]), (100.0, 1));
        assert_eq!(measured(&[(100.0, 90.0), (90.0, 89.0), (100.0, 100.0)]), (90.0, 1));
        assert_eq!(measured(&[(100.0, 80.0), (90.0, 85.0), (70.0, 90.0), (60.0, 70.0)]), (90.0, 0));
    }

    #[test]
    fn promises_are_of_what_was_measured() {
        let rounds = |traced: &[f64], untraced: &[f64]| Rounds { traced: traced.to_vec(), untraced: untraced.to_vec() };
        let line = |tool: Tool, set: Rounds, get: Rounds| Measured { tool: tool.name(), set, get };
        let text = show(&[
            line(Tool::Leaktrace(Mode::Full), rounds(&[60.0, 30.0], &[100.0, 50.0]), rounds(&[100.0], &[200.0])),
            line(Tool::Leaktrace(Mode::Budget), rounds(&[97.0], &[100.0]), rounds(&[9.0], &[10.0])),
            line(Tool::Bpftrace, rounds(&[10.0, 5.0], &[100.0, 50.0]), rounds(&[50.0], &[200.0])),
        ]);
        assert!(text.contains("PASS  SET, leaktrace / bpftrace: 6.000 (at least 3.000)"), "{text}");
        assert!(text.contains("over  GET, leaktrace / bpftrace: 2.000 (at least 3.000)"), "{text}");
        assert!(text.contains("PASS  SET, leaktrace --max-overhead 2 / untraced: 0.970 (at least 0.960)"), "{text}");
        assert!(text.contains("over  GET, leaktrace --max-overhead 2 / untraced: 0.900 (at least 0.960)"), "{text}");
        assert!(!text.contains("--growth /"), "{text}");
    }
}
