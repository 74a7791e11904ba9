//! The `leaktrace` program; see the library for how it works.

use std::process::ExitCode;

fn main() -> ExitCode {
    leaktrace::cli::run(std::env::args_os())
}
