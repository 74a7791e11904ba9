//! A map that forgets what was used longest ago.

use std::{collections::HashMap, hash::Hash};

/// Holds at most `capacity` values. Forgetting scans them all, so it drops an eighth at a time.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    capacity: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq, V> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, entries: HashMap::new() }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.capacity {
            let mut uses: Vec<u64> = self.entries.values().map(|&(used, _)| used).collect();
            let (_, &mut last_dropped, _) = uses.select_nth_unstable(self.capacity / 8);
            self.entries.retain(|_, (used, _)| *used > last_dropped);
        }
        self.entries.insert(key, (self.clock, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_goes() {
        let mut cache = Cache::new(4);
        for key in 0..4 {
            cache.insert(key, key);
        }
        assert_eq!(cache.get(&0), Some(&mut 0));
        cache.insert(4, 4);
        let held: Vec<i32> = (0..5).filter(|key| cache.get(key).is_some()).collect();
        assert_eq!(held, [0, 2, 3, 4]);
    }

    #[test]
    fn it_stays_within_its_capacity() {
        let mut cache = Cache::new(100);
        for key in 0..1009 {
            cache.insert(key, ());
            assert!(cache.entries.len() <= 100);
            assert!(cache.get(&key).is_some());
        }
    }
}
