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
    let (work, steps, tracked) = run_where(limit, seconds, true, load);
    (work, steps.into_iter().map(|(_, step)| step).collect(), tracked)
}

/// The same with the times of the steps. `may_grow`: page faults can be followed.
fn run_where(limit: f64, seconds: f64, may_grow: bool, load: impl Fn(f64) -> Load) -> (Work, Vec<(f64, Step)>, f64) {
    const TICK: f64 = 0.01;
    // What there is to share: where probes would take more, all goes slower.
    const CORES: f64 = 8.0;
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
        let slower = (CORES / (own + probes)).min(1.0) * TICK;
        work.probes += probes * slower;
        work.idle += idle * slower;
        work.cpu += (own + probes) * slower;
        tracked += if there && tracks { TICK } else { 0.0 };
        let now = begun + Duration::from_secs_f64(time + TICK);
        if !budget.is_due(now) {
            continue;
        }
        let mut step = budget.step(now, Some(work));
        if step == Step::Grow && !may_grow {
            let (longer, duty) = budget.refuse_growth(now);
            step = Step::Rest { longer, duty: Some(duty) };
        }
        match step {
            Step::Wait => continue,
            Step::Track => tracks = true,
            Step::Thin => thinned = true,
            Step::Rest { .. } | Step::Leave => there = false,
            Step::Grow => (there, tracks) = (false, false),
            Step::Look => {
                there = true;
                budget.resumed(now);
            }
            Step::Back(duty) => (there, tracks) = (duty.off.is_zero(), duty.off.is_zero()),
            Step::Resume => {
                (there, tracks) = (true, true);
                budget.resumed(now);
            }
            Step::GiveUp => panic!("the costs were known"),
        }
        steps.push((time, step));
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

/// A second of work in ten, of which most windows see nothing: as when a process has to wait for its turn on a busy machine.
#[test]
fn bursts_do_not_drive_the_share_up_and_down() {
    let load = |time: f64| {
        let busy = if time % 10.0 < 1.0 { 1.0 } else { 0.0 };
        Load { own: busy, tracked: 2.0 * busy, idle: 1.2 * busy }
    };
    let (work, steps, tracked) = run(0.05, 3_600.0, load);
    let changes = steps.iter().filter(|step| matches!(step, Step::Rest { duty: Some(_), .. })).count();
    assert!(!steps.contains(&Step::Grow), "page faults are followed");
    assert!(changes <= 20, "{changes} changes");
    assert!(share(&work) <= 0.052 && tracked > 20.0, "{:.4}, {tracked}", share(&work));
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

/// A loop that does little but allocate and free, on four cores.
fn absurd(_: f64) -> Load {
    Load { own: 4.0, tracked: 900.0, idle: 500.0 }
}

#[test]
fn page_faults_are_followed_where_windows_would_show_nothing() {
    let (work, steps, tracked) = run_where(0.01, 3_600.0, true, absurd);
    assert_eq!(steps[0].1, Step::Grow, "the first look is enough");
    // Each look is in vain, and they become rare.
    let looks: Vec<f64> = steps.iter().filter(|(_, step)| *step == Step::Look).map(|(time, _)| *time).collect();
    let leaves = steps.iter().filter(|(_, step)| *step == Step::Leave).count();
    assert!((3..10).contains(&looks.len()) && leaves == looks.len() && steps.len() == 1 + 2 * leaves, "{steps:?}");
    assert!(looks[0] >= 60.0 && looks.windows(2).all(|pair| pair[1] - pair[0] >= 120.0), "{looks:?}");
    assert_eq!(tracked, 0.0);
    // That of the beginning, before anything was known, is not made up for.
    let at_first = 8.0 * (FIRST_LOOK.as_secs_f64() + 0.1);
    assert!(work.probes - at_first <= 0.01 * work.cpu, "{work:?}");
}

#[test]
fn windows_stay_where_page_faults_cannot_be_followed() {
    let (_, steps, tracked) = run_where(0.01, 3_600.0, false, absurd);
    let grows = steps.iter().filter(|(_, step)| matches!(step, Step::Look | Step::Grow | Step::Back(_))).count();
    let Step::Rest { duty: Some(duty), .. } = steps[0].1 else { panic!("{steps:?}") };
    assert!(grows == 0 && duty.share() == LEAST_SHARE && tracked > 0.0, "{steps:?}");
}

#[test]
fn blocks_are_tracked_again_when_the_load_has_fallen() {
    for (limit, light, all) in [
        (0.05, Load { own: 0.2, tracked: 0.004, idle: 0.002 }, true),
        (0.05, Load { own: 0.5, tracked: 0.4, idle: 0.2 }, false),
        (0.000_5, Load { own: 0.01, tracked: 0.000_01, idle: 0.000_01 }, true),
    ] {
        let load = |time| if time < 31.0 { absurd(time) } else { light };
        let (work, steps, tracked) = run_where(limit, 300.0, true, load);
        assert_eq!(steps[0].1, Step::Grow);
        let (back, duty) = steps
            .iter()
            .find_map(|(time, step)| match step {
                Step::Back(duty) => Some((*time, *duty)),
                _ => None,
            })
            .unwrap_or_else(|| panic!("{limit}: {steps:?}"));
        assert!((31.0..50.0).contains(&back), "{limit}: that it does less is seen soon, not at {back}");
        assert_eq!(duty.off.is_zero(), all, "{limit}: {duty:?}");
        assert!(tracked > 1.0, "{limit}: {tracked}");
        let grows = steps.iter().filter(|(_, step)| *step == Step::Grow).count();
        assert!(grows == 1, "{limit}: {steps:?}");
        let at_first = 8.0 * (FIRST_LOOK.as_secs_f64() + 0.1);
        assert!(work.probes - at_first <= (limit * work.cpu).max(NEGLIGIBLE * 300.0) * 1.02, "{limit}: {work:?}");
    }
}

#[test]
fn a_load_near_the_border_does_not_go_back_and_forth() {
    // From where windows are far from useful to where all can be tracked.
    for step in 0..60 {
        let cost = 0.05 * 1.25_f64.powi(step);
        let load = |_| Load { own: 0.8, tracked: 1.7 * cost, idle: cost };
        let (_, steps, _) = run_where(0.01, 3_600.0, true, load);
        let moves = steps.iter().filter(|(_, step)| matches!(step, Step::Grow | Step::Back(_))).count();
        assert!(moves <= 3, "{cost}: {moves} of {}", steps.len());
    }
}

#[test]
fn a_load_that_comes_and_goes_is_looked_at_more_and_more_seldom() {
    // Busy for two minutes, then calm for one.
    let load = |time: f64| {
        if time % 180.0 < 120.0 { absurd(time) } else { Load { own: 0.1, tracked: 0.001, idle: 0.000_5 } }
    };
    let (work, steps, tracked) = run_where(0.05, 7_200.0, true, load);
    let grows = steps.iter().filter(|(_, step)| *step == Step::Grow).count();
    assert!((2..=40).contains(&grows), "{grows}");
    assert!(tracked > 10.0, "{tracked}");
    // Each time that the load returns while all is tracked, it takes a second to notice.
    assert!(work.probes <= 0.05 * work.cpu + grows as f64 * 8.0 * 1.2 + 8.0, "{work:?} in {grows}");
}

#[test]
fn what_is_open_at_the_end_is_known() {
    let begun = Instant::now();
    let mut budget = Budget::new(0.05, false, begun, fastrand::Rng::with_seed(7));
    let mut work = Work::default();
    let mut windows = 0;
    for tick in 1..3_000 {
        let now = begun + Duration::from_millis(10 * tick);
        let probes = if windows % 2 == 0 { 0.01 } else { 0.0 };
        (work.cpu, work.probes, work.idle) = (work.cpu + 0.01, work.probes + 0.5 * probes, work.idle + 0.3 * probes);
        if !budget.is_due(now) {
            continue;
        }
        match budget.step(now, Some(work)) {
            Step::Rest { .. } => {
                assert!(!budget.is_tracking(), "it rests");
                windows += 1;
            }
            Step::Resume => {
                budget.resumed(now);
                assert!(budget.is_tracking(), "it is in a window");
                windows += 1;
            }
            _ => {}
        }
    }
    assert!(windows > 2, "{windows}");
}
