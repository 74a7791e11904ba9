//! What the numbers mean.
//!
//! In: what a Snapshot says, and what it said before. Out: signals of trouble. Pure: no clock, no kernel.

mod estimate;
mod fd_signals;
pub mod history;
pub mod survival;
#[cfg(test)]
mod testing;
pub mod trend;
pub mod verdict;

pub use estimate::Estimate;
pub use fd_signals::FdHistory;
