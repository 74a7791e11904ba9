//! Colours of the 16 that every terminal has, and what stands for them where there are none.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

use crate::aggregate::TargetState;

/// Whether colours are wanted: `NO_COLOR` is unset or empty, as <https://no-color.org> has it.
pub fn color_from_env() -> bool {
    color_wanted(std::env::var_os("NO_COLOR").as_deref())
}

fn color_wanted(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    color: bool,
}

impl Theme {
    pub(super) fn new(color: bool) -> Self {
        Self { color }
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
        self.colored(self.bold(), Color::Cyan)
    }

    pub(super) fn loss(self) -> Style {
        if self.color { self.bold().fg(Color::Red) } else { self.bold().add_modifier(Modifier::REVERSED) }
    }

    pub(super) fn incomplete(self) -> Style {
        self.colored(Style::new(), Color::Yellow)
    }

    /// Something is wrong in the target.
    pub(super) fn warning(self) -> Style {
        self.colored(self.bold(), Color::Yellow)
    }

    /// Share of a limit in use, from 0 to 1; the marks are those of the signals.
    pub(super) fn share(self, share: f64) -> Style {
        match share {
            share if share >= 0.95 => self.loss(),
            share if share >= 0.80 => self.warning(),
            _ => self.bold(),
        }
    }

    pub(super) fn no_loss(self) -> Style {
        self.colored(Style::new(), Color::Green)
    }

    pub(super) fn state(self, state: &TargetState) -> Style {
        match state {
            TargetState::Running => self.colored(Style::new(), Color::Green),
            TargetState::Exited | TargetState::Detached => {
                self.colored(self.bold().add_modifier(Modifier::REVERSED), Color::Yellow)
            }
        }
    }

    /// A change of outstanding bytes: growth is what the reader is here for.
    pub(super) fn change(self, per_second: f64) -> Style {
        match per_second {
            change if change >= 0.5 => self.colored(Style::new(), Color::Yellow),
            change if change <= -0.5 => self.colored(Style::new(), Color::Green),
            _ => self.dim(),
        }
    }

    pub(super) fn selected(self, focused: bool) -> Style {
        if focused { Style::new().add_modifier(Modifier::REVERSED) } else { self.bold() }
    }

    pub(super) fn reason(self) -> Style {
        self.colored(self.dim(), Color::Magenta)
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
    }
}
