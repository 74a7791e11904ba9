//! The kernel side: the only folder that knows aya and bpf(2).
//!
//! In: an [`crate::probe::AttachPlan`]. Out: a [`Session`], which is an [`crate::event::EventSource`]: counters read
//! from mapped memory, events drained from the ring buffer, and surveys of the table of outstanding blocks.

mod error;
mod features;
mod links;
mod mapped;
mod preflight;
mod session;
mod survey;
mod sys;
mod tables;
mod uprobe_multi;

pub use error::BpfError;
pub use features::{AttachMode, Features};
pub use preflight::preflight;
pub use session::{AttachOptions, Module, ProgramSet, Session};
pub use survey::Surveyor;
pub use tables::Tables;

/// The compiled BPF programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/leaktrace.bpf.o");
