//! What a new user runs first: the demo, without a terminal, and the help.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{report::Report, tracer::binary};

fn run(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null()).output().with_context(|| format!("leaktrace {arguments:?}"))
}

/// The server's planted leaks are found with their names, and its bounded cache is no more than its bound.
#[test]
fn the_demo_reports_its_leaks_and_ends() -> Result<()> {
    let output = run(&["demo", "--duration", "3s", "--format", "json"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    let report: Report = serde_json::from_slice(&output.stdout).context("the demo's JSON")?;
    report.check_arithmetic()?;
    let inuse_by = |function: &str| -> u64 {
        let through = report.sites.iter().filter(|site| {
            site.frames.iter().any(|frame| frame.function.as_deref().is_some_and(|name| name.contains(function)))
        });
        through.map(|site| site.counters.inuse_objects).sum()
    };
    ensure!(inuse_by("open_session") > 100, "sessions leak:\n{report}");
    ensure!(inuse_by("receive_upload") > 10, "uploads leak:\n{report}");
    ensure!((1..=257).contains(&inuse_by("load_document")), "the cache is bounded by 256:\n{report}");
    Ok(())
}

#[test]
fn the_demo_reports_as_text_by_itself() -> Result<()> {
    let output = run(&["demo", "--duration", "1s"])?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["demo-server[", "open_session", "loss         none", "oldest"] {
        ensure!(stdout.contains(words), "no {words:?} in:\n{stdout}");
    }
    Ok(())
}

#[test]
fn help_names_every_option_of_the_readme() -> Result<()> {
    let help = run(&["--help"])?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for option in [
        "--pid",
        "--duration",
        "--interval",
        "--format",
        "--output",
        "--top",
        "--max-live",
        "demo",
        "--verbose",
        "doctor",
        "--allocator",
    ] {
        ensure!(help.contains(option), "no {option} in:\n{help}");
    }
    Ok(())
}
