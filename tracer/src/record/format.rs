//! The bytes of the file: its header, and the header of each frame. Integers are little-endian.
//!
//! ```text
//! file    magic 8 · format u32 · length of "by" u32 · by, the version that wrote it · crc32 of all this u32 · frames
//! frame   kind u32 · packed length u32 · raw length u32 · crc32 of the packed bytes u32 · elapsed, ns u64
//!         · crc32 of these 24 bytes u32 · packed bytes (zstd)
//! ```
//!
//! This much stays the same in every format, so that a reader can say by whom a newer file was written.

use std::{io, time::Duration};

use super::{
    RecordError,
    error::Malformed,
    limits::{PACKED_BYTES, RAW_BYTES},
};

/// The format written, and the newest that is read.
pub const FORMAT: u32 = 1;
/// The first bytes. The first is no text, and line ends break when a file is taken for text on its way.
pub const MAGIC: [u8; 8] = *b"\x8fLTREC\r\n";
/// Bytes before the name of the version.
const PREFIX: usize = 16;
/// Longest name of a version.
const BY_BYTES: usize = 64;
/// Bytes of a file's header at most.
pub(super) const HEADER_MAX: usize = PREFIX + BY_BYTES + 4;
/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 28;
/// Good and fast; higher levels gain little on rows this small.
const LEVEL: i32 = 3;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Strings, frames and stacks.
    Tables,
    /// What changed since the window before.
    Changes,
    /// A whole window.
    Whole,
    /// Something of a later leaktrace, which does without being understood.
    Unknown,
}

impl FrameKind {
    const fn code(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Tables => 1,
            Self::Changes => 2,
            Self::Whole => 3,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Tables,
            2 => Self::Changes,
            3 => Self::Whole,
            _ => Self::Unknown,
        }
    }
}

/// The file's header.
pub(super) fn header(by: &str) -> Vec<u8> {
    header_of(FORMAT, by)
}

pub(super) fn header_of(format: u32, by: &str) -> Vec<u8> {
    let by = by.as_bytes().get(..BY_BYTES).unwrap_or(by.as_bytes());
    let mut out = MAGIC.to_vec();
    out.extend(format.to_le_bytes());
    out.extend((by.len() as u32).to_le_bytes());
    out.extend(by);
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

/// Reads a file's header from its first bytes; returns who wrote it, and how long the header is.
pub(super) fn read_header(start: &[u8]) -> Result<(String, usize), RecordError> {
    let Some((magic, rest)) = start.split_first_chunk::<8>() else { return Err(RecordError::NotARecording) };
    if *magic != MAGIC {
        return Err(RecordError::NotARecording);
    }
    let cut = || RecordError::Empty;
    let damaged = || Malformed("the header's checksum is wrong").at(0);
    let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let (format, len) = (u32::from_le_bytes(*format), u32::from_le_bytes(*len) as usize);
    if len > BY_BYTES {
        return Err(damaged());
    }
    let (by, rest) = rest.split_at_checked(len).ok_or_else(cut)?;
    let sum = rest.first_chunk::<4>().ok_or_else(cut)?;
    let end = PREFIX + len;
    if start.get(..end).map(crc32fast::hash) != Some(u32::from_le_bytes(*sum)) {
        return Err(damaged());
    }
    let by = String::from_utf8_lossy(by).into_owned();
    if format > FORMAT {
        return Err(RecordError::Newer { by, format });
    }
    Ok((by, end + 4))
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    pub(super) packed: u32,
    pub(super) raw: u32,
    sum: u32,
    /// Of windows, the Snapshot's time since tracing began.
    pub(super) elapsed: Duration,
}

impl FrameHeader {
    pub(super) fn read(bytes: &[u8; FRAME_HEADER]) -> Result<Self, Malformed> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if crc32fast::hash(&bytes[..24]) != word(24) {
            return Err(Malformed("a frame's header has a wrong checksum"));
        }
        let elapsed = u64::from(word(16)) | u64::from(word(20)) << 32;
        let header = Self {
            kind: FrameKind::from_code(word(0)),
            packed: word(4),
            raw: word(8),
            sum: word(12),
            elapsed: Duration::from_nanos(elapsed),
        };
        if header.packed > PACKED_BYTES || header.raw > RAW_BYTES {
            return Err(Malformed("a frame is longer than a recording's may be"));
        }
        Ok(header)
    }

    /// Whether these are the frame's bytes.
    pub(super) fn fits(&self, packed: &[u8]) -> bool {
        crc32fast::hash(packed) == self.sum
    }

    /// Unpacks them.
    pub(super) fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let raw =
            zstd::bulk::decompress(packed, self.raw as usize).map_err(|_| Malformed("a frame cannot be unpacked"))?;
        if raw.len() != self.raw as usize { Err(Malformed("a frame is shorter than it says")) } else { Ok(raw) }
    }
}

/// Makes frames.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(LEVEL).map(Self)
    }

    /// Appends a frame to `out`.
    pub(super) fn pack(&mut self, kind: FrameKind, elapsed: Duration, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let packed = self.0.compress(raw)?;
        if raw.len() > RAW_BYTES as usize || packed.len() > PACKED_BYTES as usize {
            return Err(too_much());
        }
        let begin = out.len();
        for word in [kind.code(), packed.len() as u32, raw.len() as u32, crc32fast::hash(&packed)] {
            out.extend(word.to_le_bytes());
        }
        out.extend(nanos(elapsed).to_le_bytes());
        out.extend(crc32fast::hash(&out[begin..]).to_le_bytes());
        out.extend(packed);
        Ok(())
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Packer")
    }
}

/// A window is beyond the limits.
pub(super) fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "more in one window than a recording can hold")
}

/// A duration as it is written; one beyond 500 years is cut.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
