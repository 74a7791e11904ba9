//! What `leaktrace doctor` found, as text for people and as JSON (schema "leaktrace-doctor/1").

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::Arc,
};

use serde::Serialize;

use super::untrusted::displayable;
use crate::{
    aggregate::TargetInfo,
    bpf::{Check, Checkup},
    probe::{Cost, Findings, FunctionFinding, Outcome, ResultBy, Runtime},
};

/// All that was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What works on this kernel.
    pub kernel: Checkup,
    /// What was found in a process, if one was asked about.
    pub process: Option<Process>,
}

/// What was found in a process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its names.
    pub target: TargetInfo,
    /// What was found in each of its modules, by path.
    pub findings: Vec<(Arc<str>, Findings)>,
    /// How many probes would be attached.
    pub probes: usize,
    /// The throwing of exceptions is probed too.
    pub throws: bool,
    /// Why nothing would be probed.
    pub problem: Option<String>,
}

/// For people.
///
/// # Errors
/// Those of the writer.
pub fn write_text(examined: &Examined, out: &mut dyn Write) -> io::Result<()> {
    let Examined { kernel, process } = examined;
    writeln!(out, "kernel {}", displayable(&kernel.release))?;
    for Check { name, state, meaning } in &kernel.checks {
        writeln!(out, "  {:8}{name}: {}", state.name(), displayable(meaning))?;
    }
    let Some(Process { target, findings, probes, throws, problem }) = process else { return Ok(()) };
    writeln!(out, "process {} ({})", target.pid.0, displayable(&target.comm))?;
    for (path, found) in findings.iter().filter(|(_, found)| !found.allocators.is_empty()) {
        let Findings { allocators, functions, symbols, is_static, runtime: _ } = found;
        let names: Vec<String> =
            allocators.iter().map(|(family, prefix)| family_and_prefix(family.name(), prefix)).collect();
        let kind = if *is_static { ", static" } else { "" };
        writeln!(out, "  {}: {}{kind}; symbols from {}", displayable(path), names.join(" and "), symbols.join(", "))?;
        let width = functions.iter().map(|function| function.symbol.len()).max().unwrap_or(0);
        for FunctionFinding { symbol, outcome } in functions {
            writeln!(out, "    {symbol:width$}  {}", describe(outcome))?;
        }
    }
    if *throws {
        writeln!(out, "  __cxa_throw is probed: an exception ends a call of operator new")?;
    }
    let others = findings.iter().filter(|(_, found)| found.allocators.is_empty()).count();
    writeln!(out, "  {probes} probes; {others} other files are mapped, without an allocator that is known")?;
    for runtime in runtimes(findings) {
        writeln!(out, "  note: {}", runtime.note())?;
    }
    if let Some(problem) = problem {
        writeln!(out, "  {}", displayable(problem))?;
    }
    Ok(())
}

fn runtimes(findings: &[(Arc<str>, Findings)]) -> BTreeSet<Runtime> {
    findings.iter().filter_map(|(_, found)| found.runtime).collect()
}

fn family_and_prefix(family: &str, prefix: &str) -> String {
    if prefix.is_empty() { family.to_owned() } else { format!("{family} ({prefix}…)") }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Probed { offset, instruction, cost, result } => {
            let why = match (cost, offset) {
                (Cost::Emulated, _) => "emulated by the kernel: cheap",
                (Cost::SingleStepped, _) => "single-stepped: no cheap instruction before its arguments are gone",
            };
            let result = match result {
                ResultBy::Nothing => String::new(),
                ResultBy::Return => "; return probe".to_owned(),
                ResultBy::Exits { count, complete: true } => format!("; may throw: probes on its {count} exits"),
                ResultBy::Exits { count, complete: false } => {
                    format!("; may throw: probes on {count} exits, and a call that ends elsewhere is counted as loss")
                }
            };
            format!("probed at +{offset:#x} ({instruction}, {why}){result}")
        }
        Outcome::Alias(other) => format!("is {other}"),
        Outcome::Forwards(other) => format!("jumps to {other}"),
        Outcome::Not(why) => format!("not probed: {why}"),
    }
}

/// For programs.
///
/// # Errors
/// Those of the writer.
pub fn write_json(examined: &Examined, out: &mut dyn Write) -> io::Result<()> {
    let Examined { kernel, process } = examined;
    let json = JsonDoctor {
        schema: "leaktrace-doctor/1",
        kernel: JsonKernel {
            release: &kernel.release,
            checks: kernel
                .checks
                .iter()
                .map(|Check { name, state, meaning }| JsonCheck { name, state: state.name(), meaning })
                .collect(),
        },
        process: process.as_ref().map(JsonProcess::from),
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}

#[derive(Serialize)]
struct JsonDoctor<'a> {
    schema: &'static str,
    kernel: JsonKernel<'a>,
    process: Option<JsonProcess<'a>>,
}

#[derive(Serialize)]
struct JsonKernel<'a> {
    release: &'a str,
    checks: Vec<JsonCheck<'a>>,
}

#[derive(Serialize)]
struct JsonCheck<'a> {
    name: &'a str,
    state: &'static str,
    meaning: &'a str,
}

#[derive(Serialize)]
struct JsonProcess<'a> {
    pid: u32,
    comm: &'a str,
    probes: usize,
    problem: Option<&'a str>,
    modules: Vec<JsonModule<'a>>,
    /// About runtimes with heaps of their own.
    notes: Vec<&'static str>,
}

impl<'a> From<&'a Process> for JsonProcess<'a> {
    fn from(process: &'a Process) -> Self {
        let Process { target, findings, probes, throws: _, problem } = process;
        let modules = findings.iter().map(|(path, found)| JsonModule::new(path, found)).collect();
        Self {
            pid: target.pid.0,
            comm: &target.comm,
            probes: *probes,
            problem: problem.as_deref(),
            modules,
            notes: runtimes(findings).into_iter().map(Runtime::note).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonModule<'a> {
    path: &'a str,
    symbols: &'a [&'static str],
    allocators: Vec<JsonAllocator<'a>>,
    functions: Vec<JsonFunction<'a>>,
}

impl<'a> JsonModule<'a> {
    fn new(path: &'a str, found: &'a Findings) -> Self {
        let Findings { allocators, functions, symbols, is_static: _, runtime: _ } = found;
        let allocators = allocators.iter().map(|(family, prefix)| JsonAllocator { family: family.name(), prefix });
        Self {
            path,
            symbols,
            allocators: allocators.collect(),
            functions: functions.iter().map(JsonFunction::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonAllocator<'a> {
    family: &'static str,
    prefix: &'a str,
}

/// `probed`, `alias`, `forwards` or `not_probed`, and what belongs to it.
#[derive(Default, Serialize)]
struct JsonFunction<'a> {
    symbol: &'a str,
    outcome: &'static str,
    offset: Option<u64>,
    instruction: Option<&'a str>,
    cost: Option<&'static str>,
    result: Option<&'static str>,
    exits: Option<usize>,
    exits_complete: Option<bool>,
    /// The function that serves for this one.
    by: Option<&'a str>,
    reason: Option<&'a str>,
}

impl<'a> From<&'a FunctionFinding> for JsonFunction<'a> {
    fn from(FunctionFinding { symbol, outcome }: &'a FunctionFinding) -> Self {
        let base = Self { symbol, ..Self::default() };
        match outcome {
            Outcome::Probed { offset, instruction, cost, result } => {
                let (result, exits) = match result {
                    ResultBy::Nothing => (None, None),
                    ResultBy::Return => (Some("return"), None),
                    ResultBy::Exits { count, complete } => (Some("exits"), Some((*count, *complete))),
                };
                Self {
                    outcome: "probed",
                    offset: Some(*offset),
                    instruction: Some(instruction),
                    cost: Some(cost.name()),
                    result,
                    exits: exits.map(|(count, _)| count),
                    exits_complete: exits.map(|(_, complete)| complete),
                    ..base
                }
            }
            Outcome::Alias(other) => Self { outcome: "alias", by: Some(other), ..base },
            Outcome::Forwards(other) => Self { outcome: "forwards", by: Some(other), ..base },
            Outcome::Not(why) => Self { outcome: "not_probed", reason: Some(why), ..base },
        }
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
