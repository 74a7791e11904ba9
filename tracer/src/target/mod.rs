//! What is traced: a process as `/proc` shows it.
//!
//! In: a pid. Out: a [`Target`], which stays the same process however pids are reused; its executable memory as a
//! [`maps::ModuleMap`], which keeps the files open so that addresses can be named after the process is gone; its
//! [`descriptors`], and the [`sockets`] of its network namespace; the [`limits`] of its memory.
//! Everything read here is under the target's control.

pub mod descriptors;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod limits;
pub mod maps;
mod memory;
mod own_file;
mod proc_dir;
mod process;
mod root;
pub mod sockets;

pub use descriptors::{FdTable, ListedFd};
pub use error::TargetError;
pub use memory::{MemoryReader, Rollup};
pub(crate) use own_file::{NotOwn, Owner};
pub use process::Target;
pub(crate) use root::Root;
pub use sockets::{SocketReader, SocketsError};
