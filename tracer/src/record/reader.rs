//! From the bytes of a recording to Snapshots.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use super::{
    RecordError,
    error::Malformed,
    format::{FRAME_HEADER, FrameHeader, FrameKind, HEADER_MAX, read_header},
    model,
    rows::Rows,
    tables::Tables,
};
use crate::aggregate::Snapshot;

/// Where a recording can be read from. Its length is taken once: one that is still being written is read as it was.
pub trait ReadAt {
    /// Bytes there are.
    ///
    /// # Errors
    /// Those of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from an offset.
    ///
    /// # Errors
    /// Those of the operating system; [`io::ErrorKind::UnexpectedEof`] where there is not enough.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        let about = self.metadata()?;
        // A pipe would never end, or hold nothing back.
        if about.is_file() { Ok(about.len()) } else { Err(io::Error::other("it is not a file")) }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl<B: AsRef<[u8]>> ReadAt for io::Cursor<B> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.get_ref().as_ref().len() as u64)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get_ref().as_ref().get(offset..));
        let bytes = from.and_then(|bytes| bytes.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// How the readable part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the file.
    Complete,
    /// With the last whole window; so many bytes of another one follow.
    Cut(u64),
    /// Before this byte, where something is wrong.
    Damaged {
        /// Where.
        at: u64,
        /// In words.
        what: &'static str,
    },
}

/// Where a window is.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    header: FrameHeader,
}

impl Place {
    fn is_whole(&self) -> bool {
        self.header.kind == FrameKind::Whole
    }
}

/// A window of a recording.
#[derive(Clone, Debug)]
pub struct Window {
    /// The Snapshot, with the names that were known at the end.
    pub snapshot: Snapshot,
    /// Windows that were lost up to here because the disk did not keep up.
    pub lost: u64,
    /// Pieces left out because only a later leaktrace knows what they mean.
    pub unknown: u64,
}

/// A recording, opened. There is at least one window.
#[derive(Debug)]
pub struct Recording<S> {
    source: S,
    by: String,
    tables: Tables,
    places: Vec<Place>,
    end: End,
    /// The rows of a window that was read.
    last: Option<(usize, Rows)>,
}

impl<S: ReadAt> Recording<S> {
    /// Looks through the file: all of it is checked, and what its windows share is read.
    ///
    /// # Errors
    /// [`RecordError`]. What is cut off or damaged after the first window is no error: see [`Recording::end`].
    pub fn open(source: S) -> Result<Self, RecordError> {
        let size = source.size()?;
        let mut start = [0; HEADER_MAX];
        let len = usize::try_from(size).map_or(HEADER_MAX, |size| size.min(HEADER_MAX));
        source.fill(&mut start[..len], 0)?;
        let (by, begin) = read_header(&start[..len])?;
        let mut recording =
            Self { source, by, tables: Tables::default(), places: Vec::new(), end: End::Complete, last: None };
        recording.end = recording.look_through(begin as u64, size)?;
        match (recording.places.first(), recording.end) {
            (Some(first), _) if first.is_whole() => Ok(recording),
            (Some(first), _) => Err(Malformed("the first window is not whole").at(first.offset)),
            (None, End::Damaged { at, what }) => Err(RecordError::Damaged { at, what }),
            (None, End::Complete | End::Cut(_)) => Err(RecordError::Empty),
        }
    }

    fn look_through(&mut self, mut offset: u64, size: u64) -> io::Result<End> {
        let mut packed = Vec::new();
        while offset < size {
            let left = size - offset;
            if left < FRAME_HEADER as u64 {
                return Ok(End::Cut(left));
            }
            let damaged = |Malformed(what)| Ok(End::Damaged { at: offset, what });
            let mut header = [0; FRAME_HEADER];
            self.source.fill(&mut header, offset)?;
            let header = match FrameHeader::read(&header) {
                Ok(header) => header,
                Err(malformed) => return damaged(malformed),
            };
            let len = FRAME_HEADER as u64 + u64::from(header.packed);
            if left < len {
                return Ok(End::Cut(left));
            }
            // No longer than the file.
            packed.resize(header.packed as usize, 0);
            self.source.fill(&mut packed, offset + FRAME_HEADER as u64)?;
            if !header.fits(&packed) {
                return damaged(Malformed("a frame has a wrong checksum"));
            }
            match header.kind {
                FrameKind::Whole | FrameKind::Changes => self.places.push(Place { offset, header }),
                FrameKind::Tables => {
                    if let Err(malformed) = header.unpack(&packed).and_then(|raw| self.tables.read(&raw)) {
                        return damaged(malformed);
                    }
                }
                FrameKind::Unknown => {}
            }
            offset += len;
        }
        Ok(End::Complete)
    }

    /// The version of leaktrace that wrote it; untrusted.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// How the readable part ends.
    pub fn end(&self) -> End {
        self.end
    }

    /// Its windows; never 0.
    pub fn windows(&self) -> usize {
        self.places.len()
    }

    /// When a window was taken, since tracing began.
    pub fn elapsed(&self, window: usize) -> Option<Duration> {
        Some(self.places.get(window)?.header.elapsed)
    }

    /// The last window that was taken by then; `None` when the first one came later.
    pub fn at(&self, elapsed: Duration) -> Option<usize> {
        self.places.iter().rposition(|place| place.header.elapsed <= elapsed)
    }

    /// Reads a window. Costs less for the one after the last that was read.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] and [`RecordError::Io`]; for a window beyond the last the former.
    pub fn window(&mut self, window: usize) -> Result<Window, RecordError> {
        let Some(place) = self.places.get(window) else {
            return Err(Malformed("there is no such window").at(0));
        };
        let at = place.offset;
        let begin = self.places[..=window].iter().rposition(Place::is_whole).unwrap_or(0);
        let (mut next, mut rows) = match self.last.take() {
            Some((last, rows)) if (begin..=window).contains(&last) => (last + 1, rows),
            _ => (begin, Rows::default()),
        };
        while next <= window {
            rows = self.read(next, &rows)?;
            next += 1;
        }
        let decoded = model::from_rows(&rows, |site| self.tables.stack(site)).map_err(|malformed| malformed.at(at))?;
        self.last = Some((window, rows));
        let model::Decoded { snapshot, lost_windows, unknown } = decoded;
        Ok(Window { snapshot, lost: lost_windows, unknown })
    }

    /// The rows of a window, with those of the one before it.
    fn read(&self, window: usize, before: &Rows) -> Result<Rows, RecordError> {
        let place = &self.places[window];
        let Place { offset, header } = place;
        let mut packed = vec![0; header.packed as usize];
        self.source.fill(&mut packed, offset + FRAME_HEADER as u64)?;
        // It may have been overwritten since it was checked.
        let raw = header.unpack(&packed).map_err(|malformed| malformed.at(*offset))?;
        let nothing = Rows::default();
        let before = if place.is_whole() { &nothing } else { before };
        before.changed(&raw).map_err(|malformed| malformed.at(*offset))
    }
}
