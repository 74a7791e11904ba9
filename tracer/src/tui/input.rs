//! From key events to what the user wants.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::Tab;

/// Whether to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// The user is done.
    Quit,
    /// The user wants another window of the recording.
    Seek(Seek),
    /// The user wants this on the clipboard.
    Copy(String),
    /// The user wants what is shown in a file.
    Export(Export),
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// The JSON report.
    Json,
    /// Folded stacks.
    Folded,
    /// A flame graph.
    Svg,
    /// A pprof profile.
    Pprof,
    /// The report as a page.
    Html,
}

impl Export {
    /// How the names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Pprof => "pb.gz",
            Self::Html => "html",
        }
    }
}

/// The menu of exports: the key, what it writes, and that in words.
pub(super) const EXPORTS: &[(char, Export, &str)] = &[
    ('j', Export::Json, "the report as JSON"),
    ('f', Export::Folded, "folded stacks"),
    ('s', Export::Svg, "a flame graph (SVG)"),
    ('p', Export::Pprof, "a profile for pprof"),
    ('h', Export::Html, "a page with verdicts, charts and stacks"),
];

/// Which window of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The one before.
    Back,
    /// The next one.
    Forward,
    /// A twentieth of the recording back.
    FarBack,
    /// A twentieth of it on.
    FarForward,
    /// The first one.
    First,
    /// The last one.
    Last,
}

impl Seek {
    /// From one window to another one, of so many.
    pub fn from(self, window: usize, windows: usize) -> usize {
        let far = (windows / 20).max(1);
        let last = windows.saturating_sub(1);
        match self {
            Self::Back => window.saturating_sub(1),
            Self::Forward => window.saturating_add(1).min(last),
            Self::FarBack => window.saturating_sub(far),
            Self::FarForward => window.saturating_add(far).min(last),
            Self::First => 0,
            Self::Last => last,
        }
    }
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
    PreviousSort,
    Reverse,
    Group,
    /// Name sites by another frame; fold the frames of libraries, or do not.
    Fold,
    Fastest,
    MarkBaseline,
    ClearBaseline,
    Pause,
    Copy,
    Export,
    /// Type what to look for, on the tabs that search.
    Search,
    /// In a recording; elsewhere [`Seek::First`] and [`Seek::Last`] mean the list.
    Seek(Seek),
    /// Look at the selected one more closely.
    Enter,
    /// Back from that.
    Backspace,
    /// A shorter time in the charts.
    Closer,
    /// A longer one.
    Farther,
    /// All of it.
    Whole,
    Help,
    /// Leave what is zoomed or searched, the overlay, or quit.
    Escape,
    /// Leave the overlay, or quit when there is none.
    Back,
    Quit,
}

/// Every key and what it does, for the help.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("?", "this help: Up and Down scroll it"),
    ("q Ctrl-C", "close this help, or quit; Ctrl-C quits"),
    ("Esc", "zoom out, close this help, or quit"),
    ("1 2 3", "leaks, descriptors, peers"),
    ("4 5 6", "timeline, flame graph, health"),
    ("[ ]", "the tab before, the next tab"),
    ("+ = - 0", "charts: closer, farther, all of it"),
    ("Enter Backspace", "flame graph: zoom in, zoom out"),
    ("Up Down  k j", "select a row, scroll the pane"),
    ("Left Right  h l", "scroll the pane sideways"),
    ("PgUp PgDn", "a page up or down"),
    ("Home g", "to the top, and stay there"),
    ("End G", "to the end"),
    ("Tab", "switch between list and pane"),
    ("s S r", "sort: next column or measure, last, reverse"),
    ("/", "search, filter: Enter keeps it, Esc does not"),
    ("o", "group by site, function, module, process"),
    ("f", "name sites by own or innermost frame; flame: fold"),
    ("m", "to the site that grows the most"),
    ("b B", "mark a baseline to compare with, forget it"),
    ("Space", "pause the view; tracing goes on"),
    ("c", "copy the site to the clipboard"),
    ("e", "export what is shown to a file"),
];

/// What is different, and what there is besides, in a recording.
pub(super) const RECORDING_KEYS: &[(&str, &str)] = &[
    (", .", "the window before, the next window"),
    ("< >", "a twentieth of the recording back or on"),
    ("Home End", "the first window, the last window"),
    ("g G", "to the top or end of the list"),
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
        KeyCode::Home => Action::Seek(Seek::First),
        KeyCode::End => Action::Seek(Seek::Last),
        KeyCode::Char('g') => Action::Home,
        KeyCode::Char('G') => Action::End,
        KeyCode::Char(',') => Action::Seek(Seek::Back),
        KeyCode::Char('.') => Action::Seek(Seek::Forward),
        KeyCode::Char('<') => Action::Seek(Seek::FarBack),
        KeyCode::Char('>') => Action::Seek(Seek::FarForward),
        KeyCode::Tab | KeyCode::BackTab => Action::SwitchFocus,
        KeyCode::Char('1') => Action::Show(Tab::Leaks),
        KeyCode::Char('2') => Action::Show(Tab::Descriptors),
        KeyCode::Char('3') => Action::Show(Tab::Peers),
        KeyCode::Char('4') => Action::Show(Tab::Timeline),
        KeyCode::Char('5') => Action::Show(Tab::Flame),
        KeyCode::Char('6') => Action::Show(Tab::Health),
        KeyCode::Char('[') => Action::PreviousTab,
        KeyCode::Char(']') => Action::NextTab,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('S') => Action::PreviousSort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('o') => Action::Group,
        KeyCode::Char('f') => Action::Fold,
        KeyCode::Char('m') => Action::Fastest,
        KeyCode::Char('b') => Action::MarkBaseline,
        KeyCode::Char('B') => Action::ClearBaseline,
        KeyCode::Char(' ') => Action::Pause,
        KeyCode::Char('c') => Action::Copy,
        KeyCode::Char('e') => Action::Export,
        KeyCode::Char('/') => Action::Search,
        KeyCode::Char('?') => Action::Help,
        KeyCode::Enter => Action::Enter,
        KeyCode::Backspace => Action::Backspace,
        KeyCode::Char('+' | '=') => Action::Closer,
        KeyCode::Char('-') => Action::Farther,
        KeyCode::Char('0') => Action::Whole,
        KeyCode::Char('q') => Action::Back,
        KeyCode::Esc => Action::Escape,
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
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Action::Copy));
    }

    #[test]
    fn a_released_key_does_nothing() {
        let key = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(key), None);
    }

    #[test]
    fn seeking_stays_within_the_recording() {
        let all = [Seek::Back, Seek::Forward, Seek::FarBack, Seek::FarForward, Seek::First, Seek::Last];
        assert_eq!(all.map(|seek| seek.from(50, 101)), [49, 51, 45, 55, 0, 100]);
        assert_eq!(all.map(|seek| seek.from(0, 1)), [0; 6]);
        assert_eq!(all.map(|seek| seek.from(2, 3)), [1, 2, 1, 2, 0, 2]);
    }

    #[test]
    fn the_help_lists_every_letter_that_acts() {
        let listed: String = KEYS.iter().chain(RECORDING_KEYS).map(|(keys, _)| format!("{keys} ")).collect();
        for code in ' '..='~' {
            if press(KeyCode::Char(code), KeyModifiers::NONE).is_some() {
                let name = if code == ' ' { "Space".to_owned() } else { code.to_string() };
                assert!(listed.split(' ').any(|key| key == name), "{code:?}");
            }
        }
        for name in ["Up", "Down", "Left", "Right", "PgUp", "PgDn", "Home", "End", "Tab", "Esc", "Ctrl-C"] {
            assert!(listed.contains(name), "{name}");
        }
    }
}
