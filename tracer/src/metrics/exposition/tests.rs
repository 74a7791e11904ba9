use super::*;
use crate::{metrics::LISTED, report::testing};

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
    assert_eq!(value(&text, "leaktrace_loss_total{cause=\"live_full\"}"), 1_009.0);
    assert_eq!(value(&text, "leaktrace_up"), 1.0);
    assert!(text.ends_with("# EOF\n"));
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
