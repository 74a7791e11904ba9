//! From Snapshots to the bytes of a recording.

use std::io::{self, Write};

use super::{
    format::{FrameKind, Packer, header, too_much},
    limits::ROWS,
    model,
    rows::Rows,
    tables::TableWriter,
};
use crate::aggregate::Snapshot;

/// A window is written whole after so many that were not, so that none is far from where a reader can begin.
const CHANGES_MAX: u32 = 60;

/// Writes Snapshots of one run, in their order.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    packer: Packer,
    tables: TableWriter,
    /// The last window, which the next one is compared with.
    last: Rows,
    /// Windows since the last whole one; none yet.
    changes: Option<u32>,
    buffer: Vec<u8>,
    raw: Vec<u8>,
}

/// What a window came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that it took.
    pub bytes: u64,
    /// A reader can begin at it.
    pub whole: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&header(env!("CARGO_PKG_VERSION")))?;
        Ok(Self {
            out,
            packer: Packer::new()?,
            tables: TableWriter::default(),
            last: Rows::default(),
            changes: None,
            buffer: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// Writes a window, in one call of [`Write::write_all`]; `lost` windows have been lost since the first.
    ///
    /// # Errors
    /// Those of `out`. Then nothing more can be written.
    pub fn write(&mut self, snapshot: &Snapshot, lost: u64) -> io::Result<Written> {
        let Self { out, packer, tables, last, changes, buffer, raw } = self;
        buffer.clear();
        raw.clear();
        tables.write(snapshot, raw);
        if !raw.is_empty() {
            packer.pack(FrameKind::Tables, snapshot.elapsed, raw, buffer)?;
            raw.clear();
        }
        let rows = model::to_rows(snapshot, lost);
        if rows.len() > ROWS {
            return Err(too_much());
        }
        let whole = changes.is_none_or(|changes| changes >= CHANGES_MAX);
        let kind = if whole {
            Rows::default().changes(&rows, raw);
            FrameKind::Whole
        } else {
            last.changes(&rows, raw);
            FrameKind::Changes
        };
        packer.pack(kind, snapshot.elapsed, raw, buffer)?;
        out.write_all(buffer)?;
        *changes = Some(if whole { 0 } else { changes.map_or(0, |changes| changes + 1) });
        *last = rows;
        Ok(Written { bytes: buffer.len() as u64, whole })
    }

    /// What is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Ends the recording.
    pub fn into_inner(self) -> W {
        self.out
    }
}
