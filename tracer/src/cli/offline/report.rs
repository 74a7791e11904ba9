//! `leaktrace report FILE`: what a live run would have reported.

use std::process::ExitCode;

use super::{
    super::output::Output,
    ReportArguments,
    open::{caveats, find, open, when},
};
use crate::report::{ReportOptions, untrusted::displayable};

/// Writes the report.
pub(in crate::cli) fn run(arguments: &ReportArguments) -> anyhow::Result<ExitCode> {
    let ReportArguments { file, format, at, output, top, sort, min_age } = arguments;
    let mut recording = open(file)?;
    let number = find(&mut recording, *at)?;
    let window = recording.window(number)?;
    eprintln!("leaktrace: window {} of {}, {}", number + 1, recording.windows(), when(&window));
    for caveat in caveats(&recording, &window) {
        eprintln!("leaktrace: {}: {}", displayable(&file.to_string_lossy()), displayable(&caveat));
    }
    let options = ReportOptions { top: *top, sort: *sort, min_age: *min_age };
    Output::open(output.as_deref(), *format, options)?.write(&window.snapshot)?;
    Ok(ExitCode::SUCCESS)
}
