//! Where to put probes: from the modules of a process to an [`AttachPlan`].
//!
//! In: the bytes of the modules mapped into the target. Out: a table of probe points, each with the file offset to
//! probe and what a hit will cost. Pure: works on bytes, attaches nothing.

mod allocator;
mod plan;
mod point;

pub use allocator::FUNCTIONS;
pub use plan::{AttachPlan, AttachPoint, PlanError, ProbeKind};
pub use point::{Cost, Needs, ProbePoint, choose};
