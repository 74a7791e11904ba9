//! The parts of the screen. In: the state, a theme and an area. Out: cells. Each formats only what is visible.

mod call_site;
pub(super) mod exports;
pub(super) mod fds;
pub(super) mod flame;
pub(super) mod footer;
mod frames;
pub(super) mod header;
pub(super) mod health;
pub(super) mod help;
pub(super) mod leaks;
mod lifetimes;
pub(super) mod notices;
mod pane;
pub(super) mod peers;
pub(super) mod prompt;
pub(super) mod sites;
mod sizes;
mod sparkline;
pub(super) mod stack;
pub(super) mod table;
pub(super) mod tabs;
pub(super) mod timeline;
mod wrapped;

use ratatui::text::{Line, Span};

/// As many of `segments` as fit into `width`, two columns apart: half a number would be a wrong number. An ellipsis
/// says that something did not fit.
fn fitting(segments: Vec<Span<'_>>, width: u16) -> Line<'_> {
    const GAP: &str = "  ";
    let width = usize::from(width);
    let mut line = Line::default();
    let mut left = segments.len();
    for segment in segments {
        let gap = if line.spans.is_empty() { "" } else { GAP };
        let reserved = if left > 1 { GAP.len() } else { 0 };
        if line.width() + gap.len() + segment.width() + reserved > width {
            line.push_span(Span::raw(" …"));
            break;
        }
        line.push_span(Span::raw(gap));
        line.push_span(segment);
        left -= 1;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_shown_whole_or_not_at_all() {
        let line = |width| fitting(vec!["12345".into(), "678".into(), "9".into()], width).to_string();
        assert_eq!(line(13), "12345  678  9");
        assert_eq!(line(12), "12345  678 …");
        assert_eq!(line(11), "12345 …");
        assert_eq!(line(7), "12345 …");
    }
}
