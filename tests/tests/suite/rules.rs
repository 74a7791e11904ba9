//! Runs that fail by rules, commands that are told, and sites that are suppressed.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    tracer::{Tracer, binary, report_path},
    wait_for,
};

#[test]
fn a_run_that_breaks_a_rule_says_so_and_ends_with_1() -> Result<()> {
    let mut leaker = Leaker::start("simple.c")?;
    let tracer = Tracer::attach_with(leaker.pid(), &["--fail-on", "inuse>100kB", "--fail-on", "objects>1000"])?;
    leaker.release()?;
    let ended = tracer.interrupt()?;
    ensure!(ended.status.code() == Some(1), "{}\n{}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("rule inuse>100kB is broken, it is 0.1 MB"), "{}", ended.stderr);
    ensure!(!ended.stderr.contains("objects>1000"), "101 blocks are not more than 1000: {}", ended.stderr);
    leaker.finish()
}

#[test]
fn what_is_no_rule_is_an_error_of_usage() -> Result<()> {
    for (rule, word) in [("leaking", "leaking>0"), ("growth>50MB", "50MB/h"), ("nothing>1", "there are leaking")] {
        let output = Command::new(binary()?).args(["-p", "1", "--fail-on", rule]).output()?;
        ensure!(output.status.code() == Some(2), "{rule}: {output:?}");
        ensure!(String::from_utf8_lossy(&output.stderr).contains(word), "{rule}: {output:?}");
    }
    Ok(())
}

#[test]
fn a_command_is_told_of_a_broken_rule() -> Result<()> {
    let told = report_path()?;
    let command = format!("cat > {0}.tmp; echo \"$LEAKTRACE_RULES\" >> {0}.tmp; mv {0}.tmp {0}", told.display());
    let mut leaker = Leaker::start("simple.c")?;
    let options = ["--fail-on", "inuse>100kB", "--on-alert", command.as_str(), "--duration", "600s"];
    let tracer = Tracer::attach_with(leaker.pid(), &options)?;
    leaker.release()?;
    wait_for("the command", || Ok(told.exists().then_some(())))?;
    let text = fs::read_to_string(&told)?;
    let (json, rules) = text.trim_end().rsplit_once('\n').context("two parts")?;
    ensure!(rules == "inuse>100kB", "{rules}");
    let report: serde_json::Value = serde_json::from_str(json).context("the JSON report")?;
    ensure!(report["totals"]["inuse_bytes"] == 101 * 1009, "{}", report["totals"]);
    let ended = tracer.interrupt()?;
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    leaker.finish()
}

#[test]
fn suppressed_sites_are_counted_by_their_patterns() -> Result<()> {
    let file = report_path()?;
    fs::write(&file, "# known\nleak:no_such_function\nleak:^simple_leak$\n")?;
    let mut leaker = Leaker::start("simple.c")?;
    let path = file.to_str().context("a path")?;
    let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "600s", "--suppressions", path])?;
    leaker.release()?;
    let json = tracer.interrupt()?.json()?;
    let used =
        serde_json::json!([{"pattern": "^simple_leak$", "sites": 1, "inuse_bytes": 101 * 1009, "inuse_objects": 101}]);
    ensure!(json["suppressions"] == used, "{}", json["suppressions"]);
    ensure!(json["sites"][0]["suppressed"] == true, "{}", json["sites"][0]);
    fs::write(&file, "leak:a\nno pattern\n")?;
    let output = Command::new(binary()?).args(["-p", "1", "--suppressions", path]).output()?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("line 2"), "{output:?}");
    leaker.finish()
}
