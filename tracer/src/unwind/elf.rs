//! The few parts of an ELF file that hold its unwind information. Only these are read: a file of 150 MB costs as much
//! as its `.eh_frame`.
//!
//! The section table finds them; when it is stripped or broken, the program headers find `.eh_frame`.

use std::borrow::Cow;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian as GimliLittleEndian};
use object::{
    LittleEndian, ReadRef,
    elf::{
        EM_X86_64, ET_EXEC, FileHeader64, PF_X, PT_GNU_EH_FRAME, PT_INTERP, PT_LOAD, ProgramHeader64, SHF_COMPRESSED,
        SHT_NOBITS, SectionHeader64,
    },
    read::{
        CompressedData, CompressionFormat,
        elf::{FileHeader, ProgramHeader, SectionHeader},
    },
};
use tracer_common::unwind::PAGE_BYTES;

use super::UnwindError;

const LE: LittleEndian = LittleEndian;

/// Text may span this many times the file's size, plus [`SPAN_SLACK`]: alignment leaves holes between segments.
const SPAN_PER_FILE_BYTE: u64 = 64;
/// Text may span this much in the smallest of files.
const SPAN_SLACK: u64 = 16 << 20;
/// A compressed section may grow by this factor. Call-frame information shrinks to a third or a tenth.
const MAX_INFLATION: u64 = 32;
/// The file mapping's granularity: segments are mapped by whole pages.
const MMAP_PAGE: u64 = 4096;

/// A file-backed, executable, loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// Its address as linked.
    pub(super) address: u64,
    /// Its bytes in the file.
    pub(super) size: u64,
}

impl Segment {
    /// The linked address of a file offset in this segment, or in the page that its beginning shares.
    pub(super) fn address_of(&self, file_offset: u64) -> Option<u64> {
        let first = self.offset & !(MMAP_PAGE - 1);
        (first <= file_offset && file_offset - first < self.size + (self.offset - first))
            .then(|| self.address.wrapping_add(file_offset.wrapping_sub(self.offset)))
    }
}

/// A section of call-frame information.
#[derive(Debug)]
pub(super) struct FrameSection<'data> {
    pub(super) kind: SectionKind,
    pub(super) bytes: Cow<'data, [u8]>,
    pub(super) bases: BaseAddresses,
}

/// What kind of section, and whether its size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// `.eh_frame` with its own size.
    EhFrame,
    /// `.eh_frame` found through the program headers: it ends at its terminator, at the latest with its segment.
    EhFrameToTerminator,
    /// `.debug_frame`.
    DebugFrame,
}

/// An ELF file, as far as unwinding goes.
#[derive(Debug)]
pub(super) struct Elf<'data, R> {
    data: R,
    headers: &'data [ProgramHeader64<LittleEndian>],
    sections: &'data [SectionHeader64<LittleEndian>],
    section_names: &'data [u8],
    /// Executable segments, in the order of the file.
    pub(super) text: Vec<Segment>,
    /// The lowest executable address, rounded down to [`PAGE_BYTES`].
    pub(super) base: u64,
    /// The address after the highest executable one. Less than 4 GiB from `base`.
    pub(super) end: u64,
    /// Where the program or the dynamic linker starts, if that is known.
    pub(super) entry: Option<u64>,
}

impl<'data, R: ReadRef<'data>> Elf<'data, R> {
    pub(super) fn parse(data: R) -> Result<Self, UnwindError> {
        let header = FileHeader64::<LittleEndian>::parse(data).map_err(|_| UnwindError::Elf("no ELF header"))?;
        if !header.is_class_64() || !header.is_little_endian() || header.e_machine(LE) != EM_X86_64 {
            return Err(UnwindError::Machine);
        }
        let headers =
            header.program_headers(LE, data).map_err(|_| UnwindError::Elf("program headers out of bounds"))?;
        // A broken section table is as good as a stripped one.
        let sections = header.section_headers(LE, data).unwrap_or_default();
        let section_names = header
            .shstrndx(LE, data)
            .ok()
            .and_then(|index| sections.get(index as usize))
            .and_then(|section| section.data(LE, data).ok())
            .unwrap_or_default();

        let text: Vec<Segment> = headers
            .iter()
            .filter(|header| header.p_type(LE) == PT_LOAD && header.p_flags(LE).contains(PF_X))
            .map(|header| Segment {
                offset: header.p_offset(LE),
                address: header.p_vaddr(LE),
                size: header.p_filesz(LE),
            })
            .filter(|segment| {
                segment.size != 0
                    && segment.offset.checked_add(segment.size).is_some()
                    && segment.address.checked_add(segment.size).is_some()
            })
            .collect();
        let base = text.iter().map(|segment| segment.address).min().ok_or(UnwindError::NoText)? & !(PAGE_BYTES - 1);
        let end = text.iter().map(|segment| segment.address + segment.size).max().ok_or(UnwindError::NoText)?;
        let file = data.len().map_err(|()| UnwindError::Elf("length unknown"))?;
        let span = end - base;
        if span >= u64::from(u32::MAX) || span > file.saturating_mul(SPAN_PER_FILE_BYTE).saturating_add(SPAN_SLACK) {
            return Err(UnwindError::TextSpan { span, file });
        }
        let mut elf = Self { data, headers, sections, section_names, text, base, end, entry: None };
        // Linkers used to write the beginning of .text into libraries that are never entered.
        let program = header.e_type(LE) == ET_EXEC || headers.iter().any(|header| header.p_type(LE) == PT_INTERP);
        let text_start = elf.section(b".text").map(|section| section.sh_addr(LE));
        elf.entry = Some(header.e_entry(LE))
            .filter(|entry| (base..end).contains(entry) && *entry != 0 && (program || text_start != Some(*entry)));
        Ok(elf)
    }

    /// The sections of call-frame information; the first one's word goes where they overlap.
    pub(super) fn frame_sections(&self) -> Vec<FrameSection<'data>> {
        let mut found = Vec::new();
        found.extend(self.eh_frame().or_else(|| self.eh_frame_by_program_header()));
        found.extend(self.debug_frame());
        found
    }

    /// The text of the first segment that reaches into the addresses `from..to` of the table, as far as it does, and
    /// where it begins.
    pub(super) fn read_text(&self, from: u32, to: u32) -> Option<(u32, &'data [u8])> {
        let (from, to) = (self.base + u64::from(from), self.base + u64::from(to));
        let reaches = |segment: &&Segment| segment.address < to && from < segment.address + segment.size;
        let segment = self.text.iter().find(reaches)?;
        let (start, end) = (from.max(segment.address), to.min(segment.address + segment.size));
        let offset = segment.offset + (start - segment.address);
        let text = self.data.read_bytes_at(offset, end - start).ok()?;
        Some(((start - self.base) as u32, text))
    }

    fn section(&self, name: &[u8]) -> Option<&'data SectionHeader64<LittleEndian>> {
        self.sections.iter().find(|section| {
            let at = section.sh_name(LE) as usize;
            let rest = self.section_names.get(at..).unwrap_or_default();
            rest.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0))
                && section.sh_type(LE) != SHT_NOBITS
                && section.sh_size(LE) != 0
        })
    }

    fn bases(&self, section: &SectionHeader64<LittleEndian>) -> BaseAddresses {
        let mut bases = BaseAddresses::default().set_eh_frame(section.sh_addr(LE));
        if let Some(text) = self.section(b".text") {
            bases = bases.set_text(text.sh_addr(LE));
        }
        if let Some(got) = self.section(b".got") {
            bases = bases.set_got(got.sh_addr(LE));
        }
        bases
    }

    fn eh_frame(&self) -> Option<FrameSection<'data>> {
        let section = self.section(b".eh_frame")?;
        if section.sh_flags(LE).contains(SHF_COMPRESSED) {
            return None; // it is mapped at run time, so this cannot be
        }
        let bytes = section.data(LE, self.data).ok()?;
        Some(FrameSection { kind: SectionKind::EhFrame, bytes: Cow::Borrowed(bytes), bases: self.bases(section) })
    }

    fn eh_frame_by_program_header(&self) -> Option<FrameSection<'data>> {
        let header = self.headers.iter().find(|header| header.p_type(LE) == PT_GNU_EH_FRAME)?;
        let bytes = header.data(LE, self.data).ok()?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(header.p_vaddr(LE));
        let address = EhFrameHdr::new(bytes, GimliLittleEndian).parse(&bases, 8).ok()?.eh_frame_ptr().direct().ok()?;
        let (segment, skip) =
            self.headers.iter().filter(|header| header.p_type(LE) == PT_LOAD).find_map(|segment| {
                let skip = address.checked_sub(segment.p_vaddr(LE))?;
                (skip < segment.p_filesz(LE)).then_some((segment, skip))
            })?;
        let start = segment.p_offset(LE).checked_add(skip)?;
        let length = (segment.p_filesz(LE) - skip).min(self.data.len().ok()?.checked_sub(start)?);
        let bytes = self.data.read_bytes_at(start, length).ok()?;
        Some(FrameSection {
            kind: SectionKind::EhFrameToTerminator,
            bytes: Cow::Borrowed(bytes),
            bases: BaseAddresses::default().set_eh_frame(address),
        })
    }

    fn debug_frame(&self) -> Option<FrameSection<'data>> {
        let section = self.section(b".debug_frame")?;
        let bytes = match section.compression(LE, self.data).ok()? {
            None => Cow::Borrowed(section.data(LE, self.data).ok()?),
            Some((header, offset, size)) => {
                let uncompressed_size = header.ch_size.get(LE);
                if uncompressed_size > size.saturating_mul(MAX_INFLATION) {
                    return None;
                }
                let format = match header.ch_type.get(LE) {
                    object::elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
                    object::elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
                    _ => return None,
                };
                let data = self.data.read_bytes_at(offset, size).ok()?;
                CompressedData { format, data, uncompressed_size }.decompress().ok()?
            }
        };
        Some(FrameSection { kind: SectionKind::DebugFrame, bytes, bases: self.bases(section) })
    }
}
