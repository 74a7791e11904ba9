//! What the numbers mean.
//!
//! In: what a Snapshot says, and what it said before; ages of blocks; limits. Out: verdicts on sites, signals of trouble with the
//! process and its descriptors, times until it dies. Pure: no clock, no kernel.
//!
//! ```text
//! Snapshots -> history -> trend ----+-> process  (growth, time left, what RSS is)
//!                  |                |
//! lifetimes -> survival ------------+-> verdict  (each site, in one word, and why)
//! ```

mod analyst;
mod estimate;
mod fd_signals;
pub mod history;
pub mod process;
mod rules;
pub mod sizes;
pub mod survival;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod threshold;
pub mod trend;
pub mod verdict;

pub use analyst::{Analyst, Observed, ProcessAnalysis};
pub use estimate::Estimate;
pub use fd_signals::FdHistory;
pub use rules::{Broken, Rule};
