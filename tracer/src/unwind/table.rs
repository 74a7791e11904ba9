//! The table of one file: rows, page index, and where its addresses lie.

use std::fs::File;

use object::{ReadCache, ReadRef};
use tracer_common::unwind::{PAGE_SHIFT, Row, Rule, RuleKind, Unsupported};

use super::{
    UnwindError,
    elf::{Elf, Segment},
    find_row,
    frames::{Function, Functions, TextRange},
};

/// Functions begin at multiples of this, and less than this before one is padding: no code, so it needs no row.
const FUNCTION_ALIGNMENT: u32 = 16;
/// How far the code at the entry point reaches when nothing describes it. In the dynamic linker it is 64 bytes long.
const ENTRY_BYTES: u32 = 128;
/// What a signal handler returns to, which is nothing else in any C library: `mov $SYS_rt_sigreturn, %rax; syscall`, the
/// move with a short or a long operand. musl and Go leave it undescribed; gdb knows it by these bytes too.
const SIGNAL_TRAMPOLINES: [&[u8]; 2] = [&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05], &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]];
/// Undescribed text is searched for them in stretches of at least this much, and up to this much in all: a C library is
/// larger and smaller.
const MIN_SEARCHED: u32 = 1 << 10;
const MAX_SEARCHED: u32 = 8 << 20;

/// Rows that share a kind, and the bytes of text they cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCount {
    /// Their kind.
    pub kind: RuleKind,
    /// Why, when they are unsupported.
    pub why: Option<Unsupported>,
    /// How many.
    pub rows: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// How to unwind from every address of one file, whatever it is loaded at.
///
/// Memory while one is made: less than 16 times the file's size (to which a compressed `.debug_frame` may add 32 times
/// its own) and 128 KiB. What compilers write makes a table one and a half times as large as its `.eh_frame`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnwindTable {
    base: u64,
    rows: Vec<Row>,
    pages: Vec<u32>,
    text: Vec<Segment>,
    functions: usize,
    skipped: u32,
}

impl UnwindTable {
    /// Makes the table of an ELF file, or of the vDSO, from its bytes.
    ///
    /// `.eh_frame` says what is so; `.debug_frame` is used for what it leaves out.
    pub fn from_elf(bytes: &[u8]) -> Result<Self, UnwindError> {
        Self::read(bytes)
    }

    /// Makes the table of an ELF file, of which only the unwind information is read. The file is not mapped, since one
    /// that is truncated meanwhile would then end this process.
    pub fn from_file(file: &File) -> Result<Self, UnwindError> {
        Self::read(&ReadCache::new(file))
    }

    fn read<'data>(data: impl ReadRef<'data>) -> Result<Self, UnwindError> {
        let elf = Elf::parse(data)?;
        let text = TextRange { base: elf.base, end: elf.end };
        let mut functions = Functions::default();
        for section in elf.frame_sections() {
            let known = functions.list.len();
            functions.read(&section, text)?;
            drop_overlapping(&mut functions.list, known);
        }
        let Functions { mut list, rows, skipped } = functions;
        if list.is_empty() {
            return Err(UnwindError::NoFrames);
        }
        list.sort_by_key(|function| function.start);
        list.dedup_by_key(|function| function.start);
        let rows = join(&list, &rows, &landmarks(&elf, &list));
        let pages = page_index(&rows);
        Ok(Self { base: elf.base, rows, pages, text: elf.text, functions: list.len(), skipped })
    }

    /// The table of `length` bytes of code that is in no file. The rows begin at 0.
    pub(super) fn from_rows(Rows(rows): Rows, length: u64, functions: usize) -> Self {
        let pages = page_index(&rows);
        let text = vec![Segment { offset: 0, address: 0, size: length }];
        Self { base: 0, rows, pages, text, functions, skipped: 0 }
    }

    /// The rows, by address. The first is for address 0, and the last says that nothing is known from there on.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The page index: for each page the row that its first byte belongs to, and one entry more, the last row.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// The linked address that is 0 in the table.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Functions described.
    pub fn functions(&self) -> usize {
        self.functions
    }

    /// Entries of the file that were left out: malformed, or for addresses outside of its executable segments.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// What to subtract, wrapping, from a program counter in a mapping of this file to get an address of the table.
    /// `None` when no executable segment lies at that offset of the file.
    pub fn bias_for(&self, mapping_start: u64, file_offset: u64) -> Option<u64> {
        // A page at the border of two segments is mapped twice; the segment that begins before it has the word.
        let exact = self
            .text
            .iter()
            .find(|segment| file_offset.checked_sub(segment.offset).is_some_and(|inside| inside < segment.size));
        let address = match exact {
            Some(segment) => segment.address_of(file_offset),
            None => self.text.iter().find_map(|segment| segment.address_of(file_offset)),
        }?;
        Some(mapping_start.wrapping_sub(address.wrapping_sub(self.base)))
    }

    /// The row for an address of the table: the search that the kernel side does.
    pub fn lookup(&self, address: u32) -> Option<Row> {
        let page = (address >> PAGE_SHIFT) as usize;
        let (low, high) = (*self.pages.get(page)?, *self.pages.get(page + 1)?);
        find_row(&self.rows, low, high, address)
    }

    /// What the table consists of, by kind of rule and reason.
    pub fn census(&self) -> Vec<RuleCount> {
        let mut counts: Vec<RuleCount> = Vec::new();
        for pair in self.rows.windows(2) {
            let [row, next] = pair else { continue };
            let Ok(kind) = RuleKind::try_from(row.rule.kind()) else { continue };
            let why = match kind {
                RuleKind::Unsupported => Unsupported::try_from(row.rule.cfa_field()).ok(),
                _ => None,
            };
            let bytes = u64::from(next.pc - row.pc);
            match counts.iter_mut().find(|count| (count.kind, count.why) == (kind, why)) {
                Some(count) => {
                    count.rows += 1;
                    count.bytes += bytes;
                }
                None => counts.push(RuleCount { kind, why, rows: 1, bytes }),
            }
        }
        counts.sort_by_key(|count| (count.kind, count.why));
        counts
    }
}

/// Drops those functions from `known` on that overlap one before: what the first section says holds.
fn drop_overlapping(list: &mut Vec<Function>, known: usize) {
    if known == 0 || known == list.len() {
        return;
    }
    let mut added = list.split_off(known);
    list.sort_by_key(|function| function.start);
    added.retain(|function| {
        let after = list.partition_point(|known| known.start < function.end);
        list[..after].last().is_none_or(|known| known.end <= function.start)
    });
    list.append(&mut added);
}

/// A place in undescribed text that is known all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Landmark {
    start: u32,
    end: u32,
    rule: Rule,
}

/// The landmarks of a file whose functions are described by `list`, by address.
fn landmarks<'data>(elf: &Elf<'data, impl ReadRef<'data>>, list: &[Function]) -> Vec<Landmark> {
    // At the entry point starts the outermost frame of a process, which has no caller even when nothing describes it
    // (the dynamic linker's `_start`).
    let entry = elf.entry.and_then(|entry| u32::try_from(entry.checked_sub(elf.base)?).ok());
    let entry = entry.map(|start| Landmark { start, end: start.saturating_add(ENTRY_BYTES), rule: Rule::END });
    let mut landmarks: Vec<Landmark> = entry.into_iter().collect();
    let (mut covered, mut searched) = (0, 0);
    // The text spans less than 4 GiB.
    let end = (elf.end - elf.base) as u32;
    for (start, next) in list.iter().map(|function| (function.start, function.end)).chain([(end, end)]) {
        let length = start.saturating_sub(covered);
        if (MIN_SEARCHED..=MAX_SEARCHED - searched).contains(&length) {
            searched += length;
            if let Some((at, text)) = elf.read_text(covered, start) {
                landmarks.extend(signal_trampolines(text, at));
            }
        }
        covered = covered.max(next);
    }
    landmarks.sort_unstable_by_key(|landmark| landmark.start);
    landmarks
}

/// The signal trampolines in `text`, which is at address `base` of the table.
fn signal_trampolines(text: &[u8], base: u32) -> impl Iterator<Item = Landmark> {
    (0..text.len()).filter_map(move |at| {
        let code = SIGNAL_TRAMPOLINES.into_iter().find(|code| text[at..].starts_with(code))?;
        let end = base + (at + code.len()) as u32;
        // It is never called: what a handler returns to is its first byte, and that is looked up one byte before.
        Some(Landmark { start: base + at.saturating_sub(1) as u32, end, rule: Rule::SIGNAL })
    })
}

/// Puts functions, sorted by distinct starts, one after the other. Where two overlap, the later start holds, as for
/// libgcc's and gdb's binary searches.
fn join(list: &[Function], rows: &[Row], landmarks: &[Landmark]) -> Vec<Row> {
    let mut table = Rows(Vec::with_capacity(rows.len() + list.len() / 4 + 4));
    table.push(0, Rule::NONE);
    let mut covered = 0;
    for (index, function) in list.iter().enumerate() {
        let end = list.get(index + 1).map_or(function.end, |next| function.end.min(next.start));
        table.gap(covered, function.start, landmarks);
        let first = function.first_row as usize;
        let own = &rows[first..first + function.row_count as usize];
        for row in own.iter().take_while(|row| row.pc < end) {
            table.push(row.pc, row.rule);
        }
        covered = end;
    }
    table.gap(covered, u32::MAX, landmarks);
    let mut rows = table.0;
    rows.shrink_to_fit();
    rows
}

/// Rows under construction: addresses strictly ascend, and neighbours differ in their rules.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    pub(super) fn push(&mut self, pc: u32, rule: Rule) {
        if self.0.last().is_some_and(|last| last.pc == pc) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.rule != rule) {
            self.0.push(Row { pc, rule });
        }
    }

    /// The addresses between two functions.
    fn gap(&mut self, from: u32, to: u32, landmarks: &[Landmark]) {
        if to - from < FUNCTION_ALIGNMENT && to.is_multiple_of(FUNCTION_ALIGNMENT) {
            return;
        }
        self.push(from, Rule::NONE);
        let first = landmarks.partition_point(|landmark| landmark.start < from);
        let mut free = from;
        for landmark in landmarks[first..].iter().take_while(|landmark| landmark.start < to) {
            let (start, end) = (landmark.start.max(free), landmark.end.min(to));
            if start < end {
                self.push(start, landmark.rule);
                self.push(end, Rule::NONE);
                free = end;
            }
        }
    }
}

/// See [`UnwindTable::pages`].
fn page_index(rows: &[Row]) -> Vec<u32> {
    let last = rows.len() - 1;
    let page_count = (rows[last].pc >> PAGE_SHIFT) as usize + 1;
    let mut pages = Vec::with_capacity(page_count + 1);
    let mut row = 0;
    for page in 0..page_count {
        while row < last && u64::from(rows[row + 1].pc) <= (page as u64) << PAGE_SHIFT {
            row += 1;
        }
        pages.push(row as u32);
    }
    pages.push(last as u32);
    pages
}
