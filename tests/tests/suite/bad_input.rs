//! What cannot be traced is refused before anything is touched, with the cause and the next step; and whatever happens
//! to leaktrace or to its target, the other one is not harmed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::{Match::Innermost, Scope::Everything},
    process::Guarded,
    programs,
    tracer::{Tracer, binary, report_path, run, run_command},
    wait_for,
};
use rustix::process::Signal;

/// Runs leaktrace on a process that it cannot trace. If it does all the same, it ends soon.
fn refuse(pid: u32, words: &[&str]) -> Result<()> {
    Tracer::start(pid, &["--duration", "3s"])?.wait()?.expect_cannot_trace(words)
}

#[test]
fn no_such_process() -> Result<()> {
    // One that was there, is reaped, and whose id the kernel will not give out again soon.
    let mut gone = Guarded::spawn(&mut Command::new("true"))?;
    gone.wait()?;
    refuse(gone.pid(), &[&gone.pid().to_string(), "process"])?;
    // One that cannot be: more than the kernel's largest.
    refuse(u32::try_from(i32::MAX)?, &["process"])
}

#[test]
fn a_kernel_thread() -> Result<()> {
    /// `PF_KTHREAD` of the kernel's `linux/sched.h`.
    const KERNEL_THREAD: u64 = 0x0020_0000;

    let mut found = None;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name, in parentheses, may hold anything; flags are the seventh field behind it.
        let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
        if flags.is_some_and(|flags| flags & KERNEL_THREAD != 0) {
            found = Some(pid);
            break;
        }
    }
    match found {
        Some(pid) => refuse(pid, &["kernel thread"]),
        // In a container's pid namespace there is none to ask for.
        None => Ok(()),
    }
}

#[test]
fn a_thread_instead_of_a_process() -> Result<()> {
    let mut leaker = Leaker::start("steady.c")?;
    let pid = leaker.pid();
    leaker.say("go")?;
    let thread = wait_for("a second thread", || {
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            threads.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(threads.into_iter().find(|&thread| thread != pid))
    })?;
    refuse(thread, &["thread", &pid.to_string()])
}

#[test]
fn usage_errors() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let pid = leaker.pid().to_string();
    run(&["--format", "json"])?.expect_refusal(2, &["pid"])?;
    run(&["-p", "not-a-pid"])?.expect_refusal(2, &["not-a-pid"])?;
    run(&["-p", "-1"])?.expect_refusal(2, &["-1"])?;
    run(&["-p", &pid, "--duration", "soon"])?.expect_refusal(2, &["soon"])?;
    run(&["-p", &pid, "--interval", "never"])?.expect_refusal(2, &["never"])?;
    run(&["-p", &pid, "--format", "xml"])?.expect_refusal(2, &["xml", "json"])?;
    run(&["-p", &pid, "--no-such-option"])?.expect_refusal(2, &["--no-such-option"])
}

/// A folder that everyone can enter, gone with its test.
struct PublicFolder(PathBuf);

impl PublicFolder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("leaktrace-public-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(Self(path))
    }
}

impl Drop for PublicFolder {
    fn drop(&mut self) {
        // A folder left behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn not_root() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    // A copy, because others may not enter the folder that it was built in. Made by another process: a file that this one
    // had open for writing, a child of another test's could still have open, and then it cannot be run.
    let folder = PublicFolder::new()?;
    let copy = folder.0.join("leaktrace");
    let copied = Command::new("install").arg("--mode=755").args([&binary()?, &copy]).status()?;
    ensure!(copied.success(), "install: {copied}");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(copy);
    command.args(["-p", &leaker.pid().to_string(), "--duration", "1s", "--format", "json", "-o"]);
    let ended = run_command(command.arg(folder.0.join("report.json")).current_dir("/"))?;
    ended.expect_cannot_trace(&["root", "CAP_", "sudo"])
}

#[test]
fn output_that_cannot_be_written() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let pid = leaker.pid().to_string();
    let folder = report_path()?;
    fs::create_dir_all(&folder)?;
    let folder_name = folder.to_str().context("a path that is not text")?;
    for output in ["/no/such/folder/report.json", folder_name] {
        let ended = run(&["-p", &pid, "--duration", "1s", "--format", "json", "-o", output])?;
        ended.expect_cannot_trace(&[output])?;
    }
    fs::remove_dir(&folder)?;
    Ok(())
}

#[test]
fn a_static_program() -> Result<()> {
    let leaker = Leaker::start_program(&mut Command::new(programs::static_heap().compile()?))?;
    refuse(leaker.pid(), &["allocator"])?;
    leaker.finish_untraced()
}

#[test]
fn a_target_that_exits_is_reported_to_its_end() -> Result<()> {
    let mut leaker = Leaker::start("simple.c")?;
    let tracer = Tracer::attach(leaker.pid())?;
    let ledger = leaker.release()?;
    leaker.finish()?;
    let report = tracer.wait()?.report()?;
    ensure!(report.state == "exited", "state is {:?}", report.state);
    ledger.check(&report, Innermost, Everything)
}

#[test]
fn a_target_that_is_killed_is_reported_to_its_end() -> Result<()> {
    let mut leaker = Leaker::start("simple.c")?;
    let tracer = Tracer::attach(leaker.pid())?;
    let ledger = leaker.release()?;
    leaker.process().signal(Signal::KILL)?;
    leaker.wait()?;
    let report = tracer.wait()?.report()?;
    ensure!(report.state == "exited", "state is {:?}", report.state);
    ledger.check(&report, Innermost, Everything)
}

#[test]
fn a_busy_target_that_is_killed_is_reported_to_its_end() -> Result<()> {
    let mut leaker = Leaker::start("steady.c")?;
    let tracer = Tracer::attach(leaker.pid())?;
    leaker.say("go")?;
    leaker.wait_for_progress()?;
    leaker.process().signal(Signal::KILL)?;
    leaker.wait()?;
    let report = tracer.wait()?.report()?;
    ensure!(report.state == "exited", "state is {:?}", report.state);
    ensure!(report.totals.alloc_objects > 0, "it saw nothing:\n{report}");
    Ok(())
}

#[test]
fn targets_that_exit_while_it_attaches() -> Result<()> {
    for round in 0..20 {
        let mut command = Command::new("sleep");
        // From gone at once to gone while the probes go in; some stay as zombies, some are reaped.
        let mut target = Guarded::spawn(command.arg(format!("{}", f64::from(round) * 0.013)).stdout(Stdio::null()))?;
        let tracer = Tracer::start(target.pid(), &["--duration", "600s"])?;
        if round % 2 == 0 {
            target.wait()?;
        }
        let ended = tracer.wait()?;
        if ended.status.code() == Some(0) {
            let report = ended.report()?;
            ensure!(report.state == "exited", "round {round}: state is {:?}", report.state);
        } else {
            ended.expect_cannot_trace(&[&target.pid().to_string()]).with_context(|| format!("round {round}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_target_survives_any_end_of_leaktrace() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut leaker = Leaker::start("steady.c")?;
        let tracer = Tracer::attach(leaker.pid())?;
        leaker.say("go")?;
        leaker.wait_for_progress()?;
        tracer.signal(signal)?;
        let ended = tracer.wait()?;
        if signal == Signal::KILL {
            ensure!(!ended.status.success(), "SIGKILL was ignored");
        } else {
            let report = ended.report()?;
            ensure!(report.state == "detached", "state is {:?} after {signal:?}", report.state);
            report.check_arithmetic()?;
        }
        leaker.wait_for_progress().with_context(|| format!("after {signal:?}"))?;
        leaker.say("stop")?;
        leaker.ledger()?;
        leaker.finish()?;
    }
    Ok(())
}
