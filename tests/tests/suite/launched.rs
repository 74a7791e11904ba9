//! Programs that leaktrace starts: traced from their first allocation to their end.

use std::{ffi::OsStr, os::unix::process::ExitStatusExt as _, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    is_long,
    launch::{Launched, launch},
    leaker::{Build, Frames, leakers_dir},
    ledger::{Ledger, Match::Innermost, Scope::ListedSites},
    process::Guarded,
    programs::{short_c, short_cpp},
    tracer::binary,
    wait_for,
};
use rustix::process::Signal;

/// Runs of each kind of program; `LEAKTRACE_LONG=1` makes it 200 of all kinds.
fn runs_of_each() -> u32 {
    if is_long() { 50 } else { 6 }
}

fn short(build: impl FnOnce(std::path::PathBuf) -> Build) -> Result<std::path::PathBuf> {
    build(leakers_dir().join("short.c")).compile()
}

fn run(program: &Path, argument: &str) -> Result<Launched> {
    launch(&[], &[program.as_os_str(), OsStr::new(argument)], "")
}

/// What it says it leaked is in the report, and nothing else that is its own.
fn check(launched: &Launched) -> Result<()> {
    let lines: Vec<String> = launched.stdout.lines().map(str::to_owned).collect();
    let ledger = Ledger::parse(&lines).with_context(|| launched.stderr.clone())?;
    let report = launched.report()?;
    ledger.check(&report, Innermost, ListedSites)?;
    let invented: Vec<_> = report
        .sites
        .iter()
        .filter(|site| !site.startup && site.counters.inuse_bytes > 0)
        .filter(|site| !ledger.entries.iter().any(|entry| site.frame_is(0, &entry.site)))
        // pthread_create keeps the stacks' descriptions of threads that have ended.
        .filter(|site| !site.frames.iter().any(|frame| frame.function.as_deref().is_some_and(is_of_threads)))
        .collect();
    ensure!(invented.is_empty(), "not in the ledger: {invented:#?}");
    Ok(())
}

fn is_of_threads(function: &str) -> bool {
    function.contains("pthread_create") || function.contains("allocate_dtv") || function.contains("_dl_allocate_tls")
}

fn runs(program: &Path, first: u32) -> Result<()> {
    for seed in first..first + runs_of_each() {
        let launched = run(program, &seed.to_string())?;
        let code = i32::try_from(seed % 100)?;
        ensure!(launched.status.code() == Some(code), "run {seed}: {}\n{}", launched.status, launched.stderr);
        check(&launched).with_context(|| format!("run {seed} of {}", program.display()))?;
    }
    Ok(())
}

#[test]
fn short_c_programs() -> Result<()> {
    runs(&short_c().compile()?, 0)
}

#[test]
fn short_cpp_programs() -> Result<()> {
    runs(&short_cpp().compile()?, 100)
}

#[test]
fn short_static_programs() -> Result<()> {
    runs(&short(|source| Build::c(source, Frames::Pointers).arg("-static"))?, 200)
}

#[test]
fn short_programs_with_threads() -> Result<()> {
    runs(&short(|source| Build::c(source, Frames::Pointers).arg("-DTHREADS"))?, 300)
}

#[test]
fn what_a_library_allocates_before_main_is_told_apart() -> Result<()> {
    let program = short_cpp().compile()?;
    let report = run(&program, "7")?.report()?;
    let pool = report.sites.iter().find(|site| site.counters.inuse_bytes == 72_704);
    // libstdc++ keeps it for exceptions that are thrown when nothing is left.
    ensure!(pool.is_some_and(|site| site.startup), "no pool of libstdc++ of the start:\n{report}");
    let own = report.sites.iter().find(|site| site.frame_is(0, "before_main")).context("no before_main")?;
    ensure!(!own.startup && own.counters.inuse_bytes == 997, "a global object is the program's own: {own:?}");
    Ok(())
}

#[test]
fn a_chain_of_programs_is_traced_in_its_last_one() -> Result<()> {
    let program = short_c().compile()?;
    let script = format!("exec env LEAKTRACE_TEST=1 {} 41", program.display());
    let launched = launch(&[], &["sh", "-c", &script].map(OsStr::new), "")?;
    ensure!(launched.status.code() == Some(41), "{}\n{}", launched.status, launched.stderr);
    check(&launched)
}

#[test]
fn input_and_output_are_the_programs() -> Result<()> {
    let launched = launch(&[], &["tr", "a-z", "A-Z"].map(OsStr::new), "not for leaktrace\n")?;
    ensure!(launched.stdout == "NOT FOR LEAKTRACE\n", "{launched:?}");
    ensure!(launched.status.success(), "{launched:?}");
    // A report without -o goes to standard error.
    let output = Command::new(binary()?).args(["--", "echo", "the program"]).output()?;
    ensure!(output.stdout == b"the program\n", "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("EXITED with code 0"), "{output:?}");
    Ok(())
}

#[test]
fn its_end_is_leaktraces() -> Result<()> {
    let code = launch(&[], &["sh", "-c", "exit 7"].map(OsStr::new), "")?;
    ensure!(code.status.code() == Some(7), "{code:?}");
    ensure!(code.json()?["ending"]["exit_code"] == 7, "{}", code.json()?);
    let killed = launch(&[], &["sh", "-c", "kill -SEGV $$"].map(OsStr::new), "")?;
    ensure!(killed.status.code() == Some(128 + 11), "{killed:?}");
    ensure!(killed.json()?["ending"]["signal"] == 11, "{}", killed.json()?);
    Ok(())
}

#[test]
fn what_cannot_be_run_is_an_error() -> Result<()> {
    let launched = launch(&[], &[OsStr::new("/no/such/program")], "")?;
    ensure!(launched.status.code() == Some(3), "{launched:?}");
    ensure!(launched.stderr.contains("/no/such/program") && launched.stderr.contains("No such file"), "{launched:?}");
    Ok(())
}

#[test]
fn a_request_to_end_is_passed_on() -> Result<()> {
    let report = leaktrace_tests::tracer::report_path()?;
    let mut command = Command::new(binary()?);
    command
        .arg("-o")
        .arg(&report)
        .args(["--", "sh", "-c", "echo ready >&2; exec sleep 1000"])
        .stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut leaktrace = Guarded::spawn(&mut command)?;
    let mut stderr = leaktrace_tests::process::Lines::read(leaktrace.child().stderr.take().context("no stderr")?);
    stderr.find("the program's beginning", |line| line == "ready")?.context("the program did not begin")?;
    leaktrace.signal(Signal::TERM)?;
    let status = leaktrace.wait()?;
    ensure!(status.code() == Some(128 + 15), "{status}");
    Ok(())
}

/// Nobody continues a program whose tracer is gone, so it must not be left stopped.
#[test]
fn a_killed_leaktrace_leaves_its_program_running() -> Result<()> {
    let mut command = Command::new(binary()?);
    command.args(["--", "sh", "-c", "echo $$; exec sleep 1000"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut leaktrace = Guarded::spawn(&mut command)?;
    let mut stdout = leaktrace_tests::process::Lines::read(leaktrace.child().stdout.take().context("no stdout")?);
    let pid = stdout.find("its pid", |_| true)?.context("no pid")?;
    let stat = || Ok::<_, anyhow::Error>(std::fs::read_to_string(format!("/proc/{pid}/stat"))?);
    wait_for("the second program", || Ok(stat()?.contains("(sleep)").then_some(())))?;
    leaktrace.signal(Signal::KILL)?;
    let status = leaktrace.wait()?;
    ensure!(status.signal() == Some(9), "{status}");
    wait_for("the program to run", || Ok(stat()?.contains(") S ").then_some(())))?;
    let raw = rustix::process::Pid::from_raw(pid.parse()?).context("a pid")?;
    Ok(rustix::process::kill_process(raw, Signal::KILL)?)
}

#[test]
fn a_program_and_a_process_are_not_both() -> Result<()> {
    let output = Command::new(binary()?).args(["-p", "1", "--", "true"]).output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}
