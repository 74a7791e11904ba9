//! A program with blocks at addresses, and what the BPF programs would count of it.

use std::collections::HashMap;

use tracer_common::sampling::{SampleState, sketch_place};

use super::*;

/// What is counted of one site of a process, and what is true.
struct Traced {
    /// Another process is another sample.
    tgid: u32,
    state: SampleState,
    /// Allocations until now.
    births: u64,
    /// Outstanding, by address.
    blocks: HashMap<u64, Block>,
    truth: BlockCounters,
    counted: BlockCounters,
    frees: SampledFrees,
}

#[derive(Clone, Copy)]
struct Block {
    size: u64,
    hash: u64,
    in_table: bool,
}

impl Traced {
    fn new(tgid: u32, state: SampleState) -> Self {
        let (truth, counted) = (BlockCounters::default(), BlockCounters::default());
        Self { tgid, state, births: 0, blocks: HashMap::new(), truth, counted, frees: SampledFrees::default() }
    }

    fn allocate(&mut self, address: u64, size: u64) {
        self.births += 1;
        let hash = self.state.hash(self.tgid, address, (u64::from(self.tgid) << 40) | (self.births * 1_000));
        let tracked = self.state.keeps(hash, size);
        self.truth.alloc_bytes += size;
        self.truth.alloc_objects += 1;
        if tracked {
            self.counted.alloc_bytes += size;
            self.counted.alloc_objects += 1;
        }
        let block = Block { size, hash, in_table: tracked };
        assert!(self.blocks.insert(address, block).is_none(), "an address holds one block");
    }

    fn free(&mut self, address: u64) {
        let Block { size, hash, in_table } = self.blocks.remove(&address).expect("it is outstanding");
        self.truth.free_bytes += size;
        self.truth.free_objects += 1;
        assert_eq!(in_table, self.state.keeps(hash, size));
        if !in_table {
            return;
        }
        self.counted.free_bytes += size;
        self.counted.free_objects += 1;
        let ((place, sign), weight) = (sketch_place(hash), self.state.weight(size));
        if weight > 1 {
            self.frees.more_bytes += size * (weight - 1);
            self.frees.more_objects += weight - 1;
            self.frees.bytes[place] += (size * weight) as i64 * sign as i64;
            self.frees.objects[place] += weight as i64 * sign as i64;
        }
    }

    fn double(&mut self) {
        self.state = self.state.doubled();
        for Block { size, hash, in_table } in self.blocks.values_mut() {
            if *in_table && !self.state.keeps(*hash, *size) {
                *in_table = false;
                self.counted.alloc_bytes -= *size;
                self.counted.alloc_objects -= 1;
            }
        }
    }

    fn sampled(&self) -> Sampled {
        let mut weighing = Weighing::default();
        let tracked = self.blocks.values().filter(|block| block.in_table);
        tracked.for_each(|block| weighing.add(block.size, self.state.weight(block.size)));
        let rate = SampleRate::of(self.state);
        Sampled::new(rate, self.counted, &self.frees, Some(&weighing.weights(rate)))
    }
}

/// Numbers that do not depend on each other, from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 += 1;
        let hash = SampleState::of(1).hash(7, self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0);
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() * end as f64) as u64
    }
}

/// 4,000 steps: allocations of very different sizes at places that are used again, and frees; the rate doubles twice.
fn life(tgid: u32, state: SampleState, leaks: f64) -> Traced {
    let mut traced = Traced::new(tgid, state);
    // The same program each time; only the sample is another one.
    let mut random = Random(u64::from(state.rate()) << 32);
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
    let address = SampleState::of;
    let birth = |rate| SampleState::of(rate).by_birth();
    let states = [
        (address(1), 0.6),
        (address(4), 0.6),
        (address(4), 0.5),
        (address(3), 0.55),
        (birth(4), 0.6),
        (birth(3), 0.55),
        (SampleState::of_bytes(256), 0.6),
        (SampleState::of_bytes(128), 0.55),
    ];
    for (state, leaks) in states {
        let rate = SampleRate::of(state).words();
        let runs: Vec<Traced> = (0..RUNS).map(|run| life(1 + run * 7, state, leaks)).collect();
        for index in 0..6 {
            let all: Vec<_> = runs.iter().map(|run| quantities(run)[index]).collect();
            let (name, _, truth) = all[0];
            let mean = all.iter().map(|(_, estimate, _)| estimate.value).sum::<f64>() / f64::from(RUNS);
            let variance = all.iter().map(|(_, estimate, _)| (estimate.value - mean).powi(2)).sum::<f64>();
            let of_mean = (variance / f64::from(RUNS - 1) / f64::from(RUNS)).sqrt();
            let off = (mean - truth as f64).abs();
            assert!(off <= 4.0 * of_mean, "{name} of {rate}: {mean:.0} ± {of_mean:.0}, is {truth}");
            let held = all.iter().filter(|(_, estimate, truth)| inside(*estimate, *truth)).count();
            let share = held as f64 / f64::from(RUNS);
            assert!(share >= 0.92, "{name} of {rate}: {share} of the intervals hold it");
            let width = all.iter().map(|(_, e, _)| (e.high - e.low) / 2.0).sum::<f64>() / f64::from(RUNS);
            let needed = 1.96 * of_mean * f64::from(RUNS).sqrt();
            assert!(width <= 2.5 * needed, "{name} of {rate}: ± {width:.0} where ± {needed:.0} would do");
        }
    }
}

#[test]
fn rates_are_said_in_their_unit() {
    let (blocks, bytes) = (SampleRate::Blocks(64), SampleRate::Bytes(512 << 10));
    assert_eq!((blocks.short(), bytes.short()), ("1 in 64".to_owned(), "1 per 512 KiB".to_owned()));
    assert_eq!((blocks.words(), bytes.words()), ("1 block in 64".to_owned(), "1 block per 512 KiB".to_owned()));
    assert!(!bytes.is_all() && SampleRate::default().is_all() && bytes.with(2) == SampleRate::Bytes(2));
}

/// A site that all blocks have left holds nothing, whatever the rates were.
#[test]
fn what_is_freed_is_gone() {
    let mut traced = Traced::new(4127, SampleState::of(1));
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
    let mut traced = Traced::new(1, SampleState::of(64));
    let tracked = (0..).map(|index| index * 16).find(|address| traced.state.may_keep(1, *address)).expect("one in 64");
    for _ in 0..10_000 {
        traced.allocate(tracked, 100);
        traced.free(tracked);
    }
    let freed = traced.sampled().free_objects();
    assert_eq!((freed.value, freed.low), (640_000.0, 0.0));
}

#[test]
fn sites_add_up_to_what_they_are_together() {
    let (one, other) = (life(5, SampleState::of(4), 0.6), life(6, SampleState::of(4), 0.55));
    let mut both = one.sampled();
    both += other.sampled();
    assert_eq!(both.objects, one.sampled().objects + other.sampled().objects);
    let relative = |estimate: Estimate| (estimate.high - estimate.value) / estimate.value;
    assert!(relative(both.inuse_bytes()) < relative(one.sampled().inuse_bytes()));
    let mut counters = one.sampled().counters();
    counters += other.sampled().counters();
    assert_eq!(both.counters(), counters);
}
