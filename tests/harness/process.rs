//! A child process that cannot outlive its test, and whose output is read line by line with a deadline.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::{DEADLINE, wait_for};

/// A child that is killed and reaped when dropped, and that the kernel kills when the test process dies.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    name: String,
}

impl Guarded {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        // SAFETY: the closure makes one system call and touches no memory shared with the parent.
        unsafe {
            command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into));
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}: is it installed?"))?;
        Ok(Self { child, name })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal. The process is not reaped before `wait`, so the id cannot belong to another.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("pid out of range")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Whether it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of {} (pid {})", self.name, self.pid());
        wait_for(&what, || self.try_wait())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only when the child is gone and reaped, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of a process.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(list.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// Makes `command` load everything at the same addresses in every run.
pub fn without_randomized_addresses(command: &mut Command) {
    // SAFETY: the closure makes one system call and touches no memory shared with the parent.
    unsafe {
        command.pre_exec(|| match libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// The lines of a pipe, read by a thread of their own so that waiting for one can end.
#[derive(Debug)]
pub struct Lines {
    receiver: Receiver<String>,
    /// All lines received so far.
    pub seen: Vec<String>,
    /// How long to wait for a line.
    pub deadline: Duration,
}

impl Lines {
    /// Reads `pipe` until its end.
    pub fn read(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Self { receiver, seen: Vec::new(), deadline: DEADLINE }
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self, what: &str) -> Result<Option<String>> {
        match self.receiver.recv_timeout(self.deadline) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("waited {:?} in vain for {what}", self.deadline),
        }
    }

    /// Reads on to the first line that `wanted` accepts; `None` when the pipe ends before.
    pub fn find(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<Option<String>> {
        let end = Instant::now() + DEADLINE;
        while let Some(line) = self.next_line(what)? {
            if wanted(&line) {
                return Ok(Some(line));
            }
            if Instant::now() > end {
                bail!("waited {DEADLINE:?} in vain for {what}");
            }
        }
        Ok(None)
    }

    /// Reads to the end of the pipe and returns all of it.
    pub fn rest(&mut self) -> Result<String> {
        while self.next_line("the end of the output")?.is_some() {}
        Ok(self.seen.join("\n"))
    }
}

/// Runs a tool that makes something for a test, to its end, which must be good.
pub fn run_tool(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
