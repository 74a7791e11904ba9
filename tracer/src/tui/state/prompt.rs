//! A line that the user types into: what is there, and where the next character goes.
//!
//! In: keys. Out: the text after each of them, so that what it is for can follow while it is typed. Whoever opens one says
//! what it is for; while it is open it has all keys.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Characters, so that a key that is stuck ends somewhere.
const LONGEST: usize = 256;

/// What a key did to a [`Prompt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Edit {
    /// Nothing that shows in the text.
    Same,
    /// The text is another one now.
    Changed,
    /// The user is done: the text holds.
    Accepted,
    /// The user wants none of it.
    Cancelled,
    /// The user wants to leave the program.
    Quit,
}

/// A line to type into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Prompt {
    /// What is asked for; shown before the text.
    pub(in crate::tui) label: &'static str,
    /// What was typed.
    pub(in crate::tui) text: String,
    /// Where the next character goes, in bytes of `text`.
    cursor: usize,
}

impl Prompt {
    /// Begins with `text`, behind which the cursor is.
    pub(in crate::tui) fn new(label: &'static str, text: &str) -> Self {
        Self { label, text: text.to_owned(), cursor: text.len() }
    }

    /// The text before the cursor, and the rest.
    pub(in crate::tui) fn parts(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Obeys a key.
    pub(in crate::tui) fn apply(&mut self, key: KeyEvent) -> Edit {
        let KeyEvent { code, modifiers, kind, state: _ } = key;
        if kind == KeyEventKind::Release {
            return Edit::Same;
        }
        let before = self.text.len();
        match (code, modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Enter, _) => return Edit::Accepted,
            (KeyCode::Esc, _) => return Edit::Cancelled,
            (KeyCode::Char('c'), true) => return Edit::Quit,
            (KeyCode::Char('a'), true) | (KeyCode::Home, _) => self.cursor = 0,
            (KeyCode::Char('e'), true) | (KeyCode::End, _) => self.cursor = self.text.len(),
            (KeyCode::Char('u'), true) => self.remove(0),
            (KeyCode::Char('w'), true) => self.remove(self.word()),
            (KeyCode::Char(character), false) => self.insert(character),
            // What there is nothing left to take from is left.
            (KeyCode::Backspace, _) if self.text.is_empty() => return Edit::Cancelled,
            (KeyCode::Backspace, _) => self.remove(self.before()),
            (KeyCode::Delete, _) if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            (KeyCode::Left, _) => self.cursor = self.before(),
            (KeyCode::Right, _) => self.cursor = self.after(),
            _ => {}
        }
        // Each of them makes the text longer or shorter.
        if self.text.len() == before { Edit::Same } else { Edit::Changed }
    }

    fn insert(&mut self, character: char) {
        if !character.is_control() && self.text.chars().count() < LONGEST {
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
    }

    /// Takes out what is between `from` and the cursor.
    fn remove(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
    }

    fn before(&self) -> usize {
        self.parts().0.char_indices().next_back().map_or(0, |(index, _)| index)
    }

    fn after(&self) -> usize {
        self.parts().1.chars().next().map_or(self.cursor, |character| self.cursor + character.len_utf8())
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = self.parts().0.trim_end();
        before.rfind(char::is_whitespace).map_or(0, |space| space + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(prompt: &mut Prompt, keys: &[KeyCode]) -> Vec<Edit> {
        keys.iter().map(|&key| prompt.apply(KeyEvent::new(key, KeyModifiers::NONE))).collect()
    }

    #[test]
    fn characters_go_in_and_out_at_the_cursor() {
        let mut prompt = Prompt::new("find", "mäin");
        typed(&mut prompt, &[KeyCode::Left, KeyCode::Left, KeyCode::Backspace, KeyCode::Char('a'), KeyCode::Delete]);
        assert_eq!(prompt.parts(), ("ma", "n"));
        assert_eq!(typed(&mut prompt, &[KeyCode::End, KeyCode::Delete, KeyCode::Right]), [Edit::Same; 3]);
        assert_eq!(typed(&mut prompt, &[KeyCode::Home, KeyCode::Char('漢')]), [Edit::Same, Edit::Changed]);
        assert_eq!(prompt.text, "漢man");
    }

    #[test]
    fn control_keys_do_what_they_do_in_a_shell() {
        let mut prompt = Prompt::new("find", "one two ");
        let mut control = |key| prompt.apply(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
        assert_eq!([control('w'), control('x'), control('c')], [Edit::Changed, Edit::Same, Edit::Quit]);
        assert_eq!(prompt.text, "one ");
        assert_eq!(prompt.apply(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)), Edit::Changed);
        assert_eq!((prompt.text.as_str(), prompt.cursor), ("", 0));
    }

    #[test]
    fn it_ends_accepted_or_cancelled_and_not_by_letters_that_mean_something_elsewhere() {
        let mut prompt = Prompt::new("find", "");
        assert_eq!(typed(&mut prompt, &[KeyCode::Char('q'), KeyCode::Char('?')]), [Edit::Changed; 2]);
        assert_eq!(typed(&mut prompt, &[KeyCode::Enter, KeyCode::Esc]), [Edit::Accepted, Edit::Cancelled]);
        let ends = [Edit::Changed, Edit::Changed, Edit::Cancelled];
        assert_eq!(typed(&mut prompt, &[KeyCode::Backspace; 3]), ends, "nothing is left to take");
    }

    #[test]
    fn it_has_an_end_and_no_control_characters() {
        let mut prompt = Prompt::new("find", "");
        typed(&mut prompt, &[KeyCode::Char('\u{1b}')]);
        typed(&mut prompt, &vec![KeyCode::Char('x'); LONGEST + 7]);
        assert_eq!(prompt.text.len(), LONGEST);
    }
}
