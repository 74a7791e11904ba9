//! The command line: from arguments to a run, and from its end to an exit code.
//!
//! In: arguments, signals, keys. Out: a live dashboard, reports, and the exit codes 0 (fine), 2 (usage) and 3 (cannot
//! trace, or cannot read a recording, and why).

mod alerts;
mod allocators;
mod args;
mod budget;
mod call_turns;
mod calls;
mod demo;
mod doctor;
mod duty;
mod exits;
mod export;
mod fd_process;
mod fd_watch;
mod follow;
mod follower;
mod interrupts;
mod launch;
mod lifecycle;
mod limits;
mod live;
mod memory_watch;
mod metrics;
mod offline;
mod output;
mod overhead;
mod prepare;
mod privileges;
mod process;
mod progress;
mod recording;
mod show;
mod source;
mod tracing;

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;

pub use args::{Arguments, Command, Format, LiveArguments, RecordArguments};
pub use offline::{At, DiffArguments, DiffFormat, ReportArguments, ViewArguments};

/// Tracing was not possible.
const CANNOT_TRACE: u8 = 3;

/// Runs leaktrace with the arguments given, the first one being the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // clap prints its own errors and exits with 2.
    let arguments = Arguments::parse_from(arguments);
    init_log(arguments.verbose);
    let result = match arguments.command {
        Some(Command::Record(record)) => trace(&record.into_live(), arguments.verbose),
        Some(Command::Report(report)) => {
            report.check().unwrap_or_else(|error| error.exit());
            offline::report(&report)
        }
        Some(Command::View(view)) => offline::view(&view),
        Some(Command::Diff(diff)) => offline::diff(&diff),
        Some(Command::Demo(demo)) => demo::run(&demo, arguments.verbose),
        Some(Command::Doctor(doctor)) => return doctor::run(&doctor),
        Some(Command::DemoServer) => crate::demo::serve().map(|()| ExitCode::SUCCESS),
        Some(Command::DemoSurroundings { server }) => crate::demo::surround(server).map(|()| ExitCode::SUCCESS),
        None => trace(&arguments.live, arguments.verbose),
    };
    match result {
        Ok(code) => code,
        Err(error) => cannot_trace(&error),
    }
}

fn trace(arguments: &LiveArguments, verbose: u8) -> anyhow::Result<ExitCode> {
    arguments.check().unwrap_or_else(|error| error.exit());
    live::run(arguments, verbose)
}

fn cannot_trace(error: &anyhow::Error) -> ExitCode {
    let line = format!("leaktrace: error: {error:#}");
    eprintln!("{}", crate::report::untrusted::displayable(&line.replace('\n', " ")));
    ExitCode::from(CANNOT_TRACE)
}

/// Every module of the target is held open, so that its symbols outlive the process.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::debug!("raising the limit of open files: {error}");
    }
}

/// `-v` shows the programs' log and our own; without it only warnings.
fn init_log(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let colored = std::io::stderr().is_terminal() && crate::tui::color_from_env();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        .filter_module("leaktrace", level)
        // What the BPF programs log arrives under the names of their modules.
        .filter_module("leaktrace_bpf", level)
        .target(env_logger::Target::Pipe(Box::new(crate::tui::Log)))
        .write_style(if colored { env_logger::WriteStyle::Always } else { env_logger::WriteStyle::Never })
        .init();
}
