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

/// One of the operations' rates.
type Rate = fn(&Measured) -> &[f64];

/// A tool, and its rates by round.
#[derive(Debug, Serialize)]
struct Measured {
    tool: &'static str,
    set: Vec<f64>,
    get: Vec<f64>,
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
        "operations per second; rounds: {} of {:?} for each operation, in turns; median of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    let is_of_promises = |tool: &Tool| matches!(tool, Tool::Untraced | Tool::Leaktrace(_) | Tool::Bpftrace);
    let tools: Vec<Tool> = Tool::all(&bench)?.into_iter().filter(is_of_promises).collect();
    let line = |tool: &Tool| Measured { tool: tool.name(), set: Vec::new(), get: Vec::new() };
    let mut measured: Vec<Measured> = tools.iter().map(line).collect();
    for _ in 0..options.rounds {
        for (tool, line) in tools.iter().zip(&mut measured) {
            let rates = rates(&bench, *tool, options).with_context(|| format!("measuring: {}", tool.name()))?;
            line.set.push(rates.set);
            line.get.push(rates.get);
        }
    }
    println!("\n{}", show(&measured));
    Figures::write(options, machine, measured)
}

/// A new server for each tool: what one has left behind is nothing of the next one's.
fn rates(bench: &Bench, tool: Tool, options: &Options) -> Result<Rates> {
    let folder = Folder::new("bench")?;
    let mut redis = Redis::alone(bench)?;
    let attached = tool.attach(bench, redis.pid(), folder.path())?;
    // The window is of both operations.
    let timing = Timing { warm_up: WARM_UP + tool.settles_within(), window: options.seconds * 2 };
    let rates = redis.work(timing)?;
    attached.map(|attached: Attached| attached.stop(false)).transpose()?;
    redis.finish()?;
    Ok(rates)
}

/// The table, and a line for each promise about what was measured.
fn show(measured: &[Measured]) -> String {
    let find = |tool: Tool| measured.iter().find(|line| line.tool == tool.name());
    // Within a round, since the machine's speed changes from one to the next.
    let share = |tool: Tool, of: Tool, rates: Rate| {
        let (tool, of) = (find(tool)?, find(of)?);
        let shares = rates(tool).iter().zip(rates(of)).map(|(rate, of)| rate / of);
        median(&shares.collect::<Vec<_>>())
    };
    let mut table = Table::new(&["tool", "SET", "GET"]);
    for line in measured {
        let cell = |rates: &[f64]| Spread::of(rates).map_or_else(String::new, |spread| spread.show());
        table.row([line.tool.to_owned(), cell(&line.set), cell(&line.get)]);
    }
    let mut text = table.render();
    let promises = [
        (Mode::Growth, Tool::Untraced, GROWTH),
        (Mode::Budget, Tool::Untraced, BUDGET),
        (Mode::Full, Tool::Bpftrace, OF_BPFTRACE),
    ];
    for (mode, of, bound) in promises {
        let operations: [(&str, Rate); 2] = [("SET", |line| &line.set), ("GET", |line| &line.get)];
        for (operation, rates) in operations {
            if let Some(share) = share(Tool::Leaktrace(mode), of, rates) {
                let what = format!("{operation}, {} / {}", mode.name(), of.name());
                text += &format!("\n{}", promise::show(&what, share, "", AtLeast(bound)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_of_what_was_measured() {
        let line =
            |tool: Tool, set: &[f64], get: &[f64]| Measured { tool: tool.name(), set: set.to_vec(), get: get.to_vec() };
        let text = show(&[
            line(Tool::Untraced, &[100.0, 50.0], &[200.0, 100.0]),
            line(Tool::Leaktrace(Mode::Full), &[60.0, 30.0], &[100.0, 50.0]),
            line(Tool::Bpftrace, &[10.0, 5.0], &[50.0, 25.0]),
        ]);
        assert!(text.contains("PASS  SET, leaktrace / bpftrace: 6.000 (at least 3.000)"), "{text}");
        assert!(text.contains("over  GET, leaktrace / bpftrace: 2.000 (at least 3.000)"), "{text}");
        assert!(!text.contains("--growth /"), "{text}");
    }
}
