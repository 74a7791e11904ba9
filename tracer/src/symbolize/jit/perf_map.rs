//! A perf map, read as it grows. Only where each function's line is stays in memory: the line itself is read again when
//! it is asked for, from the same open file.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use rustix::fs::Stat;

use super::{
    super::name::NAME_BYTES,
    line::Line,
    ranges::{Full, Ranges},
};
use crate::target::maps::{FileIdentity, identity};

/// Bytes of a map that are read. A large Node server writes some 20 MiB.
const FILE_BYTES: u64 = 512 << 20;
/// Functions of a map that are kept, 40 bytes each.
const FUNCTIONS: usize = 2 << 20;
/// Bytes of a line that are read: two numbers, and of the name more than is kept.
const LINE_BYTES: usize = NAME_BYTES + 64;
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes before the end of what was read that tell whether it is still the same text.
const TAIL_BYTES: usize = 64;

/// What became of a map since it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Something, or nothing, was added, and has been read.
    Grown,
    /// It was written anew: what is known of it is of no use.
    Rewritten,
}

/// What of a map is left unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Limit {
    #[error("is larger than {FILE_BYTES} bytes")]
    Bytes,
    #[error("has more than {FUNCTIONS} functions")]
    Functions,
}

/// A perf map in an open file.
#[derive(Debug)]
pub(super) struct PerfMap {
    file: File,
    identity: FileIdentity,
    /// By address: offset of the line.
    lines: Ranges<u64>,
    /// Bytes of the file that were read.
    read: u64,
    /// Size and time of the last change when it was last looked at.
    seen: Option<(i64, i64, u64)>,
    /// The last of the bytes read.
    tail: Vec<u8>,
    /// The line being read, without what is too much of it, and its offset.
    line: Vec<u8>,
    line_at: u64,
    limit: Option<Limit>,
}

impl PerfMap {
    /// Reads nothing yet.
    pub(super) fn new(file: File, stat: &Stat) -> Self {
        Self {
            file,
            identity: identity(stat),
            lines: Ranges::new(FUNCTIONS),
            read: 0,
            seen: None,
            tail: Vec::new(),
            line: Vec::new(),
            line_at: 0,
            limit: None,
        }
    }

    /// Whether it is read from this very file.
    pub(super) fn is_of(&self, stat: &Stat) -> bool {
        self.identity == identity(stat)
    }

    /// What keeps it from being read to its end.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Reads what was added, up to the size given. A line without an end is not taken yet.
    pub(super) fn follow(&mut self, stat: &Stat) -> io::Result<Followed> {
        let seen = (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if self.seen == Some(seen) {
            return Ok(Followed::Grown);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size < self.read || !self.has_same_tail()? {
            return Ok(Followed::Rewritten);
        }
        if size > FILE_BYTES {
            self.limit = Some(Limit::Bytes);
        }
        let size = size.min(FILE_BYTES);
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.read < size {
            let wanted = usize::try_from(size - self.read).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let length = match self.file.read_at(&mut chunk[..wanted], self.read) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            if length == 0 {
                break;
            }
            self.take(&chunk[..length]);
        }
        self.seen = Some(seen);
        Ok(Followed::Grown)
    }

    /// The name of the function at an address.
    pub(super) fn name(&self, address: u64) -> Option<String> {
        let at = self.lines.get(address)?;
        let mut bytes = vec![0; LINE_BYTES];
        let length = self.file.read_at(&mut bytes, at).inspect_err(|error| log::debug!("a perf map: {error}")).ok()?;
        let line = bytes[..length].split(|&byte| byte == b'\n').next()?;
        // It may be another text by now.
        let line = Line::parse(line).filter(|line| (line.start..line.end).contains(&address))?;
        Some(String::from_utf8_lossy(line.name).into_owned())
    }

    fn has_same_tail(&self) -> io::Result<bool> {
        let mut now = vec![0; self.tail.len()];
        match self.file.read_exact_at(&mut now, self.read - self.tail.len() as u64) {
            Ok(()) => Ok(now == self.tail),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.read += part.len() as u64;
            if part.len() > text.len() {
                self.end_line();
            }
        }
        let known = self.tail.len() + bytes.len();
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.tail.drain(..self.tail.len() - known.min(TAIL_BYTES));
    }

    fn end_line(&mut self) {
        if let Some(Line { start, end, name: _ }) = Line::parse(&self.line)
            && self.lines.put(start, end, self.line_at) == Err(Full)
        {
            self.limit.get_or_insert(Limit::Functions);
        }
        self.line.clear();
        self.line_at = self.read;
    }
}
