//! What was found in a module, for people: its allocators, and what became of each of their functions.

use super::{Cost, Family, Runtime};

/// What was found in one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Kinds and prefixes of its allocators; none in most modules.
    pub allocators: Vec<(Family, String)>,
    /// Their functions, in the order of the tables.
    pub functions: Vec<FunctionFinding>,
    /// Where the module has its symbols.
    pub symbols: Vec<&'static str>,
    /// It is a program without a dynamic linker.
    pub is_static: bool,
    /// A runtime with a heap of its own that is in it.
    pub runtime: Option<Runtime>,
}

/// What became of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFinding {
    /// Its symbol.
    pub symbol: String,
    /// Probed, or not.
    pub outcome: Outcome,
}

/// Where a function is probed, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is probed.
    Probed {
        /// Bytes from its start.
        offset: u64,
        /// The instruction there.
        instruction: String,
        /// What a hit costs.
        cost: Cost,
        /// How its result is learned.
        result: ResultBy,
    },
    /// The same code under another name, which is probed.
    Alias(String),
    /// It does nothing but jump to another function that is probed.
    Forwards(String),
    /// It is not probed, for this reason.
    Not(&'static str),
}

/// How a function's result is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultBy {
    /// It has none that matters.
    Nothing,
    /// By a return probe.
    Return,
    /// By probes on its exits, because it may throw.
    Exits {
        /// How many.
        count: usize,
        /// There are no others.
        complete: bool,
    },
}
