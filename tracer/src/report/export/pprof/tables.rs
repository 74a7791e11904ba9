//! The tables of a profile: texts, functions, locations and mappings, each once.

use std::collections::{BTreeMap, HashMap};

use super::message::{Function, Line, Location, Mapping};
use crate::{
    aggregate::Snapshot,
    report::{
        export::{names::frame_name, own_memory},
        untrusted::displayable,
    },
    symbolize::{Frame, Stack},
};

/// Limits of mappings are multiples of this.
const PAGE: u64 = 4096;

/// A module at a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ModuleAt<'a> {
    /// The program comes before its libraries.
    is_library: bool,
    path: &'a str,
    build_id: Option<&'a str>,
    /// What its own addresses are added to.
    base: u64,
}

/// What is known of a module from its frames.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    highest: u64,
    functions: bool,
    files: bool,
    lines: bool,
    inlined: bool,
}

/// The modules of all stacks, known before any location refers to one.
#[derive(Debug)]
pub(super) struct Mappings<'a> {
    program: &'a str,
    seen: BTreeMap<ModuleAt<'a>, Seen>,
    /// Their ids, from 1.
    ids: HashMap<ModuleAt<'a>, u64>,
}

impl<'a> Mappings<'a> {
    /// Those of a Snapshot.
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut mappings = Self { program: &snapshot.target.exe, seen: BTreeMap::new(), ids: HashMap::new() };
        for frame in own_memory(snapshot).flat_map(|site| &site.stack.frames) {
            if let Some(module) = mappings.module(frame) {
                let seen = mappings.seen.entry(module).or_default();
                seen.highest = seen.highest.max(frame.address);
                seen.functions |= frame.function.is_ok();
                seen.files |= frame.file.is_some();
                seen.lines |= frame.line.is_some();
                seen.inlined |= frame.inlined;
            }
        }
        mappings.ids = mappings.seen.keys().copied().zip(1..).collect();
        mappings
    }

    fn module<'f>(&self, frame: &'f Frame) -> Option<ModuleAt<'f>> {
        let path = frame.module.as_deref()?;
        let base = frame.address.checked_sub(frame.module_offset?)?;
        Some(ModuleAt { is_library: path != self.program, path, build_id: frame.build_id.as_deref(), base })
    }

    fn id(&self, frame: &Frame) -> u64 {
        self.module(frame).and_then(|module| self.ids.get(&module).copied()).unwrap_or(0)
    }
}

/// What samples refer to by numbers.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    mappings: Mappings<'a>,
    texts: HashMap<String, i64>,
    /// By name and file.
    functions: HashMap<(i64, i64), u64>,
    /// By mapping, address and what is known of it.
    locations: HashMap<(u64, u64, Vec<Line>), u64>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(mappings: Mappings<'a>) -> Self {
        let texts = HashMap::from([(String::new(), 0)]);
        Self { mappings, texts, functions: HashMap::new(), locations: HashMap::new() }
    }

    /// The number of a text. What is the target's must be displayable.
    pub(super) fn text(&mut self, text: &str) -> i64 {
        if let Some(index) = self.texts.get(text) {
            return *index;
        }
        let index = self.texts.len() as i64;
        self.texts.insert(text.to_owned(), index);
        index
    }

    /// The locations of a stack: an address has one, with the functions inlined there.
    pub(super) fn stack(&mut self, stack: &Stack) -> Vec<u64> {
        if stack.frames.is_empty() {
            let line = self.line("[no stack]", "", None);
            return vec![self.location(0, 0, vec![line])];
        }
        stack.frames.chunk_by(|frame, _| frame.inlined).map(|frames| self.location_of(frames)).collect()
    }

    fn location_of(&mut self, frames: &[Frame]) -> u64 {
        let lines = frames.iter().map(|frame| {
            let file = displayable(frame.file.as_deref().unwrap_or_default());
            self.line(&frame_name(frame), &file, frame.line)
        });
        let lines = lines.collect();
        let Some(outermost) = frames.last() else { return 0 };
        self.location(self.mappings.id(outermost), outermost.address, lines)
    }

    fn location(&mut self, mapping: u64, address: u64, lines: Vec<Line>) -> u64 {
        let next = self.locations.len() as u64 + 1;
        *self.locations.entry((mapping, address, lines)).or_insert(next)
    }

    fn line(&mut self, name: &str, file: &str, line: Option<u32>) -> Line {
        let key = (self.text(name), self.text(file));
        let next = self.functions.len() as u64 + 1;
        Line { function_id: *self.functions.entry(key).or_insert(next), line: line.unwrap_or(0).into() }
    }

    /// All of it, by number.
    pub(super) fn into_messages(mut self) -> (Vec<Mapping>, Vec<Location>, Vec<Function>, Vec<String>) {
        let seen = std::mem::take(&mut self.mappings.seen);
        let mappings = (1..).zip(seen).map(|(id, (module, seen))| self.mapping(id, &module, seen)).collect();
        let Self { mappings: _, texts, functions, locations } = self;
        let locations = locations
            .into_iter()
            .map(|((mapping_id, address, line), id)| Location { id, mapping_id, address, line })
            .collect();
        let functions = functions
            .into_iter()
            // pprof takes a name that is the linker's for one to be shortened.
            .map(|((name, filename), id)| Function { id, name, system_name: 0, filename })
            .collect();
        let mut texts: Vec<_> = texts.into_iter().map(|(text, index)| (index, text)).collect();
        texts.sort_unstable();
        let texts = texts.into_iter().map(|(_, text)| text).collect();
        (mappings, by_id(locations, |location: &Location| location.id), by_id(functions, |f: &Function| f.id), texts)
    }

    /// What readers would look up in the file has been looked up: names are taken as they are.
    fn mapping(&mut self, id: u64, module: &ModuleAt<'_>, seen: Seen) -> Mapping {
        let ModuleAt { is_library: _, path, build_id, base } = *module;
        let Seen { highest, functions, files, lines, inlined } = seen;
        Mapping {
            id,
            memory_start: base,
            memory_limit: (highest + 1).checked_next_multiple_of(PAGE).unwrap_or(u64::MAX),
            file_offset: 0,
            filename: self.text(&displayable(path)),
            build_id: self.text(build_id.unwrap_or_default()),
            has_functions: functions,
            has_filenames: files,
            has_line_numbers: lines,
            has_inline_frames: inlined,
        }
    }
}

fn by_id<T>(mut messages: Vec<T>, id: impl Fn(&T) -> u64) -> Vec<T> {
    messages.sort_by_key(|message| id(message));
    messages
}
