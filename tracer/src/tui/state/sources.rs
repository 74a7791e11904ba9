//! Lines of source files that were looked up.

use std::{collections::HashMap, sync::Arc};

/// Lines that are remembered.
const MOST: usize = 512;

/// Gives a line of a source file, by its path and number.
pub type SourceLine = fn(&str, u32) -> Option<String>;

#[derive(Debug, Default)]
pub(in crate::tui) struct Sources {
    read: Option<SourceLine>,
    known: HashMap<(Arc<str>, u32), Option<Arc<str>>>,
}

impl Sources {
    pub(in crate::tui) fn new(read: Option<SourceLine>) -> Self {
        Self { read, known: HashMap::new() }
    }

    /// The line, if the file is here. Untrusted text.
    pub(in crate::tui) fn line(&mut self, file: &Arc<str>, line: u32) -> Option<Arc<str>> {
        let read = self.read?;
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let known = self.known.entry((Arc::clone(file), line));
        known.or_insert_with(|| read(file, line).map(Arc::from)).clone()
    }
}
