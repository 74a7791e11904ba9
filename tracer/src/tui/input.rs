//! From key events to what the user wants.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::Tab;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// The user is done.
    Quit,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    SwitchFocus,
    Show(Tab),
    NextTab,
    PreviousTab,
    NextSort,
    Help,
    /// Leave the overlay, or quit when there is none.
    Back,
    Quit,
}

/// Every key and what it does, for the help.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("1 2 3", "leaks, descriptors, peers"),
    ("[ ]", "the tab before, the next tab"),
    ("Up Down  k j", "select a row, scroll the pane"),
    ("Left Right  h l", "scroll the pane sideways"),
    ("PgUp PgDn", "a page up or down"),
    ("Home g", "to the top, and stay there"),
    ("End G", "to the end"),
    ("Tab", "switch between list and pane"),
    ("s", "sort by the next column"),
    ("?", "this help"),
    ("q Esc", "close this help, or quit"),
    ("Ctrl-C", "quit"),
];

/// What `key` asks for, if anything.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    let KeyEvent { code, modifiers, kind, state: _ } = key;
    if kind == KeyEventKind::Release {
        return None;
    }
    if modifiers.contains(KeyModifiers::CONTROL) {
        return (code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Action::Up,
        KeyCode::Down | KeyCode::Char('j') => Action::Down,
        KeyCode::Left | KeyCode::Char('h') => Action::Left,
        KeyCode::Right | KeyCode::Char('l') => Action::Right,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Action::Home,
        KeyCode::End | KeyCode::Char('G') => Action::End,
        KeyCode::Tab | KeyCode::BackTab => Action::SwitchFocus,
        KeyCode::Char('1') => Action::Show(Tab::Leaks),
        KeyCode::Char('2') => Action::Show(Tab::Descriptors),
        KeyCode::Char('3') => Action::Show(Tab::Peers),
        KeyCode::Char('[') => Action::PreviousTab,
        KeyCode::Char(']') => Action::NextTab,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('?') => Action::Help,
        KeyCode::Char('q') | KeyCode::Esc => Action::Back,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        action(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn control_c_quits_and_other_control_keys_do_nothing() {
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('s'), KeyModifiers::CONTROL), None);
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }

    #[test]
    fn a_released_key_does_nothing() {
        let key = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(key), None);
    }

    #[test]
    fn the_help_lists_every_letter_that_acts() {
        let listed: String = KEYS.iter().map(|(keys, _)| format!("{keys} ")).collect();
        for code in ' '..='~' {
            if press(KeyCode::Char(code), KeyModifiers::NONE).is_some() {
                assert!(listed.split(' ').any(|key| key == code.to_string()), "{code}");
            }
        }
        for name in ["Up", "Down", "Left", "Right", "PgUp", "PgDn", "Home", "End", "Tab", "Esc", "Ctrl-C"] {
            assert!(listed.contains(name), "{name}");
        }
    }
}
