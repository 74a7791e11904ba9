//! From call-frame information (`.eh_frame`, `.debug_frame`) to tables that a BPF program can search.
//!
//! In: the bytes of an ELF file, or the file. Out: an [`UnwindTable`], rows of eight bytes with a page index, in the
//! layout of [`tracer_common::unwind`]; [`FlatTables`] joins the tables of many files into the arrays that the kernel
//! side walks, and [`walk`] is the same walk in user space. Pure: no process and no kernel is touched here.
//!
//! What is kept of a file's information is what leads from a frame to its caller: the CFA and the saved rbp. A rule
//! that a row cannot express becomes an `Unsupported` row with the reason in it, never a wrong rule. Files come from
//! the traced process and are not trusted: work, rows and memory are bounded, and nothing panics.
//!
//! Formats: DWARF 5 section 6.4 and appendix D.6; Linux Standard Base, Exception Frames (`.eh_frame`); System V ABI,
//! AMD64 supplement, section 3.6.2 (register numbers) and 3.4.1 (process entry).

mod elf;
mod error;
mod flat;
mod frames;
mod rule;
mod table;
mod trampoline;
mod walk;

pub use error::UnwindError;
pub use flat::{FlatTables, TablePlace};
pub use table::{RuleCount, UnwindTable};
pub use trampoline::{ARENA_BYTES, TRAMPOLINE_BYTES, begins_with_trampoline};
pub use walk::{Memory, Registers, Walk, find_mapping, find_row, walk};
