use proptest::prelude::*;

use super::*;
use crate::analyze::testing::Random;

const SITE: SiteId = SiteId(7);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn counters(alloc: u64, free: u64) -> BlockCounters {
    BlockCounters { alloc_bytes: 100 * alloc, alloc_objects: alloc, free_bytes: 100 * free, free_objects: free }
}

fn history(readings: impl IntoIterator<Item = (u64, BlockCounters)>) -> History {
    let mut history = History::new(INTERVAL);
    for (second, counters) in readings {
        history.push(seconds(second), [(SITE, counters)]);
    }
    history
}

fn objects(points: &[SitePoint]) -> Vec<u64> {
    points.iter().map(|point| point.counters.inuse_objects()).collect()
}

#[test]
fn every_second_has_a_point_and_a_quiet_one_is_as_the_one_before() {
    let history = history([(2, counters(3, 0)), (5, counters(9, 2)), (8, counters(9, 2))]);
    let points = history.site(SITE, seconds(60));
    assert_eq!(objects(&points), [0, 0, 3, 3, 3, 7, 7, 7, 7]);
    assert_eq!(points.iter().map(|point| point.at.as_secs()).collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>());
    assert_eq!(objects(&history.site(SITE, seconds(3))), [7, 7, 7, 7]);
    assert_eq!(history.site(SiteId(1), seconds(60)), []);
    assert_eq!(history.newest(), seconds(8));
}

#[test]
fn older_times_come_in_coarser_windows() {
    // One more each second, for two days.
    let history = history((0..172_800).step_by(7).chain([172_799]).map(|second| (second, counters(second, 0))));
    for (span, apart, count) in [(60, 1, 61), (120, 1, 121), (121, 10, 14), (1_200, 10, 121), (3_600, 60, 61)] {
        let points = history.site(SITE, seconds(span));
        assert_eq!(points.len(), count, "{span}");
        assert_eq!(points[count - 1].counters.inuse_objects(), 172_799);
        assert!(points.windows(2).all(|pair| pair[1].at - pair[0].at == seconds(apart)), "{span}");
    }
    let day = history.site(SITE, seconds(1_000_000));
    assert_eq!((day.len(), day[0].at), (289, seconds(172_799 - 288 * 300)));
    for point in &day {
        // Readings were 7 s apart.
        assert!(point.at.as_secs() - point.counters.inuse_objects() < 7, "{point:?}");
        assert!(point.objects.1 - point.objects.0 >= 286, "{point:?}");
    }
}

#[test]
fn a_window_keeps_what_was_between_its_ends() {
    let history =
        history([(0, counters(5, 0)), (1, counters(105, 0)), (2, counters(105, 104)), (3, counters(110, 104))]);
    let points = history.site(SITE, seconds(1_200));
    assert_eq!(points.len(), 1);
    let SitePoint { at, counters: last, bytes, objects } = points[0];
    assert_eq!((at, last, bytes, objects), (seconds(3), counters(110, 104), (100, 10_500), (1, 105)));
}

#[test]
fn counters_that_fall_begin_anew() {
    let history = history([(0, counters(500, 0)), (1, counters(3, 0)), (2, counters(4, 0))]);
    assert_eq!(objects(&history.site(SITE, seconds(60))), [0, 3, 4]);
}

#[test]
fn readings_a_little_early_or_late_have_an_interval_each() {
    let mut history = History::new(INTERVAL);
    for (millis, count) in [(0, 1), (998, 2), (2_003, 3), (2_999, 4), (4_001, 5)] {
        history.push(Duration::from_millis(millis), [(SITE, counters(count, 0))]);
    }
    assert_eq!(objects(&history.site(SITE, seconds(60))), [1, 2, 3, 4, 5]);
}

#[test]
fn processes_keep_what_could_be_read() {
    let tgid = Tgid(4);
    let mut history = History::new(INTERVAL);
    for second in 0..100 {
        let rss = (second != 99).then_some(1_000 + second);
        history.push_process(seconds(second), tgid, ProcessReading { rss, open_fds: Some(9), ..Default::default() });
    }
    let windows = history.process(tgid, seconds(1_200));
    assert_eq!(windows.len(), 10);
    let last = windows[9];
    assert_eq!(
        (last.at, last.last.rss, last.low.rss, last.high.rss),
        (seconds(99), Some(1_098), Some(1_090), Some(1_098))
    );
    assert_eq!((last.last.open_fds, last.last.pss), (Some(9), None));
    assert_eq!(history.process(tgid, seconds(60)).len(), 61);
    history.forget(tgid, []);
    assert!(history.process(tgid, seconds(60)).is_empty());
}

/// Sites that change all the time, more than the budget has room for.
#[test]
fn beyond_the_budget_detail_goes_and_reach_stays() {
    let (sites, budget) = (50u32, 50 * 4_800);
    let mut history = History::with_budget(INTERVAL, budget);
    let mut random = Random::new(1);
    let mut now: Vec<BlockCounters> = vec![BlockCounters::default(); sites as usize];
    let coarse = (0..86_400 - 3_600).step_by(100);
    let first = now.clone();
    for second in coarse.chain((86_400 - 3_600..86_400 - 200).step_by(10)).chain(86_400 - 200..86_400) {
        for counters in &mut now {
            counters.alloc_objects += random.poisson(1_000.0);
            counters.alloc_bytes += random.poisson(90_000.0);
            counters.free_objects = counters.alloc_objects - random.next() % 100;
            counters.free_bytes = counters.alloc_bytes - random.next() % 10_000;
        }
        history.push(seconds(second), (0..).map(SiteId).zip(now.iter().copied()));
    }
    assert!(history.allocated_bytes() <= budget * 21 / 20, "{}", history.allocated_bytes());
    for id in 0..sites {
        let day = history.site(SiteId(id), seconds(86_400));
        assert_eq!(day.len(), 288);
        assert_eq!(day[287].counters, now[id as usize]);
        // The steps became coarser, not shorter.
        let steps = day.windows(2).filter(|pair| pair[0].counters != pair[1].counters).count();
        assert!((20..288).contains(&steps), "{steps}");
        assert!(day[36].counters.alloc_objects > first[id as usize].alloc_objects, "{:?}", day[36]);
        let minute = history.site(SiteId(id), seconds(60));
        assert!(minute.windows(2).all(|pair| pair[0].counters != pair[1].counters));
    }
}

#[test]
fn a_quiet_site_forgets_as_well() {
    let mut history = history((0..1_000).map(|second| (second, counters(second, second / 2))));
    let busy = history.allocated_bytes();
    history.push(seconds(200_000), []);
    assert!(history.allocated_bytes() < busy / 2, "{} of {busy}", history.allocated_bytes());
    assert_eq!(objects(&history.site(SITE, seconds(86_400))), vec![500; 289]);
}

fn readings() -> impl Strategy<Value = Vec<(u64, BlockCounters)>> {
    let step = (0u64..200, 0u64..1 << 40, 0u64..50, 0u64..1 << 40, 0u64..50);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let (mut second, mut now) = (0, BlockCounters::default());
        steps
            .into_iter()
            .map(|(pause, alloc_bytes, alloc_objects, free_bytes, free_objects)| {
                second += pause;
                now.alloc_bytes += alloc_bytes;
                now.alloc_objects += alloc_objects;
                now.free_bytes = (now.free_bytes + free_bytes).min(now.alloc_bytes);
                now.free_objects = (now.free_objects + free_objects).min(now.alloc_objects);
                (second, now)
            })
            .collect()
    })
}

proptest! {
    /// Against windows made of all readings.
    #[test]
    fn folding_keeps_the_first_the_last_and_the_extremes(readings in readings(), span in 1u64..100_000) {
        let history = history(readings.iter().copied());
        let points = history.site(SITE, seconds(span));
        let newest = readings[readings.len() - 1];
        prop_assert_eq!(points.last().map(|point| (point.at, point.counters)), Some((seconds(newest.0), newest.1)));
        let level = LEVELS[history.level_for(seconds(span))];
        let mut before = BlockCounters::default();
        for point in points {
            let window = point.at.as_secs() / level.factor;
            let inside: Vec<_> = readings.iter().filter(|(second, _)| second / level.factor == window).collect();
            before = readings.iter().rfind(|(second, _)| second / level.factor < window).map_or(before, |(_, last)| *last);
            // From the window's beginning on, unless there is a reading just then.
            let lasts = inside.first().is_none_or(|(second, _)| *second > window * level.factor).then_some(&before);
            let values: Vec<_> = lasts.into_iter().chain(inside.iter().map(|(_, now)| now)).collect();
            let extremes = |of: fn(&BlockCounters) -> u64| {
                let values = || values.iter().map(|now| of(now));
                (values().min().expect("some"), values().max().expect("some"))
            };
            prop_assert_eq!(point.counters, inside.last().map_or(before, |(_, last)| *last));
            prop_assert_eq!(point.bytes, extremes(BlockCounters::inuse_bytes));
            prop_assert_eq!(point.objects, extremes(BlockCounters::inuse_objects));
        }
    }
}

#[test]
fn an_estimate_that_falls_is_no_new_site() {
    let mut shift = Shift::default();
    let counters =
        |alloc, free| BlockCounters { alloc_bytes: alloc, alloc_objects: alloc, free_bytes: free, free_objects: free };
    assert_eq!(shift.rising(counters(100, 40)), counters(100, 40));
    // 60 outstanding are estimated as 44 by a coarser sample.
    assert_eq!(shift.rising(counters(84, 40)), counters(100, 56));
    assert_eq!(shift.rising(counters(90, 42)), counters(106, 58));
    assert_eq!(shift.rising(counters(70, 42)), counters(106, 78));
}
