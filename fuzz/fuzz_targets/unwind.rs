//! Unwind tables of hostile files: a bounded table or an error, and a walk over it that ends.
//!
//! An input that begins as an ELF file is one. Anything else is call-frame information, around which a file is made; its
//! first byte says whether as `.eh_frame` or as `.debug_frame`.
#![no_main]

use leaktrace::unwind::{FlatTables, Memory, Registers, UnwindTable, walk};
use libfuzzer_sys::fuzz_target;
use tracer_common::{stack::MAX_FRAMES, unwind::Rule};

#[path = "../../tracer/tests/unwind/elf_image.rs"]
mod elf_image;

use elf_image::{ElfImage, Section, TEXT};

const TEXT_SIZE: u64 = 0x4000;
const LOADED_AT: u64 = 0x7f00_0000_0000;

/// A stack of return addresses into the text, and pointers further up.
struct Stack;

impl Memory for Stack {
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mixed = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        match address % 32 {
            0 | 8 => Some(LOADED_AT + TEXT + mixed % TEXT_SIZE),
            16 => Some(address.wrapping_add(mixed % 256)),
            24 => Some(0),
            _ => None,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let image;
    let file = match data {
        [0x7f, b'E', b'L', b'F', ..] => data,
        [kind, frames @ ..] => {
            let mut made = ElfImage::new(TEXT_SIZE, Vec::new());
            match kind % 2 {
                0 => made.eh_frame = frames.to_vec(),
                _ => made.sections.push(Section { name: ".debug_frame", flags: 0, address: 0, bytes: frames.to_vec() }),
            }
            image = made.bytes();
            &image
        }
        [] => return,
    };
    let Ok(table) = UnwindTable::from_elf(file) else { return };

    let rows = table.rows();
    assert!(size_of_val(rows) + size_of_val(table.pages()) < 16 * file.len() + (64 << 10));
    assert!(rows.windows(2).all(|pair| pair[0].pc < pair[1].pc && pair[0].rule != pair[1].rule));
    assert_eq!((rows[0].pc, rows[rows.len() - 1].rule), (0, Rule::NONE));
    for (index, row) in rows.iter().enumerate().step_by(1 + rows.len() / 512) {
        assert_eq!(table.lookup(row.pc), Some(*row));
        let before = index.checked_sub(1).map(|before| rows[before]);
        assert!(row.pc == 0 || table.lookup(row.pc - 1) == before);
    }
    let _ = table.census();

    let mut flat = FlatTables::default();
    let place = flat.add(&table, u32::MAX, u32::MAX).expect("there is room");
    let bias = LOADED_AT.wrapping_add(table.base());
    let mappings = [place.mapping(LOADED_AT, LOADED_AT + (1 << 32), bias)];
    let registers = Registers { pc: LOADED_AT + TEXT + 1, sp: 0x7fff_0000, bp: 0x7fff_0040 };
    assert!(walk(registers, true, &mappings, &flat, &Stack).frames.len() <= MAX_FRAMES);
});
