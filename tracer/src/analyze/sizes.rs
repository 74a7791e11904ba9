//! Sizes of a site's outstanding blocks in powers of two: one size alone is an object of a type, many are buffers or text.

use std::ops::RangeInclusive;

/// Blocks of similar sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeBucket {
    /// How many bits a size takes, which all of these have in common.
    bits: u8,
    /// Blocks.
    pub objects: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl SizeBucket {
    /// The sizes that are counted here: of `bits` bits, at most 64 of them.
    pub fn new(bits: u8, objects: u64, bytes: u64) -> Option<Self> {
        (u32::from(bits) <= u64::BITS).then_some(Self { bits, objects, bytes })
    }

    /// How many bits its sizes have.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The sizes that are counted here.
    pub fn sizes(&self) -> RangeInclusive<u64> {
        match u32::from(self.bits) {
            0 => 0..=0,
            bits => 1 << (bits - 1)..=u64::MAX >> (u64::BITS - bits),
        }
    }
}

/// Outstanding blocks by size. Takes 24 bytes for each power of two of which there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// By rising size.
    buckets: Vec<SizeBucket>,
}

impl Sizes {
    /// Takes an outstanding block.
    pub fn add(&mut self, size: u64) {
        self.add_all(SizeBucket { bits: bits(size), objects: 1, bytes: size });
    }

    /// Takes blocks of similar sizes.
    pub fn add_all(&mut self, more: SizeBucket) {
        let SizeBucket { bits, objects, bytes } = more;
        match self.buckets.binary_search_by_key(&bits, |bucket| bucket.bits) {
            Ok(at) => {
                let bucket = &mut self.buckets[at];
                bucket.objects = bucket.objects.saturating_add(objects);
                bucket.bytes = bucket.bytes.saturating_add(bytes);
            }
            Err(at) => self.buckets.insert(at, more),
        }
    }

    /// Of two sites' blocks together.
    pub fn with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        other.buckets.iter().for_each(|bucket| sum.add_all(*bucket));
        sum
    }

    /// Those that have any, the smallest first.
    pub fn buckets(&self) -> &[SizeBucket] {
        &self.buckets
    }
}

fn bits(size: u64) -> u8 {
    (u64::BITS - size.leading_zeros()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_the_sizes_that_it_says() {
        for size in [0, 1, 2, 3, 4, 1_021, 1 << 40, u64::MAX] {
            let mut sizes = Sizes::default();
            sizes.add(size);
            let [bucket] = sizes.buckets() else { panic!("{size}: {sizes:?}") };
            assert!(bucket.sizes().contains(&size), "{size}: {bucket:?}");
            assert_eq!((bucket.objects, bucket.bytes), (1, size));
        }
        assert_eq!(SizeBucket::new(11, 0, 0).map(|bucket| bucket.sizes()), Some(1_024..=2_047));
        assert_eq!(SizeBucket::new(65, 0, 0), None);
    }

    #[test]
    fn two_sites_together_have_the_blocks_of_both() {
        let sizes = |all: &[u64]| {
            let mut sizes = Sizes::default();
            all.iter().for_each(|size| sizes.add(*size));
            sizes
        };
        assert_eq!(sizes(&[64, 7, 65]).with(&sizes(&[4_096, 5])), sizes(&[5, 7, 64, 65, 4_096]));
    }
}
