//! Programs that become others, by every way there is: to the byte from the moment on from which leaktrace says that the
//! probes are there.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    folder::Folder,
    leaker::{Leaker, compile},
    ledger::{
        Ledger,
        Match::Innermost,
        Scope::{Everything, ListedSites},
    },
    report::Report,
    tracer::Tracer,
};

/// `stages.c` with these ways, at its first stage.
struct Stages {
    leaker: Leaker,
    tracer: Tracer,
    ways: Vec<String>,
    follows: bool,
}

impl Stages {
    fn start(command: &mut Command, ways: &[&str], options: &[&str]) -> Result<Self> {
        let leaker = Leaker::start_program(command.args(ways))?;
        let tracer = Tracer::attach_with(leaker.pid(), &[&["-v", "--duration", "600s"], options].concat())?;
        let follows = options.contains(&"--follow-forks");
        Ok(Self { leaker, tracer, ways: ways.iter().map(|&way| way.to_owned()).collect(), follows })
    }

    /// Lets each stage work once it is known to be traced, if it is to be. Returns the ledger, and who each stage was.
    fn run(&mut self) -> Result<(Ledger, Vec<u32>)> {
        let mut pids = vec![self.leaker.pid()];
        self.leaker.say("go")?;
        for stage in 1..=self.ways.len() {
            let line = self.leaker.answer()?;
            let pid = line.strip_prefix(&format!("stage {stage} ")).with_context(|| format!("{line:?}"))?.parse()?;
            if self.follows || pid == self.leaker.pid() {
                self.tracer.wait_for_line(&format!("process {pid} runs "))?;
                self.tracer.wait_for_line(&format!("process {pid} has its probes"))?;
            }
            pids.push(pid);
            self.leaker.say("go")?;
        }
        Ok((self.leaker.ledger()?, pids))
    }

    fn finish(self) -> Result<Report> {
        let report = self.tracer.stop()?;
        self.leaker.finish()?;
        Ok(report)
    }
}

fn stages() -> Result<Command> {
    Ok(Command::new(compile("stages.c")?))
}

#[test]
fn children_that_exec_are_followed_however_they_come() -> Result<()> {
    for way in ["spawn", "vfork", "fork"] {
        let mut stages = Stages::start(&mut stages()?, &[way], &["--follow-forks"])?;
        let (ledger, pids) = stages.run()?;
        let report = stages.finish()?;
        ledger.check(&report, Innermost, Everything).context(way)?;
        let child = report.process(pids[1])?;
        ensure!(report.processes.len() == 2 && child.parent == Some(pids[0]), "{way}: {:?}", report.processes);
        ensure!(child.counters.inuse_objects == 103 - 35, "{way}: {child:?}");
    }
    Ok(())
}

#[test]
fn children_that_exec_are_others_unless_they_are_followed() -> Result<()> {
    for way in ["spawn", "vfork", "fork"] {
        let mut stages = Stages::start(&mut stages()?, &[way], &[])?;
        let (mut ledger, _) = stages.run()?;
        let report = stages.finish()?;
        ledger.entries.retain(|entry| entry.site == "stage_0");
        ledger.check(&report, Innermost, Everything).context(way)?;
        ensure!(report.processes.len() == 1, "{way}: {:?}", report.processes);
    }
    Ok(())
}

#[test]
fn a_chain_of_forks_and_execs() -> Result<()> {
    let ways = ["fork", "exec", "spawn", "exec", "vfork", "exec"];
    let mut stages = Stages::start(&mut stages()?, &ways, &["--follow-forks"])?;
    let (ledger, pids) = stages.run()?;
    let report = stages.finish()?;
    ledger.check(&report, Innermost, Everything)?;
    // Each has its parent, and those that exec stay who they are.
    ensure!(report.processes.len() == 4, "{:?}", report.processes);
    for (parent, child) in [(0, 1), (2, 3), (4, 5)] {
        ensure!(pids[child] == pids[child + 1], "{pids:?}");
        ensure!(report.process(pids[child])?.parent == Some(pids[parent]), "{pids:?}: {:?}", report.processes);
    }
    Ok(())
}

/// The links of probes belong to the main thread, which is gone then: they are made anew.
#[test]
fn an_exec_from_another_thread() -> Result<()> {
    for mode in ["uprobe-multi", "perf-event-old"] {
        let mut stages = Stages::start(&mut stages()?, &["thread", "thread", "exec"], &["--attach", mode])?;
        let (ledger, _) = stages.run()?;
        let report = stages.finish()?;
        // A thread takes memory as well.
        ledger.check(&report, Innermost, ListedSites).context(mode)?;
        ensure!(report.state == "detached", "state is {:?}", report.state);
        let process = &report.processes[0];
        ensure!(process.unseen_s > 0.0, "the time without probes is not told: {process:?}");
    }
    Ok(())
}

#[test]
fn children_that_exec_from_another_thread() -> Result<()> {
    let mut stages = Stages::start(&mut stages()?, &["fork", "thread", "spawn"], &["--follow-forks"])?;
    let (ledger, _) = stages.run()?;
    ledger.check(&stages.finish()?, Innermost, ListedSites)
}

/// A program of root's that a user's runs: the kernel gives it other rights, and hides it from the user.
#[test]
fn programs_that_become_root_s() -> Result<()> {
    let folder = Folder::new("setuid")?;
    let program = folder.install(&compile("stages.c")?, "plain", 0o755)?;
    let privileged = folder.install(&program, "privileged", 0o4755)?;
    let becoming = |way: &str| format!("{way}={}", privileged.display());
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        command
    };
    // And on from there, by itself and by another thread.
    let ways = [&*becoming("exec"), "exec", "thread"];
    let mut stages = Stages::start(&mut as_nobody(), &ways, &[])?;
    ensure!(user_of(stages.leaker.pid())? == 65534, "it is not a user's to begin with");
    let (ledger, pids) = stages.run()?;
    ensure!(user_of(pids[0])? == 0, "it did not become root's");
    let report = stages.finish()?;
    ledger.check(&report, Innermost, ListedSites)?;
    ensure!(report.state == "detached" && report.target.exe.ends_with("/privileged"), "{:?}", report.target);

    let ways = [&*becoming("spawn"), &*becoming("exec")];
    let mut stages = Stages::start(&mut as_nobody(), &ways, &["--follow-forks"])?;
    let (ledger, pids) = stages.run()?;
    ensure!((user_of(pids[0])?, user_of(pids[1])?) == (65534, 0), "the child did not become root's");
    ledger.check(&stages.finish()?, Innermost, Everything)
}

/// The user whose rights a process has.
fn user_of(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("no Uid")?;
    Ok(line.split_whitespace().nth(1).context("no effective user")?.parse()?)
}
