//! Where the page's text meets the target's: what is not written in this program's source goes through [`Markup::text`],
//! and the types see to that.

use std::fmt::Write as _;

use crate::report::untrusted::clean;

/// HTML under construction.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// A picture: made of numbers, and of texts that were escaped.
#[derive(Debug)]
pub(super) struct Picture(pub(super) String);

impl Markup {
    /// Markup of this program's own.
    pub(super) fn raw(&mut self, literal: &'static str) -> &mut Self {
        self.0.push_str(literal);
        self
    }

    /// Any text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escaped(text));
        self
    }

    /// An element with a text in it.
    pub(super) fn element(&mut self, name: &'static str, text: &str) -> &mut Self {
        let _ = write!(self.0, "<{name}>{}</{name}>", escaped(text));
        self
    }

    /// The same of a class.
    pub(super) fn classed(&mut self, name: &'static str, class: &'static str, text: &str) -> &mut Self {
        let _ = write!(self.0, "<{name} class=\"{class}\">{}</{name}>", escaped(text));
        self
    }

    /// A picture.
    pub(super) fn picture(&mut self, picture: &Picture) -> &mut Self {
        self.0.push_str(&picture.0);
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A text as it is in elements and in attributes between quotation marks, and with nothing in it that acts or hides.
pub(in crate::report::export) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in clean(text, usize::MAX).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
