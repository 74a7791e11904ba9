//! A symbolized call stack. "No symbol" is a value with a reason.

use std::sync::Arc;

use tracer_common::stack::StackEnd;

/// Why a frame has no function name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoSymbol {
    /// The symbolizer has not come to it yet.
    Pending,
    /// The address is in no mapping of the process that we saw.
    Unmapped,
    /// The address is in memory without a file: code made at run time, of which the process writes no map, or none
    /// that can be trusted.
    Anonymous,
    /// The module's file could not be opened, or is not what an ELF file should be.
    ModuleUnreadable,
    /// The module was stripped: it has at most its dynamic symbols, none of which covers the address, and its debug
    /// file was not found.
    Stripped,
    /// The module has symbols, or the process's map of its run-time code has functions, but none covers the address.
    NotCovered,
}

impl NoSymbol {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Unmapped, Self::Anonymous, Self::ModuleUnreadable, Self::Stripped, Self::NotCovered];

    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unmapped => "unmapped",
            Self::Anonymous => "anonymous_memory",
            Self::ModuleUnreadable => "module_unreadable",
            Self::Stripped => "no_symbols_in_module",
            Self::NotCovered => "not_covered_by_a_symbol",
        }
    }
}

/// One frame of a call stack. All text in it comes from the target's files and is untrusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The address in the process: a return address, except in an inlined frame, which repeats its caller's.
    pub address: u64,
    /// Demangled function name, or why there is none.
    pub function: Result<Arc<str>, NoSymbol>,
    /// Path of the module as the process's maps name it.
    pub module: Option<Arc<str>>,
    /// Offset of the address in the module's own addresses (what `addr2line -e MODULE` takes).
    pub module_offset: Option<u64>,
    /// The module's build id, in hexadecimal digits.
    pub build_id: Option<Arc<str>>,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Source line, from 1.
    pub line: Option<u32>,
    /// The compiler inlined this function into the next frame's.
    pub inlined: bool,
}

impl Frame {
    /// A frame that has not been looked up yet.
    pub fn pending(address: u64) -> Self {
        Self {
            address,
            function: Err(NoSymbol::Pending),
            module: None,
            module_offset: None,
            build_id: None,
            file: None,
            line: None,
            inlined: false,
        }
    }
}

/// A call stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its frames; an inlined frame comes before the frame it was inlined into.
    pub frames: Vec<Frame>,
    /// Why the walk ended.
    pub end: StackEnd,
}
