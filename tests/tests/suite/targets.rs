//! More than one process: several that are given, children that are followed, programs that are replaced. Each process's
//! numbers are its own, and exact from the moment on from which leaktrace says that it follows it.

mod exec;
mod places;
mod servers;
mod short_lived;

use std::process::Command;

use anyhow::{Result, bail, ensure};
use leaktrace_tests::{
    leaker::{Leaker, compile},
    ledger::{
        Ledger,
        Match::Innermost,
        Scope::{Everything, ListedSites},
    },
    report::Report,
    tracer::Tracer,
};

#[test]
fn two_targets_at_once() -> Result<()> {
    let (mut first, mut second) = (Leaker::start("simple.c")?, Leaker::start("heap_functions.c")?);
    let other = second.pid().to_string();
    let tracer = Tracer::attach_with(first.pid(), &["-p", &other, "--duration", "600s"])?;
    let first_ledger = first.release()?;
    let second_ledger = second.release()?;
    let report = tracer.stop()?;
    report.check_arithmetic()?;
    for (leaker, ledger) in [(&first, &first_ledger), (&second, &second_ledger)] {
        let own = report.of(leaker.pid());
        ledger.check(&Report { stats: Default::default(), ..own.clone() }, Innermost, Everything)?;
        let process = report.process(leaker.pid())?;
        ensure!(process.counters == own.totals, "{:?} is not {:?}", process.counters, own.totals);
    }
    first.finish()?;
    second.finish()
}

#[test]
fn it_ends_with_the_last_of_its_targets() -> Result<()> {
    let (first, second) = (Leaker::start("simple.c")?, Leaker::start("simple.c")?);
    let other = second.pid().to_string();
    let pids = [first.pid(), second.pid()];
    let tracer = Tracer::attach_with(first.pid(), &["-p", &other])?;
    first.finish_untraced()?;
    second.finish_untraced()?;
    let report = tracer.wait()?.report()?;
    ensure!(report.state == "exited", "state is {:?}", report.state);
    for pid in pids {
        let process = report.process(pid)?;
        ensure!(process.state == "exited", "{pid} is {}", process.state);
        ensure!(process.counters.inuse_objects == 101, "{pid} held {:?}", process.counters);
    }
    Ok(())
}

fn traced_workers(arguments: &[&str]) -> Result<(Ledger, Report)> {
    let mut leaker = Leaker::start_program(Command::new(compile("prefork.c")?).args(arguments))?;
    let mut tracer = Tracer::attach_with(leaker.pid(), &["--follow-forks", "-v", "--duration", "600s"])?;
    leaker.say("go")?;
    leaker.expect("forked")?;
    for _ in 0..3 {
        tracer.wait_for_line("has its probes")?;
    }
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    leaker.finish()?;
    Ok((ledger, report))
}

#[test]
fn workers_that_are_forked_are_followed() -> Result<()> {
    let (ledger, report) = traced_workers(&[])?;
    ledger.check(&report, Innermost, Everything)?;
    let mut workers: Vec<u64> = report
        .processes
        .iter()
        .filter(|process| process.parent.is_some())
        .map(|process| process.counters.alloc_objects)
        .collect();
    workers.sort_unstable();
    ensure!(workers == [101, 102, 103], "the workers allocated {workers:?}");
    for process in report.processes.iter().filter(|process| process.parent.is_some()) {
        eprintln!("{}: unseen for {:.1} ms after its fork", process.pid, process.unseen_s * 1e3);
        ensure!(process.parent == Some(report.target.pid) && process.unseen_s > 0.0, "{process:?}");
    }
    Ok(())
}

/// Workers come by the same call stacks, and people read of each of them once.
#[test]
fn the_text_report_has_a_stack_of_several_processes_once() -> Result<()> {
    let mut leaker = Leaker::start("prefork.c")?;
    let options = ["--follow-forks", "-v", "--duration", "600s", "--format", "text"];
    let mut tracer = Tracer::attach_with(leaker.pid(), &options)?;
    leaker.say("go")?;
    leaker.expect("forked")?;
    for _ in 0..3 {
        tracer.wait_for_line("has its probes")?;
    }
    leaker.release()?;
    let text = tracer.interrupt()?.text()?;
    leaker.finish()?;
    let entries: Vec<&str> = text.split("\n\n").filter(|entry| entry.contains(" worker_leak ")).collect();
    let [entry] = entries[..] else { bail!("{} entries of the workers in:\n{text}", entries.len()) };
    // Of 101, 102 and 103 blocks every other one is freed, beginning with the first.
    let first = entry.lines().next().unwrap_or_default();
    ensure!(first.contains(" in 152 objects outstanding") && first.contains(" in 306 objects"), "{text}");
    ensure!(first.ends_with("(3 processes)"), "{text}");
    let parts = entry.lines().nth(1).unwrap_or_default();
    ensure!(parts.matches(" in process ").count() == 3 && parts.matches("(site ").count() == 3, "{text}");
    Ok(())
}

#[test]
fn what_a_worker_held_is_gone_with_it() -> Result<()> {
    let (ledger, report) = traced_workers(&["exit"])?;
    ledger.check(&report, Innermost, Everything)?;
    let exited = report.processes.iter().filter(|process| process.state == "exited" && process.parent.is_some());
    let held: u64 = exited.map(|process| process.counters.inuse_objects).sum();
    ensure!(held == 50 + 51 + 51, "the workers held {held} when they ended:\n{report}");
    Ok(())
}

#[test]
fn a_program_that_becomes_another_is_traced_on() -> Result<()> {
    for way in ["uprobe-multi", "perf-event-old"] {
        let mut leaker = Leaker::start("becomes.c")?;
        let tracer = Tracer::attach_with(leaker.pid(), &["--attach", way, "--duration", "600s"])?;
        let ledger = leaker.release()?;
        let report = tracer.stop()?;
        ensure!(report.state == "detached", "state is {:?}", report.state);
        ledger.check(&report, Innermost, ListedSites)?;
        leaker.finish()?;
    }
    Ok(())
}
