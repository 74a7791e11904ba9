use super::*;
use crate::report::testing;

fn report(snapshot: &Snapshot, options: &ReportOptions) -> String {
    let mut out = Vec::new();
    write_text(snapshot, options, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("is text")
}

#[test]
fn normal() {
    insta::assert_snapshot!(report(&testing::normal(), &ReportOptions::default()));
}

#[test]
fn growth_is_estimated_from_page_faults() {
    insta::assert_snapshot!(report(&testing::growth(), &ReportOptions { top: 2, ..Default::default() }));
}

#[test]
fn page_faults_in_place_of_blocks_say_what_was_before() {
    let text = report(&testing::growth_for_the_budget(), &ReportOptions { top: 1, ..Default::default() });
    let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with('#')).collect();
    insta::assert_snapshot!(head.join("\n"));
}

#[test]
fn estimates_are_marked_and_have_their_errors() {
    insta::assert_snapshot!(report(&testing::sampled(), &ReportOptions { top: 3, ..Default::default() }));
}

#[test]
fn losses_are_told_in_words() {
    insta::assert_snapshot!(report(&testing::lossy(), &ReportOptions { top: 1, ..Default::default() }));
}

#[test]
fn hostile_names_are_written_out() {
    let text = report(&testing::hostile(), &ReportOptions::default());
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
    insta::assert_snapshot!(text);
}

#[test]
fn empty() {
    insta::assert_snapshot!(report(&testing::empty(), &ReportOptions::default()));
}

#[test]
fn the_last_line_accounts_for_what_is_left_out() {
    let options = ReportOptions { top: 1, min_age: Duration::from_secs(5), sort: Sort::Objects };
    let text = report(&testing::exited(), &options);
    assert!(text.starts_with("leaktrace: imgserver[4242], EXITED, numbers are final\n"));
    insta::assert_snapshot!(text.lines().last().expect("has lines"));
}

#[test]
fn several_processes_and_what_is_the_same_in_them() {
    insta::assert_snapshot!(report(&testing::several(), &ReportOptions::default()));
}

#[test]
fn who_sorts_by_allocations_sees_idle_sites() {
    let text = report(&testing::normal(), &ReportOptions { top: 1, sort: Sort::Allocs, ..Default::default() });
    assert!(text.contains("#1 0 B in 0 objects outstanding, oldest unknown, of 34.2 MiB in 126,693 objects"), "{text}");
    assert!(text.contains("img::decode(img::Reader&) src/decode.cc:210 (imgserver)"));
}
