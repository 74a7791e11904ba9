//! What the dashboard looks like, kept as text.

use std::{sync::Arc, time::Duration};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{
    Terminal,
    backend::TestBackend,
    style::{Color, Modifier},
};

use super::{App, AppOptions, Flow, SourceLine};
use crate::{aggregate::Snapshot, report::testing};

pub(super) fn app(snapshots: impl IntoIterator<Item = Snapshot>) -> App {
    let mut app = App::new(AppOptions::default());
    for snapshot in snapshots {
        app.update(Arc::new(snapshot));
    }
    app
}

fn normal() -> App {
    app([testing::before_normal(), testing::normal()])
}

pub(super) fn press(app: &mut App, keys: &[KeyCode]) {
    for &key in keys {
        assert_eq!(app.on_key(KeyEvent::new(key, KeyModifiers::NONE)), Flow::Continue);
    }
}

pub(super) fn screen(app: &mut App, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| app.draw(frame)).expect("draws");
    terminal.backend().clone()
}

macro_rules! golden {
    ($name:ident, $app:expr, $keys:expr, $width:literal x $height:literal) => {
        #[test]
        fn $name() {
            let mut app = $app;
            // A first frame, so that pages have their size.
            screen(&mut app, $width, $height);
            press(&mut app, $keys);
            insta::assert_snapshot!(screen(&mut app, $width, $height));
        }
    };
}

pub(super) use golden;

fn judged() -> App {
    app([testing::before_normal(), testing::judged()])
}

fn with_source() -> App {
    let source: SourceLine = |file, line| Some(format!("auto *block = new Block(/* {file} {line} */); \u{1b}[31m"));
    let mut app = App::new(AppOptions { source: Some(source), ..AppOptions::default() });
    app.update(Arc::new(testing::judged()));
    app
}

fn busy(mut app: App, words: &str) -> App {
    app.progress(Some(words.to_owned()));
    app
}

golden!(attaching_80x24, busy(app([]), "making the unwind table of /usr/bin/\u{1b}[2Jnode (94.3 MiB)"), &[], 80 x 24);
golden!(naming_80x24, busy(judged(), "naming 1,021 call stacks"), &[], 80 x 24);
golden!(naming_40x8, busy(judged(), "naming 1,021 call stacks"), &[], 40 x 8);
golden!(source_line_120x40, with_source(), &[], 120 x 40);
golden!(sampled_80x24, app([testing::sampled()]), &[], 80 x 24);
golden!(sampled_120x40, app([testing::sampled()]), &[], 120 x 40);
golden!(judged_80x24, judged(), &[], 80 x 24);
golden!(judged_120x40, judged(), &[], 120 x 40);
golden!(judged_220x60, judged(), &[], 220 x 60);
golden!(judged_40x8, judged(), &[], 40 x 8);
golden!(grouped_by_module, judged(), &[KeyCode::Char('o'), KeyCode::Char('o')], 120 x 24);
golden!(by_process, judged(), &[KeyCode::Char('o'), KeyCode::Char('o'), KeyCode::Char('o')], 80 x 24);
golden!(innermost_frames, judged(), &[KeyCode::Char('f')], 120 x 24);
golden!(filtered, judged(), &[KeyCode::Char('/'), KeyCode::Char('P'), KeyCode::Char('o'), KeyCode::Char('o')], 80 x 24);
golden!(baseline, judged(), &[KeyCode::Char('b')], 120 x 24);
golden!(paused, judged(), &[KeyCode::Char(' ')], 80 x 24);
golden!(exports, judged(), &[KeyCode::Char('e')], 80 x 24);
golden!(normal_80x24, normal(), &[], 80 x 24);
golden!(normal_120x40, normal(), &[], 120 x 40);
golden!(normal_220x60, normal(), &[], 220 x 60);
golden!(normal_40x8, normal(), &[], 40 x 8);
golden!(stack_40x8, normal(), &[KeyCode::Down, KeyCode::Tab, KeyCode::Down], 40 x 8);
golden!(too_small, normal(), &[], 39 x 7);
golden!(before_the_first_snapshot, app([]), &[], 80 x 24);
golden!(empty, app([testing::empty()]), &[], 80 x 24);
golden!(loss, app([testing::before_normal(), testing::lossy()]), &[], 80 x 24);
golden!(loss_narrow, app([testing::before_normal(), testing::lossy()]), &[], 40 x 10);
golden!(exited, app([testing::exited()]), &[], 80 x 24);
golden!(exited_narrow, app([testing::exited()]), &[], 40 x 8);
golden!(several_processes_80x24, app([testing::several()]), &[], 80 x 24);
golden!(several_processes_40x8, app([testing::several()]), &[], 40 x 8);
golden!(hostile_80x24, app([testing::hostile()]), &[], 80 x 24);
golden!(hostile_220x60, app([testing::hostile()]), &[KeyCode::Down, KeyCode::Down], 220 x 60);
golden!(hostile_scrolled_sideways, app([testing::hostile()]), &[KeyCode::End, KeyCode::Right], 80 x 24);
golden!(help_80x24, normal(), &[KeyCode::Char('?')], 80 x 24);
golden!(help_40x8_scrolled, normal(), &[KeyCode::Char('?'), KeyCode::End], 40 x 8);
golden!(sorted_by_rate, normal(), &[KeyCode::Char('s'), KeyCode::Char('s')], 80 x 24);
golden!(deep_stack_scrolled, normal(), &[KeyCode::Down, KeyCode::Down, KeyCode::Tab, KeyCode::End], 80 x 24);
golden!(many_sites_scrolled, app([testing::many(10_000)]), &[KeyCode::End, KeyCode::PageUp], 80 x 24);

#[test]
fn a_message_replaces_the_keys_and_is_made_displayable() {
    let mut app = normal();
    app.status("saved to \x1b[31m/tmp/a");
    let screen = screen(&mut app, 80, 24).to_string();
    assert!(screen.contains(r"saved to \u{1b}[31m/tmp/a") && !screen.contains("q quit"), "{screen}");
}

#[test]
fn a_minimum_age_says_what_it_hides() {
    let mut app = App::new(AppOptions { min_age: Duration::from_secs(5), ..AppOptions::default() });
    app.update(Arc::new(testing::normal()));
    let screen = screen(&mut app, 80, 24).to_string();
    assert!(screen.contains("1 of 3 sites, 4 under 5s old"), "{screen}");
}

#[test]
fn loss_is_red_and_without_colours_reversed() {
    for (color, foreground, modifier) in
        [(true, Color::Red, Modifier::BOLD), (false, Color::Reset, Modifier::BOLD | Modifier::REVERSED)]
    {
        let mut app = App::new(AppOptions { color, ..AppOptions::default() });
        app.update(Arc::new(testing::lossy()));
        let screen = screen(&mut app, 80, 24);
        let cell = &screen.buffer()[(0, 3)];
        assert_eq!((cell.symbol(), cell.fg, cell.modifier), ("L", foreground, modifier));
        let coloured = screen.buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, color);
    }
}

#[test]
fn the_selected_row_stands_out_over_its_whole_width() {
    for (keys, modifier) in [(&[][..], Modifier::REVERSED), (&[KeyCode::Tab], Modifier::BOLD)] {
        let mut app = normal();
        press(&mut app, keys);
        let screen = screen(&mut app, 80, 24);
        assert_eq!(screen.buffer()[(79, 7)].modifier, modifier);
        assert_eq!(screen.buffer()[(79, 8)].modifier, Modifier::empty());
    }
}

#[test]
fn every_size_draws_and_no_cell_holds_a_control_character() {
    let snapshots = [testing::normal, testing::hostile, testing::empty, testing::lossy, testing::exited];
    for snapshot in snapshots {
        for keys in [&[][..], &[KeyCode::Tab, KeyCode::End], &[KeyCode::Char('?')]] {
            let mut app = app([snapshot()]);
            press(&mut app, keys);
            for (width, height) in
                (1..=90).step_by(9).flat_map(|width| (1..=30).step_by(3).map(move |height| (width, height)))
            {
                let screen = screen(&mut app, width, height);
                let cells = screen.buffer().content();
                assert!(!cells.iter().any(|cell| cell.symbol().contains(char::is_control)));
            }
        }
    }
}

#[test]
fn the_mouse_shows_tabs_selects_rows_and_scrolls() {
    let mut app = judged();
    let point = |app: &mut App, kind, column, row| {
        screen(app, 80, 24);
        app.on_mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
        screen(app, 80, 24)
    };
    let click = MouseEventKind::Down(MouseButton::Left);
    let line = |screen: &TestBackend, row: u16| -> String {
        (0..80).map(|column| screen.buffer()[(column, row)].symbol().to_owned()).collect()
    };
    // The third row, below the header, the tabs, the summary and the heading.
    assert!(line(&point(&mut app, click, 40, 9), 9).starts_with("> bounded"));
    assert!(line(&point(&mut app, MouseEventKind::ScrollDown, 40, 9), 12).starts_with("> "));
    assert!(line(&point(&mut app, MouseEventKind::ScrollUp, 40, 9), 9).starts_with("> "));
    let health = line(&screen(&mut app, 80, 24), 4).find("6 Health").expect("a tab") as u16;
    let shown = point(&mut app, click, health, 4).to_string();
    assert!(shown.contains("STACKS") && !shown.contains("CALL SITE"), "{shown}");
}

fn growth() -> App {
    app([testing::growth()])
}

golden!(growth_80x24, growth(), &[], 80 x 24);
golden!(growth_120x40, growth(), &[], 120 x 40);
golden!(growth_220x60, growth(), &[], 220 x 60);
golden!(growth_40x8, growth(), &[], 40 x 8);
golden!(growth_by_function, growth(), &[KeyCode::Char('o')], 120 x 40);

fn growth_for_the_budget() -> App {
    app([testing::growth_for_the_budget()])
}

golden!(growth_for_the_budget_80x24, growth_for_the_budget(), &[], 80 x 24);
golden!(growth_for_the_budget_120x40, growth_for_the_budget(), &[], 120 x 40);
golden!(growth_for_the_budget_40x8, growth_for_the_budget(), &[], 40 x 8);
golden!(growth_for_the_budget_health, growth_for_the_budget(), &[KeyCode::Char('6')], 100 x 50);
