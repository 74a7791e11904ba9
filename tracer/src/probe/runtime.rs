//! Runtimes that keep a heap of their own: what they allocate there goes past every allocator that can be probed.

use object::{Endianness, Object as _, ObjectSymbol, ReadRef, read::elf::ElfFile64};

/// A runtime with a heap of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    /// Go's.
    Go,
    /// V8's: node, Chromium.
    V8,
    /// A Java virtual machine's.
    Jvm,
}

impl Runtime {
    /// What of it is traced, and what is not, with the tool for the rest.
    pub fn note(self) -> &'static str {
        match self {
            Self::Go => {
                "Go code allocates in a heap of its own, which is not traced: what grows there, its own profiler shows \
                 (go tool pprof .../debug/pprof/heap). What C code in it allocates is traced, and so is what the runtime maps"
            }
            Self::V8 => {
                "JavaScript objects live in a heap of V8's own: what that maps is traced (kind mmap), not each object; take heap \
                 snapshots for those. Buffers and native code are traced"
            }
            Self::Jvm => {
                "Java objects live in a heap of the virtual machine's own, which it maps at its start: take a heap dump for \
                 those. Native memory is traced"
            }
        }
    }
}

/// The runtime that a module is, or has in it.
pub(super) fn runtime_of<'data, R: ReadRef<'data>>(file: &ElfFile64<'data, Endianness, R>) -> Option<Runtime> {
    if file.section_by_name_bytes(b".go.buildinfo").is_some() || file.section_by_name_bytes(b".gopclntab").is_some() {
        return Some(Runtime::Go);
    }
    // Both export what tells them.
    file.dynamic_symbols().filter(ObjectSymbol::is_definition).find_map(|symbol| match symbol.name_bytes() {
        Ok(b"JNI_CreateJavaVM") => Some(Runtime::Jvm),
        Ok(name) if name.starts_with(b"_ZN2v87Isolate") || name.starts_with(b"_ZNK2v87Isolate") => Some(Runtime::V8),
        _ => None,
    })
}
