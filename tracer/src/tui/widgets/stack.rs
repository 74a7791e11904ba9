//! The selected site: its exact numbers and its whole stack.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use crate::{
    aggregate::{BlockCounters, SiteSnapshot},
    report::{
        FrameText, call_site, stack_end_words,
        units::{UNKNOWN, count, counted, duration},
        untrusted::clean,
    },
    symbolize::Stack,
    tui::{
        state::{Focus, State},
        theme::Theme,
        widgets::fitting,
    },
};

/// Columns after which even a scrolled line ends.
const LONGEST: usize = 2_048;

/// Library frames from which on they are shown as one line.
const FOLD: usize = 3;

/// In fewer lines than this, the numbers leave all of them to the stack.
const ROOMY: u16 = 5;

/// `beside`: the pane is to the right of the sites, not below them.
pub(in crate::tui) fn draw(state: &mut State, theme: Theme, frame: &mut Frame<'_>, area: Rect, beside: bool) {
    let focused = state.focus == Focus::Stack;
    let title = match state.selected() {
        Some(site) => format!(" stack of site {} ", site.id.0),
        None => " stack ".to_owned(),
    };
    let style = if focused { theme.selected(true) } else { theme.heading() };
    let borders = if beside { Borders::LEFT | Borders::TOP } else { Borders::TOP };
    let block = Block::new().borders(borders).border_style(theme.dim()).title(Span::styled(title, style));
    let inner = block.inner(area);
    frame.render_widget(block, area);

    let mut scroll = state.stack;
    if let Some(site) = state.selected() {
        let exact = if inner.height >= ROOMY { numbers(site, inner.width) } else { Vec::new() };
        let above = exact.len();
        let below = Rect { y: inner.y + above as u16, height: inner.height - above as u16, ..inner };
        frame.render_widget(Paragraph::new(exact), inner);
        let end = stack_end_words(site.stack.end);
        let folded = if focused { 0 } else { library_frames(&site.stack) };
        let total = site.stack.frames.len() - folded + usize::from(folded > 0) + usize::from(end.is_some());
        let page = usize::from(below.height);
        scroll.bound(total, page);
        let lines: Vec<Line<'_>> = (scroll.top..total.min(scroll.top + page))
            .map(|line| match (line, folded) {
                (0, 1..) => folded_line(site, folded, theme),
                (_, 0) => frame_line(site, line, theme),
                _ => frame_line(site, line - 1 + folded, theme),
            })
            .collect();
        let widest = lines.iter().map(Line::width).max().unwrap_or(0);
        scroll.left = scroll.left.min(widest.saturating_sub(usize::from(below.width)));
        frame.render_widget(Paragraph::new(lines).scroll((0, scroll.left as u16)), below);
    }
    state.stack = scroll;
}

fn numbers(site: &SiteSnapshot, width: u16) -> Vec<Line<'static>> {
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = site.counters;
    let amount = |bytes: u64, objects: u64| format!("{} B in {}", count(bytes), counted(objects, "object", "objects"));
    let age = site.oldest.map_or_else(|| UNKNOWN.to_owned(), duration);
    let held = amount(site.counters.inuse_bytes(), site.counters.inuse_objects());
    let taken = amount(alloc_bytes, alloc_objects);
    let given = amount(free_bytes, free_objects);
    vec![
        fitting(vec![format!("outstanding {held}").into(), format!("oldest {age}").into()], width),
        fitting(vec![format!("allocated {taken}").into(), format!("freed {given}").into()], width),
    ]
}

/// Library frames above the program's own that are shown as one while the stack is not scrolled through: too many to
/// leave room for what matters. Few are shown as they are.
fn library_frames(stack: &Stack) -> usize {
    let own = call_site(stack).and_then(|own| stack.frames.iter().position(|frame| std::ptr::eq(frame, own)));
    own.filter(|frames| *frames >= FOLD).unwrap_or(0)
}

fn folded_line(site: &SiteSnapshot, folded: usize, theme: Theme) -> Line<'_> {
    let first = site.stack.frames.first().map(|frame| FrameText::new(frame, LONGEST).name).unwrap_or_default();
    let words = format!("  … {first} and {} more library frames (Tab shows them)", folded - 1);
    Line::styled(words, theme.dim())
}

fn frame_line(site: &SiteSnapshot, index: usize, theme: Theme) -> Line<'_> {
    let Some(frame) = site.stack.frames.get(index) else {
        let why = stack_end_words(site.stack.end).unwrap_or_default();
        return Line::styled(format!("    [incomplete stack: {why}]"), theme.reason());
    };
    let FrameText { name, place, note } = FrameText::new(frame, LONGEST);
    Line::from(vec![
        Span::styled(format!("{index:>3} "), theme.dim()),
        Span::raw(name),
        Span::styled(clean(&format!(" {place}"), LONGEST).into_owned(), theme.dim()),
        Span::styled(format!(" {note}"), theme.reason()),
    ])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::symbolize;

    fn stack(functions: &[&str]) -> Stack {
        let frame =
            |name: &&str| symbolize::Frame { function: Ok(Arc::from(*name)), ..symbolize::Frame::pending(0x1000) };
        Stack { frames: functions.iter().map(frame).collect(), end: StackEnd::Complete }
    }

    #[test]
    fn many_library_frames_are_folded_and_few_are_not() {
        assert_eq!(library_frames(&stack(&["alloc::a", "alloc::b", "std::c", "core::d", "app::run", "std::e"])), 4);
        assert_eq!(library_frames(&stack(&["alloc::a", "alloc::b", "app::run"])), 0);
        assert_eq!(library_frames(&stack(&["std::a", "std::b", "std::c", "std::d"])), 0, "nothing else to show");
        assert_eq!(library_frames(&stack(&[])), 0);
    }
}
