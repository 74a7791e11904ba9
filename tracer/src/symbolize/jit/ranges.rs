//! Address ranges that replace each other: what was put last at an address is what is found there.

use std::collections::BTreeMap;

/// Disjoint ranges, each with a value.
#[derive(Debug)]
pub(super) struct Ranges<V> {
    capacity: usize,
    /// By start: end and value.
    by_start: BTreeMap<u64, (u64, V)>,
}

/// There were too many ranges: this one was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<V: Copy> Ranges<V> {
    /// Takes some more than `capacity`: a range inside of another one leaves two of that.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, by_start: BTreeMap::new() }
    }

    /// Puts a value at a range that is not empty, over all that is there.
    pub(super) fn put(&mut self, start: u64, end: u64, value: V) -> Result<(), Full> {
        if self.by_start.len() >= self.capacity && !self.by_start.contains_key(&start) {
            return Err(Full);
        }
        if let Some((_, before)) = self.by_start.range_mut(..start).next_back()
            && before.0 > start
        {
            let rest = *before;
            before.0 = start;
            self.keep_behind(end, rest);
        }
        while let Some((&covered, &rest)) = self.by_start.range(start..end).next() {
            self.by_start.remove(&covered);
            self.keep_behind(end, rest);
        }
        self.by_start.insert(start, (end, value));
        Ok(())
    }

    pub(super) fn get(&self, address: u64) -> Option<V> {
        let (_, &(end, value)) = self.by_start.range(..=address).next_back()?;
        (address < end).then_some(value)
    }

    /// Keeps of an old range what is behind the end of a new one.
    fn keep_behind(&mut self, end: u64, old: (u64, V)) {
        if old.0 > end {
            self.by_start.insert(end, old);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_one_wins_where_it_is() {
        let mut ranges = Ranges::new(100);
        for (start, end, value) in [(10, 20, 'a'), (30, 40, 'b'), (18, 33, 'c'), (12, 14, 'd'), (30, 35, 'e')] {
            ranges.put(start, end, value).expect("room");
        }
        let found: String = (9..41).map(|address| ranges.get(address).unwrap_or('.')).collect();
        assert_eq!(found, ".aaddaaaacccccccccccceeeeebbbbb.");
    }

    #[test]
    fn what_is_known_can_still_change_when_it_is_full() {
        let mut ranges = Ranges::new(2);
        assert_eq!(
            [(1, 'a'), (2, 'b'), (3, 'c')].map(|(at, value)| ranges.put(at, at + 1, value).is_ok()),
            [true, true, false]
        );
        ranges.put(2, 4, 'd').expect("in place of another");
        assert_eq!([1, 2, 3].map(|at| ranges.get(at)), [Some('a'), Some('d'), Some('d')]);
    }

    proptest! {
        #[test]
        fn as_if_painted(strokes in prop::collection::vec((0_usize..60, 1_usize..20), 0..40)) {
            let mut canvas = [None; 80];
            let mut ranges = Ranges::new(usize::MAX);
            for (value, &(start, length)) in strokes.iter().enumerate() {
                canvas[start..start + length].fill(Some(value));
                ranges.put(start as u64, (start + length) as u64, value).expect("room");
            }
            for (address, expected) in canvas.into_iter().enumerate() {
                prop_assert_eq!(ranges.get(address as u64), expected);
            }
        }
    }
}
