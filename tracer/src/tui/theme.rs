//! Colours of the 16 that every terminal has, and what stands for them where there are none.
//!
//! Nobody tells a program whether the terminal is dark or light (sudo does not pass `COLORFGBG` on), so what is written on the
//! terminal's own background has a colour that can be read on both: red, magenta and light blue, never yellow, cyan, green, white or
//! black. Those come in pairs, with a background of their own.

use std::ffi::OsStr;

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::Marker,
};

use crate::{
    aggregate::TargetState,
    analyze::{
        process::{GROWTH_MARKS, SHARE_MARKS},
        verdict::Label,
    },
};

/// Whether colours are wanted: `NO_COLOR` is unset or empty, as <https://no-color.org> has it, and the terminal has any.
pub fn color_from_env() -> bool {
    color_wanted(std::env::var_os("NO_COLOR").as_deref()) && has_color(std::env::var_os("TERM").as_deref())
}

fn has_color(term: Option<&OsStr>) -> bool {
    !term.is_some_and(|term| ["dumb", "vt100", "vt102", "vt220"].iter().any(|name| term == *name))
}

fn color_wanted(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

/// Whether the terminal is likely to show braille patterns: those of the kernel's own console do not, and without UTF-8
/// none does.
pub fn braille_from_env() -> bool {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(var);
    has_braille(var("TERM").as_deref(), locale.as_deref())
}

/// An unset locale says nothing: sudo passes none on.
fn has_braille(term: Option<&OsStr>, locale: Option<&OsStr>) -> bool {
    let utf8 = |locale: &OsStr| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    };
    let console = term.is_some_and(|term| ["linux", "vt100", "vt220"].iter().any(|name| term == *name));
    !console && locale.is_none_or(utf8)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    color: bool,
    /// The terminal has braille patterns.
    braille: bool,
}

impl Theme {
    pub(super) fn new(color: bool) -> Self {
        Self { color, braille: true }
    }

    /// With dots instead where there are no braille patterns.
    pub(super) fn with_braille(self, braille: bool) -> Self {
        Self { braille, ..self }
    }

    /// What lines of charts are drawn with.
    pub(super) fn marker(self) -> Marker {
        if self.braille { Marker::Braille } else { Marker::Dot }
    }

    pub(super) fn resident(self) -> Style {
        self.colored(Style::new(), Color::LightBlue)
    }

    pub(super) fn outstanding(self) -> Style {
        self.colored(Style::new(), Color::Magenta)
    }

    pub(super) fn descriptors(self) -> Style {
        self.bold()
    }

    /// Where something bad happens.
    pub(super) fn limit(self) -> Style {
        self.colored(Style::new(), Color::Red)
    }

    /// A frame of the flame graph; those with the same number look the same.
    pub(super) fn flame(self, number: usize) -> Style {
        const COLORS: [Color; 4] = [Color::Yellow, Color::LightYellow, Color::LightRed, Color::LightMagenta];
        if self.color {
            Style::new().fg(Color::Black).bg(COLORS[number % COLORS.len()])
        } else {
            Style::new().add_modifier(Modifier::UNDERLINED)
        }
    }

    /// What a search found in the flame graph.
    pub(super) fn found(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::LightCyan)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        }
    }

    /// The frame of the flame graph that is selected.
    pub(super) fn selected_flame(self) -> Style {
        if self.color {
            Style::new().fg(Color::White).bg(Color::Blue).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
        }
    }

    fn colored(self, style: Style, color: Color) -> Style {
        if self.color { style.fg(color) } else { style }
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn heading(self) -> Style {
        self.colored(self.bold(), Color::LightBlue)
    }

    pub(super) fn loss(self) -> Style {
        if self.color { self.bold().fg(Color::Red) } else { self.bold().add_modifier(Modifier::REVERSED) }
    }

    /// What a loss means, beside its number.
    pub(super) fn loss_words(self) -> Style {
        self.colored(Style::new(), Color::Red)
    }

    pub(super) fn incomplete(self) -> Style {
        self.colored(Style::new(), Color::Magenta)
    }

    /// Something is wrong in the target.
    pub(super) fn warning(self) -> Style {
        // Not bold: some terminals make bold black grey.
        if self.color { Style::new().fg(Color::Black).bg(Color::Yellow) } else { self.bold() }
    }

    /// Share of a limit in use, from 0 to 1; the marks are those of the signals.
    pub(super) fn share(self, share: f64) -> Style {
        match share {
            share if share >= 0.95 => self.loss(),
            share if share >= 0.80 => self.warning(),
            _ => self.bold(),
        }
    }

    /// A limit of memory, by the mark of its share that is reached.
    pub(super) fn pressure(self, mark: Option<u8>) -> Style {
        match mark {
            Some(mark) if mark == SHARE_MARKS[0] => self.loss(),
            Some(_) => self.warning(),
            None => Style::new(),
        }
    }

    pub(super) fn no_loss(self) -> Style {
        Style::new()
    }

    pub(super) fn state(self, state: &TargetState) -> Style {
        match state {
            TargetState::Running => Style::new(),
            TargetState::Exited | TargetState::Detached if self.color => self.warning(),
            TargetState::Exited | TargetState::Detached => self.bold().add_modifier(Modifier::REVERSED),
        }
    }

    /// A change of outstanding bytes: growth is what the reader is here for.
    pub(super) fn change(self, per_second: f64) -> Style {
        match per_second {
            change if change >= 0.5 => self.bold(),
            change if change <= -0.5 => Style::new(),
            _ => self.dim(),
        }
    }

    /// A growth per hour, by the marks of the signals.
    pub(super) fn growth(self, per_hour: f64) -> Style {
        let [much, some] = GROWTH_MARKS.map(|mark| mark as f64);
        match per_hour {
            growth if growth >= much => self.loss(),
            growth if growth >= some => self.warning(),
            growth => self.change(growth),
        }
    }

    pub(super) fn verdict(self, label: Label) -> Style {
        match label {
            Label::Leaking => self.loss(),
            Label::Growing => self.warning(),
            Label::Bounded | Label::Steady | Label::PreExisting => Style::new(),
            Label::Churn | Label::StartUp => self.dim(),
        }
    }

    pub(super) fn selected(self, focused: bool) -> Style {
        if focused { Style::new().add_modifier(Modifier::REVERSED) } else { self.bold() }
    }

    pub(super) fn reason(self) -> Style {
        self.colored(Style::new(), Color::Magenta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_when_it_is_not_empty() {
        assert!(color_wanted(None));
        assert!(color_wanted(Some(OsStr::new(""))));
        assert!(!color_wanted(Some(OsStr::new("0"))));
        assert!(has_color(None) && has_color(Some(OsStr::new("screen"))) && !has_color(Some(OsStr::new("vt100"))));
    }

    #[test]
    fn text_on_the_terminals_own_background_can_be_read_on_dark_and_light_ones() {
        let theme = Theme::new(true);
        let labels = [Label::Leaking, Label::Growing, Label::Bounded, Label::Steady, Label::Churn, Label::StartUp];
        let states = [TargetState::Running, TargetState::Exited, TargetState::Detached];
        let styles = [
            theme.resident(),
            theme.outstanding(),
            theme.descriptors(),
            theme.limit(),
            theme.found(),
            theme.selected_flame(),
            theme.bold(),
            theme.dim(),
            theme.heading(),
            theme.loss(),
            theme.loss_words(),
            theme.incomplete(),
            theme.warning(),
            theme.no_loss(),
            theme.reason(),
            theme.selected(true),
            theme.selected(false),
            theme.pressure(None),
            theme.pressure(Some(SHARE_MARKS[0])),
            theme.pressure(Some(0)),
        ];
        let by_number = (0..8).map(|number| theme.flame(number));
        let by_share = [0.0, 0.8, 0.95].map(|share| theme.share(share));
        let by_growth = [-1e9, 0.0, 1.0, 1e6, 1e9].map(|growth| theme.growth(growth));
        let by_label = labels.map(|label| theme.verdict(label));
        let by_state = states.map(|state| theme.state(&state));
        let all = styles.into_iter().chain(by_number).chain(by_share).chain(by_growth).chain(by_label).chain(by_state);
        for style in all {
            let safe = [None, Some(Color::Red), Some(Color::Magenta), Some(Color::LightBlue)];
            assert!(
                style.bg.is_some() && style.fg.is_some() || style.bg.is_none() && safe.contains(&style.fg),
                "{style:?}"
            );
        }
    }

    #[test]
    fn consoles_and_other_encodings_get_dots() {
        let has = |term: &str, locale: Option<&str>| has_braille(Some(OsStr::new(term)), locale.map(OsStr::new));
        assert!(has("xterm-256color", Some("en_US.UTF-8")) && has("tmux", None) && has("xterm", Some("C.utf8")));
        assert!(!has("linux", Some("C.UTF-8")) && !has("xterm", Some("C")) && !has("vt100", None));
    }
}
