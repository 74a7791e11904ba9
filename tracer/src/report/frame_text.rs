//! A frame in displayable parts; every view joins and styles them its own way.

use std::borrow::Cow;

use crate::{
    report::{
        no_symbol_words,
        untrusted::{clean, displayable},
    },
    symbolize::Frame,
};

/// The last part of a path.
pub(crate) fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A source path without the part that says nothing: where the Rust standard library was built.
pub(crate) fn source_path(path: &str) -> &str {
    match path.strip_prefix("/rustc/").and_then(|rest| rest.split_once("/library/")) {
        Some((_, within)) => within,
        None => path,
    }
}

/// Where in the source, `cache.c:42`, as `path` names the file; `None` without a file.
pub(crate) fn place(frame: &Frame, path: impl Fn(&str) -> &str) -> Option<String> {
    let file = displayable(path(frame.file.as_deref()?));
    Some(frame.line.map_or_else(|| file.clone().into_owned(), |line| format!("{file}:{line}")))
}

/// One frame, safe to display.
pub(crate) struct FrameText<'a> {
    /// The function, or the address when there is none.
    pub(crate) name: Cow<'a, str>,
    /// `file:line (module)`, or `module+0xoffset` when there is no function. May be empty.
    pub(crate) place: String,
    /// `[inlined]`, or why there is no function. May be empty.
    pub(crate) note: String,
}

impl<'a> FrameText<'a> {
    /// Its name takes at most `columns`.
    pub(crate) fn new(frame: &'a Frame, columns: usize) -> Self {
        let module = frame.module.as_deref().map(|module| displayable(basename(module)));
        match &frame.function {
            Ok(function) => Self {
                name: clean(function, columns),
                place: [place(frame, source_path), module.map(|module| format!("({module})"))]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" "),
                note: if frame.inlined { "[inlined]".to_owned() } else { String::new() },
            },
            Err(reason) => Self {
                name: Cow::Owned(format!("{:#x}", frame.address)),
                place: match (module, frame.module_offset) {
                    (Some(module), Some(offset)) => format!("{module}+{offset:#x}"),
                    (Some(module), None) => module.into_owned(),
                    (None, _) => String::new(),
                },
                note: format!("[{}]", no_symbol_words(*reason)),
            },
        }
    }
}

impl std::fmt::Display for FrameText<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, place, note } = self;
        formatter.write_str(name)?;
        for part in [place, note] {
            if !part.is_empty() {
                write!(formatter, " {part}")?;
            }
        }
        Ok(())
    }
}
