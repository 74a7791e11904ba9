//! What the tabs of descriptors and peers look like, kept as text.

use std::{sync::Arc, time::Instant};

use crossterm::event::KeyCode::{self, Char, Down, End, PageDown, PageUp, Right, Tab};
use ratatui::style::{Color, Modifier};

use super::{
    App, AppOptions,
    goldens::{app, golden, press, screen},
};
use crate::{
    aggregate::{FdLimits, Snapshot},
    report::testing,
};

fn normal() -> App {
    app([testing::normal_fds()])
}

/// Its second site allocates in the function that serves, below which descriptors are opened.
fn handler() -> App {
    let mut snapshot = testing::normal_fds();
    let site = &mut snapshot.sites[1];
    Arc::make_mut(&mut site.stack)
        .frames
        .retain(|frame| frame.function.as_deref().is_ok_and(|name| ["strdup", "http_serve", "main"].contains(&name)));
    app([snapshot])
}

golden!(leaks_beside_descriptors_120x40, handler(), &[Down], 120 x 40);
golden!(leaks_beside_descriptors_220x60, handler(), &[Down], 220 x 60);
golden!(leaks_beside_descriptors_80x24, handler(), &[Down, Tab, End], 80 x 24);
golden!(leaks_with_signals_80x24, normal(), &[], 80 x 24);
golden!(descriptors_80x24, normal(), &[Char('2')], 80 x 24);
// The README shows this one.
golden!(descriptors_96x29, normal(), &[Char('2')], 96 x 29);
golden!(descriptors_120x40, normal(), &[Char('2')], 120 x 40);
golden!(descriptors_220x60, normal(), &[Char('2'), Down, Down], 220 x 60);
golden!(descriptors_40x8, normal(), &[Char('2')], 40 x 8);
golden!(descriptors_pane_40x8, normal(), &[Char('2'), Tab, PageDown], 40 x 8);
golden!(descriptors_pane_scrolled, normal(), &[Char('2'), Down, Down, Tab, PageDown, Right], 80 x 24);
golden!(descriptors_before_attach, normal(), &[Char('2'), End, KeyCode::Up], 120 x 40);
golden!(descriptors_sorted_by_oldest, normal(), &[Char('2'), Char('s'), Char('s')], 80 x 24);
golden!(descriptors_empty, app([testing::no_fds()]), &[Char('2')], 80 x 24);
golden!(descriptors_not_traced, app([testing::normal()]), &[Char('2')], 80 x 24);
golden!(descriptors_alone, app([testing::fds_alone()]), &[], 80 x 24);
golden!(leaks_not_traced, app([testing::fds_alone()]), &[Char('1')], 80 x 24);
golden!(descriptors_connected_elsewhere, normal(), &[Char('2'), Down, Down, Down, Down, Down], 80 x 24);
golden!(descriptors_hostile_80x24, app([testing::hostile_fds()]), &[Char('2')], 80 x 24);
golden!(descriptors_hostile_220x60, app([testing::hostile_fds()]), &[Char('2'), Down], 220 x 60);
golden!(descriptors_5000_at_the_end, app([testing::many_fds(5_000)]), &[Char('2'), Tab, End, PageUp], 80 x 24);
golden!(descriptors_before_the_first_snapshot, app([]), &[Char('2')], 80 x 24);
golden!(descriptors_help, normal(), &[Char('2'), Char('?')], 80 x 30);
golden!(peers_80x24, normal(), &[Char('3')], 80 x 24);
golden!(peers_120x40, normal(), &[Char('3')], 120 x 40);
golden!(peers_220x60, normal(), &[Char('3'), Down], 220 x 60);
golden!(peers_40x8, normal(), &[Char('3')], 40 x 8);
golden!(peers_two_sites, normal(), &[Char('3'), End], 80 x 24);
golden!(peers_sorted_by_close_wait, normal(), &[Char('3'), Char('s')], 80 x 24);
golden!(peers_empty, app([testing::no_fds()]), &[Char('3')], 80 x 24);
golden!(peers_not_traced, app([testing::normal()]), &[Char('3')], 80 x 24);
golden!(peers_hostile_80x24, app([testing::hostile_fds()]), &[Char('3'), End], 80 x 24);
golden!(peers_help, normal(), &[Char('3'), Char('?')], 80 x 30);

fn at_share(open: u64) -> Snapshot {
    let mut snapshot = testing::normal_fds();
    let descriptors = snapshot.descriptors.as_mut().expect("traced");
    descriptors.limits = Some(FdLimits { nofile_soft: 100, nofile_hard: 100, open });
    snapshot
}

#[test]
fn the_share_of_the_limit_is_coloured_at_80_and_95_percent_and_without_colours_reversed() {
    for (open, color, foreground, modifier) in [
        (79, true, Color::Reset, Modifier::BOLD),
        (80, true, Color::Black, Modifier::empty()),
        (95, true, Color::Red, Modifier::BOLD),
        (95, false, Color::Reset, Modifier::BOLD | Modifier::REVERSED),
    ] {
        let mut app = App::new(AppOptions { color, ..AppOptions::default() });
        app.update(Arc::new(at_share(open)));
        press(&mut app, &[Char('2')]);
        let screen = screen(&mut app, 80, 24);
        let cell = &screen.buffer()[(0, 2)];
        assert_eq!((cell.symbol(), cell.fg, cell.modifier), ("d", foreground, modifier), "{open}");
        let coloured = screen.buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, color);
    }
}

#[test]
fn every_size_draws_and_no_cell_holds_a_control_character() {
    for snapshot in [testing::normal_fds, testing::hostile_fds, testing::no_fds, testing::normal] {
        for keys in [&[][..], &[Tab, End], &[Down, Down, Down, Char('s')], &[End, Right]] {
            for tab in ['2', '3'] {
                let mut app = app([snapshot()]);
                press(&mut app, &[Char(tab)]);
                press(&mut app, keys);
                for (width, height) in
                    (1..=200).step_by(29).flat_map(|width| (1..=28).step_by(5).map(move |height| (width, height)))
                {
                    let screen = screen(&mut app, width, height);
                    let cells = screen.buffer().content();
                    assert!(!cells.iter().any(|cell| cell.symbol().contains(char::is_control)));
                }
            }
        }
    }
}

/// A frame costs what is visible. The bound is loose: what it tells apart is twentyfold.
#[test]
fn a_frame_does_not_cost_what_there_is() {
    let time = |count| {
        let mut app = app([testing::many_fds(count)]);
        press(&mut app, &[Char('2')]);
        screen(&mut app, 80, 24);
        let frames = || {
            let begun = Instant::now();
            for _ in 0..20 {
                screen(&mut app, 80, 24);
            }
            begun.elapsed()
        };
        std::iter::repeat_with(frames).take(5).min().expect("measured")
    };
    let (few, many) = (time(500), time(100_000));
    assert!(many < few * 15, "{few:?} for 500 descriptors, {many:?} for 100,000");
}
