use std::collections::BTreeMap;

use tracer_common::heap::age_bucket;

use super::*;

const SITE: SiteId = SiteId(3);
const SIZE: u64 = 48;

/// A source of numbers between 0 and 1: Marsaglia, Xorshift RNGs, 2003.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

fn known(estimated: BlockCounters) -> Before {
    let size = Some(estimated.alloc_bytes as f64 / estimated.alloc_objects as f64);
    Before { estimated, size, followed: Duration::from_secs(10) }
}

/// A process of known kind, watched through windows. Returns what was estimated, the same where it may be less than nothing,
/// and what is true.
fn watch(seed: u64, per_s: f64, lifetime: impl Fn(&mut Random) -> Option<f64>) -> (Seen, f64, u64) {
    const SECONDS: f64 = 300.0;
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let duty = Duty { on: Duration::from_millis(1_000), off: Duration::from_millis(6_000) };
    let mut windows = Vec::new();
    let mut now = 0.0;
    while now < SECONDS {
        // Taking the probes out takes some time.
        now += 0.1 + random.exponential(5.9);
        let end = now + random.exponential(1.0);
        windows.push(now..end);
        now = end;
    }
    let end = now;
    let seen = |time: f64| {
        let at = windows.partition_point(|window| window.end <= time);
        windows.get(at).filter(|window| window.contains(&time)).map(|_| at)
    };
    let mut by_window: BTreeMap<usize, (u64, Vec<f64>)> = BTreeMap::new();
    let mut outstanding = 0;
    let mut born = 0.0;
    loop {
        born += random.exponential(1.0 / per_s);
        if born >= end {
            break;
        }
        let age = lifetime(&mut random);
        outstanding += u64::from(age.is_none_or(|age| born + age >= end));
        if let Some(window) = seen(born) {
            by_window.entry(window).or_default().0 += 1;
            if let Some(age) = age.filter(|age| born + age < end)
                && let Some(window) = seen(born + age)
            {
                by_window.entry(window).or_default().1.push(age);
            }
        }
    }
    let mut estimate = Windows::begin(duty, Duration::ZERO, std::iter::empty());
    let (mut counted, mut deaths) = (BlockCounters::default(), [0; AGE_BUCKETS]);
    for window in 0..windows.len() {
        if let Some((births, ages)) = by_window.get(&window) {
            counted.alloc_objects += births;
            counted.alloc_bytes += births * SIZE;
            counted.free_objects += ages.len() as u64;
            counted.free_bytes += ages.len() as u64 * SIZE;
            ages.iter().for_each(|age| deaths[age_bucket((age * 1e9) as u64)] += 1);
        }
        estimate.close(Duration::ZERO, true, [(SITE, counted, deaths)].into_iter());
    }
    let sum = estimate.sites.get(&SITE).map_or(0.0, |site| site.inuse.1.sum);
    (estimate.site(SITE, 1.0), sum, outstanding)
}

/// Estimates of many runs: right in the mean, and mostly within their intervals.
fn check(name: &str, lifetime: impl Fn(&mut Random) -> Option<f64> + Copy) {
    check_rate(name, 400.0, lifetime);
}

/// The same of so many births a second.
fn check_rate(name: &str, per_s: f64, lifetime: impl Fn(&mut Random) -> Option<f64> + Copy) {
    const RUNS: u64 = 60;
    let (mut sum, mut squares, mut within) = (0.0, 0.0, 0);
    for seed in 1..=RUNS {
        let (Seen { counters, spread, .. }, unbounded, truth) = watch(seed, per_s, lifetime);
        let rounded = counters.inuse_bytes().abs_diff(counters.inuse_objects() * SIZE);
        assert!(rounded <= SIZE, "{name}: {rounded} bytes more or less");
        let interval = spread.interval(counters.inuse_objects() as f64, spread.inuse_objects);
        let error = unbounded - truth as f64;
        sum += error;
        squares += error * error;
        within += u64::from(interval.low <= truth as f64 && truth as f64 <= interval.high);
    }
    let (runs, mean) = (RUNS as f64, sum / RUNS as f64);
    let of_mean = (squares / runs - mean * mean).max(0.0).sqrt() / runs.sqrt();
    // Ages are known by their buckets alone.
    assert!(mean.abs() <= 4.0 * of_mean.max(300.0), "{name}: {mean:.0} ± {of_mean:.0}");
    assert!(within * 100 >= RUNS * 80, "{name}: {within} of {RUNS} within their intervals");
}

#[test]
fn a_leak_is_estimated_whole() {
    check("a leak", |_| None);
}

#[test]
fn a_rare_leak_is_within_its_interval_whether_it_was_seen_or_not() {
    // 9, 15 and 60 births, of which one in seven is seen.
    for per_s in [0.03, 0.05, 0.2] {
        check_rate("a rare leak", per_s, |_| None);
        check_rate("a rare leak", per_s, |random| (random.next() > 0.9).then(|| random.exponential(2.0)));
    }
}

#[test]
fn one_block_that_was_not_seen_is_in_the_interval_of_none() {
    let duty = Duty { on: Duration::from_secs(1), off: Duration::from_secs(7) };
    let before = BlockCounters { alloc_bytes: 5_000, alloc_objects: 50, free_bytes: 1_000, free_objects: 10 };
    let begin = |duty| {
        let counted = BlockCounters::default();
        Windows::begin(duty, Duration::ZERO, [(SITE, known(before), counted, [0; 32])].into_iter())
    };
    let mut windows = begin(duty);
    for _ in 0..40 {
        windows.close(Duration::ZERO, true, [(SITE, BlockCounters::default(), [0; 32])].into_iter());
    }
    let Seen { counters, spread, size, .. } = windows.site(SITE, 4.0);
    assert_eq!((counters.inuse_objects(), size), (0, Some(100.0)));
    // A block that is seen stands for four that are there, and these for eight.
    assert_eq!((spread.inuse_objects.sqrt(), spread.inuse_bytes.sqrt()), (32.0, 3_200.0));
    let interval = spread.interval(0.0, spread.inuse_objects);
    assert!(interval.low == 0.0 && (60.0..70.0).contains(&interval.high), "{interval:?}");
    let always = begin(Duty::ALWAYS).site(SITE, 1.0);
    assert_eq!((always.spread.inuse_bytes, always.spread.free_objects), (0.0, 0.0));
    let first = begin(duty).site(SITE, 1.0).spread;
    assert!(first.interval(0.0, first.inuse_objects).high >= 8.0, "nothing is known yet");
}

#[test]
fn until_a_window_came_a_site_may_have_gone_on_as_before() {
    let duty = Duty { on: Duration::from_millis(156), off: Duration::from_millis(4_844) };
    // 120 blocks a second.
    let before = BlockCounters { alloc_bytes: 253_200, alloc_objects: 1_200, free_bytes: 0, free_objects: 0 };
    let counted = BlockCounters::default();
    let mut windows =
        Windows::begin(duty, Duration::from_secs(10), [(SITE, known(before), counted, [0; 32])].into_iter());
    windows.advance(Duration::from_secs(14));
    let high = |windows: &Windows| {
        let spread = windows.site(SITE, 1.0).spread;
        let interval = |variance| spread.interval(0.0, variance).high;
        (interval(spread.inuse_objects), interval(spread.inuse_bytes))
    };
    let (objects, bytes) = high(&windows);
    assert!(objects >= 480.0 && bytes >= 480.0 * 211.0, "{objects} {bytes}");
    windows.close(Duration::ZERO, true, [(SITE, counted, [0; 32])].into_iter());
    assert!(high(&windows).0 < 480.0, "it has not gone on in the first one");
}

#[test]
fn where_hardly_a_window_came_little_is_known() {
    let duty = Duty { on: Duration::from_millis(100), off: Duration::from_millis(3_100) };
    let high = |windows: u64, now: u64| {
        let mut all = Windows::begin(duty, Duration::from_secs(5), std::iter::empty());
        for _ in 0..windows {
            all.close(Duration::ZERO, true, [(SITE, BlockCounters::default(), [0; 32])].into_iter());
        }
        all.sites.entry(SITE).or_default();
        all.advance(Duration::from_secs(now));
        let spread = all.site(SITE, 1.0).spread;
        spread.interval(0.0, spread.inuse_objects).high
    };
    // Twelve blocks a second: 540 in 45 seconds, of which a window of 0.1 s may well show none.
    assert!(high(0, 50) > 540.0 && high(1, 50) > 540.0, "{} {}", high(0, 50), high(1, 50));
    assert!(high(20, 50) < 100.0 && high(0, 6) < 100.0, "{} {}", high(20, 50), high(0, 6));
}

#[test]
fn what_lives_shorter_than_a_window_is_not_outstanding() {
    check("a millisecond", |_| Some(0.001));
    check("a fifth of a second", |random| Some(random.exponential(0.2)));
}

#[test]
fn what_ends_between_windows_is_not_outstanding() {
    check("three seconds", |_| Some(3.0));
    check("fifteen seconds", |_| Some(15.0));
    check("ten seconds in the mean", |random| Some(random.exponential(10.0)));
}

#[test]
fn a_leak_among_what_is_freed_is_found() {
    check("one in fifty", |random| (random.next() > 0.02).then(|| random.exponential(2.0)));
}

#[test]
fn all_of_the_time_is_exact() {
    let duty = Duty { on: Duration::from_secs(1), off: Duration::ZERO };
    let mut windows = Windows::begin(duty, Duration::ZERO, std::iter::empty());
    let counted = BlockCounters { alloc_bytes: 700, alloc_objects: 7, free_bytes: 300, free_objects: 3 };
    let mut deaths = [0; AGE_BUCKETS];
    deaths[20] = 3;
    windows.close(Duration::ZERO, true, [(SITE, counted, deaths)].into_iter());
    assert_eq!(windows.site(SITE, 1.0).counters, counted);
    assert_eq!(windows.site(SITE, 1.0).tracked, (400, 4));
}

#[test]
fn under_another_share_what_was_outstanding_is_followed_no_longer() {
    let duty = Duty { on: Duration::from_secs(1), off: Duration::from_secs(1) };
    let (before, counted) = (
        BlockCounters { alloc_bytes: 5_000, alloc_objects: 50, free_bytes: 1_000, free_objects: 10 },
        BlockCounters { alloc_bytes: 1_000, alloc_objects: 10, free_bytes: 1_000, free_objects: 10 },
    );
    let mut windows =
        Windows::begin(duty, Duration::from_secs(9), [(SITE, known(before), counted, [0; 32])].into_iter());
    assert_eq!(windows.site(SITE, 1.0).counters.inuse_objects(), 0);
    assert_eq!(windows.site(SITE, 1.0).counters.alloc_objects, 10, "only what had been freed was");
    let later = BlockCounters { alloc_bytes: 1_300, alloc_objects: 13, ..counted };
    windows.close(Duration::ZERO, true, [(SITE, later, [0; 32])].into_iter());
    assert_eq!(windows.site(SITE, 1.0).counters.inuse_objects(), 6);
    assert_eq!(windows.site(SITE, 1.0).counters.alloc_objects, 16);
    assert_eq!(
        (windows.site(SITE, 1.0).counters.free_objects, windows.site(SITE, 1.0).counters.free_bytes),
        (10, 1_000)
    );
    assert_eq!(windows.site(SITE, 1.0).tracked, (300, 3));
}

#[test]
fn ages_leave_out_what_must_have_ended() {
    let duty = Duty { on: Duration::from_secs(1), off: Duration::from_secs(1) };
    let mut windows = Windows::begin(duty, Duration::ZERO, std::iter::empty());
    let counted = BlockCounters { alloc_bytes: 800, alloc_objects: 8, free_bytes: 200, free_objects: 2 };
    let mut deaths = [0; AGE_BUCKETS];
    // Half of the ends at an age of minutes are seen: two more have ended.
    deaths[24] = 2;
    windows.close(Duration::ZERO, true, [(SITE, counted, deaths)].into_iter());
    let mut live = LiveAges::default();
    live.add_all(1_000_000_000, 6, 600);
    let (live, ends, weighs) = windows.lifetimes(SITE, &live, Weighs::default());
    assert_eq!((live.objects(), ends[24], weighs), (4, 4, Weighs { objects: 2.0, bytes: 2.0 }));
}

#[test]
fn what_is_tracked_all_the_time_is_exact() {
    let begun = BlockCounters { alloc_bytes: 700, alloc_objects: 7, ..BlockCounters::default() };
    let before = BlockCounters { alloc_bytes: 1_300, alloc_objects: 13, free_bytes: 200, free_objects: 2 };
    let mut windows = Windows::begin(
        Duty::ALWAYS,
        Duration::from_secs(31),
        [(SITE, known(before), begun, [0; AGE_BUCKETS])].into_iter(),
    );
    for second in 1..=5 {
        let mut deaths = [0; AGE_BUCKETS];
        deaths[3] = 3 * second;
        let counted = BlockCounters {
            alloc_bytes: 700 + 1_100 * second,
            alloc_objects: 7 + 11 * second,
            free_bytes: 300 * second,
            free_objects: 3 * second,
        };
        windows.close(Duration::ZERO, true, [(SITE, counted, deaths)].into_iter());
    }
    let seen = windows.site(SITE, 1.0);
    assert_eq!(seen.counters.alloc_objects, 2 + 55, "what was freed before is in it");
    assert_eq!(
        (seen.counters.inuse_objects(), seen.counters.inuse_bytes()),
        (40, 4_000),
        "what was held before is not"
    );
    assert!((seen.spread.inuse_bytes, seen.spread.free_objects) == (0.0, 0.0), "{:?}", seen.spread);
}
