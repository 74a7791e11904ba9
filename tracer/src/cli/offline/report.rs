//! `leaktrace report FILE`: what a live run would have reported.

use std::process::ExitCode;

use super::{
    super::{alerts, output::Output},
    ReportArguments,
    open::{caveats, find, open, when},
};
use crate::report::{ReportOptions, untrusted::displayable};

/// Writes the report.
pub(in crate::cli) fn run(arguments: &ReportArguments) -> anyhow::Result<ExitCode> {
    let ReportArguments { file, format, at, output, top, sort, min_age, fail_on, suppressions } = arguments;
    let suppressions = suppressions.as_deref().map(alerts::read_suppressions).transpose()?;
    let mut recording = open(file)?;
    let number = find(&mut recording, *at)?;
    let mut window = recording.window(number)?;
    eprintln!("leaktrace: window {} of {}, {}", number + 1, recording.windows(), when(&window));
    for caveat in caveats(&recording, &window) {
        eprintln!("leaktrace: {}: {}", displayable(&file.to_string_lossy()), displayable(&caveat));
    }
    if let Some(suppressions) = suppressions {
        suppressions.apply(&mut window.snapshot);
    }
    let options = ReportOptions { top: *top, sort: *sort, min_age: *min_age };
    Output::open(output.as_deref(), *format, options)?.write(&window.snapshot)?;
    Ok(alerts::exit_code(&alerts::check(fail_on, &window.snapshot), &window.snapshot).unwrap_or(ExitCode::SUCCESS))
}
