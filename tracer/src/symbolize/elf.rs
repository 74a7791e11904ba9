//! What must be known of an ELF file before blazesym may read it: where its code is, where its debug information is,
//! and that unpacking it does not fill the memory.

use std::{
    fs::File,
    io::{self, Read},
};

use memmap2::Mmap;
use object::{CompressionFormat, Object as _, ObjectSection as _, ObjectSegment as _, SegmentFlags, elf};

/// Program headers looked at; linkers write about a dozen.
const SEGMENTS_MAX: usize = 256;
/// Bytes that the compressed sections of one file may unpack to.
const UNPACKED_MAX: u64 = 2 << 30;
/// Longest build id in use is 64 bytes (SHA-512); the linker's default is 20.
const BUILD_ID_BYTES: std::ops::RangeInclusive<usize> = 2..=64;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error("cannot be mapped: {0}")]
    Map(#[from] io::Error),
    #[error("is no ELF file that can be read: {0}")]
    Parse(#[from] object::read::Error),
    #[error("has compressed sections that do not unpack to the size they claim, or to more than {UNPACKED_MAX} bytes")]
    Unpacked,
}

/// A `PT_LOAD` program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    file_offset: u64,
    file_size: u64,
    address: u64,
    executable: bool,
}

/// A pointer to a separate debug file by its name (`.gnu_debuglink`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DebugLink {
    /// Name without directory, by convention.
    pub(super) name: Box<[u8]>,
    /// CRC-32 of the whole debug file.
    pub(super) crc: u32,
}

/// A pointer to a file shared by several debug files (`.gnu_debugaltlink`, written by dwz).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AltLink {
    pub(super) path: Box<[u8]>,
    pub(super) build_id: Box<[u8]>,
}

/// An ELF file's headers.
#[derive(Clone, Debug, Default)]
pub(super) struct Elf {
    pub(super) segments: Vec<Segment>,
    pub(super) build_id: Option<Box<[u8]>>,
    pub(super) debug_link: Option<DebugLink>,
    pub(super) alt_link: Option<AltLink>,
    /// It has `.debug_sup`, DWARF 5's form of the alt link.
    pub(super) has_supplement: bool,
    /// It has `.symtab`.
    pub(super) has_symbols: bool,
    /// It has `.debug_info`.
    pub(super) has_debug_info: bool,
}

impl Elf {
    pub(super) fn read(file: &File) -> Result<Self, ElfError> {
        let bytes = map(file)?;
        let object = object::File::parse(&*bytes)?;
        let segments = object.segments().filter_map(|segment| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return None };
            let (file_offset, file_size) = segment.file_range();
            let executable = p_flags & elf::PF_X != Default::default();
            Some(Segment { file_offset, file_size, address: segment.address(), executable })
        });
        let has = |name: &str| object.section_by_name(name).is_some();
        Ok(Self {
            segments: segments.take(SEGMENTS_MAX).collect(),
            build_id: object.build_id()?.filter(|id| BUILD_ID_BYTES.contains(&id.len())).map(Box::from),
            debug_link: object.gnu_debuglink()?.map(|(name, crc)| DebugLink { name: Box::from(name), crc }),
            alt_link: object
                .gnu_debugaltlink()?
                .map(|(path, build_id)| AltLink { path: Box::from(path), build_id: Box::from(build_id) }),
            has_supplement: has(".debug_sup"),
            has_symbols: has(".symtab"),
            has_debug_info: has(".debug_info"),
        })
    }

    /// The address, as the file itself counts, of a byte in it. An executable segment comes first: pages at the border
    /// of two segments are in both.
    pub(super) fn address(&self, file_offset: u64) -> Option<u64> {
        let within = |executable: bool| {
            self.segments.iter().filter(move |segment| segment.executable == executable).find_map(|segment| {
                let offset = file_offset.checked_sub(segment.file_offset)?;
                (offset < segment.file_size).then_some(())?;
                // The end of an instruction at the last address there is would be none.
                segment.address.checked_add(offset).filter(|&address| address < u64::MAX)
            })
        };
        within(true).or_else(|| within(false))
    }
}

/// Fails unless each compressed section unpacks to just what its header claims, and all together to a size that can be
/// held. Whoever unpacks them may then trust the headers.
pub(super) fn check_compressed_sections(file: &File) -> Result<(), ElfError> {
    let bytes = map(file)?;
    let object = object::File::parse(&*bytes)?;
    let mut total = 0_u64;
    for section in object.sections() {
        let range = section.compressed_file_range()?;
        let packed = || section.compressed_data().map(|packed| packed.data);
        let unpacked = match range.format {
            CompressionFormat::None => continue,
            _ if total.saturating_add(range.uncompressed_size) > UNPACKED_MAX => return Err(ElfError::Unpacked),
            CompressionFormat::Zlib => length(flate2::bufread::ZlibDecoder::new(packed()?), range.uncompressed_size),
            CompressionFormat::Zstandard => {
                zstd::Decoder::with_buffer(packed()?).and_then(|decoder| length(decoder, range.uncompressed_size))
            }
            _ => return Err(ElfError::Unpacked),
        };
        total += range.uncompressed_size;
        if !unpacked.is_ok_and(|unpacked| unpacked == range.uncompressed_size) {
            return Err(ElfError::Unpacked);
        }
    }
    Ok(())
}

/// Bytes that come out, counted up to one more than expected.
fn length(unpacked: impl Read, expected: u64) -> io::Result<u64> {
    io::copy(&mut unpacked.take(expected.saturating_add(1)), &mut io::sink())
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and only read. Whoever can write the file can change the bytes meanwhile, which
    // every parser here has to take from untrusted files anyway: nothing is read twice and trusted to be the same for
    // memory safety. Cutting the file short raises SIGBUS, here as in the process that runs it.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::{self, run};
    use std::process::Command;

    #[test]
    fn addresses_prefer_code() {
        let elf = Elf {
            segments: vec![
                Segment { file_offset: 0, file_size: 0x1800, address: 0x40_0000, executable: false },
                Segment { file_offset: 0x1000, file_size: 0x900, address: 0x50_1000, executable: true },
                Segment { file_offset: 0x3000, file_size: u64::MAX, address: u64::MAX - 1, executable: false },
            ],
            ..Elf::default()
        };
        assert_eq!(elf.address(0x10), Some(0x40_0010));
        assert_eq!(elf.address(0x1000), Some(0x50_1000));
        assert_eq!(elf.address(0x1900), None);
        assert_eq!(elf.address(0x3000), Some(u64::MAX - 1));
        assert_eq!(elf.address(0x3001), None, "parsers add one");
        assert_eq!(elf.address(0x3005), None, "an address beyond the last");
    }

    #[test]
    fn sections_that_lie_about_their_size_are_refused() {
        for compression in ["zlib", "zstd"] {
            let dir = tempfile::tempdir().expect("temp dir");
            let program = dir.path().join("program");
            fixture::compile("hold.c", fixture::HOLD, &program, &["-g"]);
            let packed = dir.path().join("packed");
            let option = format!("--compress-debug-sections={compression}");
            run(Command::new("objcopy").arg(option).arg(&program).arg(&packed));

            let bytes = std::fs::read(&packed).expect("read");
            let object = object::File::parse(&*bytes).expect("an ELF file");
            let section = object.section_by_name(".debug_info").expect("debug information");
            let range = section.compressed_file_range().expect("a range");
            assert_ne!(range.format, CompressionFormat::None, "objcopy compresses with {compression}");
            let header = usize::try_from(range.offset).expect("small") - 24;
            check_compressed_sections(&File::open(&packed).expect("open")).expect("an honest file");

            // Elf64_Chdr: type, reserved, then the size.
            for claim in [range.uncompressed_size - 1, range.uncompressed_size + 1, u64::MAX] {
                let mut lie = bytes.clone();
                lie[header + 8..header + 16].copy_from_slice(&claim.to_le_bytes());
                let path = dir.path().join("lie");
                std::fs::write(&path, lie).expect("write");
                let result = check_compressed_sections(&File::open(&path).expect("open"));
                assert!(matches!(result, Err(ElfError::Unpacked)), "{compression} {claim}: {result:?}");
            }
        }
    }

    #[test]
    fn what_is_no_elf_file_is_an_error() {
        let mut file = tempfile::tempfile().expect("temp file");
        assert!(Elf::read(&file).is_err(), "empty");
        io::Write::write_all(&mut file, b"#!/bin/sh\n").expect("write");
        assert!(matches!(Elf::read(&file), Err(ElfError::Parse(_))));
    }
}
