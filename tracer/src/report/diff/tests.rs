//! Two runs, made up.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tracer_common::event::SiteKind;

use super::*;
use crate::{
    aggregate::Snapshot,
    record::testing as runs,
    report::{testing, write_json},
    symbolize::Frame,
};

fn side(name: &str, snapshot: &Snapshot) -> Side {
    Side::new(format!("{name}.ltrec"), snapshot)
}

/// [`testing::normal_fds`] of a later build: the pool's leak is fixed, the parser leaks more, plugins less, and something
/// new is there; addresses, lines and the file of the program are others.
fn rebuilt() -> Snapshot {
    let mut after = testing::normal_fds();
    after.target.exe = "/srv/imgserver-2".to_owned();
    after.target.pid = crate::aggregate::Tgid(4_271);
    after.elapsed /= 2;
    for site in &mut after.sites {
        match site.id.0 {
            7 => (site.counters.free_bytes, site.counters.free_objects) = (25_165_843, 2_039),
            2 => (site.counters.alloc_bytes, site.counters.alloc_objects) = (951_969, 7_007),
            3 => (site.counters.free_bytes, site.counters.free_objects) = (16_411, 31),
            _ => {}
        }
    }
    let mut new = after.sites[2].clone();
    new.id = crate::aggregate::SiteId(101);
    new.stack = Arc::new(Stack {
        frames: vec![testing::frame(0x1, "thumb::keep", "/usr/bin/imgserver", "src/thumb.cc:9")],
        end: new.stack.end,
    });
    after.sites.push(new);
    let descriptors = after.descriptors.as_mut().expect("has descriptors");
    descriptors.sites[0].opened += 13;
    let stacks = after.sites.iter_mut().map(|site| &mut site.stack);
    for stack in stacks.chain(descriptors.sites.iter_mut().map(|site| &mut site.stack)) {
        for frame in &mut Arc::make_mut(stack).frames {
            frame.address += 0x1_0000;
            frame.line = frame.line.map(|line| line + 100);
            if frame.module.as_deref() == Some("/usr/bin/imgserver") {
                frame.module = Some("/srv/imgserver-2".into());
            }
        }
    }
    after
}

fn written(before: &Side, after: &Side, top: usize) -> String {
    let mut out = Vec::new();
    write_diff_text(&diff(before, after), before, after, top, &mut out).expect("writes to memory");
    String::from_utf8(out).expect("is text")
}

#[test]
fn a_rebuild() {
    let (before, after) = (side("before", &testing::normal_fds()), side("after", &rebuilt()));
    insta::assert_snapshot!(written(&before, &after, 20));
    assert!(written(&before, &after, 1).contains("Not shown: 4 call sites (--top 1)."));
}

#[test]
fn a_rebuild_in_json() {
    let (before, after) = (side("before", &testing::normal_fds()), side("after", &rebuilt()));
    let mut out = Vec::new();
    write_diff_json(&diff(&before, &after), &before, &after, &mut out).expect("writes to memory");
    let value: serde_json::Value = serde_json::from_slice(&out).expect("is JSON");
    assert_eq!(value["schema"], DIFF_SCHEMA);
    assert_eq!(value["counts"], serde_json::json!({"new": 1, "grown": 2, "shrunk": 1, "gone": 1, "same": 8}));
    assert_eq!(value["sites"][0]["change"], "gone");
    assert_eq!(value["sites"][0]["change_bytes"], -12_582_917_i64);
    assert_eq!(value["totals"]["fd"]["change_objects"], 13);
    assert_eq!(value["after"]["comm"], "imgserver");
}

#[test]
fn nothing_is_different() {
    let same = side("same", &testing::normal_fds());
    let text = written(&same, &same, 20);
    assert!(text.ends_with("\nNo call site holds more or less than before.\n"), "{text}");
    assert!(text.contains("call sites   0 new, 0 grown, 0 shrunk, 0 gone, 12 the same\n"), "{text}");
}

#[test]
fn names_of_the_target_cannot_act_on_the_terminal() {
    let text = written(&side("\x1b[2J", &testing::empty()), &side("b", &testing::hostile()), 20);
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text}");
}

#[test]
fn what_only_one_side_traced_is_not_compared() {
    let (both, fds) = (side("both", &testing::normal_fds()), side("fds", &testing::fds_alone()));
    let compared = diff(&both, &fds);
    assert!(compared.sites.iter().all(|site| site.kind == SiteKind::Fd));
    assert!(compared.notes.contains(&"memory not compared: traced only before".to_owned()), "{:?}", compared.notes);
}

#[test]
fn rules_are_about_what_changed() {
    let (before, after) = (side("before", &testing::normal_fds()), side("after", &rebuilt()));
    let compared = diff(&before, &after);
    let broken =
        |rule: &str| rule.parse::<DiffRule>().unwrap_or_else(|error| panic!("{rule}: {error}")).check(&compared);
    assert_eq!(broken("new>0"), Some("1".to_owned()));
    assert_eq!(broken("grown>=2"), Some("2".to_owned()));
    assert_eq!(broken("grown>2"), None);
    assert_eq!(broken("fds>10"), Some("13".to_owned()));
    assert_eq!(broken("inuse>0"), None, "it holds less");
    let refused = |rule: &str| rule.parse::<DiffRule>().expect_err(rule);
    assert!(refused("leaking>0").contains("there are new, grown, shrunk, gone, inuse, objects, fds"));
    assert!(refused("new").contains("new>0") && refused("new>1MB").contains("a number"));
    let only_fds = diff(&before, &side("fds", &testing::fds_alone()));
    let rule: DiffRule = "inuse<1GB".parse().expect("a rule");
    assert_eq!(rule.check(&only_fds), None, "memory was not compared");
}

/// A site of each change, or what it is without one.
fn changes(diff: &Diff) -> BTreeMap<(SiteKind, Key), (Change, Held, Held)> {
    diff.sites
        .iter()
        .map(|site| ((site.kind, Key::new(&site.stack, "")), (site.change, site.before, site.after)))
        .collect()
}

fn mirrored(change: Change) -> Change {
    match change {
        Change::New => Change::Gone,
        Change::Grown => Change::Shrunk,
        Change::Shrunk => Change::Grown,
        Change::Gone => Change::New,
    }
}

/// A Snapshot whose program has no path, so that keys need none; in which memory is traced.
fn anonymous() -> impl Strategy<Value = Snapshot> {
    runs::snapshot().prop_map(|mut snapshot| {
        snapshot.target.exe.clear();
        snapshot.processes.clear();
        snapshot.heap_traced = true;
        snapshot.growth.get_or_insert_default();
        snapshot
    })
}

/// The same program, built again: functions are elsewhere, in the files and in memory.
fn built_again(mut snapshot: Snapshot, by: u64) -> Snapshot {
    let moved = |frame: &Frame| {
        let mut frame = frame.clone();
        frame.address = frame.address.wrapping_mul(31).wrapping_add(by);
        if frame.function.is_ok() {
            frame.module_offset = frame.module_offset.map(|offset| offset.wrapping_add(by));
            frame.line = frame.line.map(|line| line.wrapping_add(by as u32));
        }
        frame
    };
    let moved = |stack: &Stack| Arc::new(Stack { frames: stack.frames.iter().map(moved).collect(), end: stack.end });
    for site in &mut snapshot.sites {
        (site.id.0, site.stack) = (site.id.0.wrapping_add(101), moved(&site.stack));
    }
    for site in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.sites) {
        (site.id.0, site.stack) = (site.id.0.wrapping_add(101), moved(&site.stack));
    }
    snapshot
}

proptest! {
    #[test]
    fn a_build_of_the_same_program_is_no_difference(snapshot in anonymous(), by in any::<u64>()) {
        let diff = diff(&side("one", &snapshot), &side("other", &built_again(snapshot.clone(), by)));
        prop_assert!(diff.sites.is_empty(), "{:?}", diff.sites);
    }

    #[test]
    fn what_leaks_more_at_one_site_is_the_only_difference(
        snapshot in anonymous(),
        index in any::<prop::sample::Index>(),
        (bytes, objects) in (1..1_u64 << 40, 1..1_u64 << 20),
    ) {
        prop_assume!(!snapshot.sites.is_empty());
        let mut after = built_again(snapshot.clone(), 4_096);
        let site = &mut after.sites[index.index(snapshot.sites.len())];
        // So that all that is added is outstanding.
        let missing = |alloc: u64, free: u64| free.saturating_sub(alloc);
        let counters = &mut site.counters;
        counters.alloc_bytes += missing(counters.alloc_bytes, counters.free_bytes) + bytes;
        counters.alloc_objects += missing(counters.alloc_objects, counters.free_objects) + objects;
        let diff = diff(&side("before", &snapshot), &side("after", &after));
        let [only] = &diff.sites[..] else { panic!("{:?}", diff.sites) };
        prop_assert!(matches!(only.change, Change::New | Change::Grown));
        prop_assert_eq!((only.after.bytes - only.before.bytes, only.after.objects - only.before.objects), (bytes, objects));
    }

    #[test]
    fn a_run_is_no_different_from_itself(snapshot in runs::snapshot()) {
        let side = side("same", &snapshot);
        let diff = diff(&side, &side);
        prop_assert!(diff.sites.is_empty());
        prop_assert!(diff.sums.values().all(|sums| sums.before == sums.after));
    }

    #[test]
    fn before_and_after_are_mirrored(one in anonymous(), other in anonymous()) {
        let (one, other) = (side("one", &one), side("other", &other));
        let (there, back) = (diff(&one, &other), diff(&other, &one));
        prop_assert_eq!(there.same, back.same);
        let turned: BTreeMap<_, _> = changes(&back)
            .into_iter()
            .map(|(key, (change, before, after))| (key, (mirrored(change), after, before)))
            .collect();
        prop_assert_eq!(changes(&there), turned);
    }

    #[test]
    fn changes_add_up_to_the_difference_of_the_sums(one in anonymous(), other in anonymous()) {
        let (one, other) = (side("one", &one), side("other", &other));
        let diff = diff(&one, &other);
        for (kind, sums) in &diff.sums {
            let of_kind = || diff.sites.iter().filter(|site| site.kind == *kind);
            let change = |held: fn(&Difference) -> (Held, Held)| -> i128 {
                of_kind().map(|site| i128::from(held(site).1.bytes) - i128::from(held(site).0.bytes)).sum()
            };
            let expected = i128::from(sums.after.bytes) - i128::from(sums.before.bytes);
            prop_assert_eq!(change(|site| (site.before, site.after)), expected);
        }
    }

    #[test]
    fn a_report_in_json_is_compared_as_the_snapshot_itself(snapshot in runs::snapshot()) {
        let mut json = Vec::new();
        write_json(&snapshot, &mut json).expect("writes to memory");
        let parsed = parse_report("report.json".to_owned(), json.as_slice()).expect("is our own");
        let recorded = side("recorded", &snapshot);
        let diff = diff(&parsed, &recorded);
        prop_assert!(diff.sites.is_empty(), "{:?}", diff.sites);
        prop_assert_eq!((parsed.heap, parsed.fds), (recorded.heap, recorded.fds));
    }
}

#[test]
fn other_files_are_refused_in_words() {
    let refused = |text: &str| parse_report(String::new(), text.as_bytes()).expect_err("no report").to_string();
    assert!(refused("{}").contains("neither a recording nor a JSON report"));
    assert!(refused("not json").contains("neither a recording nor a JSON report"));
    let other = r#"{"schema": "leaktrace/2", "target": {"pid": 1}, "elapsed_s": 1.0, "sites": []}"#;
    assert_eq!(refused(other), r#"it is of the schema "leaktrace/2", and this leaktrace reads "leaktrace/1""#);
}
