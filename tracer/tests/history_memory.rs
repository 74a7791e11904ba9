//! What a day of history takes, by the allocator's own count. A program of its own, because it counts every allocation.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use leaktrace::{
    aggregate::{BlockCounters, SiteId},
    analyze::history::{BUDGET, History, INTERVAL, LEVELS},
};

const SITES: u32 = 10_000;
const DAY: u64 = 86_400;

struct Counting;

thread_local! {
    /// Bytes of this thread, less than nothing where it frees what others allocated.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    ALLOCATED.with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: all calls go to the system's allocator with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// When to read the sites, so that each window of each level that is left in the end has a reading.
fn times() -> impl Iterator<Item = u64> {
    let [seconds, tens, minutes, _] = LEVELS.map(|level| DAY.saturating_sub(level.factor * level.windows));
    (0..minutes).step_by(300).chain((minutes..tens).step_by(60)).chain((tens..seconds).step_by(10)).chain(seconds..DAY)
}

/// Lets `busy` of the sites change at every reading, and 3,000 others once in ten minutes; the rest has but begun.
fn day(busy: u32) -> usize {
    let mut history = History::new(INTERVAL);
    let mut now = vec![BlockCounters::default(); SITES as usize];
    let before = ALLOCATED.get();
    let mut random = 1u64;
    for time in times() {
        let sites = now.iter_mut().zip(0..).filter_map(|(counters, id)| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = random >> 33;
            let changes = id < busy || time == 0 || id < busy + 3_000 && (u64::from(id) * 7 + time) % 600 < 10;
            let blocks = 1 + draw % 3_000;
            changes.then(|| {
                counters.alloc_objects += blocks;
                counters.alloc_bytes += blocks * (40 + draw % 100);
                // A third of the sites leaks, a third frees everything a moment later, the others hold some.
                let (objects, bytes) = match id % 3 {
                    0 => (0, 0),
                    1 => (counters.alloc_objects, counters.alloc_bytes),
                    _ => (counters.alloc_objects - draw % blocks, counters.alloc_bytes - draw % blocks * 40),
                };
                (counters.free_objects, counters.free_bytes) = (objects, bytes);
                (SiteId(id), *counters)
            })
        });
        history.push(Duration::from_secs(time), sites);
    }
    let taken = usize::try_from(ALLOCATED.get() - before).unwrap();
    let said = history.allocated_bytes();
    assert!(said.abs_diff(taken) * 20 < taken, "{taken} bytes allocated, {said} by its own count");
    for id in [0, 1, busy + 1_000, SITES - 1] {
        let points = history.site(SiteId(id), Duration::from_secs(DAY));
        assert_eq!((points.len(), points.last().map(|point| point.counters)), (288, Some(now[id as usize])));
    }
    println!("{busy} busy sites: {taken} bytes");
    taken
}

#[test]
fn a_day_of_ten_thousand_sites_takes_25_mb() {
    assert!(day(1_000) < 25_000_000);
}

/// Seven in ten, all the time: detail goes.
#[test]
fn a_day_of_ten_thousand_busy_sites_stays_below_50_mb() {
    let taken = day(7_000);
    assert!((BUDGET / 2..50_000_000).contains(&taken), "{taken}");
}
