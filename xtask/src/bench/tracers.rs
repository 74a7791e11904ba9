//! Tracers that are attached to a running process: started, waited for until their probes are on, and ended as a user would.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::{
    process::{Guarded, Lines},
    wait_for,
};
use rustix::process::Signal;

use crate::shell;

/// Between two times that Ctrl-C is repeated: more than a wait for events lasts.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A tracer whose probes are on.
#[derive(Debug)]
pub(super) struct Tracer {
    process: Guarded,
    /// Where it said that it is ready.
    output: Lines,
    /// Read to the end too: nobody else does, and a closed pipe would kill it.
    _errors: Option<Lines>,
    ends: Ends,
}

/// How a tracer takes Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// It ends with a status of its own.
    Itself,
    /// It does what it has to, and then lets the signal kill it.
    BySignal,
    /// As the first, but it misses a signal that comes while it is not waiting for events, as bpftrace 0.17 does.
    Asked,
}

/// How a tracer began.
#[derive(Debug)]
pub(super) enum Started {
    Tracing(Tracer),
    /// It does not know one of its arguments.
    Refused,
}

/// Starts leaktrace and waits until it traces.
pub(super) fn start_leaktrace(command: &mut Command) -> Result<Started> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Guarded::spawn(command)?;
    let stderr = process.child().stderr.take().context("leaktrace has no stderr")?;
    let mut output = Lines::read(stderr);
    if output.find("leaktrace to trace", |line| line.starts_with("leaktrace: tracing "))?.is_some() {
        return Ok(Started::Tracing(Tracer { process, output, _errors: None, ends: Ends::Itself }));
    }
    let status = process.wait()?;
    if status.code() == Some(2) {
        return Ok(Started::Refused);
    }
    bail!("`{}` failed ({status}):\n{}", shell::render(command), output.rest()?);
}

/// Starts bpftrace and waits until its probes are on.
pub(super) fn start_bpftrace(command: &mut Command) -> Result<Tracer> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Guarded::spawn(command)?;
    let stdout = process.child().stdout.take().context("bpftrace has no stdout")?;
    let mut errors = Lines::read(process.child().stderr.take().context("bpftrace has no stderr")?);
    let mut output = Lines::read(stdout);
    if output.find("bpftrace to trace", |line| line == "ready")?.is_none() {
        bail!("`{}` failed ({}):\n{}", shell::render(command), process.wait()?, errors.rest()?);
    }
    Ok(Tracer { process, output, _errors: Some(errors), ends: Ends::Asked })
}

impl Tracer {
    /// A tracer that does what it has to at Ctrl-C, and then lets the signal kill it.
    pub(super) fn ended_by_its_signal(process: Guarded, output: Lines) -> Self {
        Self { process, output, _errors: None, ends: Ends::BySignal }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it without a last word, where nobody wants that: bpftrace takes minutes to print a full map.
    pub(super) fn kill(self) {}

    /// Ends it as Ctrl-C does and waits until its probes are gone; returns what else it printed.
    pub(super) fn stop(mut self) -> Result<String> {
        self.process.signal(Signal::INT)?;
        if self.ends == Ends::Asked {
            self.ask_again()?;
        }
        let status = self.process.wait()?;
        let printed = self.output.rest()?;
        let is_killed = self.ends == Ends::BySignal && status.signal() == Some(Signal::INT.as_raw());
        ensure!(status.success() || is_killed, "a tracer failed ({status}):\n{printed}");
        Ok(printed)
    }

    /// Repeats Ctrl-C until it has been heard. bpftrace handles the signal until then, and would be killed by one more.
    fn ask_again(&mut self) -> Result<()> {
        let path = format!("/proc/{}/status", self.pid());
        wait_for("bpftrace to hear Ctrl-C", || {
            thread::sleep(ASK_AGAIN);
            if self.process.try_wait()?.is_some() {
                return Ok(Some(()));
            }
            let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            if !handles_interrupts(&status) {
                return Ok(Some(()));
            }
            self.process.signal(Signal::INT)?;
            Ok(None)
        })
    }
}

/// Whether a process has a handler for SIGINT, by its /proc/PID/status.
fn handles_interrupts(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & (1 << (Signal::INT.as_raw() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_interrupts_is_the_second_bit() {
        assert!(handles_interrupts("SigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n"));
        assert!(!handles_interrupts("SigCgt:\t0000000000004001\n"));
        assert!(!handles_interrupts(""));
    }
}
