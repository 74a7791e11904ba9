//! Where two builds of the BPF object differ, in words.

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};

/// The first difference between `committed` and `rebuilt`, or `None` if they are the same bytes.
pub(crate) fn first_difference(committed: &[u8], rebuilt: &[u8]) -> Option<String> {
    if committed == rebuilt {
        return None;
    }
    let common = committed.len().min(rebuilt.len());
    let offset = committed.iter().zip(rebuilt).position(|(a, b)| a != b).unwrap_or(common);
    let (a, b) = (place(committed, offset), place(rebuilt, offset));
    let place = if a == b { a } else { format!("{a}, rebuilt {b}") };
    Some(format!("first at byte {offset:#x} ({place}); committed {} bytes, rebuilt {}", committed.len(), rebuilt.len()))
}

/// The part of the ELF file that holds the byte at `offset`.
fn place(file: &[u8], offset: usize) -> String {
    let offset = offset as u64;
    let Ok(elf) = ElfFile64::<Endianness>::parse(file) else { return "not an ELF file".to_owned() };
    let holds = |range: Option<(u64, u64)>| range.is_some_and(|(start, size)| (start..start + size).contains(&offset));
    match elf.sections().find(|section| holds(section.file_range())) {
        Some(section) => format!("section {}", section.name().unwrap_or("with a bad name")),
        None if offset < 64 => "ELF header".to_owned(),
        None => "between sections, or in their headers".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with a null section, `.text` (8 bytes at 64) and `.strtab`.
    fn elf() -> Vec<u8> {
        let names = b"\0.text\0.strtab\0";
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([1, 0, 247, 0, 1, 0, 0, 0]); // ET_REL, EM_BPF, EV_CURRENT
        file.extend([0; 16]); // entry, program headers
        file.extend(87_u64.to_le_bytes()); // section headers
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend([0xAA; 8]);
        file.extend(names);
        for (name, kind, start, size) in [(0_u32, 0_u32, 0_u64, 0_u64), (1, 1, 64, 8), (7, 3, 72, 15)] {
            file.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([0, 0, start, size, 0, 1, 0].into_iter().flat_map(u64::to_le_bytes));
        }
        file
    }

    #[test]
    fn equal_objects_have_no_difference() {
        assert_eq!(first_difference(&elf(), &elf()), None);
    }

    #[test]
    fn a_difference_is_placed_in_its_section() {
        let (committed, mut rebuilt) = (elf(), elf());
        rebuilt[67] ^= 1;
        let expected = "first at byte 0x43 (section .text); committed 279 bytes, rebuilt 279";
        assert_eq!(first_difference(&committed, &rebuilt).as_deref(), Some(expected));
    }

    #[test]
    fn a_truncated_object_differs_where_it_ends() {
        let committed = elf();
        let difference = first_difference(&committed, &committed[..270]).unwrap();
        assert!(difference.starts_with("first at byte 0x10e (between sections"), "{difference}");
        assert!(difference.ends_with("committed 279 bytes, rebuilt 270"), "{difference}");
    }
}
