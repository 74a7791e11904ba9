//! Lines above the tables of descriptors: what is wrong with them, and what cannot be known.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    report::{units::counted, untrusted::clean},
    tui::{state::Notice, theme::Theme},
};

/// Lines it takes of a body of this height.
pub(in crate::tui) fn height(notices: &[Notice], body: u16) -> u16 {
    (notices.len() as u16).min((body / 4).max(1))
}

pub(in crate::tui) fn draw(notices: &[Notice], theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let rows = usize::from(area.height);
    let whole = if notices.len() > rows { rows.saturating_sub(1).max(1) } else { rows };
    let lines = notices.iter().take(whole).map(|notice| line(notice, usize::from(area.width), theme));
    let left = notices.len().saturating_sub(whole) as u64;
    let more = Line::styled(format!("… {} in a taller window", counted(left, "line more", "lines more")), theme.dim());
    for (line, row) in lines.chain([more]).zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn line(notice: &Notice, width: usize, theme: Theme) -> Line<'static> {
    match notice {
        Notice::Signal(words) => Line::styled(clean(&format!("! {words}"), width).into_owned(), theme.warning()),
        Notice::Limitation(words) => {
            let words = clean(words, width.saturating_sub("not known: ".len())).into_owned();
            Line::from(vec![Span::styled("not known: ", theme.bold()), Span::raw(words)])
        }
    }
}
