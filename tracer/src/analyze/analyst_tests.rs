use tracer_common::{event::SiteKind, stack::StackEnd};

use super::*;
use crate::{
    aggregate::{Aggregator, Duty, Session, TargetInfo, TargetState},
    analyze::{survival::AGE_BUCKETS, verdict::Label},
    event::{RawEvent, Reading, SiteStack},
};

const TARGET: Tgid = Tgid(4_127);
const LEAK: SiteId = SiteId(0);
const BYTES: u64 = 96;

/// A leak of ten blocks a second, a site whose blocks are freed at once, and one that kept what it had at the start.
fn aggregator() -> Aggregator {
    let mut aggregator = Aggregator::new(Session {
        started: jiff::Timestamp::UNIX_EPOCH,
        started_ns: 0,
        targets: vec![TargetInfo { pid: TARGET, comm: "made-up".into(), exe: String::new(), cmdline: Vec::new() }],
        heap: true,
        growth: None,
        fds: None,
        features: Vec::new(),
    });
    for id in 0..3 {
        aggregator.apply(RawEvent::NewSite(SiteStack {
            id: SiteId(id),
            tgid: TARGET,
            image: 0,
            kind: SiteKind::Heap,
            frames: [1].into(),
            end: StackEnd::Complete,
            exact: 0,
        }));
    }
    aggregator
}

fn reading(second: u64, [leaked, paired, kept]: [u64; 3]) -> Reading {
    let counters = |alloc_objects, free_objects| BlockCounters {
        alloc_bytes: alloc_objects * BYTES,
        alloc_objects,
        free_bytes: free_objects * BYTES,
        free_objects,
    };
    let counters = vec![counters(leaked, 0), counters(paired, paired), counters(kept, 0)];
    Reading { now_ns: second * 1_000_000_000, counters, ..Reading::default() }
}

#[test]
fn a_leak_is_a_leak_before_and_after_blocks_begin_to_be_followed_anew() {
    let (mut aggregator, mut analyst) = (aggregator(), Analyst::new(Duration::from_secs(1)));
    let deaths = |_| [0; AGE_BUCKETS];
    let seen = |aggregator: &mut Aggregator, analyst: &mut Analyst, reading: &Reading| {
        let mut snapshot = aggregator.snapshot(reading, TargetState::Running);
        let observed = BTreeMap::from([(TARGET, Observed::default())]);
        analyst.observe(&snapshot, observed, Duration::from_secs(5));
        analyst.annotate(&mut snapshot);
        snapshot
    };
    let of = |snapshot: &Snapshot, id: SiteId| {
        let site = snapshot.sites.iter().find(|site| site.id == id).expect("it stays, seen or not").clone();
        (site.counters, site.verdict)
    };

    for second in 0..70 {
        seen(&mut aggregator, &mut analyst, &reading(second, [10 * second, 100 * second, 7]));
    }
    let snapshot = seen(&mut aggregator, &mut analyst, &reading(70, [700, 7_000, 7]));
    let before = of(&snapshot, LEAK).1.expect("it was judged");
    assert_eq!(before.label, Label::Leaking, "{before:?}");

    // Of eight seconds one is seen. What is outstanding is taken out of the table.
    let duty = Duty { on: Duration::from_secs(1), off: Duration::from_secs(7) };
    aggregator.begin_windows(duty, &reading(70, [700, 7_000, 7]), &reading(70, [0, 7_000, 0]), deaths);
    let (mut leaked, mut paired) = (0, 7_000);
    for second in 71..=250 {
        if second % 8 == 0 {
            (leaked, paired) = (leaked + 10, paired + 100);
            aggregator.close_window(Duration::ZERO, &reading(second, [leaked, paired, 0]), deaths);
        }
        let snapshot = seen(&mut aggregator, &mut analyst, &reading(second, [leaked, paired, 0]));
        let (counters, verdict) = of(&snapshot, LEAK);
        let verdict = verdict.expect("it stands");
        assert_eq!((verdict.label, counters.free_objects), (Label::Leaking, 0), "after {second} s: {verdict:?}");
        assert!(
            snapshot.rates.allocs_per_s >= 0.0 && snapshot.rates.inuse_bytes_per_s >= 0.0,
            "after {second} s: {:?}",
            snapshot.rates
        );
        let [(_, process)] = &snapshot.analysis[..] else { panic!("one process") };
        assert!(process.outstanding.is_none_or(|growth| growth.per_s.value >= 0.0), "after {second} s: {process:?}");
        let kept = of(&snapshot, SiteId(2)).1.expect("it stands");
        assert_eq!(kept.label, Label::StartUp, "what is not seen any more has not ended: {kept:?}");
        let paired = of(&snapshot, SiteId(1));
        assert!(paired.0.inuse_objects() == 0 && paired.1.is_some_and(|verdict| verdict.label == Label::Churn));
        if second == 80 {
            assert!(verdict.reason.starts_with("before 1m 10s, since when"), "{}", verdict.reason);
        }
    }
    // It was found again, with all that was not seen.
    let snapshot = seen(&mut aggregator, &mut analyst, &reading(251, [leaked, paired, 0]));
    let (counters, verdict) = of(&snapshot, LEAK);
    let verdict = verdict.expect("it stands");
    assert_eq!((counters.inuse_objects(), verdict.since), (8 * leaked, before.since));
    assert!(verdict.reason.starts_with("none of its blocks is freed: ~1,"), "{}", verdict.reason);
    let rate = verdict.rate.expect("it grows").bytes.value / (10 * BYTES) as f64;
    assert!((0.85..1.15).contains(&rate), "{rate} of what it leaks: {}", verdict.reason);
    assert_eq!(analyst.history().followed_since(), Some(Duration::from_secs(70)));
    let points = analyst.history().site(LEAK, Duration::from_secs(251));
    assert!(points.iter().all(|point| point.at.as_secs() > 70 || point.counters == BlockCounters::default()));
}
