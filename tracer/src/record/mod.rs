//! Recordings: the Snapshots of a run in a file that any leaktrace can look at later, on any machine, without root and
//! without the programs.
//!
//! In: Snapshots ([`Writer`]; [`Recorder`] is one on a thread of its own). Out: the same Snapshots ([`Recording`]), by
//! number or by time.
//!
//! A file is a header and frames. Each frame is compressed by itself, carries its length and checksums, and is appended in
//! one write, so what was written before a crash can be read after it (`format`). There are two sorts. *Tables* hold what
//! does not change: strings, frames of stacks, and which stack a site has, each written once, when it first comes; a
//! stack that gets its names later is written again, and the names hold for the earlier windows too. *Windows* hold a
//! Snapshot as rows (`rows`): a window says only which rows are new, different or gone, and now and then all of them, so
//! that a reader can begin there. What a row means is `model`'s business; times in it are points in time, not ages, so that
//! what does not happen does not change a row.
//!
//! Rows are protocol buffers, by `prost`: fields have numbers, what is not there has a default, and what a reader does not
//! know it skips. So a field of a Snapshot costs one line here, files of older leaktraces stay readable, and older ones read
//! newer files as long as [`FORMAT`] is the same. Kinds of rows that are not known are skipped likewise. (postcard would be
//! smaller before compression, but cannot skip a field, and a table in serde's self-describing formats repeats its
//! names.) A change that an older reader would misunderstand is a new format, which it refuses.
//!
//! A file may be damaged, or made to harm: lengths are checked against what is there before anything is allocated, tables and rows
//! have limits ([`limits`]), nothing recurses, and no byte makes a reader panic.

mod error;
mod file;
mod format;
pub mod limits;
mod model;
mod reader;
mod recorder;
mod rows;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(test)]
pub(crate) use tests::runs as testing;

pub use error::RecordError;
pub use file::{CreateError, create};
pub use format::{FORMAT, MAGIC};
pub use reader::{End, ReadAt, Recording, Window};
pub use recorder::{Recorded, Recorder};
pub use writer::{Writer, Written};
