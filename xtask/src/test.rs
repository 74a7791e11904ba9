//! `cargo xtask test`: everything a change has to pass, one step after the other, cheap ones first.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::workspace::{self, Workspace};
use crate::{bpf, shell, suite, vm};

/// How many cases proptest draws for each property; 256 where nothing is said.
const CASES: &str = "PROPTEST_CASES";

/// A step of `cargo xtask test`, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// cargo fmt --check
    Fmt,
    /// Clippy on everything, the BPF programs included
    Clippy,
    /// Unit tests: neither root nor a kernel
    Unit,
    /// The committed BPF object is what the source builds to
    Object,
    /// The suite on real processes, as root
    Integration,
    /// A few tests of the suite on older kernels, in qemu; `cargo xtask vm` runs its core
    Vm,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Object => "object",
            Self::Integration => "integration",
            Self::Vm => "vm",
        }
    }

    fn run(self, suite_args: &[OsString]) -> Result<()> {
        match self {
            Self::Fmt => {
                ensure_component("rustfmt", "fmt")?;
                shell::run_shown(cargo().args(["fmt", "--all", "--check"]))
                    .context("`cargo fmt --all` formats the code")
            }
            Self::Clippy => {
                ensure_component("clippy", "clippy")?;
                let args = ["clippy", "--locked", "--workspace", "--exclude=tracer-ebpf", "--all-targets"];
                shell::run_shown(cargo().args(args).args(["--", "-D", "warnings"]))?;
                println!("    clippy of tracer-ebpf, for BPF");
                bpf::clippy()
            }
            Self::Unit => {
                let args = ["test", "--locked", "--workspace", "--exclude=tracer-ebpf", "--exclude=leaktrace-tests"];
                let mut tests = cargo();
                if std::env::var_os(CASES).is_none() {
                    tests.env(CASES, "64");
                }
                shell::run_shown(tests.args(args))
            }
            Self::Object => bpf::check(),
            Self::Integration => {
                suite::require_root()?;
                suite::install_needs()?;
                let workspace = Workspace::load()?;
                let start = Instant::now();
                shell::run_shown(&mut suite::build_command(&workspace)).context("leaktrace does not build")?;
                println!("    built in {:.1} s", start.elapsed().as_secs_f64());
                shell::run_shown(&mut suite::test_command(&workspace, suite_args))
            }
            Self::Vm => vm::run(&vm::FIRST_ON.map(String::from), vm::Tests::Named(vm::FIRST)),
        }
    }
}

/// Runs all steps, or `only` one, and stops at the first failure.
pub(crate) fn run(only: Option<Step>, suite_args: &[OsString]) -> Result<()> {
    let all = Step::value_variants();
    let steps = only.as_ref().map_or(all, std::slice::from_ref);
    if !suite_args.is_empty() && !steps.contains(&Step::Integration) {
        bail!("arguments after `--` are the integration suite's, which --only excludes: leave them out");
    }
    let start = Instant::now();
    for step in steps {
        let (name, begun) = (step.name(), Instant::now());
        println!("==> {name}");
        let outcome = step.run(suite_args);
        let seconds = begun.elapsed().as_secs_f64();
        outcome.with_context(|| {
            format!("step {name} failed after {seconds:.1} s (alone: cargo xtask test --only {name})")
        })?;
        println!("==> {name}: ok, {seconds:.1} s");
    }
    println!("==> all passed, {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn cargo() -> Command {
    let mut command = shell::cargo();
    command.current_dir(workspace::root());
    command
}

/// Installs a component that a minimal toolchain lacks.
fn ensure_component(component: &str, subcommand: &str) -> Result<()> {
    if shell::capture(cargo().args([subcommand, "--version"])).is_ok() {
        return Ok(());
    }
    shell::run_shown(Command::new("rustup").args(["component", "add", component]))
        .with_context(|| format!("cargo has no `{subcommand}`, and {component} cannot be installed"))
}
