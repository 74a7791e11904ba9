//! The executable memory of a process.
//!
//! In: `/proc/PID/maps`, read again whenever something may have been loaded. Out: for an address, the [`Module`] it is
//! in and the offset in that module's file, or what else lies there ([`Place`]). The files are held open, each once, so
//! that they can be read after they were deleted or replaced and after the process is gone.

mod line;
mod map;
mod module;
mod reservation;

pub use map::{Changes, MappedRanges, Mapping, MappingKind, ModuleMap, Place};
pub use module::{FileIdentity, Module};
pub(crate) use module::{fd_path, identity};
