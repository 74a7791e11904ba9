//! What changed in one window, and how it is packed: integers in LEB128, zeros left out.

use std::collections::VecDeque;

use crate::aggregate::BlockCounters;

/// What changed in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// By how much the counters rose.
    pub(super) rise: BlockCounters,
    /// How far below what was outstanding at the end the lowest was, and how far above it the highest.
    pub(super) bytes: Reach,
    pub(super) objects: Reach,
}

/// How far a quantity was below and above its last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) below: u64,
    pub(super) above: u64,
}

impl Reach {
    /// After the quantity has changed.
    fn moved(self, by: i128) -> Self {
        let clamp = |value: i128| value.clamp(0, i128::from(u64::MAX)) as u64;
        Self { below: clamp(i128::from(self.below) + by), above: clamp(i128::from(self.above) - by) }
    }

    fn or(self, other: Self) -> Self {
        Self { below: self.below.max(other.below), above: self.above.max(other.above) }
    }
}

impl Record {
    /// A single reading that came after `before`.
    pub(super) fn between(before: &BlockCounters, after: &BlockCounters) -> Option<Self> {
        let rise = BlockCounters {
            alloc_bytes: after.alloc_bytes.checked_sub(before.alloc_bytes)?,
            alloc_objects: after.alloc_objects.checked_sub(before.alloc_objects)?,
            free_bytes: after.free_bytes.checked_sub(before.free_bytes)?,
            free_objects: after.free_objects.checked_sub(before.free_objects)?,
        };
        Some(Self { rise, ..Self::default() })
    }

    /// The same where what was outstanding before counts as well.
    pub(super) fn with_before(self) -> Self {
        Self::default().and(self)
    }

    /// This one and a later one as one.
    pub(super) fn and(self, later: Self) -> Self {
        let Self { mut rise, bytes, objects } = self;
        rise += later.rise;
        let net = |alloc: u64, free: u64| i128::from(alloc) - i128::from(free);
        Self {
            rise,
            bytes: bytes.moved(net(later.rise.alloc_bytes, later.rise.free_bytes)).or(later.bytes),
            objects: objects.moved(net(later.rise.alloc_objects, later.rise.free_objects)).or(later.objects),
        }
    }

    fn fields(&self) -> [u64; 8] {
        let Self { rise, bytes, objects } = self;
        let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *rise;
        [alloc_bytes, alloc_objects, free_bytes, free_objects, bytes.below, bytes.above, objects.below, objects.above]
    }

    fn of_fields(fields: [u64; 8]) -> Self {
        let [alloc_bytes, alloc_objects, free_bytes, free_objects, below, above, objects_below, objects_above] = fields;
        Self {
            rise: BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects },
            bytes: Reach { below, above },
            objects: Reach { below: objects_below, above: objects_above },
        }
    }

    /// Appends it: a byte that says which fields are not zero, and these.
    pub(super) fn pack(&self, packed: &mut VecDeque<u8>) {
        let fields = self.fields();
        packed.push_back(fields.iter().enumerate().fold(0, |mask, (bit, field)| mask | (u8::from(*field != 0) << bit)));
        fields.iter().filter(|field| **field != 0).for_each(|field| pack_integer(*field, packed));
    }

    /// The next one.
    pub(super) fn unpack(packed: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let mask = packed.next()?;
        let mut fields = [0; 8];
        for (bit, field) in fields.iter_mut().enumerate() {
            if mask & (1 << bit) != 0 {
                *field = unpack_integer(packed)?;
            }
        }
        Some(Self::of_fields(fields))
    }
}

/// Appends an integer, seven bits to a byte.
pub(super) fn pack_integer(mut value: u64, packed: &mut VecDeque<u8>) {
    while value >= 0x80 {
        packed.push_back(value as u8 | 0x80);
        value >>= 7;
    }
    packed.push_back(value as u8);
}

/// The next integer.
pub(super) fn unpack_integer(packed: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = packed.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
