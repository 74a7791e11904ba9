//! The allocators that are known, by the symbols they are recognised by, and the functions of each.

use tracer_common::heap::Function;

use super::symbols::Symbols;

/// A function to probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct FunctionRow {
    /// The symbol, without the allocator's prefix.
    pub symbol: &'static str,
    /// How its arguments are read and what its result means.
    pub function: Function,
}

/// An allocator by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The GNU C library's.
    Glibc,
    /// musl's, the old one and mallocng.
    Musl,
    /// jemalloc, perhaps with a prefix.
    Jemalloc,
    /// gperftools' or Google's tcmalloc.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// Defines `malloc` and `free`, and is none of the others: a debugging allocator, a sanitizer's, …
    Unknown,
    /// Named by the user.
    Named,
}

impl Family {
    /// The word shown to people, and used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Jemalloc => "jemalloc",
            Self::Tcmalloc => "tcmalloc",
            Self::Mimalloc => "mimalloc",
            Self::Unknown => "unknown",
            Self::Named => "named",
        }
    }
}

const fn row(symbol: &'static str, function: Function) -> FunctionRow {
    FunctionRow { symbol, function }
}

/// The C library's functions, those of C23 and the BSDs too. One that is absent is not an error.
const C: &[FunctionRow] = &[
    row("malloc", Function::Malloc),
    row("free", Function::Free),
    row("calloc", Function::Calloc),
    row("realloc", Function::Realloc),
    row("reallocarray", Function::Reallocarray),
    row("posix_memalign", Function::PosixMemalign),
    row("aligned_alloc", Function::AlignedAlloc),
    row("memalign", Function::Memalign),
    row("valloc", Function::Valloc),
    row("pvalloc", Function::Pvalloc),
    row("cfree", Function::Release),
    row("free_sized", Function::Release),
    row("free_aligned_sized", Function::Release),
    row("reallocf", Function::Reallocf),
];

/// `operator new` and `operator delete` in all their forms. Only where an allocator brings its own: the C++ runtime's call
/// `malloc` and `free`.
const OPERATORS: &[FunctionRow] = &[
    row("_Znwm", Function::New),
    row("_Znam", Function::New),
    row("_ZnwmSt11align_val_t", Function::New),
    row("_ZnamSt11align_val_t", Function::New),
    row("_ZnwmRKSt9nothrow_t", Function::Malloc),
    row("_ZnamRKSt9nothrow_t", Function::Malloc),
    row("_ZnwmSt11align_val_tRKSt9nothrow_t", Function::Malloc),
    row("_ZnamSt11align_val_tRKSt9nothrow_t", Function::Malloc),
    row("_ZdlPv", Function::Release),
    row("_ZdaPv", Function::Release),
    row("_ZdlPvm", Function::Release),
    row("_ZdaPvm", Function::Release),
    row("_ZdlPvSt11align_val_t", Function::Release),
    row("_ZdaPvSt11align_val_t", Function::Release),
    row("_ZdlPvmSt11align_val_t", Function::Release),
    row("_ZdaPvmSt11align_val_t", Function::Release),
    row("_ZdlPvRKSt9nothrow_t", Function::Release),
    row("_ZdaPvRKSt9nothrow_t", Function::Release),
    row("_ZdlPvSt11align_val_tRKSt9nothrow_t", Function::Release),
    row("_ZdaPvSt11align_val_tRKSt9nothrow_t", Function::Release),
];

/// jemalloc's own (jemalloc(3), "Non-standard API"). `xallocx` is the one that resizes in place or not at all.
const JEMALLOC: &[FunctionRow] = &[
    row("mallocx", Function::Malloc),
    row("rallocx", Function::Realloc),
    row("xallocx", Function::Xallocx),
    row("dallocx", Function::Release),
    row("sdallocx", Function::Release),
];

/// tcmalloc's own: gperftools' names (gperftools/tcmalloc.h), and Google's extensions.
const TCMALLOC: &[FunctionRow] = &[
    row("tc_malloc", Function::Malloc),
    row("tc_malloc_skip_new_handler", Function::Malloc),
    row("tc_free", Function::Free),
    row("tc_calloc", Function::Calloc),
    row("tc_realloc", Function::Realloc),
    row("tc_memalign", Function::Memalign),
    row("tc_posix_memalign", Function::PosixMemalign),
    row("tc_valloc", Function::Valloc),
    row("tc_pvalloc", Function::Pvalloc),
    row("tc_cfree", Function::Release),
    row("tc_free_sized", Function::Release),
    row("tc_new", Function::New),
    row("tc_newarray", Function::New),
    row("tc_new_aligned", Function::New),
    row("tc_newarray_aligned", Function::New),
    row("tc_new_nothrow", Function::Malloc),
    row("tc_newarray_nothrow", Function::Malloc),
    row("tc_new_aligned_nothrow", Function::Malloc),
    row("tc_newarray_aligned_nothrow", Function::Malloc),
    row("tc_delete", Function::Release),
    row("tc_deletearray", Function::Release),
    row("tc_delete_sized", Function::Release),
    row("tc_deletearray_sized", Function::Release),
    row("tc_delete_aligned", Function::Release),
    row("tc_deletearray_aligned", Function::Release),
    row("tc_delete_sized_aligned", Function::Release),
    row("tc_deletearray_sized_aligned", Function::Release),
    row("tc_delete_nothrow", Function::Release),
    row("tc_deletearray_nothrow", Function::Release),
    row("tc_delete_aligned_nothrow", Function::Release),
    row("tc_deletearray_aligned_nothrow", Function::Release),
    row("sdallocx", Function::Release),
    row("_Znwm12__hot_cold_t", Function::New),
    row("_Znam12__hot_cold_t", Function::New),
    row("_ZnwmSt11align_val_t12__hot_cold_t", Function::New),
    row("_ZnamSt11align_val_t12__hot_cold_t", Function::New),
    row("_ZnwmRKSt9nothrow_t12__hot_cold_t", Function::Malloc),
    row("_ZnamRKSt9nothrow_t12__hot_cold_t", Function::Malloc),
    row("tcmalloc_size_returning_operator_new", Function::New),
    row("tcmalloc_size_returning_operator_new_aligned", Function::New),
    row("tcmalloc_size_returning_operator_new_nothrow", Function::Malloc),
    row("tcmalloc_size_returning_operator_new_aligned_nothrow", Function::Malloc),
];

/// mimalloc's own (mimalloc.h of 2.x and 3.x). `mi_new_realloc`, `mi_reallocarr`, `mi_realpath` call others of these.
const MIMALLOC: &[FunctionRow] = &[
    row("mi_malloc", Function::Malloc),
    row("mi_zalloc", Function::Malloc),
    row("mi_malloc_small", Function::Malloc),
    row("mi_zalloc_small", Function::Malloc),
    row("mi_malloc_aligned", Function::Malloc),
    row("mi_zalloc_aligned", Function::Malloc),
    row("mi_malloc_aligned_at", Function::Malloc),
    row("mi_zalloc_aligned_at", Function::Malloc),
    row("mi_umalloc", Function::Malloc),
    row("mi_uzalloc", Function::Malloc),
    row("mi_umalloc_small", Function::Malloc),
    row("mi_uzalloc_small", Function::Malloc),
    row("mi_umalloc_aligned", Function::Malloc),
    row("mi_uzalloc_aligned", Function::Malloc),
    row("mi_new_nothrow", Function::Malloc),
    row("mi_new_aligned_nothrow", Function::Malloc),
    row("_aligned_malloc", Function::Malloc),
    row("mi_free", Function::Free),
    row("mi_calloc", Function::Calloc),
    row("mi_ucalloc", Function::Calloc),
    row("mi_mallocn", Function::Calloc),
    row("mi_calloc_aligned", Function::Calloc),
    row("mi_calloc_aligned_at", Function::Calloc),
    row("mi_realloc", Function::Realloc),
    row("mi_urealloc", Function::Realloc),
    row("mi_rezalloc", Function::Realloc),
    row("mi_realloc_aligned", Function::Realloc),
    row("mi_rezalloc_aligned", Function::Realloc),
    row("mi_realloc_aligned_at", Function::Realloc),
    row("mi_rezalloc_aligned_at", Function::Realloc),
    row("mi_expand", Function::Realloc),
    row("mi_reallocf", Function::Reallocf),
    row("mi_reallocn", Function::Reallocarray),
    row("mi_reallocarray", Function::Reallocarray),
    row("mi_recalloc", Function::Reallocarray),
    row("mi_recalloc_aligned", Function::Reallocarray),
    row("mi_recalloc_aligned_at", Function::Reallocarray),
    row("mi_aligned_recalloc", Function::Reallocarray),
    row("mi_posix_memalign", Function::PosixMemalign),
    row("mi_aligned_alloc", Function::AlignedAlloc),
    row("mi_memalign", Function::Memalign),
    row("mi_valloc", Function::Valloc),
    row("mi_pvalloc", Function::Pvalloc),
    row("mi_new", Function::New),
    row("mi_new_aligned", Function::New),
    row("mi_new_n", Function::NewArray),
    row("mi_heap_alloc_new", Function::HeapNew),
    row("mi_heap_alloc_new_n", Function::HeapNewArray),
    row("mi_heap_malloc", Function::HeapMalloc),
    row("mi_heap_zalloc", Function::HeapMalloc),
    row("mi_heap_malloc_small", Function::HeapMalloc),
    row("mi_heap_zalloc_small", Function::HeapMalloc),
    row("mi_heap_malloc_aligned", Function::HeapMalloc),
    row("mi_heap_zalloc_aligned", Function::HeapMalloc),
    row("mi_heap_malloc_aligned_at", Function::HeapMalloc),
    row("mi_heap_zalloc_aligned_at", Function::HeapMalloc),
    row("mi_heap_calloc", Function::HeapCalloc),
    row("mi_heap_mallocn", Function::HeapCalloc),
    row("mi_heap_calloc_aligned", Function::HeapCalloc),
    row("mi_heap_calloc_aligned_at", Function::HeapCalloc),
    row("mi_heap_realloc", Function::HeapRealloc),
    row("mi_heap_rezalloc", Function::HeapRealloc),
    row("mi_heap_realloc_aligned", Function::HeapRealloc),
    row("mi_heap_rezalloc_aligned", Function::HeapRealloc),
    row("mi_heap_realloc_aligned_at", Function::HeapRealloc),
    row("mi_heap_rezalloc_aligned_at", Function::HeapRealloc),
    row("mi_heap_reallocf", Function::HeapReallocf),
    row("_mi_heap_realloc_zero", Function::HeapRealloc),
    row("_mi_theap_realloc_zero", Function::HeapRealloc),
    row("mi_heap_reallocn", Function::HeapReallocarray),
    row("mi_heap_recalloc", Function::HeapReallocarray),
    row("mi_heap_recalloc_aligned", Function::HeapReallocarray),
    row("mi_heap_recalloc_aligned_at", Function::HeapReallocarray),
    row("mi_theap_malloc", Function::HeapMalloc),
    row("mi_theap_zalloc", Function::HeapMalloc),
    row("mi_theap_malloc_small", Function::HeapMalloc),
    row("mi_theap_zalloc_small", Function::HeapMalloc),
    row("mi_theap_malloc_aligned", Function::HeapMalloc),
    row("mi_theap_zalloc_aligned", Function::HeapMalloc),
    row("mi_theap_calloc", Function::HeapCalloc),
    row("mi_theap_mallocn", Function::HeapCalloc),
    row("mi_theap_realloc", Function::HeapRealloc),
    row("mi_theap_rezalloc", Function::HeapRealloc),
    row("mi_theap_realloc_aligned", Function::HeapRealloc),
    row("mi_theap_reallocn", Function::HeapReallocarray),
    row("mi_theap_recalloc", Function::HeapReallocarray),
    row("mi_theap_alloc_new", Function::HeapNew),
    row("mi_theap_alloc_new_n", Function::HeapNewArray),
    row("mi_cfree", Function::Release),
    row("mi_ufree", Function::Release),
    row("mi_free_size", Function::Release),
    row("mi_free_aligned", Function::Release),
    row("mi_free_size_aligned", Function::Release),
    row("mi_free_small", Function::Release),
    row("vfree", Function::Release),
];

/// Functions of known allocators that cannot be probed, and why. `doctor` says so.
pub(super) const NOT_PROBED: &[(&str, &str)] = &[
    ("mi_strdup", STRING),
    ("mi_strndup", STRING),
    ("mi_heap_strdup", STRING),
    ("mi_heap_strndup", STRING),
    ("mi_mbsdup", STRING),
    ("mi_wcsdup", STRING),
    ("mi_heap_destroy", "frees all blocks of a heap without naming them: they stay counted as outstanding"),
    ("mi_reallocarr", "is given the address of the pointer; the functions that it calls are probed"),
    ("mi_new_realloc", "may throw; mi_realloc, which it calls, is probed"),
    ("mi_new_reallocn", "may throw; mi_realloc, which it calls, is probed"),
];
const STRING: &str = "the size of the block is not among its arguments: blocks that it makes are not counted";

/// An allocator found in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allocator {
    /// Its kind.
    pub family: Family,
    /// What stands before the names of its functions.
    pub prefix: String,
}

impl Allocator {
    /// Its functions, those first whose names are shown where several are one.
    pub(super) fn tables(&self) -> &'static [&'static [FunctionRow]] {
        match (self.family, self.prefix.is_empty()) {
            (Family::Glibc | Family::Musl, _) => &[C],
            (Family::Jemalloc, true) => &[C, JEMALLOC, OPERATORS],
            (Family::Jemalloc, false) => &[C, JEMALLOC],
            (Family::Tcmalloc, _) => &[C, OPERATORS, TCMALLOC],
            (Family::Mimalloc, _) => &[C, MIMALLOC, OPERATORS],
            (Family::Unknown, _) => &[C, OPERATORS],
            (Family::Named, true) => &[C, JEMALLOC, OPERATORS],
            (Family::Named, false) => &[C, JEMALLOC],
        }
    }

    fn new(family: Family, prefix: &str) -> Self {
        Self { family, prefix: prefix.to_owned() }
    }
}

/// The allocators that a module's symbols show. Several can be in one file: a static program has its C library's, and
/// perhaps another under a prefix.
pub(super) fn recognise(symbols: &Symbols) -> Vec<Allocator> {
    let has = |name: &str| symbols.get(name).is_some();
    let at = |name: &str| symbols.get(name).map(|symbol| symbol.address);
    let mut found = Vec::new();
    let mut owns_malloc = false;
    for prefix in jemalloc_prefixes(symbols) {
        owns_malloc |= prefix.is_empty();
        found.push(Allocator::new(Family::Jemalloc, &prefix));
    }
    let is_malloc = |own: &str| at(own).is_some() && at(own) == at("malloc");
    // A linker drops what nobody calls: Rust's mimalloc has little more than mi_malloc_aligned left.
    if has("mi_free") && symbols.names().any(|name| name.starts_with("mi_malloc") || name.starts_with("mi_heap_malloc"))
    {
        // Without an override of its own, `malloc` beside it is the C library's of a static program.
        owns_malloc |= is_malloc("mi_malloc");
        found.push(Allocator::new(Family::Mimalloc, ""));
    }
    if has("tc_malloc") || has("TCMallocInternalMalloc") {
        owns_malloc |= is_malloc("tc_malloc") || is_malloc("TCMallocInternalMalloc");
        found.push(Allocator::new(Family::Tcmalloc, ""));
    }
    let is_public = |name: &str| symbols.get(name).is_some_and(|symbol| !symbol.local);
    if !owns_malloc && is_public("malloc") && is_public("free") && !is_dynamic_linker(symbols) {
        found.push(Allocator::new(c_library(symbols), ""));
    }
    found
}

/// `je_`, `_rjem_`, nothing, …: whatever stands before the name of a function that only jemalloc has. Google's tcmalloc
/// has `sdallocx` too, without a prefix.
fn jemalloc_prefixes(symbols: &Symbols) -> Vec<String> {
    let mut prefixes: Vec<String> = symbols
        .names()
        .filter_map(|name| {
            let prefix = ["mallocx", "mallctl", "sdallocx"]
                .into_iter()
                .find_map(|marker| Some((name.strip_suffix(marker)?, marker)));
            prefix.filter(|(prefix, marker)| !prefix.is_empty() || *marker != "sdallocx")
        })
        .map(|(prefix, _)| prefix.to_owned())
        .filter(|prefix| {
            let has = |name: &str| symbols.get(&format!("{prefix}{name}")).is_some();
            (has("malloc") || has("mallocx")) && (has("free") || has("sdallocx") || has("dallocx"))
        })
        .collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn c_library(symbols: &Symbols) -> Family {
    let has = |names: &[&str]| names.iter().any(|name| symbols.get(name).is_some());
    if has(&["gnu_get_libc_version", "__libc_mallopt", "_int_malloc", "__libc_mallinfo"]) {
        Family::Glibc
    } else if has(&["__libc_malloc_impl", "__malloc_allzerop", "__malloc_replaced", "__libc_start_main"]) {
        Family::Musl
    } else {
        Family::Unknown
    }
}

/// A function that dynamic linkers define. Before glibc 2.31 its linker also had a small malloc of its own for its own
/// start, which is not the program's heap.
const DYNAMIC_LINKER_SYMBOL: &str = "__tls_get_addr";
/// A function of every whole allocator. musl's dynamic linker has it: it is one file with the C library.
const WHOLE_ALLOCATOR_SYMBOL: &str = "posix_memalign";

/// Whether the module is a dynamic linker and nothing else.
fn is_dynamic_linker(symbols: &Symbols) -> bool {
    symbols.get(DYNAMIC_LINKER_SYMBOL).is_some() && symbols.get(WHOLE_ALLOCATOR_SYMBOL).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(names: &[&str]) -> Vec<(Family, String)> {
        let symbols = Symbols::of_names(names);
        recognise(&symbols).into_iter().map(|allocator| (allocator.family, allocator.prefix)).collect()
    }

    #[test]
    fn families_are_told_by_their_symbols() {
        let is = |names: &[&str], family, prefix: &str| assert_eq!(recognised(names), [(family, prefix.to_owned())]);
        is(&["malloc", "free", "gnu_get_libc_version"], Family::Glibc, "");
        is(&["malloc", "free", "__libc_start_main"], Family::Musl, "");
        is(&["malloc", "free"], Family::Unknown, "");
        is(&["malloc", "free", "mallctl"], Family::Jemalloc, "");
        is(&["_rjem_mallocx", "_rjem_sdallocx"], Family::Jemalloc, "_rjem_");
        is(&["je_malloc", "je_free", "je_mallctl"], Family::Jemalloc, "je_");
        assert_eq!(recognised(&["free", "sdallocx", "TCMallocInternalMalloc"])[0].0, Family::Tcmalloc);
        is(&["mi_malloc_aligned", "mi_free"], Family::Mimalloc, "");
        assert!(recognised(&["malloc"]).is_empty());
        assert!(recognised(&["malloc", "free", "__tls_get_addr"]).is_empty(), "a dynamic linker");
    }

    #[test]
    fn a_static_program_has_its_c_library_s_too() {
        let both = recognised(&["_rjem_malloc", "_rjem_free", "_rjem_mallctl", "malloc", "free", "__malloc_replaced"]);
        assert_eq!(both, [(Family::Jemalloc, "_rjem_".to_owned()), (Family::Musl, String::new())]);
    }

    #[test]
    fn a_function_stands_in_a_table_once() {
        for family in [Family::Jemalloc, Family::Tcmalloc, Family::Mimalloc, Family::Unknown] {
            let rows: Vec<_> = Allocator::new(family, "").tables().concat();
            let mut names: Vec<_> = rows.iter().map(|row| row.symbol).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), rows.len(), "{family:?}");
        }
    }
}
