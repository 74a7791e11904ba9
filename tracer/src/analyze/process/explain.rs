//! What resident memory is besides the blocks that are outstanding.
//!
//! RSS and outstanding bytes never agree: allocators keep what was freed, runtimes map memory of their own, files are mapped.
//! This splits RSS into parts, each from a figure of the kernel's or the tracer's, and calls the rest what it is: retained.

use crate::report::units::{bytes, counted};

/// glibc, jemalloc, tcmalloc and mimalloc take 0 to 16 bytes more for a block, and round its size up by a quarter at most;
/// half of that is taken for the cost of blocks.
const BLOCK_OVERHEAD: u64 = 8;
/// A part below this share of RSS is not spoken of.
const WORTH_SAYING: f64 = 0.05;

/// A language's own memory manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Node and others with V8.
    V8,
    /// Go.
    Go,
    /// A Java virtual machine.
    Jvm,
    /// .NET.
    DotNet,
    /// CPython, whose small objects are in arenas of 256 KiB or 1 MiB.
    Python,
    /// Ruby, whose objects are in slots of 64 KiB pages.
    Ruby,
}

impl Runtime {
    /// Whether what is garbage stays until a collector comes by, and with it what it holds outside of the runtime's heap.
    pub fn collects(self) -> bool {
        // CPython frees what has no references at once, all but cycles.
        !matches!(self, Self::Python)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V8 => "V8",
            Self::Go => "the Go runtime",
            Self::Jvm => "the JVM",
            Self::DotNet => ".NET",
            Self::Python => "Python",
            Self::Ruby => "Ruby",
        }
    }
}

/// The runtime of a process, by its kernel name and the base names of its executable and modules. Go is linked statically: its
/// caller knows it by the section `.go.buildinfo` and passes the name of that for a module.
pub fn runtime<'a>(comm: &'a str, names: impl IntoIterator<Item = &'a str>) -> Option<Runtime> {
    let known = |name: &str| {
        let begins = |prefix: &str| name.starts_with(prefix);
        match name {
            ".go.buildinfo" => Some(Runtime::Go),
            "node" | "nodejs" | "deno" | "electron" | "chrome" => Some(Runtime::V8),
            "java" => Some(Runtime::Jvm),
            "dotnet" => Some(Runtime::DotNet),
            _ if begins("libnode.so") || begins("libv8") => Some(Runtime::V8),
            _ if begins("libjvm.so") => Some(Runtime::Jvm),
            _ if begins("libcoreclr.so") => Some(Runtime::DotNet),
            _ if begins("libpython") || begins("python") => Some(Runtime::Python),
            _ if begins("libruby") || begins("ruby") => Some(Runtime::Ruby),
            _ => None,
        }
    };
    names.into_iter().chain([comm]).find_map(known)
}

/// What the kernel and the tracer know of a process's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentMemory {
    /// `Rss` of smaps_rollup.
    pub rss: u64,
    /// `Anonymous` of it: the heap, stacks, mappings without a file, changed pages of files.
    pub anonymous: u64,
    /// Shared memory and tmpfs among the rest (`RssShmem` of status).
    pub shared: u64,
    /// `Swap`: what is not resident for lack of room.
    pub swap: u64,
    /// `LazyFree`: given back with MADV_FREE, taken by the kernel when it needs it.
    pub lazy_free: u64,
    /// Resident in anonymous mappings that no traced allocator made: heaps of runtimes, stacks of threads.
    pub mapped: u64,
    /// Outstanding at all traced sites.
    pub outstanding: u64,
    /// In so many blocks.
    pub blocks: u64,
    /// Anonymous and resident when tracing began; zero for a program that was started by the tracer.
    pub at_attach: u64,
    /// Page cache charged to its cgroup (`file` of memory.stat), which is in no RSS.
    pub page_cache: Option<u64>,
    /// Its runtime.
    pub runtime: Option<Runtime>,
}

/// What a part of the memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Traced blocks and what the allocator adds to each.
    Blocks,
    /// It was there before the attach.
    BeforeAttach,
    /// Mapped by a runtime or for threads.
    Mapped,
    /// Files: code and mapped data, which the kernel can drop and read again.
    Files,
    /// Shared memory.
    Shared,
    /// Given back, not taken yet.
    LazyFree,
    /// Freed, but kept by the allocator, or in holes between blocks.
    Retained,
}

/// A part of the resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What.
    pub kind: PartKind,
    /// How much.
    pub bytes: u64,
}

/// Where resident memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The parts, the largest first; they add up to RSS.
    pub parts: Vec<Part>,
    /// In words: a sentence for each part worth it.
    pub words: String,
}

/// Splits resident memory into its parts. Each has no more than the ones before it have left over, so they always add up.
pub fn explain(memory: &ResidentMemory) -> Explanation {
    let mut left = memory.rss;
    let mut take = |bytes: u64| {
        let taken = bytes.min(left);
        left -= taken;
        taken
    };
    let anonymous = memory.anonymous.min(memory.rss);
    let shared = take(memory.shared);
    let files = take(memory.rss.saturating_sub(anonymous).saturating_sub(shared));
    let lazy_free = take(memory.lazy_free);
    let blocks = take(memory.outstanding.saturating_add(memory.blocks.saturating_mul(BLOCK_OVERHEAD)));
    let mapped = take(memory.mapped);
    // What was there may have been given back since; mappings are counted already.
    let before = take(memory.at_attach.saturating_sub(mapped));
    let kinds = [
        (PartKind::Blocks, blocks),
        (PartKind::BeforeAttach, before),
        (PartKind::Mapped, mapped),
        (PartKind::Files, files),
        (PartKind::Shared, shared),
        (PartKind::LazyFree, lazy_free),
        (PartKind::Retained, left),
    ];
    let mut parts: Vec<Part> =
        kinds.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(kind, bytes)| Part { kind, bytes }).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let words = words(memory, &parts);
    Explanation { parts, words }
}

fn words(memory: &ResidentMemory, parts: &[Part]) -> String {
    let mut sentences = vec![format!("{} are resident.", bytes(memory.rss))];
    let least = (memory.rss as f64 * WORTH_SAYING) as u64;
    sentences.extend(parts.iter().filter(|part| part.bytes > least).map(|part| sentence(memory, part)));
    if memory.swap > least {
        sentences.push(format!("{} more are swapped out.", bytes(memory.swap)));
    }
    if let Some(cache) = memory.page_cache.filter(|cache| *cache > least) {
        sentences.push(format!(
            "{} of page cache are charged to the cgroup besides; the kernel drops them before it runs out.",
            bytes(cache)
        ));
    }
    sentences.join(" ")
}

fn sentence(memory: &ResidentMemory, part: &Part) -> String {
    let size = bytes(part.bytes);
    match part.kind {
        PartKind::Blocks => {
            format!("{size} are outstanding in {} that were traced.", counted(memory.blocks, "block", "blocks"))
        }
        PartKind::BeforeAttach => format!("{size} were there before the attach, and are not known by call site."),
        PartKind::Mapped => match memory.runtime {
            Some(runtime) => format!(
                "{size} were mapped by {} or for threads: objects of the language are not blocks of an allocator; look at them with its own tools.",
                runtime.name()
            ),
            None => format!("{size} were mapped by the program itself or for threads, past the allocators."),
        },
        PartKind::Files => {
            format!("{size} are pages of files (code, libraries, mapped data), which the kernel can drop.")
        }
        PartKind::Shared => format!("{size} are shared memory."),
        PartKind::LazyFree => format!("{size} were given back, and the kernel takes them when it needs memory."),
        PartKind::Retained => {
            let hint = match memory.runtime {
                Some(Runtime::Python) => " Python keeps arenas as long as one object in them lives.",
                Some(Runtime::Ruby) => " Ruby keeps pages of slots as long as one object in them lives.",
                Some(_) => " Part of it may be the runtime's.",
                None => "",
            };
            format!("{size} are no blocks: freed, and kept by the allocator or in holes between blocks.{hint}")
        }
    }
}
