//! Charts of memory and descriptors over time.

use ratatui::{Frame, layout::Rect};

use super::table::say;
use crate::{
    aggregate::Snapshot,
    tui::{state::State, theme::Theme},
};

pub(in crate::tui) fn draw(_state: &mut State, _snapshot: &Snapshot, _theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    say("nothing yet", frame, area);
}
