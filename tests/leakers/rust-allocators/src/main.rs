//! What Rust programs allocate with, on an allocator that is linked into them: boxes, vectors that grow, zeroed and
//! over-aligned memory. Each site is two functions deep, because the standard library's are inlined or not as they please.

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc},
    hint::black_box,
    io::Write as _,
    mem::forget,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Site {
    name: &'static str,
    alloc: (u64, u64),
    free: (u64, u64),
}

impl Site {
    fn took(&mut self, bytes: usize) {
        self.alloc.0 += bytes as u64;
        self.alloc.1 += 1;
    }

    fn gave(&mut self, bytes: usize) {
        self.free.0 += bytes as u64;
        self.free.1 += 1;
    }
}

/// One write for each line, without the buffer of standard output, which is an allocation.
fn say(line: std::fmt::Arguments<'_>) {
    let mut buffer = [0; 512];
    let mut rest = &mut buffer[..];
    writeln!(rest, "{line}").expect("a short line");
    let left = rest.len();
    let file = std::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(1) });
    (&*file).write_all(&buffer[..512 - left]).expect("the suite listens");
}

fn hear() {
    let file = std::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(0) });
    let mut byte = [0];
    while std::io::Read::read(&mut &*file, &mut byte).expect("the suite speaks") == 1 && byte[0] != b'\n' {}
}

#[inline(never)]
fn site_box() -> Box<[u8; 1009]> {
    black_box(Box::new([7; 1009]))
}

#[inline(never)]
fn site_push(vec: &mut Vec<u64>, value: u64) {
    vec.push(value);
    black_box(vec);
}

#[inline(never)]
fn site_zeroed(layout: Layout) -> *mut u8 {
    black_box(unsafe { alloc_zeroed(layout) })
}

#[inline(never)]
fn site_aligned(layout: Layout) -> *mut u8 {
    black_box(unsafe { alloc(layout) })
}

#[inline(never)]
fn site_realloc(p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    black_box(unsafe { realloc(p, layout, size) })
}

fn main() {
    let names = ["site_box", "site_push", "site_zeroed", "site_aligned", "site_realloc"];
    let mut sites = names.map(|name| Site { name, ..Site::default() });
    let [boxes, pushes, zeroed, aligned, reallocs] = &mut sites;
    say(format_args!("ready"));
    hear();
    for i in 0..101 {
        let block = site_box();
        boxes.took(1009);
        if i % 3 == 0 {
            drop(block);
            boxes.gave(1009);
        } else {
            forget(block);
        }
    }
    for _ in 0..7 {
        let mut vec = Vec::new();
        for value in 0..1009 {
            let before = vec.capacity() * 8;
            site_push(&mut vec, value);
            if vec.capacity() * 8 != before {
                pushes.took(vec.capacity() * 8);
                if before > 0 {
                    pushes.gave(before);
                }
            }
        }
        forget(vec);
    }
    let plain = Layout::from_size_align(613, 8).expect("a layout");
    for i in 0..103 {
        let p = site_zeroed(plain);
        zeroed.took(613);
        if i % 3 == 0 {
            unsafe { dealloc(p, plain) };
            zeroed.gave(613);
        }
    }
    let wide = Layout::from_size_align(1777, 256).expect("a layout");
    for i in 0..107 {
        let p = site_aligned(wide);
        aligned.took(1777);
        if i % 3 == 0 {
            unsafe { dealloc(p, wide) };
            aligned.gave(1777);
        } else if i % 3 == 1 {
            site_realloc(p, wide, 4999);
            aligned.gave(1777);
            reallocs.took(4999);
        }
    }
    for Site { name, alloc, free } in &sites {
        say(format_args!(
            "{{\"site\":\"{name}\",\"alloc_bytes\":{},\"alloc_objects\":{},\"free_bytes\":{},\"free_objects\":{},\
             \"inuse_bytes\":{},\"inuse_objects\":{}}}",
            alloc.0,
            alloc.1,
            free.0,
            free.1,
            alloc.0 - free.0,
            alloc.1 - free.1,
        ));
    }
    say(format_args!("done"));
    hear();
}
