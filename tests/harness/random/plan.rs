//! What a random program will do: drawn from the seed before a line of it is written.

use super::rng::Rng;

/// How a site asks for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Malloc,
    /// By this many elements.
    Calloc(usize),
    ReallocNull,
    /// By this many elements.
    ReallocarrayNull(usize),
    /// With this alignment.
    PosixMemalign(usize),
    /// With this alignment, of which the size is a multiple.
    AlignedAlloc(usize),
    /// With this alignment.
    Memalign(usize),
    /// Gives a block that exists another size.
    Realloc,
    /// The same by this many elements.
    Reallocarray(usize),
}

impl Call {
    /// Whether it takes a block that exists.
    pub(super) fn resizes(self) -> bool {
        matches!(self, Self::Realloc | Self::Reallocarray(_))
    }
}

/// A function that calls sites. Which (caller, site) pairs exist is what the ledger has lines for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) caller: usize,
    pub(super) site: usize,
}

/// Sizes in a loop: `base + step * (i % modulus)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) base: usize,
    pub(super) step: usize,
    pub(super) modulus: usize,
}

/// One thing that a thread does. Keys are indices into [`Plan::keys`].
#[derive(Clone, Debug)]
pub(super) enum Activity {
    /// Never freed.
    Leak { key: usize, count: usize, sizes: Sizes, depth: usize },
    /// Freed at once.
    Churn { key: usize, count: usize, sizes: Sizes, depth: usize },
    /// The last `capacity` are kept.
    Cache { keys: [usize; 2], count: usize, capacity: usize, sizes: Sizes },
    /// Blocks resized again and again; every `keep`th stays.
    Chain { key: usize, resize: usize, count: usize, links: usize, keep: usize, sizes: Sizes },
    /// Blocks made, resized and freed by chance.
    Mix { keys: [usize; 3], resize: usize, count: usize, seed: u64, sizes: Sizes },
    /// Blocks for another thread.
    Produce { queue: usize, key: usize, count: usize, sizes: Sizes },
    /// Frees what the other thread made, but for every `keep`th.
    Consume { queue: usize, count: usize, keep: usize },
}

/// A whole program.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) seed: u64,
    pub(super) sites: Vec<Call>,
    pub(super) callers: usize,
    pub(super) keys: Vec<Key>,
    /// For each thread.
    pub(super) threads: Vec<Vec<Activity>>,
    /// Capacity of each queue.
    pub(super) queues: Vec<usize>,
}

const ALIGNMENTS: [usize; 5] = [16, 32, 64, 256, 4096];
const ELEMENTS: [usize; 5] = [2, 3, 5, 7, 11];

impl Plan {
    /// The plan of this seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sites: Vec<Call> = (0..rng.between(13, 61)).map(|index| call(&mut rng, index)).collect();
        let callers = rng.between(5, 17);
        let mut keys = Vec::new();
        for site in 0..sites.len() {
            let mut chosen: Vec<usize> = (0..rng.between(1, 4)).map(|_| rng.between(0, callers - 1)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            keys.extend(chosen.into_iter().map(|caller| Key { caller, site }));
        }
        let (resizing, making): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&key| sites[keys[key].site].resizes());
        let mut threads = vec![Vec::new(); rng.pick(&[1, 2, 3, 5, 7])];
        // Every way to a site is used at least once.
        for &key in &making {
            let thread = rng.between(0, threads.len() - 1);
            threads[thread].push(simple_activity(&mut rng, key, &making));
        }
        for &resize in &resizing {
            let thread = rng.between(0, threads.len() - 1);
            threads[thread].push(resizing_activity(&mut rng, resize, &making));
        }
        for thread in &mut threads {
            shuffle(&mut rng, thread);
        }
        let queues = add_queues(&mut rng, &mut threads, &making);
        Self { seed, sites, callers, keys, threads, queues }
    }
}

/// A site's call. The first ones make sure that there is something to make and something to resize.
fn call(rng: &mut Rng, index: usize) -> Call {
    match if index < 9 { index } else { rng.between(0, 11) } {
        1 => Call::Calloc(rng.pick(&ELEMENTS)),
        2 => Call::ReallocNull,
        3 => Call::ReallocarrayNull(rng.pick(&ELEMENTS)),
        4 => Call::PosixMemalign(rng.pick(&ALIGNMENTS)),
        5 => Call::AlignedAlloc(rng.pick(&ALIGNMENTS)),
        6 => Call::Memalign(rng.pick(&ALIGNMENTS)),
        7 => Call::Realloc,
        8 => Call::Reallocarray(rng.pick(&ELEMENTS)),
        _ => Call::Malloc,
    }
}

/// Small ones mostly, and now and then one with a mapping of its own.
fn sizes(rng: &mut Rng) -> Sizes {
    let (base, step) = match rng.between(0, 15) {
        0 => (rng.prime(131_072, 200_000), rng.prime(1_000, 5_000)),
        1..4 => (rng.prime(2_000, 20_000), rng.prime(11, 499)),
        _ => (rng.prime(1, 500), rng.prime(2, 97)),
    };
    Sizes { base, step, modulus: rng.prime(2, 31) }
}

/// Loops over large blocks are short: the program's leaks stay within some hundred megabytes of address space.
fn count(rng: &mut Rng, sizes: Sizes) -> usize {
    if sizes.base > 100_000 { rng.prime(3, 23) } else { rng.prime(101, 997) }
}

fn simple_activity(rng: &mut Rng, key: usize, making: &[usize]) -> Activity {
    let sizes = sizes(rng);
    let count = count(rng, sizes);
    match rng.between(0, 2) {
        0 => Activity::Leak { key, count, sizes, depth: rng.between(0, 9) },
        1 => Activity::Churn { key, count: count * 3, sizes, depth: rng.between(0, 9) },
        _ => Activity::Cache { keys: [key, rng.pick(making)], count, capacity: rng.prime(2, 31), sizes },
    }
}

fn resizing_activity(rng: &mut Rng, resize: usize, making: &[usize]) -> Activity {
    let sizes = sizes(rng);
    let count = count(rng, sizes);
    if rng.between(0, 1) == 0 {
        let (links, keep) = (rng.between(2, 7), rng.prime(2, 7));
        Activity::Chain { key: rng.pick(making), resize, count: count / 2 + 1, links, keep, sizes }
    } else {
        let keys = [rng.pick(making), rng.pick(making), rng.pick(making)];
        Activity::Mix { keys, resize, count: count * 3, seed: rng.next(), sizes }
    }
}

/// Queues between pairs of threads. What a thread consumes comes last, so that no two threads wait for each other.
fn add_queues(rng: &mut Rng, threads: &mut [Vec<Activity>], making: &[usize]) -> Vec<usize> {
    if threads.len() < 2 {
        return Vec::new();
    }
    let queues: Vec<usize> = (0..rng.between(1, 3)).map(|_| rng.prime(101, 997)).collect();
    let mut consumers = Vec::new();
    for (queue, &count) in queues.iter().enumerate() {
        let producer = rng.between(0, threads.len() - 1);
        let consumer = (producer + rng.between(1, threads.len() - 1)) % threads.len();
        let mut sizes = sizes(rng);
        sizes.base %= 5_003;
        threads[producer].push(Activity::Produce { queue, key: rng.pick(making), count, sizes });
        consumers.push((consumer, Activity::Consume { queue, count, keep: rng.prime(2, 13) }));
    }
    for (consumer, activity) in consumers {
        threads[consumer].push(activity);
    }
    queues
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.between(0, last));
    }
}
