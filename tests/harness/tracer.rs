//! leaktrace itself, run as its users run it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::{
    descriptors::FdReport,
    leaker::Leaker,
    ledger::{Ledger, Match, Scope},
    process::{Guarded, Lines},
    report::Report,
    schema, target_dir, work_dir,
};

/// How a run of leaktrace ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it wrote to stderr.
    pub stderr: String,
    /// Whether it said that it traces.
    pub traced: bool,
    report: PathBuf,
}

impl Ended {
    /// The report it wrote. It must have ended well.
    pub fn report(&self) -> Result<Report> {
        let text = self.text()?;
        schema::check(&text)?;
        Report::parse(&text).with_context(|| format!("not the JSON that was promised:\n{text}"))
    }

    /// The same, for what it says of descriptors.
    pub fn descriptors(&self) -> Result<FdReport> {
        let text = self.text()?;
        serde_json::from_str(&text).with_context(|| format!("not the JSON that was promised:\n{text}"))
    }

    /// What it wrote, whatever that is. It must have ended well.
    pub fn written(&self) -> Result<Vec<u8>> {
        ensure!(self.status.success(), "leaktrace failed: {}\n{}", self.status, self.stderr);
        fs::read(&self.report).with_context(|| format!("no report; stderr:\n{}", self.stderr))
    }

    /// The same, as it is.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.text()?)?)
    }

    /// The report as it was written.
    pub fn text(&self) -> Result<String> {
        ensure!(self.status.success(), "leaktrace failed: {}\n{}", self.status, self.stderr);
        fs::read_to_string(&self.report).with_context(|| format!("no report; stderr:\n{}", self.stderr))
    }

    /// Checks that it refused, with this exit code and an error that holds all of `words`, in any case.
    pub fn expect_refusal(&self, code: i32, words: &[&str]) -> Result<()> {
        ensure!(self.status.code() == Some(code), "{} instead of code {code}; stderr:\n{}", self.status, self.stderr);
        ensure!(!self.stderr.contains("panicked"), "it panicked:\n{}", self.stderr);
        ensure!(!self.traced, "it had started to trace:\n{}", self.stderr);
        let message = self.stderr.to_lowercase();
        for word in words {
            ensure!(message.contains(&word.to_lowercase()), "the message does not name {word:?}:\n{}", self.stderr);
        }
        Ok(())
    }

    /// [`Self::expect_refusal`] with code 3 and the one line of an error on stderr.
    pub fn expect_cannot_trace(&self, words: &[&str]) -> Result<()> {
        self.expect_refusal(3, words)?;
        let errors = self.stderr.lines().filter(|line| line.starts_with("leaktrace: error:")).count();
        ensure!(errors == 1, "{errors} error lines instead of one:\n{}", self.stderr);
        Ok(())
    }
}

/// A running leaktrace.
#[derive(Debug)]
pub struct Tracer {
    process: Guarded,
    stderr: Lines,
    report: PathBuf,
    traced: bool,
}

impl Tracer {
    /// Starts it on `pid` and waits until all probes are on.
    pub fn attach(pid: u32) -> Result<Self> {
        Self::attach_with(pid, &["--duration", "600s"])
    }

    /// The same with other options than a duration that never ends.
    pub fn attach_with(pid: u32, options: &[&str]) -> Result<Self> {
        Self::attach_command(&mut Command::new(binary()?), pid, options)
    }

    /// The same by a command that runs leaktrace with the arguments that follow.
    pub fn attach_command(command: &mut Command, pid: u32, options: &[&str]) -> Result<Self> {
        require_root()?;
        let mut tracer = Self::start_command(command, pid, options)?;
        let ready = format!("leaktrace: tracing {pid}");
        let is_ready = |line: &str| line.strip_prefix(&ready).is_some_and(|rest| !rest.starts_with(char::is_numeric));
        if tracer.stderr.find("leaktrace to trace", is_ready)?.is_none() {
            let status = tracer.process.wait()?;
            bail!("leaktrace ended before it traced: {status}\n{}", tracer.stderr.rest()?);
        }
        tracer.traced = true;
        Ok(tracer)
    }

    /// Starts it and waits for nothing.
    pub fn start(pid: u32, options: &[&str]) -> Result<Self> {
        Self::start_command(&mut Command::new(binary()?), pid, options)
    }

    fn start_command(command: &mut Command, pid: u32, options: &[&str]) -> Result<Self> {
        let report = report_path()?;
        if !options.contains(&"--format") {
            command.args(["--format", "json"]);
        }
        if !options.contains(&"--interval") {
            command.args(["--interval", "1s"]);
        }
        command.args(["-p", &pid.to_string(), "-o"]).arg(&report).args(options);
        Self::spawn(command, report)
    }

    fn spawn(command: &mut Command, report: PathBuf) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(command)?;
        let stderr = process.child().stderr.take().context("no stderr")?;
        Ok(Self { process, stderr: Lines::read(stderr), report, traced: false })
    }

    /// Waits for a line of its standard error that holds these words.
    pub fn wait_for_line(&mut self, words: &str) -> Result<String> {
        let found = self.stderr.find(words, |line| line.contains(words));
        match found.with_context(|| self.stderr.seen.join("\n"))? {
            Some(line) => Ok(line),
            None => bail!("leaktrace ended without saying {words:?}:\n{}", self.stderr.seen.join("\n")),
        }
    }

    /// What follows these words in what it has said until now.
    pub fn said(&self, words: &str) -> Option<&str> {
        self.stderr.seen.iter().find_map(|line| line.split_once(words)).map(|(_, rest)| rest)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Ended> {
        let status = self.process.wait()?;
        let stderr = self.stderr.rest()?;
        let traced = self.traced || self.stderr.seen.iter().any(|line| line.starts_with("leaktrace: tracing "));
        ensure!(!stderr.contains("panicked at"), "leaktrace panicked:\n{stderr}");
        Ok(Ended { status, stderr, traced, report: self.report.clone() })
    }

    /// Waits for its end, which may be a panic.
    pub fn wait_for_any_end(mut self) -> Result<ExitStatus> {
        self.process.wait()
    }

    /// Ends it as Ctrl-C does, and waits for its end.
    pub fn interrupt(self) -> Result<Ended> {
        self.signal(Signal::INT)?;
        self.wait()
    }

    /// [`Self::interrupt`], and its report.
    pub fn stop(self) -> Result<Report> {
        self.interrupt()?.report()
    }

    /// The same, for what it says of descriptors.
    pub fn stop_for_descriptors(self) -> Result<FdReport> {
        self.interrupt()?.descriptors()
    }
}

/// Runs leaktrace with exactly these arguments, to its end.
pub fn run(arguments: &[&str]) -> Result<Ended> {
    run_command(Command::new(binary()?).args(arguments))
}

/// Runs a command that runs leaktrace, to its end.
pub fn run_command(command: &mut Command) -> Result<Ended> {
    Tracer::spawn(command, PathBuf::new())?.wait()
}

/// Traces all that a leaker does between its release and `done`; returns what it says and what leaktrace says.
pub fn trace(leaker: Leaker) -> Result<(Ledger, Report)> {
    trace_with(leaker, &[])
}

/// [`trace`] with further options.
pub fn trace_with(mut leaker: Leaker, options: &[&str]) -> Result<(Ledger, Report)> {
    let tracer = Tracer::attach_with(leaker.pid(), &[&["--duration", "600s"], options].concat())?;
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    ensure!(report.state == "detached", "state is {:?}", report.state);
    leaker.finish()?;
    Ok((ledger, report))
}

/// [`trace`] for the leaker of that file name, and the comparison.
pub fn trace_and_check(file: &str, matching: Match, scope: Scope) -> Result<Report> {
    let (ledger, report) = trace(Leaker::start(file)?)?;
    ledger.check(&report, matching, scope)?;
    Ok(report)
}

/// The program under test.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("LEAKTRACE_BIN") {
        Some(path) => PathBuf::from(path),
        None => target_dir().join("debug/leaktrace"),
    };
    ensure!(
        path.is_file(),
        "there is no leaktrace at {}: build it with `cargo build -p leaktrace`, or name it in LEAKTRACE_BIN",
        path.display()
    );
    Ok(path)
}

/// A path for a report, used by nobody else.
pub fn report_path() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = work_dir()?.join(format!("report-{}-{number}.json", std::process::id()));
    // One left by an earlier process of the same id would be taken for ours.
    remove_if_there(&path)?;
    Ok(path)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tracing needs privileges; without them every test would fail in a way that looks like a bug.
fn require_root() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test loads BPF programs: run the suite as root");
    Ok(())
}
