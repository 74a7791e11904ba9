use proptest::prelude::*;

use super::*;
use crate::analyze::testing::Random;

fn points(values: &[f64]) -> Vec<Point> {
    values.iter().enumerate().map(|(second, &value)| Point { at: second as f64, value }).collect()
}

fn of(values: &[f64]) -> Trend {
    trend(&points(values), 0.95).expect("enough points")
}

/// Hand-worked: 3, 1, 4, 1, 5, 9, 2, 6.
#[test]
fn a_small_series_by_hand() {
    let series = points(&[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]);
    let test = kendall::test(&series);
    // 19 pairs rise, 8 fall, 1 is tied.
    assert_eq!((test.s, test.tau), (11.0, 11.0 / 28.0));
    // (8*7*21 - 2*1*9) / 18
    assert!((test.variance - 1158.0 / 18.0).abs() < 1e-12, "{}", test.variance);
    let mut slopes = slopes::all(&series);
    assert_eq!(slopes.len(), 28);
    slopes.sort_by(f64::total_cmp);
    let mut again = slopes::all(&series);
    let median = slopes::median(&mut again);
    assert!((median - f64::midpoint(slopes[13], slopes[14])).abs() < 1e-12);
    // A reach of 10 leaves 9 pairs outside on either side.
    assert_eq!(slopes::interval(&mut again, 10.0), (slopes[8], slopes[19]));
    assert_eq!(slopes::interval(&mut again, 1e9), (slopes[0], slopes[27]));
    assert_eq!(slopes::interval(&mut again, 0.0), (slopes[13], slopes[14]));
}

#[test]
fn a_constant_has_no_trend() {
    for length in [6, 60, 500] {
        let flat = of(&vec![7.0; length]);
        assert_eq!((flat.slope, flat.z, flat.p), (Estimate::exact(0.0), 0.0, 1.0));
    }
    assert_eq!(trend(&points(&[1.0; 5]), 0.95), None);
    assert_eq!(trend(&[], 0.95), None);
}

#[test]
fn a_line_is_its_own_trend() {
    let line: Vec<f64> = (0..60).map(|second| 1000.0 + 37.0 * f64::from(second)).collect();
    let trend = of(&line);
    assert_eq!((trend.slope, trend.tau), (Estimate::exact(37.0), 1.0));
    assert!(trend.rises(1e-9));
}

#[test]
fn one_step_is_no_line() {
    let mut values = vec![0.0; 60];
    values[30..].fill(1e6);
    let step = of(&values);
    assert!(step.slope.low <= 0.0, "{step:?}");
}

#[test]
fn points_out_of_order_or_not_numbers_are_left_out() {
    let mut series = points(&(0..60).map(f64::from).collect::<Vec<_>>());
    series.insert(20, Point { at: 3.0, value: 1e9 });
    series.insert(40, Point { at: 38.5, value: f64::NAN });
    let trend = trend(&series, 0.95).expect("a trend");
    assert_eq!((trend.slope.value, trend.points), (1.0, 60));
}

#[test]
fn thinning_keeps_both_ends_and_the_order() {
    let many: Vec<usize> = (0..10_007).collect();
    let few = thinned(&many, MOST_POINTS);
    assert_eq!((few.len(), few[0], few[MOST_POINTS - 1]), (MOST_POINTS, 0, 10_006));
    assert!(few.windows(2).all(|pair| pair[0] < pair[1]));
    let reversed: Vec<usize> = few.iter().rev().map(|index| 10_006 - index).collect();
    assert_eq!(few, reversed);
}

/// How often the interval covers the slope, and how often a trend is seen, in series made by `noise`.
fn frequencies(series: usize, length: usize, slope: f64, mut noise: impl FnMut(&mut Random) -> Vec<f64>) -> (f64, f64) {
    let (mut covered, mut seen) = (0, 0);
    for seed in 0..series as u64 {
        let mut random = Random::new(seed);
        let values: Vec<f64> =
            noise(&mut random).iter().take(length).enumerate().map(|(at, noise)| slope * at as f64 + noise).collect();
        let trend = of(&values);
        covered += usize::from(trend.slope.covers(slope));
        seen += usize::from(trend.p < 0.05);
    }
    (covered as f64 / series as f64, seen as f64 / series as f64)
}

/// An AR(1) process with this autocorrelation.
fn autoregressive(random: &mut Random, length: usize, correlation: f64) -> Vec<f64> {
    let mut value = random.normal() / (1.0 - correlation * correlation).sqrt().max(1e-3);
    if correlation >= 1.0 {
        value = 0.0;
    }
    let step = |_| {
        value = correlation * value + random.normal();
        value
    };
    (0..length).map(step).collect()
}

#[test]
fn intervals_cover_the_slope_as_often_as_they_say() {
    for (correlation, least) in [(0.0, 0.92), (0.3, 0.90), (0.6, 0.90), (0.8, 0.88), (0.9, 0.85), (1.0, 0.85)] {
        for length in [30, 60, 120] {
            let (covered, _) = frequencies(400, length, 3.0, |random| autoregressive(random, length, correlation));
            assert!(covered >= least, "{correlation} {length}: {covered}");
        }
    }
}

#[test]
fn trends_are_seen_in_noise_as_often_as_they_say() {
    for (correlation, most) in [(0.0, 0.08), (0.3, 0.10), (0.6, 0.10), (0.8, 0.12), (0.9, 0.15), (1.0, 0.15)] {
        let (_, seen) = frequencies(400, 60, 0.0, |random| autoregressive(random, 60, correlation));
        assert!(seen <= most, "{correlation}: {seen}");
    }
}

/// The count of a leak whose blocks come at random: errors add up.
#[test]
fn a_random_leak_s_rate_is_covered() {
    for rate in [0.3, 5.0, 200.0] {
        let mut covered = 0;
        for seed in 0..400 {
            let mut random = Random::new(seed);
            let mut count = 0;
            let values: Vec<f64> = (0..60)
                .map(|_| {
                    count += random.poisson(rate);
                    count as f64
                })
                .collect();
            covered += u32::from(of(&values).slope.covers(rate));
        }
        assert!(covered >= 340, "{rate}: {covered} of 400");
    }
}

fn series() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec(-1e6f64..1e6, 6..80),
        prop::collection::vec((-5i32..5).prop_map(f64::from), 6..80),
        (any::<u64>(), 6usize..300, -5.0f64..5.0, 0.0f64..1.0).prop_map(|(seed, length, slope, correlation)| {
            let noise = autoregressive(&mut Random::new(seed), length, correlation);
            noise.iter().enumerate().map(|(at, noise)| slope * at as f64 + noise).collect()
        }),
    ]
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()))
}

fn same(a: &Trend, b: &Trend) -> bool {
    let ends = [(a.slope.value, b.slope.value), (a.slope.low, b.slope.low), (a.slope.high, b.slope.high)];
    ends.into_iter().all(|(a, b)| close(a, b)) && close(a.z, b.z) && close(a.p, b.p) && close(a.tau, b.tau)
}

proptest! {
    #[test]
    fn a_shifted_series_has_the_same_trend(values in series(), by in -1000i32..1000, later in -1000i32..1000) {
        let moved: Vec<Point> = points(&values)
            .into_iter()
            .map(|Point { at, value }| Point { at: at + f64::from(later), value: value + f64::from(by) })
            .collect();
        let (a, b) = (of(&values), trend(&moved, 0.95).expect("as many points"));
        prop_assert!(same(&a, &b), "{a:?} {b:?}");
    }

    /// By powers of two, which are exact.
    #[test]
    fn a_scaled_series_has_a_scaled_trend(values in series(), power in -8i32..8, negative in any::<bool>(), stretch in -4i32..4) {
        let factor = 2f64.powi(power) * if negative { -1.0 } else { 1.0 };
        let stretch = 2f64.powi(stretch);
        let scaled: Vec<Point> = points(&values)
            .into_iter()
            .map(|Point { at, value }| Point { at: at * stretch, value: value * factor })
            .collect();
        let (a, b) = (of(&values), trend(&scaled, 0.95).expect("as many points"));
        let sign = factor.signum();
        let expected = Trend { slope: a.slope.scaled(factor / stretch), tau: a.tau * sign, z: a.z * sign, ..a };
        prop_assert!(same(&expected, &b), "{expected:?} {b:?}");
    }

    #[test]
    fn a_reversed_series_has_the_opposite_trend(values in series()) {
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        let (a, b) = (of(&values), of(&reversed));
        let expected = Trend { slope: a.slope.scaled(-1.0), tau: -a.tau, z: -a.z, ..a };
        prop_assert!(same(&expected, &b), "{expected:?} {b:?}");
    }

    #[test]
    fn the_slope_is_inside_its_interval(values in series(), confidence in 0.0f64..1.0) {
        let trend = trend(&points(&values), confidence).expect("enough points");
        prop_assert!(trend.slope.covers(trend.slope.value), "{trend:?}");
        prop_assert!((0.0..=1.0).contains(&trend.p) && (-1.0..=1.0).contains(&trend.tau), "{trend:?}");
    }
}
