use tracer_common::{counter::LossCause, stack::StackEnd};

use super::*;
use crate::{
    aggregate::LossCount,
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
