//! What does not change: strings, frames of stacks, and the stack of each site. Written once, when it first comes.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use prost::Message;
use tracer_common::stack::StackEnd;

use super::{
    error::Malformed,
    limits::{ALL_STACK_FRAMES, FRAMES, SITES, STACK_FRAMES, STRING_BYTES, STRINGS},
    model::codes,
    rows::{RowKey, records, write_record},
};
use crate::{
    aggregate::{SiteId, Snapshot},
    symbolize::{Frame, Stack},
};

/// Kinds of rows. Strings are numbered from 1, because 0 stands for none; frames too. Their rows come in that order.
const STRING: u32 = 1;
const FRAME: u32 = 2;
/// By its site.
const STACK: u32 = 3;

/// A frame; text by its number, 0 for none.
#[derive(Clone, PartialEq, Message)]
struct FrameRow {
    #[prost(uint64, tag = "1")]
    address: u64,
    #[prost(uint32, tag = "2")]
    function: u32,
    /// Why there is no function.
    #[prost(uint32, tag = "3")]
    reason: u32,
    #[prost(uint32, tag = "4")]
    module: u32,
    #[prost(uint64, optional, tag = "5")]
    module_offset: Option<u64>,
    #[prost(uint32, tag = "6")]
    file: u32,
    #[prost(uint32, optional, tag = "7")]
    line: Option<u32>,
    #[prost(bool, tag = "8")]
    inlined: bool,
    /// Of the module.
    #[prost(uint32, tag = "9")]
    build_id: u32,
}

/// A stack, innermost frame first.
#[derive(Clone, PartialEq, Message)]
struct StackRow {
    #[prost(uint32, tag = "1")]
    end: u32,
    #[prost(uint32, repeated, tag = "2")]
    frames: Vec<u32>,
}

/// What has been written, by a number.
#[derive(Debug, Default)]
pub(super) struct TableWriter {
    strings: HashMap<Arc<str>, u32>,
    frames: HashMap<Frame, u32>,
    /// Held, so that another stack cannot come to be at the same address.
    stacks: HashMap<SiteId, Arc<Stack>>,
}

impl TableWriter {
    /// Appends to `out` the rows of what is new in a Snapshot.
    pub(super) fn write(&mut self, snapshot: &Snapshot, out: &mut Vec<u8>) {
        let heap = snapshot.sites.iter().map(|site| (site.id, &site.stack));
        let descriptors = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites);
        for (id, stack) in heap.chain(descriptors.map(|site| (site.id, &site.stack))) {
            match self.stacks.entry(id) {
                Entry::Occupied(known) if Arc::ptr_eq(known.get(), stack) => continue,
                Entry::Occupied(mut known) => {
                    let is_same = known.get() == stack;
                    known.insert(Arc::clone(stack));
                    if is_same {
                        continue;
                    }
                }
                Entry::Vacant(unknown) => drop(unknown.insert(Arc::clone(stack))),
            }
            let Stack { frames, end } = &**stack;
            let frames = frames.iter().map(|frame| self.frame(frame, out)).collect();
            let row = StackRow { end: end.code(), frames };
            write_record(RowKey { kind: STACK, key: u64::from(id.0) }, Some(&row.encode_to_vec()), out);
        }
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<u8>) -> u32 {
        if let Some(known) = self.frames.get(frame) {
            return *known;
        }
        let Frame { address, function, module, module_offset, build_id, file, line, inlined } = frame;
        let mut string = |text: Option<&Arc<str>>| text.map_or(0, |text| self.string(text, out));
        let row = FrameRow {
            address: *address,
            function: string(function.as_ref().ok()),
            reason: function.as_ref().err().map_or(0, codes::of_reason),
            module: string(module.as_ref()),
            module_offset: *module_offset,
            file: string(file.as_ref()),
            line: *line,
            inlined: *inlined,
            build_id: string(build_id.as_ref()),
        };
        let number = self.frames.len() as u32 + 1;
        self.frames.insert(frame.clone(), number);
        write_record(RowKey { kind: FRAME, key: u64::from(number) }, Some(&row.encode_to_vec()), out);
        number
    }

    fn string(&mut self, text: &Arc<str>, out: &mut Vec<u8>) -> u32 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        let number = self.strings.len() as u32 + 1;
        self.strings.insert(Arc::clone(text), number);
        write_record(RowKey { kind: STRING, key: u64::from(number) }, Some(text.as_bytes()), out);
        number
    }
}

#[derive(Debug, Default)]
struct KnownStack {
    end: u32,
    frames: Box<[u32]>,
}

/// What has been read.
#[derive(Debug, Default)]
pub(super) struct Tables {
    strings: Vec<Arc<str>>,
    string_bytes: usize,
    frames: Vec<FrameRow>,
    stacks: HashMap<SiteId, KnownStack>,
    stack_frames: usize,
    /// Made of these when they are first asked for.
    made: RefCell<HashMap<SiteId, Arc<Stack>>>,
}

impl Tables {
    /// Takes the rows of a frame.
    pub(super) fn read(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        for record in records(raw) {
            let (RowKey { kind, key }, row) = record?;
            let Some(row) = row else { continue };
            match kind {
                STRING => self.read_string(key, row)?,
                FRAME => self.read_frame(key, row)?,
                STACK => self.read_stack(key, row)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_string(&mut self, number: u64, row: &[u8]) -> Result<(), Malformed> {
        self.string_bytes += row.len();
        if self.strings.len() >= STRINGS || self.string_bytes > STRING_BYTES {
            return Err(Malformed("it has more strings than a recording may hold"));
        }
        if number != self.strings.len() as u64 + 1 {
            return Err(Malformed("strings are not in order"));
        }
        let text = std::str::from_utf8(row).map_err(|_| Malformed("a string is not UTF-8"))?;
        self.strings.push(text.into());
        Ok(())
    }

    fn read_frame(&mut self, number: u64, row: &[u8]) -> Result<(), Malformed> {
        if self.frames.len() >= FRAMES {
            return Err(Malformed("it has more frames of stacks than a recording may hold"));
        }
        if number != self.frames.len() as u64 + 1 {
            return Err(Malformed("frames of stacks are not in order"));
        }
        let row = FrameRow::decode(row)?;
        let known = self.strings.len();
        if [row.function, row.module, row.file, row.build_id].into_iter().any(|string| string as usize > known) {
            return Err(Malformed("a frame of a stack names a string that is not there"));
        }
        self.frames.push(row);
        Ok(())
    }

    fn read_stack(&mut self, site: u64, row: &[u8]) -> Result<(), Malformed> {
        let site = SiteId(u32::try_from(site).map_err(|_| Malformed("a site has no possible number"))?);
        // At least a byte for each frame.
        if row.len() > STACK_FRAMES * 8 {
            return Err(Malformed("a stack is deeper than a recording's may be"));
        }
        let StackRow { end, frames } = StackRow::decode(row)?;
        if frames.iter().any(|&frame| frame == 0 || frame as usize > self.frames.len()) {
            return Err(Malformed("a stack names a frame that is not there"));
        }
        let replaced = self.stacks.get(&site).map_or(0, |stack| stack.frames.len());
        self.stack_frames = self.stack_frames - replaced + frames.len();
        let is_too_much = frames.len() > STACK_FRAMES || self.stack_frames > ALL_STACK_FRAMES;
        if is_too_much || self.stacks.len() >= SITES && replaced == 0 {
            return Err(Malformed("it has more stacks than a recording may hold"));
        }
        self.stacks.insert(site, KnownStack { end, frames: frames.into() });
        self.made.borrow_mut().remove(&site);
        Ok(())
    }

    /// The stack of a site; one that was never written is empty.
    pub(super) fn stack(&self, site: SiteId) -> Arc<Stack> {
        let make = || Arc::new(self.stacks.get(&site).map_or_else(empty, |stack| self.make(stack)));
        Arc::clone(self.made.borrow_mut().entry(site).or_insert_with(make))
    }

    fn make(&self, KnownStack { end, frames }: &KnownStack) -> Stack {
        let frames = frames.iter().filter_map(|&number| self.frames.get(number as usize - 1));
        Stack {
            frames: frames.map(|row| self.frame_of(row)).collect(),
            // A reason that is not known here is a reason all the same.
            end: StackEnd::try_from(*end).unwrap_or(StackEnd::UnsupportedRule),
        }
    }

    fn frame_of(&self, row: &FrameRow) -> Frame {
        let string = |number: u32| self.strings.get((number as usize).checked_sub(1)?).cloned();
        let FrameRow { address, function, reason, module, module_offset, file, line, inlined, build_id } = *row;
        Frame {
            address,
            function: string(function).ok_or_else(|| codes::no_symbol(reason)),
            module: string(module),
            module_offset,
            build_id: string(build_id),
            file: string(file),
            line,
            inlined,
        }
    }
}

fn empty() -> Stack {
    Stack { frames: Vec::new(), end: StackEnd::NoMapping }
}
