//! What the tabs of charts, of the flame graph and of health look like, kept as text.

use std::{sync::Arc, time::Duration};

use crossterm::event::KeyCode::{self, Backspace, Char, Down, End, Enter, Left, Right};
use ratatui::style::{Color, Modifier};
use tracer_common::{
    counter::{LossCause, Stat},
    stack::StackEnd,
};

use super::{
    App, AppOptions, Recorded,
    goldens::{app, golden, press, screen},
};
use crate::{
    aggregate::{IncompleteCount, LossCount, Note, ProbeStatus, Snapshot, StatCount, Tgid},
    analyze::{ProcessAnalysis, history::ProcessReading},
    report::testing,
    target::limits::{LimitKind, MemoryLimit},
};

const MIB: u64 = 1 << 20;

/// A run of so many seconds: resident memory grows towards a limit, the heap grows and is emptied now and then.
fn run(seconds: u64) -> impl Iterator<Item = Snapshot> {
    (0..=seconds).map(|second| {
        let mut snapshot = testing::normal_fds();
        snapshot.elapsed = Duration::from_secs(second);
        snapshot.totals.alloc_bytes += (second % 307) * 100_003;
        let rss = 300 * MIB + second * 300_007;
        let mut analysis = ProcessAnalysis {
            reading: ProcessReading { rss: Some(rss), ..ProcessReading::default() },
            ..ProcessAnalysis::default()
        };
        let (bytes, used, cgroup) = (512 * MIB, rss + 20 * MIB, "/system.slice/imgserver.service".to_owned());
        analysis.limits = vec![MemoryLimit { kind: LimitKind::CgroupMax, bytes, used, cgroup }];
        snapshot.analysis = vec![(Tgid(4242), analysis)];
        let descriptors = snapshot.descriptors.as_mut().expect("traced");
        Arc::make_mut(&mut descriptors.open).truncate(20 + second as usize / 20);
        snapshot
    })
}

fn timeline(seconds: u64) -> App {
    on(app(run(seconds)), '4')
}

fn on(mut app: App, tab: char) -> App {
    press(&mut app, &[Char(tab)]);
    app
}

golden!(timeline_80x24, timeline(600), &[], 80 x 24);
golden!(timeline_120x40, timeline(600), &[], 120 x 40);
golden!(timeline_220x60, timeline(600), &[], 220 x 60);
golden!(timeline_60x14, timeline(600), &[Down], 60 x 14);
golden!(timeline_40x10, timeline(600), &[], 40 x 10);
golden!(timeline_closer, timeline(600), &[Char('+'), Char('+'), Left, Left], 80 x 24);
golden!(timeline_of_hours, on(app(run(20_000).step_by(20)), '4'), &[], 120 x 40);
golden!(timeline_collecting, timeline(0), &[], 80 x 24);
golden!(timeline_two_readings, timeline(1), &[], 80 x 24);
golden!(timeline_of_memory_alone, on(app([testing::before_normal(), testing::normal()]), '4'), &[], 80 x 24);
golden!(timeline_exited, on(app(run(60).chain([testing::exited()])), '4'), &[], 80 x 24);
/// A window in the middle of a recording.
fn recorded() -> App {
    let mut app = App::new(AppOptions::default());
    run(600).for_each(|snapshot| app.remember(&snapshot));
    let time = "2026-03-01T09:34:00Z".parse().expect("a time");
    let shown: Vec<Snapshot> = run(240).skip(239).collect();
    let recorded = Recorded { window: 241, windows: 601, time };
    app.jump(Some(&shown[0]), Arc::new(shown[1].clone()), recorded);
    on(app, '4')
}

golden!(timeline_recorded, recorded(), &[], 80 x 24);
golden!(timeline_help, timeline(600), &[Char('?')], 80 x 40);
golden!(timeline_empty, on(app([testing::empty()]), '4'), &[], 80 x 24);

fn flame(snapshot: Snapshot) -> App {
    on(app([snapshot]), '5')
}

golden!(flame_80x24, flame(testing::normal()), &[], 80 x 24);
golden!(flame_120x40, flame(testing::normal()), &[Char('g'), Down, Down], 120 x 40);
golden!(flame_220x60, flame(testing::normal()), &[Char('g'), Down, Down], 220 x 60);
golden!(flame_40x8, flame(testing::normal()), &[Char('g'), Down, Down], 40 x 8);
golden!(flame_zoomed, flame(testing::normal()), &[Char('g'), Down, Down, Right, Enter, Down], 80 x 24);
golden!(flame_zoomed_out, flame(testing::normal()), &[Char('g'), Down, Down, Right, Enter, Down, Backspace], 80 x 24);
golden!(flame_deep, flame(testing::normal()), &[Char('g'), Down, Right, End], 80 x 24);
golden!(flame_objects, flame(testing::normal()), &[Char('s'), Char('s')], 80 x 24);
golden!(flame_growth, on(app([testing::before_normal(), testing::normal()]), '5'), &[Char('g'), Char('s')], 80 x 24);
golden!(flame_no_growth, flame(testing::empty()), &[Char('g'), Char('s')], 80 x 24);
golden!(flame_several_processes, flame(testing::several()), &[], 120 x 40);
golden!(flame_hostile_80x24, flame(testing::hostile()), &[Char('g'), Down, Right], 80 x 24);
golden!(flame_hostile_120x40, flame(testing::hostile()), &[Char('g'), Down, Right, Right], 120 x 40);
golden!(flame_from_the_root, flame(testing::normal()), &[Char('g')], 80 x 24);
golden!(flame_10_000_sites, flame(testing::many(10_000)), &[], 80 x 24);
golden!(flame_searching, flame(testing::normal()), &[Char('/'), Char('h'), Char('t'), Char('t')], 80 x 24);
golden!(flame_searched, flame(testing::normal()), &[Char('/'), Char('h'), Char('t'), Char('t'), Enter], 80 x 24);
golden!(flame_all_frames_120x40, flame(testing::normal()), &[Char('g'), Char('f')], 120 x 40);
golden!(flame_exited, flame(testing::exited()), &[], 80 x 24);
golden!(flame_not_traced, flame(testing::fds_alone()), &[], 80 x 24);
golden!(flame_help, flame(testing::normal()), &[Char('?')], 80 x 40);

fn health(snapshot: Snapshot) -> App {
    on(app([snapshot]), '6')
}

/// Everything that there can be.
fn troubled() -> Snapshot {
    let mut snapshot = testing::several();
    snapshot.loss = LossCause::ALL.iter().map(|&cause| LossCount { cause, count: 1_009 }).collect();
    let ends = StackEnd::ALL.iter().filter(|end| **end != StackEnd::Complete);
    snapshot.incomplete = ends.map(|&end| IncompleteCount { end, objects: 211 }).collect();
    snapshot.stats = Stat::ALL.iter().map(|&stat| StatCount { stat, count: 1_234_567 }).collect();
    let note = |what: &'static str, pids: &[u32]| Note {
        what: what.into(),
        pids: pids.iter().map(|&pid| Tgid(pid)).collect(),
    };
    snapshot.notes = vec![
        note("Go's own allocator is not traced: its memory is shown as mappings", &[4243]),
        note("the interpreter keeps freed memory for itself", &[4242, 4243, 4244]),
    ];
    let functions = ["malloc", "free", "calloc", "realloc", "posix_memalign", "aligned_alloc", "strdup"];
    let probe = |(place, symbol): (usize, &&str)| ProbeStatus {
        module: "/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
        symbol: (*symbol).to_owned(),
        offset: place as u64 * 4,
        kind: if place % 2 == 0 { "entry" } else { "return" },
        hits: 10_007_u64.pow(place as u32 % 4) - 1,
        cost: Some(Duration::from_nanos(431 + 700 * (place as u64 % 2))),
    };
    snapshot.probes = functions.iter().enumerate().map(probe).collect();
    snapshot
}

fn hostile() -> Snapshot {
    let mut snapshot = testing::hostile();
    snapshot.notes = vec![Note { what: "see \x1b[31m\u{202e}this".into(), pids: Vec::new() }];
    let probe = |symbol: &str, module: &str| ProbeStatus {
        module: module.to_owned(),
        symbol: symbol.to_owned(),
        offset: 4,
        kind: "entry",
        hits: 7,
        cost: None,
    };
    snapshot.probes = vec![
        probe("mal\x1b[2Jloc", "/tmp/\u{202e}gnp.so"),
        probe(&"漢字".repeat(99), "/opt/日本語/図書館.so"),
        probe(&"x".repeat(999), &"y".repeat(999)),
    ];
    snapshot
}

golden!(health_sampled, health(testing::sampled()), &[], 80 x 40);
golden!(health_80x24, health(testing::normal()), &[], 80 x 24);
golden!(health_120x40, health(testing::normal()), &[], 120 x 40);
golden!(health_220x60, health(testing::normal()), &[], 220 x 60);
golden!(health_40x8, health(testing::lossy()), &[], 40 x 8);
golden!(health_loss, health(testing::lossy()), &[], 80 x 24);
golden!(health_everything_80x24, health(troubled()), &[], 80 x 24);
golden!(health_everything_at_the_end, health(troubled()), &[End], 80 x 24);
golden!(health_everything_220x60, health(troubled()), &[], 220 x 60);
golden!(health_empty, health(testing::empty()), &[], 80 x 24);
golden!(health_exited, health(testing::exited()), &[], 80 x 24);
golden!(health_hostile, health(hostile()), &[End], 80 x 24);
golden!(health_of_descriptors, health(testing::fds_alone()), &[], 80 x 24);
golden!(health_help, health(testing::normal()), &[Char('?')], 80 x 40);

golden!(tabs_60x12, health(testing::normal_fds()), &[], 60 x 12);
golden!(tabs_40x12, flame(testing::normal_fds()), &[], 40 x 12);

#[test]
fn every_size_draws_and_no_cell_holds_a_control_character() {
    type Shown<'a> = (fn() -> App, &'a [KeyCode]);
    let shown: [Shown<'_>; 6] = [
        (|| timeline(90), &[]),
        (|| timeline(90), &[Char('+'), Left, Down]),
        (|| flame(testing::hostile()), &[Down, End, Enter]),
        (|| flame(testing::normal()), &[Down, Right, End]),
        (|| flame(testing::normal()), &[Char('/'), Char('漢'), Char('h')]),
        (|| health(hostile()), &[End, Right]),
    ];
    for (app, keys) in shown {
        let mut app = app();
        press(&mut app, keys);
        let sizes = (1..=240).step_by(13).flat_map(|width| (1..=40).step_by(3).map(move |height| (width, height)));
        for (width, height) in sizes {
            let screen = screen(&mut app, width, height);
            assert!(!screen.buffer().content().iter().any(|cell| cell.symbol().contains(char::is_control)));
        }
    }
}

#[test]
fn without_colours_the_selected_frame_and_what_is_found_still_stand_out() {
    let mut app = App::new(AppOptions { color: false, ..AppOptions::default() });
    app.update(Arc::new(testing::normal()));
    press(&mut app, &[Char('5'), Char('/'), Char('h'), Char('t'), Char('t'), Char('p'), Enter]);
    let screen = screen(&mut app, 80, 24);
    let cells = screen.buffer().content();
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let has = |modifier| cells.iter().any(|cell| cell.modifier == modifier);
    assert!(has(Modifier::BOLD | Modifier::REVERSED) && has(Modifier::BOLD | Modifier::UNDERLINED));
}

#[test]
fn without_braille_lines_are_dots() {
    let mut app = App::new(AppOptions { braille: false, ..AppOptions::default() });
    run(60).for_each(|snapshot| app.update(Arc::new(snapshot)));
    press(&mut app, &[Char('4')]);
    let screen = screen(&mut app, 80, 24).to_string();
    let is_braille = |character| matches!(character, '\u{2801}'..='\u{28ff}');
    assert!(screen.contains('•') && !screen.contains(is_braille), "{screen}");
}
