use std::time::Duration;

use super::*;
use crate::{analyze::history::History, report::testing};

fn page(snapshot: &Snapshot, history: Option<&History>) -> String {
    let mut out = Vec::new();
    let measure = Measure { history, ..Default::default() };
    write_html(snapshot, &ReportOptions::default(), &measure, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("is text")
}

/// Elements by name, in the order of their starts: what a page of any names must have alike.
fn tags(page: &str) -> Vec<&str> {
    let names = page.split('<').skip(1);
    names.map(|tag| tag.split([' ', '>', '\n']).next().unwrap_or_default()).collect()
}

#[test]
fn everything_about_the_run_is_there() {
    let text = page(&testing::lossy(), None);
    for part in [
        "<title>leaktrace: imgserver[4242]</title>",
        "<code>imgserver --port 8080</code>",
        "Traced for 4m 05s, 2026-03-01 09:30:00 to 2026-03-01 09:34:05 UTC.",
        "Outstanding<b>13.0 MiB</b>",
        "LOSS: 1,009 blocks not counted",
        "<summary>img::Pool::grow pool.cc:88</summary>",
        "img::Cache::insert(std::string const&amp;, img::Image)",
        "The stack is not whole: deeper frames were not taken.",
        "1 site with nothing outstanding",
        "<title>main (13,426,713 bytes",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!text.contains("class=\"chart\""), "without a history there is no growth");
}

#[test]
fn page_faults_are_told_as_estimates() {
    let text = page(&testing::growth(), None);
    for part in ["Faulted in: ~968.9 MiB ±4 % by 2,557 samples of 1 page fault in 97.", "given back", "page_fault"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn the_way_of_following_memory_is_told_with_those_before() {
    let text = page(&testing::growth_for_the_budget(), None);
    for part in ["Followed: page faults since 2m 11s; before: blocks 1.6 % of the time since 3s", "in 97 since 2m 11s."]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn names_do_not_become_markup() {
    let plain = testing::hostile();
    let mut hostile = plain.clone();
    hostile.target.comm = "<img src=x onerror=alert(1)>".to_owned();
    hostile.target.cmdline = vec!["</code><script>alert(1)</script>".to_owned(), "'\"&".to_owned()];
    for site in &mut hostile.sites {
        let mut stack = (*site.stack).clone();
        for frame in &mut stack.frames {
            frame.function = Ok("</summary><script>alert(\"1\")</script>".into());
            frame.module = Some("/tmp/</li><iframe src='//evil.example'>".into());
            frame.file = Some("\"><svg onload=alert(1)>.c".into());
        }
        site.stack = stack.into();
    }
    let text = page(&hostile, None);
    let without_flame = |snapshot: &Snapshot| {
        let text = page(snapshot, None);
        let (head, rest) =
            text.split_once("<div class=\"flame wide\">").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("has one");
        let (_, tail) = rest.split_once("</div>").expect("ends");
        format!("{head}{tail}")
    };
    let (one, other) = (without_flame(&hostile), without_flame(&plain));
    assert_eq!(tags(&one), tags(&other), "the same elements whatever the names");
    for element in ["<script", "<img", "<iframe", "<svg onload"] {
        assert!(!text.contains(element), "{element}");
    }
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
}

#[test]
fn the_page_asks_for_nothing() {
    let text = page(&testing::normal_fds(), None);
    // Names of formats are no links.
    let text = text
        .replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
        .replace("xmlns:xlink=\"http://www.w3.org/1999/xlink\"", "");
    let text = text.replace("xmlns:fg=\"http://github.com/jonhoo/inferno\"", "");
    for link in ["src=", "href=\"h", "@import", "url(h", "<script"] {
        assert!(!text.contains(link), "{link}");
    }
    assert!(text.contains("default-src 'none'"));
}

#[test]
fn growth_is_drawn_from_the_history() {
    let snapshot = testing::normal();
    let mut history = History::new(Duration::from_secs(1));
    for second in 0..=245 {
        let sites = snapshot.sites.iter().map(|site| {
            let mut counters = site.counters;
            counters.alloc_bytes = counters.alloc_bytes * second / 245;
            counters.free_bytes = counters.free_bytes * second / 245;
            (site.id, counters)
        });
        history.push(Duration::from_secs(second), sites);
    }
    let text = page(&snapshot, Some(&history));
    assert!(text.contains("<th>Growth</th>"));
    assert_eq!(text.matches("<svg class=\"chart\"").count(), 2 * 6, "a small and a large one for each site shown");
}

#[test]
fn descriptors_come_with_signals_and_peers() {
    let text = page(&testing::normal_fds(), None);
    for part in
        ["<h2>Descriptors</h2>", "112 open (87 % of the limit of 128)", "<h2>Peers</h2>", "127.0.0.1:5432 (postgresql)"]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let text = page(&testing::fds_alone(), None);
    assert!(text.contains("<h2>Descriptors</h2>") && !text.contains("Flame graph"));
}

#[test]
fn an_empty_run_is_a_page_too() {
    let text = page(&testing::empty(), None);
    assert!(text.contains("No allocation was seen."));
}
