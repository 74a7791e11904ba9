//! The programs of the comparison that are ours: in C, Python and Node, with one protocol, which `work.c` describes.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::process::{Guarded, Lines};

use super::{Timing, Workload};
use crate::{
    bench::programs::{Bench, FRAME_POINTERS},
    shell,
};

/// Debian's, which is not what a version manager may have put before it in the path: such a script would be measured too.
const PYTHON: &str = "/usr/bin/python3";
const NODE: &str = "/usr/bin/node";
const THREADS: u32 = 8;

/// The compiled programs.
#[derive(Debug)]
pub(in crate::bench) struct Programs {
    work: PathBuf,
    planted: PathBuf,
    sources: PathBuf,
}

impl Programs {
    pub(in crate::bench) fn compile(bench: &Bench) -> Result<Self> {
        let (work, planted) = (bench.folder.join("work"), bench.folder.join("planted.so"));
        let source = |name: &str| bench.sources.join(name);
        let gcc = |output: &Path, arguments: &[&str], files: &[PathBuf]| {
            // No allocation that the compiler knows better than to make.
            let mut gcc = Command::new("gcc");
            gcc.args(FRAME_POINTERS).arg("-fno-builtin").args(arguments).arg("-o").arg(output).args(files);
            shell::run(&mut gcc)
        };
        gcc(&work, &["-pthread"], &[source("work.c"), source("planted.c")])?;
        gcc(&planted, &["-shared", "-fPIC"], &[source("planted.c")])?;
        Ok(Self { work, planted, sources: bench.sources.clone() })
    }

    pub(super) fn program(&self, workload: Workload) -> PathBuf {
        match workload {
            Workload::Python => PYTHON.into(),
            Workload::Node => NODE.into(),
            _ => self.work.clone(),
        }
    }

    pub(super) fn words(&self, workload: Workload) -> Vec<OsString> {
        let script = |file: &str| vec![self.sources.join(file).into(), self.planted.clone().into()];
        let arguments: Vec<OsString> = match workload {
            Workload::Python => script("work.py"),
            Workload::Node => script("work.js"),
            Workload::Mixed => vec!["mixed".into()],
            Workload::Deep => vec!["deep".into()],
            Workload::Threads => vec!["threads".into(), THREADS.to_string().into()],
            Workload::Pair | Workload::Redis => vec!["pair".into()],
        };
        [self.program(workload).into()].into_iter().chain(arguments).collect()
    }
}

/// The C program with so many threads, on all CPUs.
pub(in crate::bench) fn start_threads(bench: &Bench, programs: &Programs, threads: u32) -> Result<Own> {
    let mut command = Command::new(&programs.work);
    command.args(["threads", &threads.to_string()]);
    bench.on_all_cpus(|| Own::start(&mut command))
}

/// One of them, running.
#[derive(Debug)]
pub(in crate::bench) struct Own {
    process: Guarded,
    lines: Lines,
}

impl Own {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut process = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut lines = Lines::read(process.child().stdout.take().context("no stdout")?);
        if lines.find("the program to be ready", |line| line == "ready")?.is_none() {
            bail!("it ended before it was ready: {}", process.wait()?);
        }
        Ok(Self { process, lines })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(in crate::bench) fn work(&mut self, timing: Timing) -> Result<f64> {
        let Timing { warm_up, window } = timing;
        let stdin = self.process.child().stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{} {}", warm_up.as_secs_f64(), window.as_secs_f64()).context("it hears nothing")?;
        // A tool may print between the lines of the program.
        let line = self.lines.find("the program to be done", |line| rate(line).is_some())?;
        let Some(line) = line else { bail!("it ended at work: {}", self.process.wait()?) };
        rate(&line).context("no rate")
    }

    pub(super) fn finish(mut self) -> Result<()> {
        drop(self.process.child().stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "it failed: {status}");
        Ok(())
    }
}

/// Operations per second, from `OPERATIONS NANOSECONDS`.
fn rate(line: &str) -> Option<f64> {
    let (operations, nanoseconds) = line.split_once(' ')?;
    let (operations, nanoseconds) = (operations.parse::<u64>().ok()?, nanoseconds.parse::<u64>().ok()?);
    (operations > 0 && nanoseconds > 0).then(|| operations as f64 / nanoseconds as f64 * 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_two_numbers() {
        assert_eq!(rate("3000 1500000000"), Some(2000.0));
        for bad in ["", "ready", "1", "0 5", "5 0", "1 2 3", "Starting tracking the heap"] {
            assert_eq!(rate(bad), None, "{bad}");
        }
    }
}
