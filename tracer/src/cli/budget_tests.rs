use super::*;

/// A process that works so much a second by itself, and would spend so much in probes, tracked and not.
#[derive(Clone, Copy)]
struct Load {
    own: f64,
    tracked: f64,
    idle: f64,
}

/// Runs a process under a budget. Returns its work, the steps taken, and the time that was tracked.
fn run(limit: f64, seconds: f64, load: impl Fn(f64) -> Load) -> (Work, Vec<Step>, f64) {
    const TICK: f64 = 0.01;
    let begun = Instant::now();
    let mut budget = Budget::new(limit, false, begun, fastrand::Rng::with_seed(7));
    let (mut work, mut steps, mut tracked) = (Work::default(), Vec::new(), 0.0);
    // Whether the probes are there, and what is tracked.
    let (mut there, mut tracks, mut thinned) = (true, false, false);
    for tick in 0..(seconds / TICK) as u64 {
        let time = tick as f64 * TICK;
        let Load { own, tracked: cost, idle } = load(time);
        let idle = if there { idle } else { 0.0 };
        let probes = if there && tracks && !thinned { cost } else { idle };
        work.probes += probes * TICK;
        work.idle += idle * TICK;
        work.cpu += (own + probes) * TICK;
        tracked += if there && tracks { TICK } else { 0.0 };
        let now = begun + Duration::from_secs_f64(time + TICK);
        if !budget.is_due(now) {
            continue;
        }
        let step = budget.step(now, Some(work));
        match step {
            Step::Wait => continue,
            Step::Track => tracks = true,
            Step::Thin => thinned = true,
            Step::Rest { .. } => there = false,
            Step::Resume => {
                (there, tracks) = (true, true);
                budget.resumed(now);
            }
            Step::GiveUp => panic!("the costs were known"),
        }
        steps.push(step);
    }
    (work, steps, tracked)
}

fn share(work: &Work) -> f64 {
    work.probes / work.cpu
}

#[test]
fn what_is_cheap_is_tracked_all_the_time() {
    let (work, steps, tracked) = run(0.1, 100.0, |_| Load { own: 0.9, tracked: 0.05, idle: 0.03 });
    assert_eq!(steps, [Step::Track]);
    assert!(tracked > 99.0 && share(&work) < 0.06, "{work:?}");
}

#[test]
fn sampling_is_preferred_where_it_is_enough() {
    let (work, steps, tracked) = run(0.1, 100.0, |_| Load { own: 0.8, tracked: 0.2, idle: 0.05 });
    assert_eq!(steps, [Step::Track, Step::Thin]);
    assert!(tracked > 99.0 && share(&work) < 0.1, "{work:?}");
}

#[test]
fn a_limit_holds_where_the_probes_themselves_are_dear() {
    for limit in [0.01, 0.02, 0.05, 0.1] {
        let (work, steps, tracked) = run(limit, 1_000.0, |_| Load { own: 0.8, tracked: 0.5, idle: 0.3 });
        let changes = steps.iter().filter(|step| matches!(step, Step::Rest { duty: Some(_), .. })).count();
        assert!(changes <= 3, "{limit}: the share changed {changes} times");
        assert!(share(&work) <= limit * 1.02 && share(&work) > limit / 5.0, "{limit}: {:.4}", share(&work));
        assert!(tracked > 1.0, "{limit}: {tracked}");
    }
}

#[test]
fn it_follows_the_load() {
    let heavy = |time: f64| (300.0..600.0).contains(&time);
    let load = |time: f64| {
        if heavy(time) {
            Load { own: 0.9, tracked: 2.0, idle: 1.2 }
        } else {
            Load { own: 0.9, tracked: 0.3, idle: 0.2 }
        }
    };
    let (work, steps, _) = run(0.1, 900.0, load);
    assert!(share(&work) <= 0.102, "{:.4}", share(&work));
    let duties: Vec<f64> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Rest { duty: Some(duty), .. } => Some(duty.share()),
            _ => None,
        })
        .collect();
    assert!(duties.windows(2).any(|pair| pair[1] < pair[0]), "{duties:?}");
    assert!(duties.windows(2).any(|pair| pair[1] > pair[0]), "{duties:?}");
}

#[test]
fn a_process_that_sleeps_is_tracked() {
    let (_, steps, _) = run(0.1, 20.0, |_| Load { own: 0.0, tracked: 0.0, idle: 0.0 });
    assert_eq!(steps, [Step::Track]);
}

#[test]
fn costs_that_stay_unknown_are_given_up() {
    let begun = Instant::now();
    let mut budget = Budget::new(0.1, false, begun, fastrand::Rng::with_seed(7));
    assert_eq!(budget.step(begun + FIRST_LOOK, None), Step::Wait);
    assert!(!budget.is_due(begun + FIRST_LOOK));
    assert_eq!(budget.step(begun + PATIENCE + FIRST_LOOK, None), Step::GiveUp);
}

#[test]
fn shares_are_powers_of_two() {
    assert_eq!([0.9, 0.5, 0.49, 0.13, 1e-9].map(quantized), [0.5, 0.5, 0.25, 0.125, LEAST_SHARE]);
}
