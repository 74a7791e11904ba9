//! A stack as lines, each of which can be made without the others.

use ratatui::text::{Line, Span};

use crate::{
    report::{FOLD, FrameText, call_site_index, stack_end_words, untrusted::clean},
    symbolize::Stack,
    tui::theme::Theme,
};

/// Columns after which even a scrolled line ends.
pub(super) const LONGEST: usize = 2_048;

/// The lines of a stack.
pub(super) struct Frames<'a> {
    stack: &'a Stack,
    /// Library frames that the first line stands for.
    folded: usize,
    /// The first frame that has a line of its own.
    first: usize,
    /// Lines.
    len: usize,
    /// What the last line stands for, if it does not stand for itself.
    left: usize,
}

impl<'a> Frames<'a> {
    /// The whole stack. `focused`: the reader scrolls through it; otherwise library frames are folded.
    pub(super) fn new(stack: &'a Stack, focused: bool) -> Self {
        let folded = if focused { 0 } else { own_frame(stack) };
        let folded = if folded >= FOLD { folded } else { 0 };
        let len = stack.frames.len() - folded + usize::from(folded > 0) + end(stack);
        Self { stack, folded, first: folded, len, left: 0 }
    }

    /// At most `most` lines, from the program's own frame on when that is not all.
    pub(super) fn brief(stack: &'a Stack, most: usize) -> Self {
        let whole = Self::new(stack, false);
        if whole.len <= most {
            return whole;
        }
        let first = own_frame(stack);
        let below = stack.frames.len() - first + end(stack);
        let left = (below + 1).saturating_sub(most);
        Self { stack, folded: 0, first, len: below.min(most), left: if left > 1 { left } else { 0 } }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn line(&self, line: usize, theme: Theme) -> Line<'a> {
        if self.left > 0 && line + 1 == self.len {
            return Line::styled(format!("  … {} more frames (Tab shows them)", self.left), theme.dim());
        }
        match (line, self.folded) {
            (0, 1..) => self.folded_line(theme),
            (_, 0) => self.frame_line(self.first + line, theme),
            _ => self.frame_line(self.first + line - 1, theme),
        }
    }

    fn folded_line(&self, theme: Theme) -> Line<'a> {
        let first = self.stack.frames.first().map(|frame| FrameText::new(frame, LONGEST).name).unwrap_or_default();
        let words = format!("  … {first} and {} more library frames (Tab shows them)", self.folded - 1);
        Line::styled(words, theme.dim())
    }

    fn frame_line(&self, index: usize, theme: Theme) -> Line<'a> {
        let Some(frame) = self.stack.frames.get(index) else {
            let why = stack_end_words(self.stack.end).unwrap_or_default();
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
}

/// Whether the stack ends with a line that says why it is not whole.
fn end(stack: &Stack) -> usize {
    usize::from(stack_end_words(stack.end).is_some())
}

/// Library frames above the program's own: too many to leave room for what matters.
fn own_frame(stack: &Stack) -> usize {
    call_site_index(stack).unwrap_or(0)
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

    fn lines(frames: &Frames<'_>) -> Vec<String> {
        (0..frames.len()).map(|line| frames.line(line, Theme::new(false)).to_string().trim().to_owned()).collect()
    }

    #[test]
    fn many_library_frames_are_folded_and_few_are_not() {
        let deep = stack(&["alloc::a", "alloc::b", "std::c", "core::d", "app::run", "std::e"]);
        let folded = "… alloc::a and 3 more library frames (Tab shows them)";
        assert_eq!(lines(&Frames::new(&deep, false)), [folded, "4 app::run", "5 std::e"]);
        assert_eq!(Frames::new(&deep, true).len(), 6);
        assert_eq!(Frames::new(&stack(&["alloc::a", "alloc::b", "app::run"]), false).len(), 3);
        let nothing_else = stack(&["std::a", "std::b", "std::c", "std::d"]);
        assert_eq!(Frames::new(&nothing_else, false).len(), 4);
        assert_eq!(Frames::new(&stack(&[]), false).len(), 0);
    }

    #[test]
    fn a_brief_stack_begins_with_the_programs_own_frame_and_counts_what_it_leaves_out() {
        let whole = stack(&["std::a", "app::run", "app::main"]);
        assert_eq!(lines(&Frames::brief(&whole, 3)), ["0 std::a", "1 app::run", "2 app::main"]);
        assert_eq!(lines(&Frames::brief(&whole, 2)), ["1 app::run", "2 app::main"]);
        let deep = stack(&["std::a", "app::run", "app::serve", "app::main", "std::start"]);
        assert_eq!(lines(&Frames::brief(&deep, 2)), ["1 app::run", "… 3 more frames (Tab shows them)"]);
        let cut = Stack { end: StackEnd::Depth, ..stack(&["app::run", "app::serve"]) };
        assert_eq!(lines(&Frames::brief(&cut, 2)), ["0 app::run", "… 2 more frames (Tab shows them)"]);
    }
}
