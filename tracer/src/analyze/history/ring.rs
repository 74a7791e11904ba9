//! The windows of a site at one level: packed, oldest first, and the one under way.

use std::collections::VecDeque;

use super::record::{Record, pack_integer, unpack_integer};

/// Bytes by which room is made, two records or so at a time: doubling would waste a third.
const STEP: usize = 64;

/// Windows in which something changed.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// For each window: how many windows after the one before, and its record.
    packed: VecDeque<u8>,
    /// How many are packed.
    count: u32,
    /// Number of the first packed window, when there is one.
    first: u64,
    /// Number of the last packed window.
    last: u64,
    /// The window under way.
    open: Option<(u64, Record)>,
}

impl Ring {
    /// Adds a change in a window that is not before any other: `first` when it is the window's first, else `record`. Forgets
    /// windows before `oldest`.
    pub(super) fn push(&mut self, window: u64, first: Record, record: Record, oldest: u64) {
        self.open = Some(match self.open.take() {
            Some((open, before)) if open == window => (open, before.and(record)),
            Some(before) => {
                self.append(before.0, &before.1);
                (window, first)
            }
            None => (window, first),
        });
        self.expire(oldest);
    }

    /// Forgets windows before `oldest`.
    pub(super) fn expire(&mut self, oldest: u64) {
        while self.count > 0 && self.first < oldest {
            self.forget_first();
        }
        // A site that has become quiet, or less busy than it was.
        if self.packed.capacity() > 2 * self.packed.len() + 2 * STEP {
            self.packed.shrink_to(self.packed.len() + STEP);
        }
    }

    /// Every window from the oldest on, with its number.
    pub(super) fn windows(&self) -> impl Iterator<Item = (u64, Record)> + '_ {
        let mut bytes = self.packed.iter().copied();
        let mut window = self.first;
        let packed = std::iter::from_fn(move || {
            window += unpack_integer(&mut bytes)?;
            Some((window, Record::unpack(&mut bytes)?))
        });
        packed.chain(self.open)
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        self.packed.capacity()
    }

    /// How many windows are packed.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// Forgets all but the newest windows.
    pub(super) fn keep(&mut self, newest: usize) {
        while self.len() > newest {
            self.forget_first();
        }
        self.packed.shrink_to_fit();
    }

    /// Lets go of resolution until half as many windows are left: those within a stretch become one, at the last one's place.
    pub(super) fn thin(&mut self) {
        let most = self.len() / 2;
        for stretch in (1..u64::BITS).map(|power| 1 << power) {
            if self.len() <= most {
                break;
            }
            self.merge(stretch);
        }
        self.packed.shrink_to_fit();
    }

    fn merge(&mut self, stretch: u64) {
        let open = self.open.take();
        let mut merged = Self::default();
        let mut kept: Option<(u64, Record)> = None;
        for (window, record) in self.windows() {
            kept = Some(match kept {
                Some((before, first)) if before / stretch == window / stretch => (window, first.and(record)),
                Some((before, first)) => {
                    merged.append(before, &first);
                    (window, record)
                }
                None => (window, record),
            });
        }
        if let Some((window, record)) = kept {
            merged.append(window, &record);
        }
        *self = Self { open, ..merged };
    }

    fn append(&mut self, window: u64, record: &Record) {
        if self.count == 0 {
            (self.first, self.last) = (window, window);
        }
        if self.packed.capacity() - self.packed.len() < STEP / 2 {
            self.packed.reserve_exact(STEP);
        }
        pack_integer(window - self.last, &mut self.packed);
        record.pack(&mut self.packed);
        (self.last, self.count) = (window, self.count + 1);
    }

    fn forget_first(&mut self) {
        let mut bytes = self.packed.iter().copied();
        let skipped = unpack_integer(&mut bytes).and_then(|_| Record::unpack(&mut bytes)).map(|_| bytes.len());
        let rest = skipped.unwrap_or(0);
        self.packed.drain(..self.packed.len() - rest);
        self.count -= 1;
        // The first one's distance is not used: its number is known.
        let mut bytes = self.packed.iter().copied();
        match unpack_integer(&mut bytes) {
            Some(distance) => {
                let length = bytes.len();
                self.first += distance;
                self.packed.drain(..self.packed.len() - length);
                self.packed.push_front(0);
            }
            None => self.count = 0,
        }
    }
}
