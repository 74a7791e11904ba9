//! What is written is read.

use std::{io, time::Duration};

use proptest::prelude::*;

use super::{named, open, record, runs, text};
use crate::{
    aggregate::{SiteSnapshot, Snapshot},
    record::{End, Writer},
    report::testing,
    target::sockets::service_of,
};

/// Says where two texts differ first: they are long.
fn assert_text(left: &str, right: &str) {
    let different = left.lines().zip(right.lines()).enumerate().find(|(_, (left, right))| left != right);
    assert!(left == right, "line and texts: {different:?}");
}

fn assert_same(run: &[Snapshot], order: impl IntoIterator<Item = usize>) {
    let (bytes, _) = record(run);
    let mut recording = open(&bytes);
    assert_eq!((recording.windows(), recording.end()), (run.len(), End::Complete));
    let expected = named(run);
    for window in order {
        let read = recording.window(window).expect("reads");
        assert_eq!((read.lost, read.unknown), (0, 0));
        assert_text(&text(&read.snapshot), &text(&expected[window]));
        assert_eq!(recording.elapsed(window), Some(run[window].elapsed));
    }
}

#[test]
fn every_snapshot_that_the_views_are_tested_with_comes_back() {
    let all = [
        testing::normal,
        testing::before_normal,
        testing::lossy,
        testing::exited,
        testing::several,
        testing::empty,
        testing::hostile,
        testing::normal_fds,
        testing::no_fds,
        testing::fds_alone,
        testing::hostile_fds,
    ];
    for snapshot in all {
        assert_same(&[as_made(snapshot())], [0]);
    }
    assert_same(&[testing::many(5_003)], [0]);
    assert_same(&[testing::many_fds(5_003)], [0]);
    let run = [testing::before_normal(), testing::normal(), testing::normal_fds(), testing::exited()];
    assert_same(&run.map(as_made), [3, 0, 2, 1]);
}

/// With services and an order as the aggregator makes them: in the tests of the views they are made up.
fn as_made(mut snapshot: Snapshot) -> Snapshot {
    snapshot.sites.sort_by_key(SiteSnapshot::order);
    for peer in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.peers) {
        peer.service = service_of(&peer.endpoint);
    }
    snapshot
}

#[test]
fn what_does_not_change_is_not_written_again() {
    let mut later = testing::normal_fds();
    later.elapsed += Duration::from_secs(1);
    for site in &mut later.sites {
        site.oldest = site.oldest.map(|age| age + Duration::from_secs(1));
    }
    let descriptors = later.descriptors.as_mut().expect("has descriptors");
    for site in &mut descriptors.sites {
        site.oldest = site.oldest.map(|age| age + Duration::from_secs(1));
    }
    for peer in &mut descriptors.peers {
        peer.oldest = peer.oldest.map(|age| age + Duration::from_secs(1));
    }
    descriptors.looked = descriptors.looked.map(|ago| ago + Duration::from_secs(1));
    // The kernel counts this in ticks.
    let mut open = descriptors.open.to_vec();
    let mut idle = 0;
    for socket in open.iter_mut().filter_map(|fd| fd.socket.as_mut()) {
        socket.idle = socket.idle.map(|idle| idle + Duration::from_millis(1));
        idle += u64::from(socket.idle.is_some());
    }
    descriptors.open = open.into();
    let mut writer = Writer::new(io::sink()).expect("takes everything");
    let first = writer.write(&testing::normal_fds(), 0).expect("takes everything");
    let second = writer.write(&later, 0).expect("takes everything");
    assert!(first.whole && !second.whole);
    assert!(first.bytes > 1_000 && second.bytes < 128 + 4 * idle, "{first:?}, {second:?} for {idle}");
}

#[test]
fn a_window_is_found_by_its_time() {
    let mut run = Vec::new();
    for second in [2, 3, 5, 7] {
        run.push(Snapshot { elapsed: Duration::from_secs(second), ..testing::normal() });
    }
    let (bytes, _) = record(&run);
    let recording = open(&bytes);
    let at = |millis| recording.at(Duration::from_millis(millis));
    assert_eq!([at(1_999), at(2_000), at(2_999), at(6_999), at(7_000)], [None, Some(0), Some(0), Some(2), Some(3)]);
    assert_eq!(at(u64::MAX), Some(3));
}

#[test]
fn a_long_run_is_read_from_where_it_is_whole() {
    let run: Vec<Snapshot> = (0..199_u64)
        .map(|second| {
            let mut snapshot = testing::many(13);
            snapshot.elapsed = Duration::from_secs(second);
            snapshot.sites[(second % 13) as usize].counters.alloc_objects += second;
            snapshot
        })
        .collect();
    assert_same(&run, [198, 0, 60, 61, 62, 59, 122, 121, 121, 5]);
}

proptest! {
    #[test]
    fn a_run_comes_back(run in runs::run(), order in prop::collection::vec(any::<prop::sample::Index>(), 1..8)) {
        let order: Vec<usize> = order.into_iter().map(|index| index.index(run.len())).collect();
        assert_same(&run, order);
    }

    #[test]
    fn what_was_lost_is_said(run in runs::run(), lost in any::<u64>()) {
        let mut writer = Writer::new(Vec::new()).expect("memory takes everything");
        writer.write(&run[0], lost).expect("memory takes everything");
        prop_assert_eq!(open(&writer.into_inner()).window(0).expect("reads").lost, lost);
    }
}
