//! Keys, resizes and Snapshots in any order: nothing panics, and what is drawn is text.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::{App, AppOptions, Flow, Recorded, goldens::screen};
use crate::{aggregate::Snapshot, analyze::testing::Random, report::testing};

/// How many steps each run takes; `LEAKTRACE_RANDOM_STEPS=200000` takes more than a minute.
fn steps() -> u32 {
    std::env::var("LEAKTRACE_RANDOM_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(300)
}

const SNAPSHOTS: [fn() -> Snapshot; 11] = [
    testing::normal,
    testing::before_normal,
    testing::judged,
    testing::empty,
    testing::lossy,
    testing::exited,
    testing::several,
    testing::hostile,
    testing::normal_fds,
    testing::hostile_fds,
    || testing::many(300),
];

const KEYS: [KeyCode; 15] = [
    KeyCode::Up,
    KeyCode::Down,
    KeyCode::Left,
    KeyCode::Right,
    KeyCode::PageUp,
    KeyCode::PageDown,
    KeyCode::Home,
    KeyCode::End,
    KeyCode::Tab,
    KeyCode::BackTab,
    KeyCode::Enter,
    KeyCode::Backspace,
    KeyCode::Delete,
    KeyCode::Esc,
    KeyCode::F(5),
];

fn below(random: &mut Random, end: usize) -> usize {
    ((random.share() * end as f64) as usize).min(end - 1)
}

fn key(random: &mut Random) -> KeyEvent {
    let code = match below(random, 10) {
        0..5 => KEYS[below(random, KEYS.len())],
        5..9 => KeyCode::Char(char::from(b' ' + below(random, 95) as u8)),
        _ => KeyCode::Char(['漢', 'é', '\u{202e}', '\u{0}', '\u{1b}', '👩'][below(random, 6)]),
    };
    let modifiers = [KeyModifiers::NONE, KeyModifiers::NONE, KeyModifiers::SHIFT, KeyModifiers::CONTROL];
    KeyEvent::new(code, modifiers[below(random, modifiers.len())])
}

fn mouse(random: &mut Random, width: u16, height: u16) -> MouseEvent {
    let kinds = [MouseEventKind::Down(MouseButton::Left), MouseEventKind::ScrollUp, MouseEventKind::ScrollDown];
    let kind = kinds[below(random, kinds.len())];
    let (column, row) = (below(random, usize::from(width) + 9) as u16, below(random, usize::from(height) + 9) as u16);
    MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }
}

#[test]
fn any_keys_resizes_and_snapshots_are_taken() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut app = App::new(AppOptions { color: seed % 2 == 0, braille: seed % 3 == 0, ..AppOptions::default() });
        let (mut width, mut height) = (80, 24);
        for _ in 0..steps() {
            match below(&mut random, 12) {
                0 => app.update(Arc::new(SNAPSHOTS[below(&mut random, SNAPSHOTS.len())]())),
                1 => (width, height) = (1 + below(&mut random, 230) as u16, 1 + below(&mut random, 70) as u16),
                2 if seed == 5 => {
                    let time = "2026-03-01T09:30:00Z".parse().expect("a time");
                    let recorded = Recorded { window: 1 + below(&mut random, 9), windows: 10, time };
                    let before = SNAPSHOTS[below(&mut random, SNAPSHOTS.len())]();
                    app.jump(Some(&before), Arc::new(SNAPSHOTS[below(&mut random, SNAPSHOTS.len())]()), recorded);
                }
                3 => app.on_mouse(mouse(&mut random, width, height)),
                _ => {
                    if let Flow::Copy(text) = app.on_key(key(&mut random)) {
                        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
                    }
                }
            }
            app.visible_sites();
            let screen = screen(&mut app, width, height);
            assert!(!screen.buffer().content().iter().any(|cell| cell.symbol().contains(char::is_control)));
        }
    }
}
