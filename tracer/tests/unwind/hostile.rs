//! Files that are cut off, damaged or made to do harm: an error or a bounded table, never a panic.

use leaktrace::unwind::{UnwindError, UnwindTable};

use crate::{
    elf_image::{ElfImage, Section, TEXT},
    rules::{ADVANCE, DEF_CFA_OFFSET, Frames},
    tools::compile,
};

/// Reads the file and checks the bounds that [`UnwindTable`] states.
fn read(bytes: &[u8]) -> Result<UnwindTable, UnwindError> {
    let table = UnwindTable::from_elf(bytes)?;
    let memory = size_of_val(table.rows()) + size_of_val(table.pages());
    assert!(memory < 16 * bytes.len() + (128 << 10), "{memory} bytes for a file of {}", bytes.len());
    assert!(table.rows().windows(2).all(|pair| pair[0].pc < pair[1].pc));
    Ok(table)
}

fn small_elf() -> Vec<u8> {
    let path = compile("small.c", "small-hostile.so", &["-O2", "-shared", "-fPIC", "-nostdlib", "-Wl,--build-id=none"]);
    std::fs::read(path).expect("the fixture is there")
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[test]
fn every_truncation_of_a_library() {
    let whole = small_elf();
    let mut tables = 0;
    for length in 0..whole.len() {
        tables += usize::from(read(&whole[..length]).is_ok());
    }
    // Without its section table, at the end of the file, it is still found through the program headers.
    assert!(tables > 64, "{tables}");
}

#[test]
fn random_damage() {
    let whole = small_elf();
    let frames = read(&whole).expect("undamaged").functions();
    assert!(frames >= 4);
    let section = whole.windows(4).position(|bytes| bytes == b"zR\0\x01").expect("its .eh_frame has a CIE");
    let mut random = Random(4711);
    let mut tables = 0;
    for case in 0..12_000 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(8) {
            // Most of the file is neither header nor call-frame information.
            let at = match case % 3 {
                0 => random.below(64 + 56 * 8),
                1 => section + random.below(512),
                _ => random.below(damaged.len()),
            };
            let at = at.min(damaged.len() - 1);
            damaged[at] = match random.below(4) {
                0 => 0xff,
                1 => 0,
                2 => damaged[at] ^ 1 << random.below(8),
                _ => random.below(256) as u8,
            };
        }
        tables += usize::from(read(&damaged).is_ok());
    }
    assert!((1..12_000).contains(&tables), "{tables}");
}

#[test]
fn random_call_frame_information() {
    let mut random = Random(1789);
    let mut tables = 0;
    for _ in 0..4_000 {
        let mut frames = Frames::new();
        for _ in 0..random.below(6) {
            let program: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
            frames.fde(TEXT + random.below(0x1000) as u64, random.below(0x400) as u64, &program);
        }
        tables += usize::from(read(&ElfImage::new(0x1000, frames.bytes).bytes()).is_ok());
    }
    assert!(tables > 1_000, "{tables}");
}

#[test]
fn shared_instructions_run_out_of_budget() {
    // A CIE of 64 KiB of instructions that 60,000 functions share: 4 GB to interpret in a file of 2 MB.
    let mut frames = Frames::new();
    frames.bytes.clear();
    let mut cie = vec![0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x04];
    cie.extend([0x0a, 0x0b].repeat(32 << 10)); // remember_state, restore_state
    cie.resize(cie.len().next_multiple_of(4), 0);
    frames.bytes.extend((cie.len() as u32).to_le_bytes());
    frames.bytes.extend(cie);
    for function in 0..60_000 {
        frames.fde(TEXT + function, 1, &[]);
    }
    let image = ElfImage::new(60_000, frames.bytes).bytes();
    assert!(matches!(read(&image), Err(UnwindError::TooMuchWork)));
}

#[test]
fn many_rows_stay_within_the_bound() {
    let mut frames = Frames::new();
    let program = [ADVANCE | 1, DEF_CFA_OFFSET, 16, ADVANCE | 1, DEF_CFA_OFFSET, 8].repeat(20_000);
    frames.fde(TEXT, 40_000, &program);
    // The same addresses again and again: one row each.
    frames.fde(TEXT + 50_000, 16, &[ADVANCE, DEF_CFA_OFFSET, 16, ADVANCE, DEF_CFA_OFFSET, 8].repeat(20_000));
    let table = read(&ElfImage::new(60_000, frames.bytes).bytes()).unwrap();
    assert_eq!(table.rows().len(), 1 + 40_000 + 1 + 1 + 1);
}

#[test]
fn text_that_lies_about_its_extent() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, &[]);
    let mut image = ElfImage::new(0x1000, frames.bytes).bytes();
    image[64 + 32..64 + 40].copy_from_slice(&0xffff_0000u64.to_le_bytes()); // p_filesz of the executable segment
    assert!(matches!(read(&image), Err(UnwindError::TextSpan { .. })));
    image[64 + 32..64 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    image[64 + 16..64 + 24].copy_from_slice(&0x1000u64.to_le_bytes()); // p_vaddr: the sum overflows
    assert!(matches!(read(&image), Err(UnwindError::NoText)));
}

#[test]
fn a_compressed_section_that_would_fill_memory() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, &[]);
    let mut image = ElfImage::new(0x1000, frames.bytes);
    let mut compressed = vec![1, 0, 0, 0, 0, 0, 0, 0];
    compressed.extend((1u64 << 40).to_le_bytes());
    compressed.extend(1u64.to_le_bytes());
    compressed.extend([0x78, 0x9c, 0, 0]);
    image.sections.push(Section { name: ".debug_frame", flags: 1 << 11, address: 0, bytes: compressed });
    assert_eq!(read(&image.bytes()).unwrap().functions(), 1);
}
