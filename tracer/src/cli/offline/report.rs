//! `leaktrace report FILE`: what a live run would have reported.

use std::{fs::File, process::ExitCode};

use anyhow::bail;

use super::{
    super::{alerts, output::Output},
    ReportArguments,
    open::{caveats, find, open, when},
};
use crate::{
    analyze::history::{History, INTERVAL},
    record::Recording,
    report::{ReportOptions, untrusted::displayable},
};

/// What happened until a window, as its run knew it.
fn history_until(recording: &mut Recording<File>, last: usize) -> anyhow::Result<History> {
    let mut history = History::new(INTERVAL);
    for number in 0..=last {
        let snapshot = recording.window(number)?.snapshot;
        history.push_snapshot(&snapshot);
        for (pid, analysis) in &snapshot.analysis {
            history.push_process(snapshot.elapsed, *pid, analysis.reading);
        }
    }
    Ok(history)
}

/// Writes the report.
pub(in crate::cli) fn run(arguments: &ReportArguments) -> anyhow::Result<ExitCode> {
    let ReportArguments { file, format, by, at, output, top, sort, min_age, fail_on, suppressions } = arguments;
    let history = arguments.needs_history();
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
    if format.is_of_memory() && !window.snapshot.has_memory() {
        bail!("this format shows memory, which was not traced; use --format html");
    }
    let mut output = Output::open(output.as_deref(), *format, options)?.measuring(by.unwrap_or_default());
    output.check_terminal()?;
    let history = history.then(|| history_until(&mut recording, number)).transpose()?;
    output.write(&window.snapshot, history.as_ref())?;
    Ok(alerts::exit_code(&alerts::check(fail_on, &window.snapshot), &window.snapshot).unwrap_or(ExitCode::SUCCESS))
}
