//! The allocator functions that are probed.

use tracer_common::heap::Function;

use super::point::Needs;

/// A function to probe and what its probe reads.
#[derive(Clone, Copy, Debug)]
pub struct FunctionRow {
    /// The symbol.
    pub symbol: &'static str,
    /// How its arguments are read.
    pub function: Function,
    /// Argument registers read at its entry.
    pub arguments: usize,
    /// Whether its result matters: every allocating function, not `free`.
    pub returns: bool,
}

impl FunctionRow {
    /// What must hold at its probe point. An allocating function's stack is walked and its return is probed.
    pub(super) fn needs(self) -> Needs {
        Needs { arguments: self.arguments, stack: self.returns }
    }
}

const fn row(symbol: &'static str, function: Function, arguments: usize) -> FunctionRow {
    FunctionRow { symbol, function, arguments, returns: !matches!(function, Function::Free) }
}

/// The C library's functions. One that is absent is not an error; a module without `malloc` and `free` is no allocator.
pub const FUNCTIONS: &[FunctionRow] = &[
    row("malloc", Function::Malloc, 1),
    row("free", Function::Free, 1),
    row("calloc", Function::Calloc, 2),
    row("realloc", Function::Realloc, 2),
    row("reallocarray", Function::Reallocarray, 3),
    row("posix_memalign", Function::PosixMemalign, 3),
    row("aligned_alloc", Function::AlignedAlloc, 2),
    row("memalign", Function::Memalign, 2),
    row("valloc", Function::Valloc, 1),
    row("pvalloc", Function::Pvalloc, 1),
];
