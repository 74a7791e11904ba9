//! What a recording looks like in the dashboard.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    App, AppOptions, Flow, Recorded, Seek,
    goldens::{golden, press, screen},
};
use crate::report::testing;

fn recorded() -> App {
    let mut app = App::new(AppOptions::default());
    let time = "2026-03-01T09:34:05.5Z".parse().expect("a time");
    let (before, recorded) = (testing::before_normal(), Recorded { window: 1_213, windows: 3_601, time });
    app.jump(Some(&before), Arc::new(testing::normal()), recorded);
    app
}

golden!(recorded_80x24, recorded(), &[], 80 x 24);
golden!(recorded_40x8, recorded(), &[], 40 x 8);
golden!(recorded_help_80x30, recorded(), &[KeyCode::Char('?')], 80 x 30);

#[test]
fn keys_move_through_time_only_in_a_recording_and_not_below_the_help() {
    let asked = |app: &mut App, key| app.on_key(KeyEvent::new(key, KeyModifiers::NONE));
    let keys = [',', '.', '<', '>'].map(KeyCode::Char);
    let seeks = [Seek::Back, Seek::Forward, Seek::FarBack, Seek::FarForward];
    let mut app = recorded();
    assert_eq!(keys.map(|key| asked(&mut app, key)), seeks.map(Flow::Seek));
    assert_eq!(asked(&mut app, KeyCode::Home), Flow::Seek(Seek::First));
    assert_eq!(asked(&mut app, KeyCode::End), Flow::Seek(Seek::Last));
    press(&mut app, &[KeyCode::Char('?'), KeyCode::End, KeyCode::Char('.'), KeyCode::Char('?')]);
    let mut live = super::goldens::app([testing::normal()]);
    assert_eq!(keys.map(|key| asked(&mut live, key)), [const { Flow::Continue }; 4]);
}

#[test]
fn the_first_window_has_no_changes() {
    let mut app = recorded();
    assert!(screen(&mut app, 220, 24).to_string().contains("+52.0 KiB"));
    let time = "2026-03-01T09:30:00Z".parse().expect("a time");
    app.jump(None, Arc::new(testing::before_normal()), Recorded { window: 1, windows: 3_601, time });
    let screen = screen(&mut app, 220, 24).to_string();
    assert!(screen.contains("RECORDING 1/3,601") && !screen.contains("+52.0 KiB"), "{screen}");
}
