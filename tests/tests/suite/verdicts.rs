//! What leaktrace says of programs that do what real services do: each site by the right name, leaks as fast as they are, and
//! when the memory or the descriptors will be used up.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    labelled::{Estimate, Judged, JudgedSite, LABELS, Labelled, all},
    leaker::{Leaker, compile},
    machine,
    tracer::Tracer,
};

use crate::jit::{PerfMap, pythons};

/// How far a growth rate may be off.
const OFF: f64 = 0.1;
/// How far a program may be off its pace.
const PACE: f64 = 0.01;

/// A labelled program that runs.
struct Running {
    program: Labelled,
    leaker: Leaker,
    released: Option<Instant>,
    _map: PerfMap,
}

impl Running {
    fn start(program: Labelled, seed: u64, python: &Path) -> Result<Self> {
        let leaker = program.start(seed, python)?;
        let _map = PerfMap::of(leaker.pid());
        Ok(Self { program, leaker, released: None, _map })
    }

    fn release(&mut self) -> Result<()> {
        self.released = Some(Instant::now());
        self.leaker.say("go")
    }
}

/// A number of the environment, for runs by hand.
fn setting(name: &str) -> Result<Option<f64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name}={text}"))).transpose()
}

/// How often sites that should be called one word were called another, by the first word that is right.
#[derive(Default)]
struct Confusion(BTreeMap<(String, String), u32>);

impl Confusion {
    fn count(&mut self, expected: &str, found: &str) {
        *self.0.entry((expected.to_owned(), found.to_owned())).or_default() += 1;
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let columns = || LABELS.into_iter().chain(["none"]);
        let _ = writeln!(
            table,
            "{:>10} | {}",
            "should be",
            columns().map(|label| format!("{label:>8}")).collect::<String>()
        );
        for row in LABELS.into_iter().chain(["any", "unnamed"]) {
            let count = |column: &str| self.0.get(&(row.to_owned(), column.to_owned())).copied().unwrap_or(0);
            let cells: String = columns().map(|column| format!("{:>8}", count(column))).collect();
            let _ = writeln!(table, "{row:>10} | {cells}");
        }
        table
    }
}

fn check_rate(found: Option<Estimate>, truth: f64) -> Result<()> {
    let Estimate { value, low, high } = found.context("no rate")?;
    ensure!((value / truth - 1.0).abs() <= OFF, "grows by {value:.0} a second, not {truth}");
    let covered = low * (1.0 - PACE)..=high * (1.0 + PACE);
    ensure!(covered.contains(&truth), "{low:.0} to {high:.0} a second does not cover {truth}");
    Ok(())
}

/// What is wrong with what is said of a program's sites.
fn faults(program: &Labelled, sites: &[&JudgedSite], confusion: &mut Confusion) -> Vec<String> {
    let mut faults = Vec::new();
    let name = program.name();
    for expected in &program.expected {
        let named = sites.iter().any(|site| site.is_below(&expected.function) && site.verdict.is_some());
        if !named {
            confusion.count(&expected.labels[0], "none");
            faults.push(format!("{name}: nothing is said of {}", expected.function));
        }
    }
    for site in sites {
        let Some(verdict) = &site.verdict else { continue };
        let expected = program.expectation(site, sites);
        let first = expected.map_or("unnamed", |expected| expected.labels[0].as_str());
        confusion.count(first, &verdict.label);
        let wrong = match expected {
            Some(expected) => !expected.allows(&verdict.label),
            None => verdict.label == "leaking",
        };
        let what = format!(
            "{name}: {} ({:.2}, since {:.0} s: {})",
            verdict.label, verdict.confidence, verdict.since_s, verdict.reason
        );
        if wrong {
            let right = expected.map(|expected| expected.labels.join(" or "));
            faults.push(format!("{what}\n    should be {right:?}: {}", site.stack()));
        } else if expected.is_none() && verdict.label == "growing" {
            eprintln!("{what}\n    {}", site.stack());
        }
        // Of a function's sites, the one with the most bytes: a runtime's own records are sites as well.
        let largest = |function: &str| {
            let below = sites.iter().filter(|site| site.is_below(function));
            below.max_by_key(|site| site.inuse_bytes).is_some_and(|largest| largest.inuse_bytes == site.inuse_bytes)
        };
        let rate = expected.filter(|expected| largest(&expected.function)).and_then(|expected| expected.rate);
        if let Some(truth) = rate.filter(|_| !wrong)
            && let Err(error) = check_rate(verdict.inuse_bytes_per_s, truth)
        {
            faults.push(format!("{what}\n    {error}"));
        }
    }
    faults
}

/// How many groups the programs run in: together they need half of what two CPUs have when they always run.
fn groups() -> usize {
    let runs = 1.0 - machine::stands_still();
    (0.5 / runs).ceil() as usize
}

/// Runs programs under one leaktrace. Adds what is wrong with what it says of them, and says how long it watched them.
fn judge(
    programs: Vec<Labelled>,
    (seed, watch, python): (f64, f64, &Path),
    confusion: &mut Confusion,
    wrong: &mut Vec<String>,
) -> Result<f64> {
    let mut running = Vec::new();
    for program in programs {
        let mut new = Running::start(program, seed as u64, python)?;
        if new.program.before > 0.0 {
            new.release()?;
        }
        running.push(new);
    }
    for Running { program, released, .. } in &running {
        let Some(released) = released else { continue };
        sleep(Duration::from_secs_f64(program.before).saturating_sub(released.elapsed()));
    }

    let pids: Vec<String> = running.iter().map(|running| running.leaker.pid().to_string()).collect();
    let duration = format!("{watch}s");
    let tracer =
        Tracer::attach_with(running[0].leaker.pid(), &["-p", &pids[1..].join(","), "--heap", "--duration", &duration])?;
    for (index, running) in running.iter_mut().enumerate().filter(|(_, running)| running.released.is_none()) {
        // At once, or in other runs, one after the other: periods are then seen at other moments.
        sleep(Duration::from_millis(if seed == 1.0 { 0 } else { (index as u64 * 7919 * seed as u64) % 97 }));
        running.release()?;
    }
    let ended = tracer.wait()?;
    let judged: Judged = serde_json::from_value(ended.json()?)?;
    ensure!(judged.loss.is_empty(), "events were lost: {:?}", judged.loss);
    for running in &running {
        let of = |site: &&JudgedSite| site.tgid == running.leaker.pid();
        let sites: Vec<&JudgedSite> = judged.sites.iter().filter(of).collect();
        wrong.extend(faults(&running.program, &sites, confusion));
    }
    Ok(judged.elapsed_s)
}

/// `LEAKTRACE_LABELLED_SEED` starts other ones, at other times; `LEAKTRACE_LABELLED_BEFORE` lets all of them run for so many
/// seconds before they are traced, `LEAKTRACE_LABELLED_WATCH` traces for another time.
#[test]
fn every_site_is_called_by_its_name() -> Result<()> {
    let pythons = pythons();
    let python = pythons.into_values().next_back().context("no Python with -X perf: install Python 3.12 or newer")?;
    let seed = setting("LEAKTRACE_LABELLED_SEED")?.unwrap_or(1.0);
    let before = setting("LEAKTRACE_LABELLED_BEFORE")?;
    let watch = setting("LEAKTRACE_LABELLED_WATCH")?.unwrap_or(62.0);

    let mut programs = all()?;
    for program in &mut programs {
        program.before = before.unwrap_or(program.before);
    }
    // Those that run before they are traced begin first.
    programs.sort_by(|a, b| b.before.total_cmp(&a.before));
    let mut grouped: Vec<Vec<Labelled>> = (0..groups()).map(|_| Vec::new()).collect();
    let count = grouped.len();
    for (index, program) in programs.into_iter().enumerate() {
        grouped[index % count].push(program);
    }

    let (mut confusion, mut wrong) = (Confusion::default(), Vec::new());
    for programs in grouped {
        let number = programs.len();
        let watched = judge(programs, (seed, watch, &python), &mut confusion, &mut wrong)?;
        eprintln!("{number} programs, watched for {watched:.1} s");
    }
    let table = confusion.table();
    eprintln!("{table}");
    ensure!(wrong.is_empty(), "{} wrong:\n{}\n{table}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// A process that leaks evenly until a limit stops it: how long it has left is known afterwards.
#[test]
fn the_time_that_is_left_is_foretold() -> Result<()> {
    let mut traced = Vec::new();
    for (what, signal) in [("memory", "out_of_memory"), ("descriptors", "out_of_descriptors")] {
        let mut leaker = Leaker::start_program(Command::new(compile("exhausts.c")?).arg(what))?;
        let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "60s"])?;
        let attached = Instant::now();
        leaker.say("go")?;
        traced.push((what, signal, leaker, tracer, attached.elapsed().as_secs_f64()));
    }
    for (what, signal, mut leaker, tracer, waited) in traced {
        let judged: Judged = serde_json::from_value(tracer.wait()?.json()?)?;
        let analysis = judged.analysis.first().context("nothing is said of the process")?;
        let found = analysis.signals.iter().find(|found| found.signal == signal);
        let eta = found.and_then(|found| found.eta).with_context(|| format!("no {signal}: {:?}", analysis.signals))?;
        let lasted: f64 = leaker.rest()?.first().context("no time")?.parse()?;
        let left = lasted - (judged.elapsed_s - waited);
        eprintln!("{what}: {left:.1} s were left, {eta:?}");
        ensure!((eta.expected_s / left - 1.0).abs() <= OFF, "{what}: {left:.1} s were left, not {eta:?}");
        let latest = eta.latest_s.with_context(|| format!("{what}: no latest time: {eta:?}"))?;
        // The time of the last reading is known to a tenth of a second.
        ensure!((eta.earliest_s - 0.1..=latest + 0.1).contains(&left), "{what}: {left:.1} s were left, not {eta:?}");
        leaker.finish()?;
    }
    Ok(())
}
