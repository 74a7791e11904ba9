use proptest::prelude::*;

use super::{
    shapes::{FOREVER, LEAKS, OTHERS, SLOWLY_SEEN, Shape, Site},
    *,
};
use crate::{aggregate::SiteId, analyze::testing::Random};

/// How often each shape is drawn; `LEAKTRACE_RANDOM_SEEDS=600` draws more.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    0..std::env::var("LEAKTRACE_RANDOM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

fn shape(name: &str) -> Shape {
    LEAKS.iter().chain(OTHERS).find(|(shape, _)| *shape == name).expect("a shape").1
}

fn judged(name: &str, seed: u64, at: u64) -> Judgement {
    let site = shape(name)(&mut Random::new(seed), at as f64);
    site.judged(&[at]).remove(0).unwrap_or_else(|| panic!("{name}, seed {seed}: no judgement"))
}

#[test]
fn leaks_are_found_after_a_minute_with_their_rates() {
    for (name, shape) in LEAKS {
        let (mut found, mut near, mut covered, mut all) = (0, 0, 0, 0);
        for seed in seeds(6) {
            let site = shape(&mut Random::new(seed), 60.0);
            let judged = site.judged(&[60]).remove(0).expect("a judgement");
            let truth = site.leaked_per_s(60.0);
            let rate = judged.rate.map(|rate| rate.bytes).unwrap_or_default();
            found += u32::from(judged.label == Label::Leaking);
            near += u32::from((rate.value - truth).abs() <= 0.1 * truth);
            covered += u32::from(rate.covers(truth));
            all += 1;
        }
        assert!(found * 100 >= all * 98, "{name}: {found} of {all} found");
        if !["faster and faster", "after a start"].contains(name) {
            assert!(near * 100 >= all * 90, "{name}: {near} of {all} near");
            assert!(covered * 100 >= all * 85, "{name}: {covered} of {all} covered");
        }
    }
}

#[test]
fn rare_and_uneven_leaks_are_found_in_time() {
    for (name, shape) in SLOWLY_SEEN {
        let (mut at_first, mut later, mut all) = (0, 0, 0);
        for seed in seeds(4) {
            let judged = shape(&mut Random::new(seed), 240.0).judged(&[60, 240]);
            let labels: Vec<Label> = judged.into_iter().flatten().map(|judged| judged.label).collect();
            // Mostly it is not called anything else until then.
            at_first += u32::from(matches!(labels[0], Label::Leaking | Label::Growing));
            later += u32::from(labels[1] == Label::Leaking);
            all += 1;
        }
        // Of few, one may be missed.
        assert!(at_first >= all * 70 / 100 && later >= all * 95 / 100, "{name}: {at_first} and {later} of {all}");
    }
}

#[test]
fn what_is_steady_or_bounded_is_never_leaking() {
    let times: Vec<u64> = (50..=70).step_by(2).chain((75..=240).step_by(15)).collect();
    for (name, shape) in OTHERS {
        for seed in seeds(5) {
            let site = shape(&mut Random::new(seed), 240.0);
            for (judged, time) in site.judged(&times).into_iter().zip(&times) {
                let leaking = judged.filter(|judged| judged.label == Label::Leaking);
                assert_eq!(leaking, None, "{name}, seed {seed}, after {time} s");
            }
        }
    }
}

#[test]
fn each_shape_has_its_name_in_the_end() {
    use Label::{Bounded, Churn, Growing, StartUp, Steady};

    let expected: &[(&str, &[Label])] = &[
        ("start-up tables", &[StartUp]),
        ("churn", &[Churn]),
        ("churn of all sizes", &[Churn]),
        ("requests of a fixed length", &[Bounded, Churn]),
        ("cache, oldest out", &[Bounded, Churn]),
        ("cache, any one out", &[Bounded, Churn]),
        ("cache with a time to live", &[Bounded, Churn]),
        ("cache of so many keys", &[Bounded, Growing, Steady]),
        ("pool", &[Bounded, Steady, Growing]),
        ("arena", &[Churn, Bounded]),
        ("warm-up, then none", &[Bounded, StartUp]),
        ("warm-up, regular, then none", &[Bounded, StartUp]),
        ("warm-up in an S", &[Bounded]),
        ("names, common and rare", &[Bounded]),
        ("a vector that doubles", &[Bounded, Growing]),
        ("two steps of load", &[Bounded, Churn]),
    ];
    for (name, labels) in expected {
        for seed in 0..5 {
            let judged = judged(name, seed, 120);
            assert!(labels.contains(&judged.label), "{name}, seed {seed}: {judged:?}");
        }
    }
}

#[test]
fn nothing_is_said_too_early() {
    for (name, shape) in LEAKS.iter().chain(OTHERS).filter(|(name, _)| *name != "one in a thousand") {
        let site = shape(&mut Random::new(1), 50.0);
        let labels: Vec<_> = site.judged(&[1, 5, 20, 50]).into_iter().map(|judged| judged.map(|j| j.label)).collect();
        assert_eq!(labels[..2], [None, None], "{name}");
        assert!(!labels.contains(&Some(Label::Leaking)), "{name}");
    }
    assert_eq!(Site::default().judged(&[60]), [None]);
}

#[test]
fn a_leak_that_begins_later_is_found_within_a_minute_and_a_half() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let site = shape("churn")(&mut random, 400.0);
        let mut leak = Site::default();
        for block in 0..2_200 {
            leak.block(290.0 + f64::from(block) * 0.05, FOREVER, 512);
        }
        let labels: Vec<_> = site.and(leak).judged(&[280, 300, 380]).into_iter().flatten().map(|j| j.label).collect();
        assert_eq!((labels[0], labels[2]), (Label::Churn, Label::Leaking), "{labels:?}");
        assert_ne!(labels[1], Label::Leaking);
    }
}

/// A cache of unique keys that fills for longer than a site is watched before it is called leaking looks like a leak; once
/// it evicts it does not, whatever it had been called.
#[test]
fn a_cache_that_starts_to_evict_is_no_leak_any_more() {
    let mut site = Site::default();
    for entry in 0..3_000u32 {
        let born = f64::from(entry) * 0.1;
        site.block(born, 100.0, 640);
    }
    let labels: Vec<_> = site.judged(&[90, 106, 130, 300]).into_iter().flatten().map(|j| j.label).collect();
    assert_eq!(labels[0], Label::Leaking);
    assert!(!labels[1..].contains(&Label::Leaking), "{labels:?}");
    assert_eq!(labels[3], Label::Bounded);
}

fn leak() -> Site {
    shape("linear")(&mut Random::new(1), 120.0)
}

#[test]
fn frees_of_unknown_blocks_and_lost_calls_leave_a_doubt() {
    let rate = leak().judged(&[60]).remove(0).and_then(|j| j.rate).expect("a leak").objects.value;
    let of = |context: Context| leak().judged_in(&[60], &context).remove(0).expect("a judgement");
    let replaced = Context { unknown_frees_per_s: rate, ..Context::default() };
    let judged = of(replaced);
    assert_eq!(judged.label, Label::Growing);
    assert!(judged.reason.contains("blocks from before the attach are freed"), "{}", judged.reason);
    assert_eq!(of(Context { lost_per_s: rate, ..Context::default() }).label, Label::Growing);
    assert_eq!(of(Context { unknown_frees_per_s: rate / 10.0, ..Context::default() }).label, Label::Leaking);
    // What is outstanding is resident: nothing is merely replaced.
    let grows = |low, value| Some(Estimate { value, low, high: 2.0 * value });
    let resident = Context { resident: grows(9e3, 1e4), outstanding: grows(1e4, 1e4), ..replaced };
    assert_eq!(of(resident).label, Label::Leaking);
    let flat = Context { resident: grows(-1e3, 0.0), outstanding: grows(1e4, 1e4), ..replaced };
    assert_eq!(of(flat).label, Label::Growing);
}

#[test]
fn confidence_grows_with_time_and_contrast() {
    let leak = leak();
    let confidence = |times: &[u64], context: &Context| -> Vec<f64> {
        leak.judged_in(times, context).into_iter().flatten().map(|judged| judged.confidence).collect()
    };
    let fresh = confidence(&[60, 120], &Context::default());
    let old = Context { ran_before: Some(Duration::from_secs(86_400)), ..Context::default() };
    assert!(fresh[0] < fresh[1] && fresh[0] < confidence(&[60], &old)[0], "{fresh:?}");
    assert!(fresh[0] < judged("behind churn", 1, 60).confidence);
}

#[test]
fn what_was_there_before_a_late_attach_is_not_starting_up() {
    let site = shape("start-up tables")(&mut Random::new(1), 60.0);
    let late = Context { ran_before: Some(Duration::from_secs(3_600)), ..Context::default() };
    assert_eq!(site.judged_in(&[60], &late).remove(0).map(|judged| judged.label), Some(Label::Steady));
}

#[test]
fn reasons_have_figures() {
    let mut site = Site::default();
    for block in 0..600 {
        site.block(0.05 + f64::from(block) * 0.1, FOREVER, 1_024);
    }
    let leaking = site.judged(&[60]).remove(0).expect("a leak");
    assert_eq!(
        leaking.reason,
        "none of its blocks is freed: 600 blocks more in the last 1m 00s, at a steady rate (+35.2 MiB an hour); \
         600.0 KiB in 600 blocks"
    );
    let mut churning = Site::default();
    for block in 0..6_000 {
        churning.block(f64::from(block) * 0.01, 0.1, 64);
    }
    let both = site.and(churning).judged(&[60]).remove(0).expect("a leak");
    assert!(both.reason.starts_with("blocks that reach an age of 0.1s are not freed any more: "), "{}", both.reason);
    assert!(both.reason.contains("while half of its blocks are freed within 134 ms"), "{}", both.reason);
    assert_eq!(
        Judgement::pre_existing(3).reason,
        "3 descriptors open since before the attach; who opened them is not known"
    );
}

/// A site that frees, before anyone looked at its blocks.
#[test]
fn without_ages_only_what_frees_nothing_is_leaking() {
    let point = |second: u64, frees: u64| SitePoint {
        at: Duration::from_secs(second),
        counters: crate::aggregate::BlockCounters {
            alloc_bytes: 100 * second * (1 + frees),
            alloc_objects: second * (1 + frees),
            free_bytes: 100 * second * frees,
            free_objects: second * frees,
        },
        ..SitePoint::default()
    };
    for (frees, label) in [(0, Label::Leaking), (1, Label::Growing)] {
        let points: Vec<SitePoint> = (0..=60).map(|second| point(second, frees)).collect();
        let evidence = Evidence { recent: &points, whole: &points, lifetimes: None, context: &Context::default() };
        assert_eq!(judge(&evidence).map(|judged| judged.label), Some(label));
    }
}

fn said(label: Label) -> Judgement {
    Judgement { label, confidence: 0.5, reason: label.name().to_owned(), rate: None }
}

/// What is told is of all blocks, by ages or by counters; what is concluded goes by those that were seen.
#[test]
fn of_a_sample_all_is_told_and_what_was_seen_is_concluded() {
    for one_in in [1, 8] {
        let (mut rates, mut confidences, mut truths) = (0.0, 0.0, 0.0);
        for seed in 0..12 {
            let mut random = Random::new(seed);
            let leak = shape("linear, of all sizes")(&mut random, 120.0);
            let site = shape("churn")(&mut random, 120.0).and(leak);
            truths += site.leaked_per_s(120.0);
            let context = Context { sampled: (one_in > 1).then_some(0.1), ..Context::default() };
            let judged = site.sampled(one_in, &mut random).judged_in(&[120], &context).remove(0).expect("a leak");
            assert_eq!(judged.label, Label::Leaking, "{}", judged.reason);
            assert_eq!(one_in > 1, judged.reason.contains(" an hour") && judged.reason.contains("(~+"), "{judged:?}");
            let rate = judged.rate.expect("it grows");
            rates += rate.bytes.value;
            confidences += judged.confidence;
            let more: f64 = judged.reason.split("not freed any more: ").nth(1).map_or(0.0, |words| {
                let count: String = words.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
                count.parse().expect("a number")
            });
            assert!((4_000.0..8_000.0).contains(&more), "of 50 a second in two minutes: {}", judged.reason);
        }
        assert!((rates / truths - 1.0).abs() < 0.1, "1 in {one_in}: {rates}, is {truths}");
        assert!(confidences / 12.0 > 0.8, "1 in {one_in}: {confidences}");
    }
}

#[test]
fn a_leak_stands_until_it_should_have_been_seen_again() {
    let grows = |label| Judgement {
        rate: Some(Rate { bytes: Estimate::exact(96.0), objects: Estimate::exact(2.0) }),
        ..said(label)
    };
    let at = Duration::from_secs;
    let mut verdicts = Verdicts::default();
    for (id, label) in [(1, Label::Leaking), (2, Label::Leaking), (3, Label::Bounded)] {
        verdicts.update(SiteId(id), at(60), grows(label));
    }
    // Of the second one's blocks one in 128 is seen: three in 192 s.
    for (id, weighs) in [(1, 4.0), (2, 128.0), (3, 4.0), (4, 4.0)] {
        verdicts.begin_anew(SiteId(id), at(100), weighs);
        verdicts.begin_anew(SiteId(id), at(100), weighs);
    }
    assert_eq!(verdicts.get(SiteId(4)), None);
    let standing = verdicts.get(SiteId(1)).expect("it stands");
    assert_eq!(standing.reason, "before 1m 40s, since when blocks are followed anew: leaking");
    let mut ended = [0; 3];
    for second in 101..=400 {
        for (ended, id) in ended.iter_mut().zip(1..) {
            let label = verdicts.update(SiteId(id), at(second), said(Label::Churn)).label;
            *ended = if label == Label::Churn && *ended == 0 { second } else { *ended };
        }
    }
    // A minute, or what it takes, and what it takes to take back a leak.
    assert_eq!(ended, [180, 312, 105]);

    verdicts.update(SiteId(5), at(400), grows(Label::Growing));
    verdicts.begin_anew(SiteId(5), at(401), 1.0);
    let label = (402..).map(|second| verdicts.update(SiteId(5), at(second), grows(Label::Leaking)).label).nth(5);
    assert_eq!(label, Some(Label::Leaking), "what is worse is not waited for");
}

#[test]
fn a_verdict_changes_when_another_holds() {
    let mut verdicts = Verdicts::default();
    let mut say = |second, label| {
        let verdict = verdicts.update(SiteId(1), Duration::from_secs(second), said(label));
        (verdict.label, verdict.since.as_secs())
    };
    assert_eq!(say(10, Label::Growing), (Label::Growing, 10));
    assert_eq!(say(20, Label::Leaking), (Label::Growing, 10));
    assert_eq!(say(21, Label::Growing), (Label::Growing, 10));
    for second in 22..26 {
        assert_eq!(say(second, Label::Leaking), (Label::Growing, 10));
    }
    assert_eq!(say(26, Label::Leaking), (Label::Leaking, 22));
    // It takes longer to be taken back.
    for second in 27..47 {
        assert_eq!(say(second, Label::Growing), (Label::Leaking, 22));
    }
    assert_eq!(say(47, Label::Growing), (Label::Growing, 27));
    // Two others in turn.
    let changed = (48..70)
        .find(|second| say(*second, if second % 2 == 0 { Label::Churn } else { Label::Bounded }).0 != Label::Growing);
    assert_eq!(changed, Some(59));
    assert_eq!(verdicts.get(SiteId(1)).map(|verdict| verdict.since.as_secs()), Some(59));
    verdicts.forget(SiteId(1));
    assert_eq!(verdicts.get(SiteId(1)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever comes in and goes out in whatever order: with a limit, reached within 40 s, it does not leak.
    #[test]
    fn what_has_a_limit_is_never_leaking(
        seed in any::<u64>(),
        limit in 1usize..400,
        fill in 1.0f64..40.0,
        churn in 0.0f64..20.0,
        oldest in 0.0f64..=1.0,
    ) {
        let mut random = Random::new(seed);
        let rate = limit as f64 / fill;
        let mut site = Site::default();
        let mut inside: Vec<usize> = Vec::new();
        let mut now = 0.0;
        while now < 150.0 {
            now += random.exponential(1.0 / if inside.len() < limit { rate } else { churn + 0.01 });
            if inside.len() == limit {
                let out = if random.share() < oldest { 0 } else { (random.next() % limit as u64) as usize };
                let out = inside.remove(out);
                site.die(out, now);
            }
            inside.push(site.block(now, FOREVER, 64));
        }
        // It took longer than it was meant to.
        prop_assume!(site.born(limit - 1) < 45.0);
        for judged in site.judged(&[50, 55, 56, 57, 58, 59, 60, 65, 70, 80, 90, 105, 120, 150]).into_iter().flatten() {
            prop_assert_ne!(judged.label, Label::Leaking, "{}", judged.reason);
        }
    }

    #[test]
    fn no_evidence_panics(
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), 0u64..100), 0..80),
        freed in prop::collection::vec(any::<u32>(), crate::analyze::survival::AGE_BUCKETS),
        live in prop::collection::vec((any::<u64>(), any::<u32>()), 0..40),
        unknown_frees_per_s in any::<f64>(),
        ran_before in any::<Option<u64>>(),
    ) {
        let mut points = vec![SitePoint::default()];
        for (alloc_bytes, alloc_objects, free_bytes, free_objects, seconds) in steps {
            let mut point = points[points.len() - 1];
            point.at += Duration::from_secs(seconds);
            point.counters.alloc_bytes += u64::from(alloc_bytes);
            point.counters.alloc_objects += u64::from(alloc_objects);
            point.counters.free_bytes += u64::from(free_bytes);
            point.counters.free_objects += u64::from(free_objects);
            points.push(point);
        }
        let mut lifetimes = Lifetimes::default();
        for (count, freed) in lifetimes.freed.iter_mut().zip(freed) {
            *count = u64::from(freed);
        }
        for (age, bytes) in live {
            lifetimes.live.add(age >> (age % 64), u64::from(bytes));
        }
        let context = Context { unknown_frees_per_s, ran_before: ran_before.map(Duration::from_secs), ..Context::default() };
        let recent = &points[points.len() / 2..];
        for lifetimes in [None, Some(&lifetimes)] {
            if let Some(judged) = judge(&Evidence { recent, whole: &points, lifetimes, context: &context }) {
                prop_assert!((0.0..=1.0).contains(&judged.confidence) && !judged.reason.is_empty(), "{judged:?}");
            }
        }
    }
}
