use tracer_common::{counter::LossCause, stack::StackEnd};

use super::*;
use crate::{
    aggregate::{Duty, LossCount},
    event::{EventSource, Pattern, Synthetic},
};

const TARGET: Tgid = Tgid(4_127);

fn aggregator() -> Aggregator {
    let target = TargetInfo { pid: TARGET, comm: "made-up".into(), exe: String::new(), cmdline: Vec::new() };
    Aggregator::new(Session {
        started: jiff::Timestamp::UNIX_EPOCH,
        started_ns: 0,
        targets: vec![target],
        heap: true,
        growth: None,
        fds: None,
        features: Vec::new(),
    })
}

fn step(source: &mut Synthetic, aggregator: &mut Aggregator) -> Snapshot {
    let (mut events, mut reading) = (Vec::new(), Reading::default());
    source.poll(&mut events).expect("synthetic sources do not fail");
    events.into_iter().for_each(|event| aggregator.apply(event));
    source.read(aggregator.site_ids(), &mut reading).expect("synthetic sources do not fail");
    aggregator.snapshot(&reading, TargetState::Running)
}

#[test]
fn sites_come_by_outstanding_bytes_and_totals_are_their_sum() {
    let mut source = Synthetic::new(
        TARGET,
        vec![
            Pattern::Churn { per_s: 1_009.0, size: 4_099 },
            Pattern::Leak { per_s: 13.0, size: 101 },
            Pattern::Startup { objects: 7, size: 31 },
            Pattern::Cache { per_s: 97.0, size: 61, limit: 17 },
        ],
    );
    let mut aggregator = aggregator();
    source.advance(Duration::from_secs(10));
    let snapshot = step(&mut source, &mut aggregator);
    let ids: Vec<u32> = snapshot.sites.iter().map(|site| site.id.0).collect();
    assert_eq!(ids, [1, 0, 3, 2], "13130, 4099, 1037 and 217 bytes outstanding");
    assert_eq!(snapshot.totals.inuse_bytes(), 13_130 + 4_099 + 1_037 + 217);
    assert_eq!(snapshot.totals.alloc_objects, 10_090 + 130 + 970 + 7);
    assert_eq!(snapshot.elapsed, Duration::from_secs(10));
}

#[test]
fn rates_are_over_the_last_window() {
    let mut source = Synthetic::new(TARGET, vec![Pattern::Leak { per_s: 13.0, size: 101 }]);
    let mut aggregator = aggregator();
    source.advance(Duration::from_secs(3));
    step(&mut source, &mut aggregator);
    source.advance(Duration::from_secs(2));
    let snapshot = step(&mut source, &mut aggregator);
    assert_eq!(snapshot.window, Duration::from_secs(2));
    assert_eq!(snapshot.rates.allocs_per_s, 13.0);
    assert_eq!(snapshot.rates.frees_per_s, 0.0);
    assert_eq!(snapshot.rates.inuse_bytes_per_s, 13.0 * 101.0);
}

#[test]
fn sites_without_a_block_and_ids_without_a_stack_are_left_out() {
    let mut aggregator = aggregator();
    let site = |id| SiteStack {
        id: SiteId(id),
        tgid: TARGET,
        image: 0,
        kind: SiteKind::Heap,
        frames: [1].into(),
        end: StackEnd::Complete,
        exact: 0,
    };
    aggregator.apply(RawEvent::NewSite(site(0)));
    aggregator.apply(RawEvent::NewSite(site(2)));
    assert_eq!(aggregator.site_ids(), 3);
    let block = BlockCounters { alloc_bytes: 5, alloc_objects: 1, ..BlockCounters::default() };
    let reading = Reading { counters: vec![BlockCounters::default(), block, block], ..Reading::default() };
    let snapshot = aggregator.snapshot(&reading, TargetState::Running);
    assert_eq!(snapshot.sites.iter().map(|site| site.id.0).collect::<Vec<_>>(), [2]);
    assert_eq!(snapshot.totals, block);
}

#[test]
fn stacks_that_are_not_whole_are_counted_by_reason() {
    let mut aggregator = aggregator();
    let ends = [StackEnd::NoRow, StackEnd::Complete, StackEnd::Depth, StackEnd::Depth];
    for (id, end) in (0..).zip(ends) {
        let frames = [1].into();
        let site = SiteStack { id: SiteId(id), tgid: TARGET, image: 0, kind: SiteKind::Heap, frames, exact: 0, end };
        aggregator.apply(RawEvent::NewSite(site));
    }
    let block = |alloc_objects| BlockCounters { alloc_objects, ..BlockCounters::default() };
    let reading = Reading { counters: vec![block(7), block(11), block(13), block(17)], ..Reading::default() };
    let incomplete = aggregator.snapshot(&reading, TargetState::Running).incomplete;
    let count = |end, objects| IncompleteCount { end, objects };
    assert_eq!(incomplete, [count(StackEnd::Depth, 30), count(StackEnd::NoRow, 7)]);
}

#[test]
fn a_later_announcement_of_an_id_replaces_the_earlier_one() {
    let mut aggregator = aggregator();
    for frame in [0x11, 0x13] {
        aggregator.apply(RawEvent::NewSite(SiteStack {
            id: SiteId(0),
            tgid: TARGET,
            image: 0,
            kind: SiteKind::Heap,
            frames: [frame].into(),
            end: StackEnd::Complete,
            exact: 0,
        }));
    }
    assert_eq!(aggregator.unsymbolized(SiteId(0)).expect("announced").frames[..], [0x13]);
}

#[test]
fn ages_come_from_the_last_survey_and_only_for_what_is_outstanding() {
    let mut source = Synthetic::new(
        TARGET,
        vec![Pattern::Leak { per_s: 1.0, size: 8 }, Pattern::Cache { per_s: 1.0, size: 8, limit: 0 }],
    );
    let mut aggregator = aggregator();
    source.advance(Duration::from_secs(60));
    let oldest_born_ns = [(SiteId(0), 1_000_000_000), (SiteId(1), 1_000_000_000)].into_iter().collect();
    aggregator.apply_survey(oldest_born_ns, SiteMap::default());
    let snapshot = step(&mut source, &mut aggregator);
    assert_eq!(snapshot.sites[0].oldest, Some(Duration::from_secs(59)));
    assert_eq!(snapshot.sites[1].oldest, None);
}

#[test]
fn loss_is_passed_on() {
    let mut aggregator = aggregator();
    let loss = vec![LossCount { cause: LossCause::LiveFull, count: 11 }];
    let reading = Reading { loss: loss.clone(), ..Reading::default() };
    assert_eq!(aggregator.snapshot(&reading, TargetState::Running).loss, loss);
}

#[test]
fn page_faults_take_the_place_of_blocks_and_give_it_back() {
    let mut aggregator = aggregator();
    for (id, kind) in [(0, SiteKind::Heap), (1, SiteKind::PageFault), (2, SiteKind::Heap)] {
        aggregator.apply(RawEvent::NewSite(SiteStack {
            id: SiteId(id),
            tgid: TARGET,
            image: 0,
            kind,
            frames: [1].into(),
            end: StackEnd::Complete,
            exact: 0,
        }));
    }
    let block = |alloc_objects, free_objects| BlockCounters {
        alloc_bytes: alloc_objects * 10,
        alloc_objects,
        free_bytes: free_objects * 10,
        free_objects,
    };
    let nothing = BlockCounters::default();
    let reading = |seconds: u64, heap: [BlockCounters; 2], samples| Reading {
        now_ns: seconds * 1_000_000_000,
        counters: vec![heap[0], nothing, heap[1]],
        faults: vec![0, samples, 0],
        ..Reading::default()
    };
    let deaths = |_| [0; crate::analyze::survival::AGE_BUCKETS];
    let ids = |snapshot: &Snapshot| snapshot.sites.iter().map(|site| site.id.0).collect::<Vec<_>>();

    // Nothing is said of page faults that are not followed.
    let before = reading(10, [block(101, 37), block(7, 7)], 5);
    let snapshot = aggregator.snapshot(&before, TargetState::Running);
    assert!(ids(&snapshot) == [0, 2] && snapshot.heap_traced && snapshot.growth.is_none(), "{snapshot:?}");

    // The blocks that were outstanding are forgotten: as if they never had been.
    let after = reading(10, [block(37, 37), block(7, 7)], 5);
    aggregator.follow_faults(97, &before);
    aggregator.begin_windows(Duty::ALWAYS, &before, &after, deaths);
    aggregator.take_resident(TARGET, 1_000);
    let later = reading(20, [block(37, 37), block(7, 7)], 18);
    let snapshot = aggregator.snapshot(&later, TargetState::Running);
    assert!(ids(&snapshot) == [1] && !snapshot.heap_traced && snapshot.sample.is_none(), "{snapshot:?}");
    let faults = snapshot.growth.as_ref().expect("they are followed");
    assert_eq!((faults.since, faults.faulted().samples), (Duration::from_secs(10), 13), "those before are not in it");
    assert_eq!((snapshot.totals, snapshot.rates), (nothing, Rates::default()));
    let note = &snapshot.notes[0].what;
    assert!(note.contains("since 10s") && note.contains("640 B were outstanding then, of 1 call site"), "{note}");

    // What comes then is exact, and what was outstanding before is not followed.
    aggregator.begin_windows(Duty::ALWAYS, &later, &later, deaths);
    aggregator.follow_blocks(&later);
    let end = reading(30, [block(48, 40), block(7, 7)], 18);
    aggregator.close_window(Duration::ZERO, &end, deaths);
    aggregator.close_window(Duration::ZERO, &end, deaths);
    let snapshot = aggregator.snapshot(&end, TargetState::Running);
    assert!(ids(&snapshot) == [0, 2] && snapshot.heap_traced && snapshot.growth.is_none(), "{snapshot:?}");
    let [site, _] = &snapshot.sites[..] else { panic!("two sites") };
    assert_eq!(
        (site.counters.alloc_objects, site.counters.inuse_objects()),
        (48, 8),
        "64 are as if they had never been"
    );
    let sampled = site.sampled.as_ref().expect("an estimate");
    assert_eq!((sampled.rate, sampled.inuse_objects().relative_error()), (1, 0.0));
    assert_eq!(snapshot.rates.allocs_per_s, 1.1, "over the time since blocks are tracked again");

    // A second time begins anew.
    aggregator.follow_faults(97, &end);
    let snapshot = aggregator.snapshot(&reading(40, [block(40, 40), block(7, 7)], 25), TargetState::Running);
    assert_eq!(snapshot.growth.map(|faults| (faults.since.as_secs(), faults.faulted().samples)), Some((30, 7)));
}
