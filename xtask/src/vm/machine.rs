//! One run of qemu: the console is read line by line, and whatever does not end as it should is a failure with the log.

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// The longest that a machine may run; it takes a fraction of it. One whose kernel stands still ends before.
const LIMIT: Duration = Duration::from_secs(1200);
/// Lines of a log that are shown.
const SHOWN: usize = 400;
/// How qemu emulates processors. All on one thread: with one each, qemu 7.2 may keep the translation of code that another
/// processor is just changing. When the kernel changes its own code (tracepoints that come and go), a processor then runs into
/// a breakpoint that is no longer there, once, which is an oops, or for ever, which is a lockup.
const ACCELERATOR: &str = "tcg,thread=single";

/// What the suite printed.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Vec<String>,
}

impl Log {
    /// What follows `prefix` in the first line that has it.
    pub(crate) fn after(&self, prefix: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(prefix))
    }

    /// Lines that begin with `prefix`.
    pub(crate) fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(String::as_str).filter(move |line| line.starts_with(prefix))
    }

    /// An error that shows the log's end.
    pub(crate) fn failure(&self, what: &str, file: &Path) -> anyhow::Error {
        let end = &self.lines[self.lines.len().saturating_sub(SHOWN)..];
        anyhow::anyhow!("{what}; its console ({}):\n{}", file.display(), end.join("\n"))
    }
}

/// Boots a kernel and waits for its end. The console goes to `log`, too.
pub(crate) fn run(image: &Path, archive: &Path, log: &Path) -> Result<Log> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    // Not where KVM is in a virtual machine itself: it is there, and hangs.
    let accelerator = env::var("LEAKTRACE_VM_ACCEL").unwrap_or_else(|_| ACCELERATOR.to_owned());
    command.args(["-accel", &accelerator, "-smp", "2", "-m", "2048", "-kernel"]).arg(image);
    command.arg("-initrd").arg(archive).arg("-append");
    // A kernel that breaks down or stands still ends the machine, and so the log, before the suite has its say.
    command.arg(
        "console=ttyS0 quiet panic=-1 oops=panic watchdog_thresh=30 softlockup_panic=1 softlockup_all_cpu_backtrace=1 \
         mitigations=off nokaslr",
    );
    let line = shell::render(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut qemu = Guarded(command.spawn().with_context(|| format!("cannot start `{line}`"))?);
    let stdout = qemu.0.stdout.take().context("no stdout")?;
    let stderr = qemu.0.stderr.take().context("no stderr")?;
    let (sender, receiver) = channel();
    let warnings = sender.clone();
    thread::spawn(move || send_lines(stdout, &sender));
    thread::spawn(move || send_lines(stderr, &warnings));

    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut lines = Log { lines: Vec::new() };
    let end = Instant::now() + LIMIT;
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
                lines.lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err(lines.failure(&format!("no end after {LIMIT:?}"), log)),
        }
    }
    let status = qemu.0.wait().context("cannot wait for qemu")?;
    if !status.success() {
        return Err(lines.failure(&format!("`{line}` failed ({status})"), log));
    }
    Ok(lines)
}

/// Sends what comes over a pipe, in lines without control characters.
fn send_lines(pipe: impl std::io::Read, sender: &std::sync::mpsc::Sender<String>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).replace(|character: char| character.is_control(), "");
        line.clear();
        if sender.send(text).is_err() {
            return;
        }
    }
}

/// A machine that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fails unless this processor is one that the kernels are for.
pub(crate) fn require_x86_64() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the kernels of the matrix are for x86-64, and the suite's programs are copied from this machine");
    }
    Ok(())
}
