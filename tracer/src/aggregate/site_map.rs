//! Maps by site, for what is looked up for each site of each Snapshot.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use super::SiteId;

/// By site. Ids are small numbers that come in order: the default hash, made for text that attackers choose, takes most of
/// the time of ten thousand look-ups.
pub type SiteMap<V> = HashMap<SiteId, V, SiteHash>;

/// Multiplies by a random odd number: an id's place cannot be chosen by whoever wrote a recording (Dietzfelbinger et al. 1997, "A
/// reliable randomized algorithm for the closest-pair problem").
#[derive(Clone, Copy, Debug)]
pub struct SiteHash {
    multiplier: u64,
}

impl Default for SiteHash {
    fn default() -> Self {
        Self { multiplier: RandomState::new().hash_one(0_u8) | 1 }
    }
}

impl BuildHasher for SiteHash {
    type Hasher = SiteHasher;

    fn build_hasher(&self) -> SiteHasher {
        SiteHasher { multiplier: self.multiplier, hash: 0 }
    }
}

/// See [`SiteHash`].
#[derive(Debug)]
pub struct SiteHasher {
    multiplier: u64,
    hash: u64,
}

impl Hasher for SiteHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // The upper half is the good one, and the table looks at both ends.
        let product = (self.hash ^ u64::from(number)).wrapping_mul(self.multiplier);
        self.hash = product.rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_order_are_spread() {
        let hash = SiteHash::default();
        for shift in [0, 57] {
            let mut places = [0_u32; 128];
            (0..12_800_u32).for_each(|id| places[(hash.hash_one(SiteId(id)) >> shift) as usize % 128] += 1);
            assert!(places.iter().all(|count| *count < 1_000), "{places:?}");
        }
    }
}
