//! Outstanding blocks by age, fine enough to see when they were born.

use std::{ops::Range, time::Duration};

use super::buckets::{AGE_BUCKETS, age_bucket};

/// From this power of two of nanoseconds (a second) on, a bucket of ages is cut into parts.
const FINE_SHIFT: u32 = 30;
/// How many, as a power of two: the cut is at a sixteenth of the age.
const PARTS_SHIFT: u32 = 4;

/// Blocks born in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// The youngest age they may have.
    pub from: Duration,
    /// They are younger than this.
    pub to: Duration,
    /// How many are outstanding.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Outstanding blocks of a site by age. Takes 24 bytes for each stretch of ages that has any, of which there are 112 in
/// the first minute and 270 in the first day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveAges {
    /// By rising bin.
    bins: Vec<Bin>,
    oldest_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin {
    index: u16,
    objects: u64,
    bytes: u64,
}

impl LiveAges {
    /// Takes an outstanding block.
    pub fn add(&mut self, age_ns: u64, bytes: u64) {
        self.add_all(age_ns, 1, bytes);
    }

    /// Takes blocks of one age, `bytes` together.
    pub fn add_all(&mut self, age_ns: u64, objects: u64, bytes: u64) {
        let index = bin_of(age_ns);
        self.oldest_ns = self.oldest_ns.max(age_ns);
        match self.bins.binary_search_by_key(&index, |bin| bin.index) {
            Ok(at) => {
                self.bins[at].objects += objects;
                self.bins[at].bytes += bytes;
            }
            Err(at) => self.bins.insert(at, Bin { index, objects, bytes }),
        }
    }

    /// Age of the oldest; `None` when there are none.
    pub fn oldest(&self) -> Option<Duration> {
        (!self.bins.is_empty()).then(|| Duration::from_nanos(self.oldest_ns))
    }

    /// How many there are.
    pub fn objects(&self) -> u64 {
        self.bins.iter().map(|bin| bin.objects).sum()
    }

    /// This share of them at every age.
    pub fn scaled(&self, share: f64) -> Self {
        let part = |count: u64| (count as f64 * share).round() as u64;
        let bins = self.bins.iter().map(|bin| Bin { objects: part(bin.objects), bytes: part(bin.bytes), ..*bin });
        Self { bins: bins.filter(|bin| bin.objects > 0).collect(), oldest_ns: self.oldest_ns }
    }

    /// Those that have any, the youngest first.
    pub fn cohorts(&self) -> impl DoubleEndedIterator<Item = Cohort> + '_ {
        self.bins.iter().map(|bin| {
            let ages = bin_ages(bin.index);
            let [from, to] = [ages.start, ages.end].map(Duration::from_nanos);
            Cohort { from, to, objects: bin.objects, bytes: bin.bytes }
        })
    }

    /// By the kernel's buckets.
    pub fn by_bucket(&self) -> [u64; AGE_BUCKETS] {
        let mut buckets = [0; AGE_BUCKETS];
        for bin in &self.bins {
            buckets[age_bucket(bin_ages(bin.index).start)] += bin.objects;
        }
        buckets
    }
}

/// Below [`FINE_SHIFT`] one for each power of two, then `1 << PARTS_SHIFT` for each.
fn bin_of(age_ns: u64) -> u16 {
    let power = age_ns.max(1).ilog2();
    if power < FINE_SHIFT {
        return power as u16;
    }
    let part = (age_ns >> (power - PARTS_SHIFT)) & ((1 << PARTS_SHIFT) - 1);
    (FINE_SHIFT + ((power - FINE_SHIFT) << PARTS_SHIFT) + part as u32) as u16
}

fn bin_ages(index: u16) -> Range<u64> {
    let index = u32::from(index);
    if index < FINE_SHIFT {
        return if index == 0 { 0..2 } else { 1 << index..1 << (index + 1) };
    }
    let (power, part) = (FINE_SHIFT + ((index - FINE_SHIFT) >> PARTS_SHIFT), (index - FINE_SHIFT) & 15);
    let width = 1u64 << (power - PARTS_SHIFT);
    let start = (1u64 << power) + u64::from(part) * width;
    start..start.saturating_add(width)
}
