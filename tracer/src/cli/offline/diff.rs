//! `leaktrace diff BEFORE AFTER`.

use std::{
    io::{BufReader, Read as _, Seek as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    super::{Format, alerts::RULE_BROKEN, output::Output},
    DiffArguments, DiffFormat,
    open::{caveats, open, open_file},
};
use crate::{
    record::MAGIC,
    report::{
        ReportOptions,
        diff::{Side, diff, parse_report, write_diff_json, write_diff_text},
        untrusted::displayable,
    },
};

/// Compares, and prints. A difference is no failure, unless a rule says so.
pub(in crate::cli) fn run(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let DiffArguments { before, after, format, output, top, fail_on } = arguments;
    let (before, after) = (side(before)?, side(after)?);
    let diff = diff(&before, &after);
    let mut output = Output::open(output.as_deref(), Format::Text, ReportOptions::default())?;
    output.write_with(|out| match format {
        DiffFormat::Text => write_diff_text(&diff, &before, &after, *top, out),
        DiffFormat::Json => write_diff_json(&diff, &before, &after, out),
    })?;
    let mut code = ExitCode::SUCCESS;
    for rule in fail_on {
        if let Some(found) = rule.check(&diff) {
            eprintln!("leaktrace: rule {rule} is broken, it is {found}");
            code = ExitCode::from(RULE_BROKEN);
        }
    }
    Ok(code)
}

/// The last window of a recording, or a JSON report.
fn side(path: &Path) -> anyhow::Result<Side> {
    let name = path.to_string_lossy().into_owned();
    let mut file = open_file(path)?;
    let cannot_read = || format!("cannot read {}", path.display());
    let mut start = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).with_context(cannot_read)?;
    if start == MAGIC {
        let mut recording = open(path)?;
        let window = recording.window(recording.windows() - 1).with_context(cannot_read)?;
        for caveat in caveats(&recording, &window) {
            eprintln!("leaktrace: {}: {}", displayable(&name), displayable(&caveat));
        }
        return Ok(Side::new(name, &window.snapshot));
    }
    file.rewind().with_context(cannot_read)?;
    parse_report(name, BufReader::new(file)).with_context(cannot_read)
}
