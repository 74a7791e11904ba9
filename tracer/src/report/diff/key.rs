//! When two stacks are the same.

use std::sync::Arc;

use crate::{
    report::basename,
    symbolize::{Frame, Stack},
};

/// What the kernel writes behind the path of a file that was unlinked or replaced.
const DELETED: &str = " (deleted)";
/// What compilers write behind the name of a function that they made a copy or a part of; there may be more behind it.
const COPIES: [&str; 7] = [".constprop.", ".isra.", ".part.", ".cold", ".lto_priv.", ".llvm.", " [clone "];

/// A frame by its name. The program itself has no module: its file may be called anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FrameKey {
    module: Option<Box<str>>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Function(Box<str>),
    /// Without a name: the same at most within one build.
    Offset(u64),
    /// Not even in a file: never twice at the same address, so all are alike.
    Nowhere,
}

/// A stack by the names of its frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(Vec<FrameKey>);

impl Key {
    /// `exe` is the path of the program.
    pub(super) fn new(stack: &Stack, exe: &str) -> Self {
        Self(stack.frames.iter().map(|frame| FrameKey::new(frame, path(exe))).collect())
    }
}

impl FrameKey {
    fn new(frame: &Frame, exe: &str) -> Self {
        let Frame { address: _, function, module, module_offset, build_id: _, file: _, line: _, inlined: _ } = frame;
        let module = module.as_deref().map(path);
        Self {
            module: module.filter(|module| *module != exe).map(|module| basename(module).into()),
            place: match (function, module_offset) {
                (Ok(function), _) => Place::Function(original(function).into()),
                (Err(_), Some(offset)) => Place::Offset(*offset),
                (Err(_), None) => Place::Nowhere,
            },
        }
    }
}

fn path(module: &str) -> &str {
    module.strip_suffix(DELETED).unwrap_or(module)
}

/// The function that this is, or is a part of.
fn original(function: &str) -> &str {
    let end = COPIES.iter().filter_map(|mark| function.find(mark)).min();
    end.and_then(|end| function.get(..end)).filter(|name| !name.is_empty()).unwrap_or(function)
}

/// Whether frames have no name, so that they are the same at most within one build.
pub(super) fn has_unnamed(stack: &Arc<Stack>) -> bool {
    stack.frames.iter().any(|frame| frame.function.is_err())
}

#[cfg(test)]
mod tests {
    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::{
        report::testing::{frame, unnamed},
        symbolize::NoSymbol,
    };

    fn key(frames: Vec<Frame>) -> Key {
        Key::new(&Stack { frames, end: StackEnd::Complete }, "/srv/new/app")
    }

    #[test]
    fn addresses_lines_folders_and_the_programs_name_do_not_matter() {
        let new = key(vec![
            frame(0x1001, "g_malloc", "/usr/lib/libglib.so.6", ""),
            frame(0x2001, "load", "/srv/new/app", "a.c:7"),
        ]);
        let old = vec![
            frame(0x7001, "g_malloc", "/opt/lib/libglib.so.6 (deleted)", "x.c:1"),
            frame(0x8001, "load.constprop.0.isra.0", "/srv/old/server (deleted)", "b.c:9"),
        ];
        assert_eq!(new, Key::new(&Stack { frames: old.clone(), end: StackEnd::Depth }, "/srv/old/server"));
        // As a frame of another program it is one of a module.
        assert_ne!(new, key(old));
    }

    #[test]
    fn functions_and_modules_matter() {
        let one = |function, module| key(vec![frame(1, function, module, "")]);
        assert_ne!(one("load", "/lib/a.so"), one("store", "/lib/a.so"));
        assert_ne!(one("load", "/lib/a.so"), one("load", "/lib/b.so"));
        assert_eq!(one("load [clone .cold]", "/lib/a.so"), one("load", "/lib/a.so"));
        assert_eq!(one(".cold", "/lib/a.so"), one(".cold", "/lib/a.so"));
    }

    #[test]
    fn what_has_no_name_is_the_same_at_the_same_place_of_a_module() {
        let one = |address, module| key(vec![unnamed(address, module, NoSymbol::Stripped)]);
        assert_eq!(one(0x7f00_0000_2468, Some("/lib/a.so")), one(0x7e00_0000_2468, Some("/lib/a.so")));
        assert_ne!(one(0x7f00_0000_2468, Some("/lib/a.so")), one(0x7f00_0000_2469, Some("/lib/a.so")));
        assert_eq!(one(0x1001, None), one(0x2001, None));
    }
}
