use std::time::Duration;

use super::*;
use crate::{
    analyze::{
        Estimate, ProcessAnalysis,
        history::ProcessReading,
        process::{Eta, Growth, ProcessSignal},
    },
    metrics::LISTED,
    report::testing,
    target::limits::{LimitKind, MemoryLimit},
};

fn text(snapshot: Snapshot) -> String {
    encode(Some(Arc::new(snapshot))).expect("writes to memory")
}

/// Without what is of the process that runs the test.
fn of_target(text: &str) -> String {
    text.lines().filter(|line| !line.contains("process_cpu") && !line.contains("process_resident_memory")).fold(
        String::new(),
        |mut kept, line| {
            kept.push_str(line);
            kept.push('\n');
            kept
        },
    )
}

fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
}

#[test]
fn normal() {
    insta::assert_snapshot!(of_target(&text(testing::normal_fds())));
}

#[test]
fn numbers_are_those_of_the_snapshot() {
    let snapshot = testing::lossy();
    let text = text(snapshot.clone());
    assert_eq!(value(&text, "leaktrace_inuse_bytes{kind=\"heap\"}"), snapshot.totals.inuse_bytes() as f64);
    assert_eq!(value(&text, "leaktrace_alloc_objects_total{kind=\"heap\"}"), snapshot.totals.alloc_objects as f64);
    assert_eq!(value(&text, "leaktrace_loss_total{cause=\"live_table_full\"}"), 1_009.0);
    assert_eq!(value(&text, "leaktrace_up"), 1.0);
    assert!(text.contains("\n# HELP leaktrace_loss_total "), "{text}");
    assert!(text.contains("\n# TYPE leaktrace_loss_total counter\n"), "{text}");
}

#[test]
fn the_number_of_series_is_bounded_and_says_what_it_leaves_out() {
    let snapshot = testing::many(1_009);
    let total = snapshot.totals.inuse_bytes();
    let text = text(snapshot);
    let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("leaktrace_site_inuse_bytes{")).collect();
    assert_eq!(listed.len(), LISTED);
    let shown: f64 = listed.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert_eq!(shown + value(&text, "leaktrace_unlisted_sites_inuse_bytes"), total as f64);
    assert_eq!(value(&text, "leaktrace_sites"), 1_009.0);
}

#[test]
fn the_way_of_following_memory_is_told_where_there_are_several() {
    let text = text(testing::growth_for_the_budget());
    assert_eq!(value(&text, "leaktrace_mode{mode=\"page_faults\"}"), 1.0);
    assert_eq!(value(&text, "leaktrace_mode_changes_total"), 3.0);
    assert!(!self::text(testing::growth()).contains("leaktrace_mode"), "without a limit there is one");
}

#[test]
fn sites_come_once_they_have_names() {
    let text = text(testing::normal());
    assert!(!text.contains("site=\"5\""), "one of its frames is not looked up yet: {text}");
    assert!(text.contains("site=\"3\""), "it has no symbols, and never will: {text}");
}

#[test]
fn hostile_names_stay_within_their_labels() {
    let text = text(testing::hostile_fds());
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name: String = line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        assert!(name.starts_with("leaktrace_") || name.starts_with("process_"), "{line}");
        assert!(line.rsplit(' ').next().is_some_and(|number| number.parse::<f64>().is_ok()), "{line}");
    }
}

/// A process that is about to reach a limit, among everything else.
fn with_processes() -> Snapshot {
    let several = testing::several();
    let estimate = |value: f64| Estimate { value, low: value * 0.9, high: value * 1.1 };
    let growth =
        |per_s: f64, now| Growth { per_s: estimate(per_s), per_hour: estimate(per_s * 3_600.0), certain: true, now };
    let limit = |kind, bytes, used| MemoryLimit { kind, bytes, used, cgroup: String::new() };
    let limits = vec![
        limit(LimitKind::CgroupMax, 1_000_003, 700_001),
        limit(LimitKind::CgroupMax, 2_000_003, 700_001),
        limit(LimitKind::Machine, 100_000_007, 5_000_011),
    ];
    let eta = Eta { expected: Duration::from_secs(601), earliest: Duration::from_secs(547), latest: None };
    let analysis = ProcessAnalysis {
        reading: ProcessReading { rss: Some(811_009), ..ProcessReading::default() },
        resident: Some(growth(499.0, 811_009)),
        outstanding: Some(Growth { certain: false, ..growth(1.0, 5) }),
        signals: vec![ProcessSignal::OutOfMemory { limit: limits[0].clone(), eta }],
        limits,
        ..ProcessAnalysis::default()
    };
    let first = several.processes.iter().find(|process| process.state == TargetState::Running).expect("one runs");
    Snapshot { analysis: vec![(first.info.pid, analysis)], processes: several.processes, ..testing::normal_fds() }
}

#[test]
fn processes() {
    let text = of_target(&text(with_processes()));
    let of_processes: Vec<&str> = text
        .lines()
        .filter(|line| {
            ["leaktrace_process", "leaktrace_memory", "leaktrace_time"].iter().any(|name| line.starts_with(name))
        })
        .collect();
    insta::assert_snapshot!(of_processes.join("\n"));
}

#[test]
fn labels_are_short_whatever_the_names_are() {
    let mut snapshot = with_processes();
    for site in &mut snapshot.sites {
        let mut stack = (*site.stack).clone();
        for frame in &mut stack.frames {
            frame.function = Ok("x".repeat(100_000).into());
        }
        site.stack = stack.into();
    }
    for process in &mut snapshot.processes {
        process.info.comm = "\"}\n".repeat(1_000);
    }
    let text = text(snapshot);
    let longest = text.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 1_000, "{longest}");
}

/// Names of metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("leaktrace_") || word.starts_with("process_"))
}

fn document(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All strings under this key, however deep.
fn strings<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(name, member)| match member.as_str() {
            Some(text) if name == key => found.push(text),
            _ => strings(member, key, found),
        }),
        serde_json::Value::Array(members) => members.iter().for_each(|member| strings(member, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_are_about_metrics_that_there_are() {
    let text = text(with_processes());
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).expect("is JSON");
    let mut expressions = Vec::new();
    strings(&dashboard, "expr", &mut expressions);
    strings(&dashboard, "definition", &mut expressions);
    let alerts = document("alerts.yml");
    let rules: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(expressions.len() > 20 && rules.len() > 5, "{} and {}", expressions.len(), rules.len());
    for expression in expressions.into_iter().chain(rules) {
        assert!(names(expression).next().is_some(), "about nothing: {expression}");
        for name in names(expression) {
            assert!(families.contains(&name), "there is no {name}: {expression}");
        }
    }
}
