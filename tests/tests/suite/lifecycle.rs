//! leaktrace comes and goes, and leaves nothing behind: the target's code is what its files say, and its work goes on.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    is_long,
    kernel_objects::orphans,
    leaker::Leaker,
    ledger::{Match::Innermost, Scope::Everything},
    text::differences,
    tracer::{Tracer, trace},
    wait_for,
};
use rustix::process::Signal;

/// Waits until the target's code is its files' again: the kernel takes probes of a killed process out in its own time.
fn expect_no_probes(pid: u32, modules: &[&str]) -> Result<()> {
    for module in modules {
        wait_for(&format!("the last probe to leave {module}"), || {
            Ok(differences(pid, module)?.is_empty().then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn no_probe_is_left_behind() -> Result<()> {
    let mut leaker = Leaker::start("simple.c")?;
    let pid = leaker.pid();
    let tracer = Tracer::attach(pid)?;
    let ledger = leaker.release()?;
    let libc = libc_of(pid)?;
    // Otherwise this test could not see one.
    ensure!(!differences(pid, &libc)?.is_empty(), "no probe in {libc} while it is traced");
    let report = tracer.stop()?;
    ledger.check(&report, Innermost, Everything)?;
    let modules = report.probed_modules();
    ensure!(modules.contains(&libc.as_str()), "{libc} is not among the probed modules {modules:?}");
    expect_no_probes(pid, &modules)?;
    leaker.finish()
}

#[test]
fn a_killed_leaktrace_leaves_no_probe_behind() -> Result<()> {
    let mut leaker = Leaker::start("steady.c")?;
    let pid = leaker.pid();
    let tracer = Tracer::attach(pid)?;
    leaker.say("go")?;
    leaker.wait_for_progress()?;
    let libc = libc_of(pid)?;
    ensure!(!differences(pid, &libc)?.is_empty(), "no probe in {libc} while it is traced");
    tracer.signal(Signal::KILL)?;
    tracer.wait()?;
    expect_no_probes(pid, &[&libc])?;
    leaker.wait_for_progress()?;
    leaker.say("stop")?;
    leaker.ledger()?;
    leaker.finish()
}

#[test]
fn a_busy_process_is_traced_again_and_again() -> Result<()> {
    let mut leaker = Leaker::start("steady.c")?;
    let pid = leaker.pid();
    leaker.say("go")?;
    for round in 0..3 {
        leaker.wait_for_progress()?;
        let tracer = Tracer::attach(pid)?;
        leaker.wait_for_progress()?;
        let report = tracer.stop()?;
        report.check_arithmetic().with_context(|| format!("round {round}"))?;
        ensure!(report.totals.alloc_objects > 0, "round {round} saw nothing:\n{report}");
        expect_no_probes(pid, &report.probed_modules())?;
    }
    leaker.wait_for_progress()?;
    leaker.say("stop")?;
    leaker.ledger()?;
    leaker.finish()
}

/// Ends in every way there is, by turns: nothing is left in the kernel or in the target's code, and the target checks
/// every byte of its own all the while. A hundred times with `LEAKTRACE_LONG=1`.
#[test]
fn ended_in_every_way_on_a_busy_process() -> Result<()> {
    let mut leaker = Leaker::start("steady.c")?;
    let pid = leaker.pid();
    leaker.say("go")?;
    let libc = libc_of(pid)?;
    for round in 0..if is_long() { 100 } else { 8 } {
        let tracer = match round % 4 {
            0 => Tracer::attach_with(pid, &["--heap", "--duration", "1ms"])?,
            3 => Tracer::attach_with(pid, &["--heap", "--provoke-panic", "10ms"])?,
            _ => Tracer::attach_with(pid, &["--heap"])?,
        };
        match round % 4 {
            1 => tracer.signal(Signal::TERM)?,
            2 => tracer.signal(Signal::KILL)?,
            _ => {}
        }
        let status = tracer.wait_for_any_end()?;
        ensure!(status.success() == matches!(round % 4, 0 | 1), "round {round}: {status}");
        leaker.wait_for_progress().with_context(|| format!("after round {round}"))?;
    }
    expect_no_probes(pid, &[&libc])?;
    wait_for("the kernel to have nothing of leaktrace's that nobody holds", || {
        let orphans = orphans()?;
        Ok(orphans.is_empty().then_some(()))
    })?;
    leaker.say("stop")?;
    leaker.ledger()?;
    leaker.finish()
}

#[test]
fn it_ends_by_itself_when_its_duration_is_over() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let ended = Tracer::attach_with(leaker.pid(), &["--duration", "1s"])?.wait()?;
    let report = ended.report()?;
    ensure!(report.state == "detached", "state is {:?}", report.state);
    ensure!(report.sites.is_empty(), "the leaker did nothing:\n{report}");
    ensure!(report.elapsed_s >= 1.0, "it ended after {} s", report.elapsed_s);
    expect_no_probes(leaker.pid(), &report.probed_modules())?;
    leaker.finish_untraced()
}

#[test]
fn two_tracers_of_two_processes_do_not_mix() -> Result<()> {
    let first = Leaker::start("simple.c")?;
    let mut second = Leaker::start("heap_functions.c")?;
    let tracer = Tracer::attach(second.pid())?;
    let (first_ledger, first_report) = trace(first)?;
    let second_ledger = second.release()?;
    let second_report = tracer.stop()?;
    first_ledger.check(&first_report, Innermost, Everything)?;
    second_ledger.check(&second_report, Innermost, Everything)
}

#[test]
fn two_tracers_of_one_process_say_the_same() -> Result<()> {
    let mut leaker = Leaker::start("heap_functions.c")?;
    let first = Tracer::attach(leaker.pid())?;
    let second = Tracer::attach(leaker.pid())?;
    let ledger = leaker.release()?;
    ledger.check(&first.stop()?, Innermost, Everything)?;
    ledger.check(&second.stop()?, Innermost, Everything)?;
    leaker.finish()
}

/// The path of libc in the process.
fn libc_of(pid: u32) -> Result<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
    path.map(str::to_owned).context("the process has no libc")
}
