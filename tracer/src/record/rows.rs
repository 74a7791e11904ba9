//! A window as rows, and the difference of two windows.
//!
//! A row is some bytes under a kind and a key. What changed is a list of records, in the order of their keys: a row that is
//! new or different, or a key whose row is gone. A whole window is what changed since nothing.

use std::cmp::Ordering;

use prost::encoding::{decode_varint, encode_varint};

use super::{
    error::Malformed,
    limits::{RAW_BYTES, ROWS},
};

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowKey {
    /// What it is about; see `model` and `tables`.
    pub(super) kind: u32,
    /// Which of these.
    pub(super) key: u64,
}

/// Rows in the order of their keys, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    index: Vec<(RowKey, u32, u32)>,
    bytes: Vec<u8>,
}

impl Rows {
    /// Adds a row. [`Rows::sort`] must come after the last.
    pub(super) fn add(&mut self, kind: u32, key: u64, row: &impl prost::Message) {
        let begin = self.bytes.len() as u32;
        // A vector grows, so there is always room.
        let _ = row.encode(&mut self.bytes);
        self.index.push((RowKey { kind, key }, begin, self.bytes.len() as u32));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Brings the rows into order. Of rows with the same key the first one stays.
    pub(super) fn sort(&mut self) {
        self.index.sort_by_key(|(key, ..)| *key);
        self.index.dedup_by_key(|(key, ..)| *key);
    }

    fn push(&mut self, key: RowKey, row: &[u8]) -> Result<(), Malformed> {
        let (begin, end) = (self.bytes.len(), self.bytes.len() + row.len());
        if self.index.len() >= ROWS || end > RAW_BYTES as usize {
            return Err(Malformed("a window has more rows than a recording may hold"));
        }
        self.bytes.extend_from_slice(row);
        self.index.push((key, begin as u32, end as u32));
        Ok(())
    }

    fn row(&self, &(key, begin, end): &(RowKey, u32, u32)) -> (RowKey, &[u8]) {
        (key, &self.bytes[begin as usize..end as usize])
    }

    fn iter(&self) -> impl Iterator<Item = (RowKey, &[u8])> {
        self.index.iter().map(|entry| self.row(entry))
    }

    /// The rows of a kind.
    pub(super) fn of(&self, kind: u32) -> impl Iterator<Item = (u64, &[u8])> {
        let begin = self.index.partition_point(|(key, ..)| key.kind < kind);
        self.index[begin..]
            .iter()
            .take_while(move |(key, ..)| key.kind == kind)
            .map(|entry| self.row(entry))
            .map(|(key, row)| (key.key, row))
    }

    /// Appends to `out` what is different in `next`.
    pub(super) fn changes(&self, next: &Self, out: &mut Vec<u8>) {
        let (mut before, mut after) = (self.iter().peekable(), next.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((gone, _)), Some((new, _))) => gone.cmp(new),
            };
            let was = if order.is_le() { before.next() } else { None };
            let is = if order.is_ge() { after.next() } else { None };
            match (was, is) {
                (Some((key, _)), None) => write_record(key, None, out),
                (None, Some((key, row))) => write_record(key, Some(row), out),
                (Some((_, was)), Some((key, is))) if was != is => write_record(key, Some(is), out),
                _ => {}
            }
        }
    }

    /// These rows with what changed.
    pub(super) fn changed(&self, changes: &[u8]) -> Result<Self, Malformed> {
        let mut next = Self::default();
        let mut before = self.iter().peekable();
        let mut last = None;
        for record in records(changes) {
            let (key, row) = record?;
            if last.replace(key).is_some_and(|last| last >= key) {
                return Err(Malformed("rows are not in order"));
            }
            while let Some((key, row)) = before.next_if(|(kept, _)| *kept < key) {
                next.push(key, row)?;
            }
            before.next_if(|(replaced, _)| *replaced == key);
            if let Some(row) = row {
                next.push(key, row)?;
            }
        }
        before.try_for_each(|(key, row)| next.push(key, row))?;
        Ok(next)
    }
}

/// Appends a record: a row, or that it is gone.
pub(super) fn write_record(RowKey { kind, key }: RowKey, row: Option<&[u8]>, out: &mut Vec<u8>) {
    encode_varint(u64::from(kind), out);
    encode_varint(key, out);
    match row {
        None => encode_varint(0, out),
        Some(row) => {
            encode_varint(row.len() as u64 + 1, out);
            out.extend_from_slice(row);
        }
    }
}

/// The records in `bytes`, up to the first that is none.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<(RowKey, Option<&[u8]>), Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = read_record(&mut bytes);
        if record.is_err() {
            bytes = &[];
        }
        Some(record)
    })
}

fn read_record<'a>(bytes: &mut &'a [u8]) -> Result<(RowKey, Option<&'a [u8]>), Malformed> {
    let kind = u32::try_from(decode_varint(bytes)?).map_err(|_| Malformed("a row is of no possible kind"))?;
    let key = RowKey { kind, key: decode_varint(bytes)? };
    let Some(len) = decode_varint(bytes)?.checked_sub(1) else { return Ok((key, None)) };
    let split = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
    let (row, rest) = split.ok_or(Malformed("a row is longer than its frame"))?;
    *bytes = rest;
    Ok((key, Some(row)))
}
