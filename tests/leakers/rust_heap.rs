//! What Rust programs allocate with: `Box`, `Vec`, `String`, `HashMap`, over-aligned and zeroed blocks; leaked by
//! `mem::forget`. The protocol is that of `leaker.h`; the ledger is static and is printed without allocating.

use std::{
    collections::HashMap,
    hint::black_box,
    io::{Read, Write},
    mem::forget,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// One site's ledger. `bytes_known` is false where the layout is the standard library's business.
struct Site {
    name: &'static str,
    bytes_known: bool,
    alloc_bytes: AtomicU64,
    alloc_objects: AtomicU64,
    free_bytes: AtomicU64,
    free_objects: AtomicU64,
}

impl Site {
    const fn new(name: &'static str, bytes_known: bool) -> Self {
        Self {
            name,
            bytes_known,
            alloc_bytes: AtomicU64::new(0),
            alloc_objects: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            free_objects: AtomicU64::new(0),
        }
    }

    fn took(&self, bytes: usize) {
        self.alloc_bytes.fetch_add(bytes as u64, Relaxed);
        self.alloc_objects.fetch_add(1, Relaxed);
    }

    fn gave(&self, bytes: usize) {
        self.free_bytes.fetch_add(bytes as u64, Relaxed);
        self.free_objects.fetch_add(1, Relaxed);
    }

    fn print(&self) {
        let Self { name, bytes_known, alloc_bytes, alloc_objects, free_bytes, free_objects } = self;
        let [alloc_bytes, alloc_objects, free_bytes, free_objects] =
            [alloc_bytes, alloc_objects, free_bytes, free_objects].map(|counter| counter.load(Relaxed));
        let inuse_bytes = alloc_bytes - free_bytes;
        let inuse_objects = alloc_objects - free_objects;
        if *bytes_known {
            println!(
                "{{\"site\":\"{name}\",\"inuse_bytes\":{inuse_bytes},\"inuse_objects\":{inuse_objects},\
                 \"alloc_bytes\":{alloc_bytes},\"alloc_objects\":{alloc_objects},\
                 \"free_bytes\":{free_bytes},\"free_objects\":{free_objects}}}"
            );
        } else {
            println!("{{\"site\":\"{name}\",\"inuse_objects\":{inuse_objects}}}");
        }
    }
}

static BOX: Site = Site::new("site_box", true);
static VEC: Site = Site::new("site_vec", true);
static ZEROED: Site = Site::new("site_zeroed", true);
static STRING: Site = Site::new("site_string", true);
static ALIGNED: Site = Site::new("site_aligned", true);
static MAP: Site = Site::new("site_map", false);
static THREAD: Site = Site::new("site_in_thread", true);

#[repr(align(256))]
struct Wide([u8; 256 * 5]);

/// Each site calls a function of its own, so that it is found even when a walk loses the innermost one.
mod site {
    use super::{HashMap, Wide, black_box};

    #[inline(never)]
    pub(super) fn site_box() -> Box<[u8; 1009]> {
        black_box(call_box())
    }

    #[inline(never)]
    fn call_box() -> Box<[u8; 1009]> {
        Box::new(black_box([7; 1009]))
    }

    #[inline(never)]
    pub(super) fn site_vec(vec: &mut Vec<u64>, value: u64) {
        call_vec(vec, value);
        black_box(&vec);
    }

    #[inline(never)]
    fn call_vec(vec: &mut Vec<u64>, value: u64) {
        vec.push(value);
    }

    #[inline(never)]
    pub(super) fn site_zeroed(n: usize) -> Vec<u8> {
        black_box(call_zeroed(n))
    }

    #[inline(never)]
    fn call_zeroed(n: usize) -> Vec<u8> {
        vec![0; n]
    }

    #[inline(never)]
    pub(super) fn site_string(string: &mut String) {
        call_string(string);
        black_box(&string);
    }

    #[inline(never)]
    fn call_string(string: &mut String) {
        string.push_str("leak");
    }

    #[inline(never)]
    pub(super) fn site_aligned() -> Box<Wide> {
        black_box(call_aligned())
    }

    #[inline(never)]
    fn call_aligned() -> Box<Wide> {
        Box::new(black_box(Wide([7; 256 * 5])))
    }

    #[inline(never)]
    pub(super) fn site_map(n: usize) -> HashMap<u64, u64> {
        black_box(call_map(n))
    }

    #[inline(never)]
    fn call_map(n: usize) -> HashMap<u64, u64> {
        HashMap::with_capacity(n)
    }

    #[inline(never)]
    pub(super) fn site_in_thread(n: usize) -> Vec<u8> {
        black_box(call_in_thread(n))
    }

    #[inline(never)]
    fn call_in_thread(n: usize) -> Vec<u8> {
        Vec::with_capacity(n)
    }
}

/// Counts what a growing buffer took and gave, from its capacities.
fn grew(site: &Site, before: usize, after: usize, element: usize) {
    if before != after {
        site.took(after * element);
        if before > 0 {
            site.gave(before * element);
        }
    }
}

fn work() {
    for i in 0..101 {
        let block = site::site_box();
        BOX.took(1009);
        if i % 3 == 0 {
            drop(block);
            BOX.gave(1009);
        } else {
            forget(block);
        }
    }
    for _ in 0..7 {
        let mut vec = Vec::new();
        for value in 0..1009 {
            let before = vec.capacity();
            site::site_vec(&mut vec, value);
            grew(&VEC, before, vec.capacity(), size_of::<u64>());
        }
        forget(vec);
    }
    for i in 0..103 {
        let block = site::site_zeroed(1013);
        ZEROED.took(1013);
        if i % 3 == 0 {
            drop(block);
            ZEROED.gave(1013);
        } else {
            forget(block);
        }
    }
    for _ in 0..11 {
        let mut string = String::new();
        for _ in 0..503 {
            let before = string.capacity();
            site::site_string(&mut string);
            grew(&STRING, before, string.capacity(), 1);
        }
        forget(string);
    }
    for i in 0..107 {
        let block = site::site_aligned();
        ALIGNED.took(block.0.len());
        if i % 3 == 0 {
            ALIGNED.gave(block.0.len());
            drop(block);
        } else {
            forget(block);
        }
    }
    for i in 0..109 {
        let map = site::site_map(211);
        MAP.took(0);
        if i % 3 == 0 {
            drop(map);
            MAP.gave(0);
        } else {
            forget(map);
        }
    }
    for _ in 0..5 {
        let thread = std::thread::spawn(|| {
            for _ in 0..113 {
                forget(site::site_in_thread(1019));
                THREAD.took(1019);
            }
        });
        thread.join().expect("the thread does not panic");
    }
}

/// Blocks on a line from stdin.
fn hear() {
    let mut stdin = std::io::stdin().lock();
    let mut byte = [0];
    while byte[0] != b'\n' {
        stdin.read_exact(&mut byte).expect("the suite sends a line");
    }
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("the suite listens");
}

fn main() {
    say("ready");
    hear();
    work();
    for site in [&BOX, &VEC, &ZEROED, &STRING, &ALIGNED, &MAP, &THREAD] {
        site.print();
    }
    say("done");
    hear();
}
