//! Programs that leaktrace starts itself.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    report::Report,
    tracer::{binary, report_path},
};

/// What came of a program and of leaktrace.
#[derive(Debug)]
pub struct Launched {
    /// What leaktrace ended with.
    pub status: ExitStatus,
    /// What the program wrote.
    pub stdout: String,
    /// What both wrote to standard error.
    pub stderr: String,
    report: PathBuf,
}

impl Launched {
    /// The report.
    pub fn report(&self) -> Result<Report> {
        let text = fs::read_to_string(&self.report).with_context(|| format!("no report; stderr:\n{}", self.stderr))?;
        Report::parse(&text).with_context(|| format!("not the JSON that was promised:\n{text}"))
    }

    /// The report as it is.
    pub fn json(&self) -> Result<serde_json::Value> {
        let text = fs::read_to_string(&self.report).with_context(|| format!("no report; stderr:\n{}", self.stderr))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Runs `leaktrace OPTIONS -- COMMAND` to its end, with `input` on standard input.
pub fn launch(options: &[&str], command: &[&OsStr], input: &str) -> Result<Launched> {
    let report = report_path()?;
    let mut child = Command::new(binary()?)
        .args(["--format", "json", "-o"])
        .arg(&report)
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start leaktrace")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    // A program that reads nothing has closed its end.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Launched { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr), report })
}
