//! From addresses to names.
//!
//! In: a site's addresses and the modules of the process. Out: a [`Stack`] of [`Frame`]s, or for each frame the reason
//! why it has no name. Works on its own thread; what is visible is named first.
//!
//! One way through: [`Symbolizer`] (queue and thread) → `Resolver` (address to module, caches) → `ModuleSymbols` (one
//! module's symbol table and debug information, read by blazesym) or `JitNames` (the map that a process writes of the
//! code it makes at run time) → names cut to size. Files come from the target, so
//! they may lie: sizes are checked before anything is unpacked, a panic in a parser costs one module its names, and a
//! parser that never ends stops the naming, not the tracing.

mod cache;
mod debug_file;
mod elf;
mod fake;
mod frame;
mod guard;
mod jit;
mod module;
mod name;
mod queue;
mod request;
mod resolver;
mod symbolizer;
#[cfg(test)]
mod tests;

pub(crate) use debug_file::of_module as separate_symbols;
pub use fake::FakeSymbolizer;
pub use frame::{Frame, NoSymbol, Stack};
pub use guard::panic_is_contained;
pub use request::{ExactFrames, Priority, QueueFull, Request, Symbolize};
pub use symbolizer::{SharedModules, Symbolizer, SymbolizerError};
