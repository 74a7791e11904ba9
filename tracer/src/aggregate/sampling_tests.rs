//! A program with blocks at addresses, and what the BPF programs would count of it.

use std::collections::HashMap;

use tracer_common::sampling::{SampleState, block_hash, sketch_place};

use super::*;

/// What is counted of one site of a process, and what is true.
struct Traced {
    /// Another process is another sample.
    tgid: u32,
    state: SampleState,
    /// Outstanding, by address: sizes, and whether it is in the table.
    blocks: HashMap<u64, (u64, bool)>,
    truth: BlockCounters,
    counted: BlockCounters,
    frees: SampledFrees,
}

impl Traced {
    fn new(tgid: u32, rate: u32) -> Self {
        let (truth, counted) = (BlockCounters::default(), BlockCounters::default());
        let state = SampleState::of(rate);
        Self { tgid, state, blocks: HashMap::new(), truth, counted, frees: SampledFrees::default() }
    }

    fn allocate(&mut self, address: u64, size: u64) {
        let tracked = self.state.tracks(self.tgid, address);
        self.truth.alloc_bytes += size;
        self.truth.alloc_objects += 1;
        if tracked {
            self.counted.alloc_bytes += size;
            self.counted.alloc_objects += 1;
        }
        assert!(self.blocks.insert(address, (size, tracked)).is_none(), "an address holds one block");
    }

    fn free(&mut self, address: u64) {
        let (size, in_table) = self.blocks.remove(&address).expect("it is outstanding");
        self.truth.free_bytes += size;
        self.truth.free_objects += 1;
        assert_eq!(in_table, self.state.tracks(self.tgid, address));
        if !in_table {
            return;
        }
        self.counted.free_bytes += size;
        self.counted.free_objects += 1;
        let rate = u64::from(self.state.rate());
        if rate > 1 {
            let (place, sign) = sketch_place(block_hash(self.tgid, address));
            self.frees.more_bytes += size * (rate - 1);
            self.frees.more_objects += rate - 1;
            self.frees.bytes[place] += (size * rate) as i64 * sign as i64;
            self.frees.objects[place] += rate as i64 * sign as i64;
        }
    }

    fn double(&mut self) {
        self.state = self.state.doubled();
        for (address, (size, in_table)) in &mut self.blocks {
            if *in_table && !self.state.tracks(self.tgid, *address) {
                *in_table = false;
                self.counted.alloc_bytes -= *size;
                self.counted.alloc_objects -= 1;
            }
        }
    }

    fn sampled(&self) -> Sampled {
        let sizes = || self.blocks.values().filter(|(_, in_table)| *in_table).map(|(size, _)| *size as f64);
        let (blocks, bytes) = (sizes().count() as f64, sizes().sum::<f64>());
        let squares: f64 = sizes().map(|size| size * size).sum();
        let evenness = if squares > 0.0 { bytes * bytes / (blocks * squares) } else { 1.0 };
        Sampled::new(self.state.rate(), self.counted, &self.frees, evenness)
    }
}

/// Numbers that do not depend on each other, from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 += 1;
        (block_hash(7, self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() * end as f64) as u64
    }
}

/// 4,000 steps: allocations of very different sizes at places that are used again, and frees; the rate doubles twice.
fn life(tgid: u32, rate: u32, leaks: f64) -> Traced {
    let mut traced = Traced::new(tgid, rate);
    // The same program each time; only the sample is another one.
    let mut random = Random(u64::from(rate) << 32);
    let mut free_places: Vec<u64> = Vec::new();
    let mut outstanding: Vec<u64> = Vec::new();
    let mut fresh = 0x7f00_0000_0010;
    for step in 0..4_000 {
        if step == 1_000 || step == 2_500 {
            traced.double();
        }
        if outstanding.len() > 200 && random.next() > leaks {
            let index = random.below(outstanding.len() as u64) as usize;
            let address = outstanding.swap_remove(index);
            traced.free(address);
            free_places.push(address);
        } else {
            let address = free_places.pop().unwrap_or_else(|| {
                fresh += 48;
                fresh
            });
            traced.allocate(address, 16 + (random.next().powi(4) * 4_096.0) as u64);
            outstanding.push(address);
        }
    }
    traced
}

const RUNS: u32 = 400;

fn inside(estimate: Estimate, truth: u64) -> bool {
    estimate.low <= truth as f64 && truth as f64 <= estimate.high
}

/// Each quantity: the estimate and the truth.
fn quantities(traced: &Traced) -> [(&'static str, Estimate, u64); 6] {
    let (sampled, truth) = (traced.sampled(), traced.truth);
    [
        ("inuse_objects", sampled.inuse_objects(), truth.inuse_objects()),
        ("inuse_bytes", sampled.inuse_bytes(), truth.inuse_bytes()),
        ("free_objects", sampled.free_objects(), truth.free_objects),
        ("free_bytes", sampled.free_bytes(), truth.free_bytes),
        ("alloc_objects", sampled.alloc_objects(), truth.alloc_objects),
        ("alloc_bytes", sampled.alloc_bytes(), truth.alloc_bytes),
    ]
}

#[test]
fn estimates_are_right_in_the_mean_and_their_intervals_hold_the_truth() {
    for (rate, leaks) in [(1, 0.6), (4, 0.6), (4, 0.5), (3, 0.55)] {
        let runs: Vec<Traced> = (0..RUNS).map(|run| life(1 + run * 7, rate, leaks)).collect();
        for index in 0..6 {
            let all: Vec<_> = runs.iter().map(|run| quantities(run)[index]).collect();
            let (name, _, truth) = all[0];
            let mean = all.iter().map(|(_, estimate, _)| estimate.value).sum::<f64>() / f64::from(RUNS);
            let variance = all.iter().map(|(_, estimate, _)| (estimate.value - mean).powi(2)).sum::<f64>();
            let of_mean = (variance / f64::from(RUNS - 1) / f64::from(RUNS)).sqrt();
            let off = (mean - truth as f64).abs();
            assert!(off <= 4.0 * of_mean, "{name} at 1 in {rate}: {mean:.0} ± {of_mean:.0}, is {truth}");
            let held = all.iter().filter(|(_, estimate, truth)| inside(*estimate, *truth)).count();
            let share = held as f64 / f64::from(RUNS);
            assert!(share >= 0.92, "{name} at 1 in {rate}: {share} of the intervals hold it");
            let width = all.iter().map(|(_, e, _)| (e.high - e.low) / 2.0).sum::<f64>() / f64::from(RUNS);
            let needed = 1.96 * of_mean * f64::from(RUNS).sqrt();
            assert!(width <= 2.5 * needed, "{name} at 1 in {rate}: ± {width:.0} where ± {needed:.0} would do");
        }
    }
}

/// A site that all blocks have left holds nothing, whatever the rates were.
#[test]
fn what_is_freed_is_gone() {
    let mut traced = Traced::new(4127, 1);
    (0..1_000).for_each(|index| traced.allocate(0x1000 + index * 32, 24));
    traced.double();
    traced.double();
    (0..1_000).for_each(|index| traced.free(0x1000 + index * 32));
    let sampled = traced.sampled();
    assert_eq!((sampled.objects, sampled.counters().inuse_objects(), sampled.counters().inuse_bytes()), (0, 0, 0));
    assert_eq!(sampled.inuse_bytes(), Estimate::exact(0.0));
    assert_eq!(sampled.counters().alloc_objects, sampled.counters().free_objects);
}

/// One place that is used again and again is in the sample or not: nothing is known of such a count, and that is said.
#[test]
fn a_place_that_is_used_again_is_one_draw() {
    let mut traced = Traced::new(1, 64);
    let tracked = (0..).map(|index| index * 16).find(|address| traced.state.tracks(1, *address)).expect("one in 64");
    for _ in 0..10_000 {
        traced.allocate(tracked, 100);
        traced.free(tracked);
    }
    let freed = traced.sampled().free_objects();
    assert_eq!((freed.value, freed.low), (640_000.0, 0.0));
}

#[test]
fn sites_add_up_to_what_they_are_together() {
    let (one, other) = (life(5, 4, 0.6), life(6, 4, 0.55));
    let mut both = one.sampled();
    both += other.sampled();
    assert_eq!(both.objects, one.sampled().objects + other.sampled().objects);
    let relative = |estimate: Estimate| (estimate.high - estimate.value) / estimate.value;
    assert!(relative(both.inuse_bytes()) < relative(one.sampled().inuse_bytes()));
    let mut counters = one.sampled().counters();
    counters += other.sampled().counters();
    assert_eq!(both.counters(), counters);
}
