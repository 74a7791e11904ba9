//! Development tasks, run as `cargo xtask TASK`. Each one installs what it needs where it may, and otherwise prints
//! the commands that do.

mod apt;
mod bench;
mod bpf;
mod object_diff;
mod pictures;
mod record;
mod shell;
mod source;
mod suite;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of leaktrace
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the BPF object and write it, with its record, to tracer/object
    Bpf {
        /// Change nothing: fail unless tracer/object is what the source builds to
        #[arg(long)]
        check: bool,
    },
    /// Measure what tracing costs, as root, on this machine: leaktrace and its alternatives, in one table
    Bench(bench::Bench),
    /// Run the core of the integration suite on Debian's kernels 5.10, 6.1 and 6.12, in qemu
    Vm {
        /// These kernels alone
        #[arg(value_name = "VERSION")]
        kernels: Vec<String>,
        /// These tests alone
        #[arg(last = true, value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Take the README's pictures of the dashboard, of a real run in tmux, as root
    Pictures,
    /// Run everything a change has to pass, stopping at the first failure
    Test {
        /// Run this step alone
        #[arg(long, value_enum, value_name = "STEP")]
        only: Option<test::Step>,
        /// Arguments for the integration suite's test binaries
        #[arg(last = true, value_name = "SUITE_ARGS")]
        suite_args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Bpf { check: false } => bpf::update(),
        Task::Bpf { check: true } => bpf::check(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Vm { kernels, filters } if filters.is_empty() => vm::run(&kernels, vm::Tests::Named(vm::CORE)),
        Task::Vm { kernels, filters } => vm::run(&kernels, vm::Tests::Matching(&filters)),
        Task::Pictures => pictures::take(),
        Task::Test { only, suite_args } => test::run(only, &suite_args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not the Debug form: that one adds a backtrace of xtask, which helps nobody here.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
