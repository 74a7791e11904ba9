//! What the numbers mean.
//!
//! In: what a Snapshot says, and what it said before. Out: signals of trouble. Pure: no clock, no kernel.

mod fd_signals;

pub use fd_signals::FdHistory;
