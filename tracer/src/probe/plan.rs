//! The attach plan: a table of probe points, made from the symbols and the code of the modules.

use std::collections::BTreeMap;

use object::{
    Object, ObjectSegment, ObjectSymbol, ReadRef, SymbolKind,
    read::elf::{ElfFile64, FileHeader},
};
use thiserror::Error;
use tracer_common::heap::Function;

use super::{
    allocator::{FUNCTIONS, FunctionRow},
    point::{Cost, choose},
};

/// Entry or return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Hit when the function is called.
    Entry,
    /// Hit when it returns.
    Return,
}

impl ProbeKind {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
        }
    }
}

/// One probe to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// Index into the list of modules the plan was made from.
    pub module: usize,
    /// The symbol, for people.
    pub symbol: &'static str,
    /// What the program must know of it.
    pub function: Function,
    /// Entry or return.
    pub kind: ProbeKind,
    /// Bytes from the function's start.
    pub offset: u64,
    /// Where that is in the module's file.
    pub file_offset: u64,
    /// What a hit costs.
    pub cost: Cost,
}

/// All probes for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachPlan {
    /// In the order of attaching: returns before entries, so that a call whose entry is seen has its return seen too.
    pub points: Vec<AttachPoint>,
}

/// Why a module gives no probe points.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not an ELF file for x86-64.
    #[error("not an x86-64 ELF file: {0}")]
    NotElf(String),
}

impl AttachPlan {
    /// Adds the probes of a module. A module that defines no `malloc` and `free` adds none.
    ///
    /// Returns how many probe points were added.
    ///
    /// # Errors
    /// When the module cannot be parsed.
    pub fn add_module<'data>(&mut self, module: usize, data: impl ReadRef<'data>) -> Result<usize, PlanError> {
        let file =
            ElfFile64::<object::Endianness, _>::parse(data).map_err(|error| PlanError::NotElf(error.to_string()))?;
        if file.elf_header().e_machine(file.endian()) != object::elf::EM_X86_64 {
            return Err(PlanError::NotElf("another machine".into()));
        }
        let symbols = defined_functions(&file);
        if !(symbols.contains_key("malloc") && symbols.contains_key("free")) || is_dynamic_linker(&symbols) {
            return Ok(0);
        }
        let mut seen = Vec::new();
        let before = self.points.len();
        for row in FUNCTIONS {
            let Some(&(address, size)) = symbols.get(row.symbol) else { continue };
            // Aliases are one function: aligned_alloc and memalign in glibc.
            if seen.contains(&address) {
                continue;
            }
            seen.push(address);
            self.add_function(module, &file, data, *row, address, size);
        }
        self.points.sort_by_key(|point| point.kind == ProbeKind::Entry);
        Ok(self.points.len() - before)
    }

    fn add_function<'data, R: ReadRef<'data>>(
        &mut self,
        module: usize,
        file: &ElfFile64<'data, object::Endianness, R>,
        data: R,
        row: FunctionRow,
        address: u64,
        size: u64,
    ) {
        let Some(start) = file_offset(file, address) else { return };
        let Ok(code) = data.read_bytes_at(start, size.clamp(1, MAX_FUNCTION)) else { return };
        let point = choose(code, row.needs());
        let base = AttachPoint {
            module,
            symbol: row.symbol,
            function: row.function,
            kind: ProbeKind::Entry,
            offset: point.offset,
            file_offset: start + point.offset,
            cost: point.cost,
        };
        if row.returns {
            self.points.push(AttachPoint { kind: ProbeKind::Return, ..base.clone() });
        }
        self.points.push(base);
    }
}

/// A function larger than this is not looked through for branches beyond it.
const MAX_FUNCTION: u64 = 1 << 20;

/// Functions with an address in the module, by name, from the dynamic symbols and, where there are any, the static
/// ones. With several versions of a symbol the first one holds.
fn defined_functions<'data, R: ReadRef<'data>>(
    file: &ElfFile64<'data, object::Endianness, R>,
) -> BTreeMap<&'data str, (u64, u64)> {
    let mut found = BTreeMap::new();
    for symbol in file.dynamic_symbols().chain(file.symbols()) {
        if symbol.is_definition()
            && symbol.kind() == SymbolKind::Text
            && symbol.is_global()
            && let Ok(name) = symbol.name()
            && (FUNCTIONS.iter().any(|row| row.symbol == name) || name == DYNAMIC_LINKER_SYMBOL)
        {
            found.entry(name).or_insert((symbol.address(), symbol.size()));
        }
    }
    found
}

/// A function that dynamic linkers define. Before glibc 2.31 its linker also had a small malloc of its own for its own
/// start, which is not the program's heap.
const DYNAMIC_LINKER_SYMBOL: &str = "__tls_get_addr";
/// A function of every whole allocator. musl's dynamic linker has it: it is one file with the C library.
const WHOLE_ALLOCATOR_SYMBOL: &str = "posix_memalign";

/// Whether the module is a dynamic linker and nothing else.
fn is_dynamic_linker(symbols: &BTreeMap<&str, (u64, u64)>) -> bool {
    symbols.contains_key(DYNAMIC_LINKER_SYMBOL) && !symbols.contains_key(WHOLE_ALLOCATOR_SYMBOL)
}

fn file_offset<'data, R: ReadRef<'data>>(file: &ElfFile64<'data, object::Endianness, R>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within < size).then(|| offset.checked_add(within)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc() -> Vec<u8> {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
        let path = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("/libc.so") || path.contains("/libc-2"));
        std::fs::read(path.expect("a glibc in the test's own maps")).expect("libc's file")
    }

    #[test]
    fn libc_gives_an_entry_for_each_function_and_a_return_for_each_that_allocates() {
        let mut plan = AttachPlan::default();
        let added = plan.add_module(3, &libc()[..]).expect("libc is an ELF file");
        assert_eq!(added, plan.points.len());
        let entries: Vec<_> = plan.points.iter().filter(|p| p.kind == ProbeKind::Entry).collect();
        let returns: Vec<_> = plan.points.iter().filter(|p| p.kind == ProbeKind::Return).collect();
        for symbol in
            ["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "valloc", "pvalloc"]
        {
            let entry = entries.iter().find(|p| p.symbol == symbol).unwrap_or_else(|| panic!("no entry for {symbol}"));
            let back = returns.iter().find(|p| p.symbol == symbol).unwrap_or_else(|| panic!("no return for {symbol}"));
            assert_eq!(entry.file_offset, back.file_offset, "one breakpoint must serve both");
            assert_eq!(entry.module, 3);
        }
        assert_eq!(entries.iter().filter(|p| p.symbol == "free").count(), 1);
        assert!(!returns.iter().any(|p| p.symbol == "free"));
        let first_entry = plan.points.iter().position(|p| p.kind == ProbeKind::Entry).expect("entries");
        assert!(plan.points[first_entry..].iter().all(|p| p.kind == ProbeKind::Entry), "returns come first");
    }

    #[test]
    fn libc_s_hot_functions_are_cheap() {
        let mut plan = AttachPlan::default();
        plan.add_module(0, &libc()[..]).expect("libc is an ELF file");
        for symbol in ["malloc", "calloc", "realloc", "free"] {
            let point = plan.points.iter().find(|p| p.symbol == symbol).expect(symbol);
            assert_eq!(point.cost, Cost::Emulated, "{symbol}");
        }
    }

    #[test]
    fn no_file_and_a_file_without_malloc_add_nothing() {
        let mut plan = AttachPlan::default();
        assert!(matches!(plan.add_module(0, &b"\x7fELF"[..]), Err(PlanError::NotElf(_))));
        let own = std::fs::read("/proc/self/exe").expect("own executable");
        assert_eq!(plan.add_module(0, &own[..]), Ok(0));
        assert!(plan.points.is_empty());
    }

    #[test]
    fn a_truncated_libc_is_refused_or_gives_less_but_never_panics() {
        let libc = libc();
        for len in (0..libc.len()).step_by(libc.len() / 97) {
            let _ = AttachPlan::default().add_module(0, &libc[..len]);
        }
    }
}
