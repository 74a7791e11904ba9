use proptest::prelude::*;

use super::*;
use crate::analyze::testing::Random;

const SECOND: u64 = 1_000_000_000;

fn lifetimes(freed: &[u64], live: &[u64]) -> Lifetimes {
    let mut lifetimes = Lifetimes::default();
    for age in freed {
        lifetimes.freed[age_bucket(*age)] += 1;
    }
    for age in live {
        lifetimes.live.add(*age, 7);
    }
    lifetimes
}

#[test]
fn buckets_are_powers_of_two_without_gaps() {
    assert_eq!([0, 65_535, 65_536, 131_071, 131_072].map(age_bucket), [0, 0, 1, 1, 2]);
    assert_eq!(age_bucket(u64::MAX), AGE_BUCKETS - 1);
    let mut end = Duration::ZERO;
    for bucket in 0..AGE_BUCKETS {
        let ages = bucket_ages(bucket);
        assert_eq!(ages.start, end);
        end = ages.end;
        assert_eq!(age_bucket(ages.start.as_nanos() as u64), bucket);
        if bucket + 1 < AGE_BUCKETS {
            assert_eq!(age_bucket(ages.end.as_nanos() as u64 - 1), bucket);
        }
    }
    assert_eq!(end, Duration::MAX);
    assert_eq!(bucket_ages(AGE_BUCKETS - 1).start.as_secs() / 60, 1172);
}

/// 8 blocks: 2 die in the first bucket and 1 in the second; there 2 live; the other 3 reach the third, where 1 dies.
#[test]
fn a_curve_by_hand() {
    let survival = lifetimes(&[10, 20, 70_000, 140_000], &[70_000, 80_000, 140_000, 150_000]).survival(0.95);
    let shares: Vec<f64> = survival.steps().iter().map(|step| step.share.value).collect();
    // (8-2)/8; of 6 - 2/2 = 5 one died; of 3 - 2/2 = 2 one died.
    let expected = [0.75, 0.75 * 0.8, 0.75 * 0.8 * 0.5];
    assert_eq!(shares.len(), 3);
    assert!(shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 1e-12), "{shares:?}");
    assert_eq!(survival.steps().iter().map(|step| step.at_risk).collect::<Vec<_>>(), [8, 6, 3]);
    assert_eq!(survival.median(), Some(Median::Between(Duration::from_nanos(131_072), Duration::from_nanos(262_144))));
    let middle = survival.beyond(Duration::from_nanos(131_072 + 65_536)).expect("known");
    assert!((middle.value - 0.45).abs() < 1e-12, "{middle:?}");
    assert_eq!(survival.beyond(Duration::from_nanos(262_145)), None);
}

/// Freireich et al. 1963, the 6-MP arm, as every textbook has it at 6 weeks: S = 0.857, standard error 0.0764. Weeks become
/// buckets: 3 of 21 died in the sixth and nobody before.
#[test]
fn greenwood_s_interval_is_that_of_the_textbook() {
    let mut lifetimes = Lifetimes::default();
    lifetimes.freed[6] = 3;
    lifetimes.freed[20] = 18;
    let share = lifetimes.survival(0.95).steps()[6].share;
    assert!((share.value - 0.857).abs() < 5e-4, "{share:?}");
    // By hand: log(-log 0.857) +- 1.96 * 0.0764 / (0.857 * 0.1542).
    assert!((share.low - 0.6197).abs() < 1e-3 && (share.high - 0.9516).abs() < 1e-3, "{share:?}");
}

#[test]
fn nothing_known_is_nothing_said() {
    let none = Lifetimes::default();
    assert_eq!((none.survival(0.95).median(), none.oldest()), (None, None));
    assert_eq!(none.survival(0.95).beyond(Duration::ZERO), None);
    // Nobody died: as little as two blocks say.
    let two = lifetimes(&[], &[5 * SECOND, 9 * SECOND]).survival(0.95);
    assert_eq!(two.median(), Some(Median::Beyond(Duration::from_nanos(1 << 34))));
    let share = two.beyond(4 * Duration::from_secs(1)).expect("known");
    assert!(share.value == 1.0 && share.low < 0.2, "{share:?}");
}

#[test]
fn laplace_s_rule() {
    assert_eq!(leak_probability(0, 0), 0.5);
    assert_eq!(leak_probability(98, 98), 1.0 - 99.0 / 100.0);
    assert_eq!(leak_probability(98, 0), 0.99);
    assert_eq!(leak_probability(1, 5), 1.0 - 2.0 / 3.0);
}

#[test]
fn ages_are_kept_to_a_sixteenth() {
    let mut live = LiveAges::default();
    for age in [0, 1, 70_000, SECOND, 40 * SECOND, 41 * SECOND, 86_400 * SECOND] {
        live.add(age, 10);
    }
    assert_eq!((live.objects(), live.oldest()), (7, Some(Duration::from_secs(86_400))));
    for cohort in live.cohorts().filter(|cohort| cohort.from > Duration::from_secs(2)) {
        assert!(cohort.to - cohort.from <= cohort.from / 16, "{cohort:?}");
    }
    let old: Vec<Cohort> = live.cohorts().filter(|cohort| cohort.from > Duration::from_secs(30)).collect();
    assert_eq!(old.iter().map(|cohort| cohort.objects).sum::<u64>(), 3);
}

/// Censoring takes nothing away: blocks with lifetimes of 4 s on average, half of them seen only in part.
#[test]
fn the_curve_covers_the_true_share() {
    let mut covered = 0;
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut freed, mut live) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let (lifetime, followed) = (random.exponential(4.0), random.between(0.0, 12.0));
            let list = if lifetime <= followed { &mut freed } else { &mut live };
            list.push((lifetime.min(followed) * 1e9) as u64);
        }
        let survival = lifetimes(&freed, &live).survival(0.95);
        // A bucket's end.
        let age = (1u64 << 33) as f64 / 1e9;
        let share = survival.beyond(Duration::from_nanos(1 << 33)).expect("followed");
        covered += u32::from(share.covers((-age / 4.0).exp()));
    }
    assert!(covered >= 170, "{covered} of 200");
}

proptest! {
    #[test]
    fn shares_do_not_rise_and_stay_within_0_and_1(
        freed in prop::collection::vec(any::<u64>().prop_map(|age| age >> (age % 64)), 0..200),
        live in prop::collection::vec(any::<u64>().prop_map(|age| age >> (age % 64)), 0..200),
        confidence in 0.0f64..=1.0,
    ) {
        let mut before = 1.0;
        for Step { share, .. } in lifetimes(&freed, &live).survival(confidence).steps() {
            prop_assert!(share.value <= before, "{share:?}");
            prop_assert!(0.0 <= share.low && share.low <= share.value, "{share:?}");
            prop_assert!(share.value <= share.high && share.high <= 1.0, "{share:?}");
            before = share.value;
        }
    }

    #[test]
    fn without_censoring_it_is_the_empirical_distribution(
        freed in prop::collection::vec((0u64..86_400 * SECOND).prop_map(|age| age >> (age % 40)), 1..300),
    ) {
        for (bucket, Step { age, share, .. }) in lifetimes(&freed, &[]).survival(0.95).steps().iter().enumerate() {
            let beyond = freed.iter().filter(|freed| Duration::from_nanos(**freed) >= *age).count();
            let expected = if bucket + 1 == AGE_BUCKETS { 0.0 } else { beyond as f64 / freed.len() as f64 };
            prop_assert!((share.value - expected).abs() < 1e-9, "{age:?}: {share:?}, not {expected}");
        }
    }

    #[test]
    fn every_age_is_in_its_cohort_and_bucket(age in any::<u64>().prop_map(|age| age >> (age % 64))) {
        let mut live = LiveAges::default();
        live.add_all(age, 3, 31);
        let cohort = live.cohorts().next().expect("one");
        prop_assert!(cohort.from.as_nanos() as u64 <= age && age < cohort.to.as_nanos() as u64 || age > 1 << 63);
        prop_assert_eq!((cohort.objects, cohort.bytes, live.oldest()), (3, 31, Some(Duration::from_nanos(age))));
        prop_assert_eq!(live.by_bucket()[age_bucket(age)], 3);
    }
}
