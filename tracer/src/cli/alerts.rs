//! Rules that a run must not break: the exit code of a run that did, and the command that is told at once.

use std::{
    collections::HashMap,
    io::Write as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    aggregate::{SiteId, Snapshot},
    analyze::{Broken, Rule},
    report::{Suppressions, fd_words::call_site_words, untrusted::displayable, write_json},
};

/// Exit code when a rule of `--fail-on` is broken.
pub(super) const RULE_BROKEN: u8 = 1;
/// A rule that stays broken is told of again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// Between two runs of the command, whatever breaks.
const LEAST: Duration = Duration::from_secs(10);
/// Sites that are named.
const NAMED: usize = 5;

/// Tells a command of broken rules.
#[derive(Debug)]
pub(super) struct Alerts {
    rules: Vec<Rule>,
    command: String,
    /// When each rule was told of; those that hold again are forgotten.
    told: HashMap<String, Instant>,
    last: Option<Instant>,
}

impl Alerts {
    /// Tells `command` of these rules; without any, of leaking sites.
    pub(super) fn new(command: &str, rules: &[Rule]) -> Self {
        let usual = || "leaking>0".parse().into_iter().collect();
        let rules = if rules.is_empty() { usual() } else { rules.to_vec() };
        Self { rules, command: command.to_owned(), told: HashMap::new(), last: None }
    }

    /// Whether a rule is broken, if no site is suppressed.
    pub(super) fn may_be_due(&mut self, snapshot: &Snapshot) -> bool {
        let broken = check(&self.rules, snapshot);
        self.told.retain(|rule, _| broken.iter().any(|broken| broken.rule == *rule));
        !broken.is_empty()
    }

    /// Checks the rules, and runs the command for those that are newly broken, or still are after a while.
    pub(super) fn check(&mut self, snapshot: &Snapshot) {
        let broken = check(&self.rules, snapshot);
        self.told.retain(|rule, _| broken.iter().any(|broken| broken.rule == *rule));
        let is_due =
            |told: &HashMap<String, Instant>, rule: &str| told.get(rule).is_none_or(|at| at.elapsed() >= AGAIN);
        let due: Vec<&Broken> = broken.iter().filter(|broken| is_due(&self.told, &broken.rule)).collect();
        if due.is_empty() || self.last.is_some_and(|last| last.elapsed() < LEAST) {
            return;
        }
        for broken in &due {
            log::warn!("{}", words(broken, snapshot));
            self.told.insert(broken.rule.clone(), Instant::now());
        }
        self.last = Some(Instant::now());
        let rules: Vec<&str> = due.iter().map(|broken| broken.rule.as_str()).collect();
        let mut json = Vec::new();
        if let Err(error) = write_json(snapshot, &mut json).and_then(|()| self.run(&rules.join(","), json)) {
            log::warn!("--on-alert {}: {error}", self.command);
        }
    }

    /// Runs the command, without waiting for its end here.
    fn run(&self, rules: &str, json: Vec<u8>) -> std::io::Result<()> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .env("LEAKTRACE_RULES", rules)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let command = self.command.clone();
        std::thread::Builder::new().name("alert".into()).spawn(move || {
            if let Some(mut stdin) = child.stdin.take() {
                // Who does not read it all has what it wants.
                let _ = stdin.write_all(&json);
            }
            match child.wait() {
                Ok(status) if !status.success() => log::warn!("--on-alert {command}: {status}"),
                Err(error) => log::warn!("--on-alert {command}: {error}"),
                Ok(_) => {}
            }
        })?;
        Ok(())
    }
}

/// The rules that a Snapshot breaks.
pub(super) fn check(rules: &[Rule], snapshot: &Snapshot) -> Vec<Broken> {
    rules.iter().filter_map(|rule| rule.check(snapshot)).collect()
}

/// Says which rules are broken, and what to end with for that; `None` when none is.
pub(super) fn exit_code(broken: &[Broken], snapshot: &Snapshot) -> Option<ExitCode> {
    for broken in broken {
        eprintln!("leaktrace: {}", words(broken, snapshot));
    }
    (!broken.is_empty()).then(|| ExitCode::from(RULE_BROKEN))
}

/// Reads a file of suppressions.
pub(super) fn read_suppressions(path: &Path) -> anyhow::Result<Suppressions> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Suppressions::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// A broken rule in a line, with the sites that broke it.
fn words(broken: &Broken, snapshot: &Snapshot) -> String {
    let Broken { rule, found, sites } = broken;
    let mut names: Vec<String> = sites.iter().take(NAMED).map(|site| name(*site, snapshot)).collect();
    if sites.len() > NAMED {
        names.push(format!("{} more", sites.len() - NAMED));
    }
    let by = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    displayable(&format!("rule {rule} is broken, it is {found}{by}")).into_owned()
}

fn name(id: SiteId, snapshot: &Snapshot) -> String {
    let heap = snapshot.sites.iter().find(|site| site.id == id).map(|site| &site.stack);
    let fds = || snapshot.descriptors.as_ref()?.sites.iter().find(|site| site.id == id).map(|site| &site.stack);
    heap.or_else(fds).map_or_else(|| format!("site {}", id.0), |stack| call_site_words(stack))
}
