//! Where to put probes: from the modules of a process to an [`AttachPlan`].
//!
//! In: the bytes of the modules mapped into the target, and of their debug files. Out: a table of probe points, each with
//! the file offset to probe and what a hit will cost, and [`Findings`]: which allocators there are, and what became of each
//! of their functions. Pure: works on bytes, attaches nothing.

mod allocator;
mod exits;
mod findings;
mod image;
mod plan;
mod point;
mod runtime;
mod symbols;

pub use allocator::Family;
pub use findings::{Findings, FunctionFinding, Outcome, ResultBy};
pub use plan::{AttachPlan, AttachPoint, NamedAllocator, PlanError, Planner, ProbeKind};
pub use point::{Cost, Needs, ProbePoint, choose};
pub use runtime::Runtime;
