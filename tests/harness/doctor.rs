//! What `leaktrace doctor` says, as a consumer of its JSON would read it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::tracer::binary;

/// All of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Doctor {
    /// `leaktrace-doctor/1`.
    pub schema: String,
    /// What works on this kernel.
    pub kernel: Kernel,
    /// What would be probed.
    pub process: Option<Process>,
}

/// What works on this kernel.
#[derive(Clone, Debug, Deserialize)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// What was tried.
    pub checks: Vec<Check>,
}

/// One thing that was tried.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// `works`, `missing` or `fails`.
    pub state: String,
    /// What that means.
    pub meaning: String,
}

/// What would be probed in a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// How many probes.
    pub probes: usize,
    /// Why none.
    pub problem: Option<String>,
    /// Its files.
    pub modules: Vec<Module>,
}

/// A file that is mapped.
#[derive(Clone, Debug, Deserialize)]
pub struct Module {
    /// Its path.
    pub path: String,
    /// Where its symbols were found.
    pub symbols: Vec<String>,
    /// Its allocators.
    pub allocators: Vec<Allocator>,
    /// Their functions.
    pub functions: Vec<Function>,
}

/// An allocator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Allocator {
    /// Its kind.
    pub family: String,
    /// What stands before its functions' names.
    pub prefix: String,
}

/// A function.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// Its symbol.
    pub symbol: String,
    /// `probed`, `alias`, `forwards` or `not_probed`.
    pub outcome: String,
    /// Bytes from its start.
    pub offset: Option<u64>,
    /// The instruction there.
    pub instruction: Option<String>,
    /// How its result is learned: `return` or `exits`.
    pub result: Option<String>,
    /// Whether these are all its exits.
    pub exits_complete: Option<bool>,
    /// The function that serves for it.
    pub by: Option<String>,
    /// Why it is not probed.
    pub reason: Option<String>,
}

impl Process {
    /// Kinds and prefixes of all its allocators, in order.
    pub fn allocators(&self) -> Vec<(&str, &str)> {
        let all = self.modules.iter().flat_map(|module| &module.allocators);
        let mut found: Vec<_> = all.map(|Allocator { family, prefix }| (family.as_str(), prefix.as_str())).collect();
        found.sort_unstable();
        found
    }

    /// A function of the allocator of that kind.
    pub fn function(&self, family: &str, symbol: &str) -> Result<&Function> {
        let mut modules = self.modules.iter().filter(|module| module.allocators.iter().any(|a| a.family == family));
        let found = modules.find_map(|module| module.functions.iter().find(|function| function.symbol == symbol));
        found.with_context(|| format!("no {symbol} of {family} in {:#?}", self.modules))
    }
}

/// Runs it on a process, and checks that its exit code says what its words say.
pub fn examine(pid: u32, options: &[&str]) -> Result<Doctor> {
    let mut command = Command::new(binary()?);
    command.args(["doctor", "--format", "json", "-p", &pid.to_string()]).args(options);
    let output = command.stdin(Stdio::null()).output().context("leaktrace doctor")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let doctor: Doctor =
        serde_json::from_slice(&output.stdout).with_context(|| format!("not the JSON that was promised; {stderr}"))?;
    ensure!(doctor.schema == "leaktrace-doctor/1", "schema is {:?}", doctor.schema);
    let fails = doctor.kernel.checks.iter().any(|check| check.state == "fails");
    let problem = doctor.process.as_ref().is_none_or(|process| process.problem.is_some());
    let expected = if fails || problem { 3 } else { 0 };
    ensure!(output.status.code() == Some(expected), "{} instead of {expected}: {stderr}\n{doctor:#?}", output.status);
    Ok(doctor)
}
