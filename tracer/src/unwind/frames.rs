//! From a section of call-frame information to the rows of each function, in the order of the section.
//!
//! Bounds, whatever the section holds: each function's instructions are interpreted once, a row takes at least two bytes
//! of instructions, and the instructions shared by functions (of their common information entry) count for each of them
//! against a budget.

use gimli::{
    BaseAddresses, CommonInformationEntry, EhFrame, FrameDescriptionEntry, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};
use tracer_common::unwind::{MAX_TABLE_ROWS, Row, Rule, Unsupported};

use super::{
    UnwindError,
    elf::{FrameSection, SectionKind},
    rule::{Slice, rule_of},
};

/// Bytes of instructions that may be interpreted for each byte of the section. Compilers' own come to two.
const WORK_PER_BYTE: usize = 8;
/// Bytes of instructions that may be interpreted in the smallest section.
const WORK_SLACK: usize = 1 << 20;

/// Room for a program's state: registers with a rule (16, the return address, and xmm6 to 15 of Windows' convention), and
/// rows remembered (GCC nests one or two). Smaller than gimli's own, which makes each `DW_CFA_remember_state` dear.
#[derive(Debug)]
pub(super) struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 40];
    type Stack = Box<[UnwindTableRow<usize, Self>; 8]>;
}

/// A function, or a part of one: what one frame description entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// First address, from the table's base.
    pub(super) start: u32,
    /// The address after its last.
    pub(super) end: u32,
    /// Its first row.
    pub(super) first_row: u32,
    /// Its rows: at least one.
    pub(super) row_count: u32,
}

/// Addresses that functions may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextRange {
    pub(super) base: u64,
    pub(super) end: u64,
}

/// The functions of a file and their rows.
#[derive(Debug, Default)]
pub(super) struct Functions {
    pub(super) list: Vec<Function>,
    pub(super) rows: Vec<Row>,
    /// Entries that were left out: malformed, or for addresses outside of the text.
    pub(super) skipped: u32,
}

impl Functions {
    /// Adds the functions that a section describes.
    pub(super) fn read(&mut self, section: &FrameSection<'_>, text: TextRange) -> Result<(), UnwindError> {
        let FrameSection { kind, bytes, bases } = section;
        match kind {
            SectionKind::EhFrame | SectionKind::EhFrameToTerminator => {
                let ends_at_zero = *kind == SectionKind::EhFrameToTerminator;
                self.read_entries(bytes, &EhFrame::new(bytes, LittleEndian), bases, ends_at_zero, text)
            }
            SectionKind::DebugFrame => {
                let mut frames = gimli::DebugFrame::new(bytes, LittleEndian);
                frames.set_address_size(8);
                self.read_entries(bytes, &frames, bases, false, text)
            }
        }
    }

    fn read_entries<'a, S: UnwindSection<Slice<'a>>>(
        &mut self,
        bytes: &[u8],
        section: &S,
        bases: &BaseAddresses,
        ends_at_zero: bool,
        text: TextRange,
    ) -> Result<(), UnwindError> {
        let mut context = UnwindContext::<usize, Storage>::new_in();
        let mut last_cie: Option<(S::Offset, CommonInformationEntry<Slice<'a>>)> = None;
        let mut work = bytes.len().saturating_mul(WORK_PER_BYTE).saturating_add(WORK_SLACK);
        let mut offset = 0;
        // Entries are stepped over by their lengths, not by gimli's iterator, which stops at the first that it does not
        // understand and at zeroes that linkers leave in the middle.
        while let Some(length) = entry_length(bytes, offset) {
            let at = offset;
            match length {
                EntryLength::Zero if ends_at_zero => break,
                EntryLength::Zero => {
                    offset += 4;
                    continue;
                }
                EntryLength::Bytes(length) => offset += length,
            }
            let entry = section.partial_fde_from_offset(bases, S::Offset::from(at)).and_then(|partial| {
                partial.parse(|section, bases, cie_offset| match &last_cie {
                    Some((offset, cie)) if *offset == cie_offset => Ok(cie.clone()),
                    _ => {
                        let cie = section.cie_from_offset(bases, cie_offset)?;
                        last_cie = Some((cie_offset, cie.clone()));
                        Ok(cie)
                    }
                })
            });
            let fde = match entry {
                Ok(fde) => fde,
                Err(gimli::Error::NotCiePointer(_)) => continue, // a common information entry
                Err(_) => {
                    self.skipped += 1;
                    continue;
                }
            };
            let (start, length) = (fde.initial_address(), fde.len());
            if start == 0 || length == 0 {
                continue; // of code that the linker dropped
            }
            let Some(end) = start.checked_add(length).filter(|end| start >= text.base && *end <= text.end) else {
                self.skipped += 1;
                continue;
            };
            work = work
                .checked_sub(fde.cie().entry_len().saturating_add(fde.entry_len()))
                .ok_or(UnwindError::TooMuchWork)?;

            let first_row = self.rows.len();
            self.read_rows(&fde, section, bases, &mut context, text.base, end);
            if self.rows.len() > MAX_TABLE_ROWS as usize {
                return Err(UnwindError::TooManyRows);
            }
            self.list.push(Function {
                start: (start - text.base) as u32,
                end: (end - text.base) as u32,
                first_row: first_row as u32,
                row_count: (self.rows.len() - first_row) as u32,
            });
        }
        Ok(())
    }

    /// Adds the rows of one function. From where its program is malformed on, it has no rule.
    fn read_rows<'a, S: UnwindSection<Slice<'a>>>(
        &mut self,
        fde: &FrameDescriptionEntry<Slice<'a>>,
        section: &S,
        bases: &BaseAddresses,
        context: &mut UnwindContext<usize, Storage>,
        base: u64,
        end: u64,
    ) {
        let first = self.rows.len();
        let mut next = fde.initial_address();
        let mut push = |address: u64, rule: Rule| {
            let pc = (address - base) as u32;
            match self.rows[first..].last_mut() {
                Some(last) if last.pc == pc => last.rule = rule,
                Some(last) if last.rule == rule => {}
                _ => self.rows.push(Row { pc, rule }),
            }
        };
        let Ok(mut program) = fde.rows(section, bases, context) else {
            return push(next, Rule::unsupported(Unsupported::Malformed));
        };
        loop {
            match program.next_row() {
                Ok(Some(row)) if row.start_address() < end => {
                    let rule = rule_of(row, fde.cie(), section).unwrap_or_else(Rule::unsupported);
                    push(row.start_address(), rule);
                    next = row.end_address();
                }
                Ok(_) => return,
                Err(_) if next < end => return push(next, Rule::unsupported(Unsupported::Malformed)),
                Err(_) => return,
            }
        }
    }
}

/// Length of an entry, its length field included.
enum EntryLength {
    Zero,
    Bytes(usize),
}

/// Reads the length field at `offset`. `None` at the end, and where an entry would reach over it.
fn entry_length(bytes: &[u8], offset: usize) -> Option<EntryLength> {
    let rest = bytes.get(offset..)?;
    let (field, length) = match u32::from_le_bytes(*rest.first_chunk()?) {
        0 => return Some(EntryLength::Zero),
        u32::MAX => (12, usize::try_from(u64::from_le_bytes(*rest.get(4..)?.first_chunk()?)).ok()?),
        short => (4, short as usize),
    };
    let total = length.checked_add(field)?;
    (total <= rest.len()).then_some(EntryLength::Bytes(total))
}
