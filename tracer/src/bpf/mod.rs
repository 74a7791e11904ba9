//! The kernel side: the only folder that knows aya and bpf(2).
//!
//! In: an [`crate::probe::AttachPlan`]. Out: a [`Session`], which is an [`crate::event::EventSource`]: counters read
//! from mapped memory, events drained from the ring buffer, and surveys of the table of outstanding blocks.

mod calls;
mod checkup;
mod code_watch;
mod error;
mod fds;
mod features;
mod growth;
mod hazards;
mod hits;
mod kernel_types;
mod links;
mod mapped;
mod overhead;
mod preflight;
mod purge;
mod sampler;
mod session;
mod stolen;
mod survey;
mod sys;
mod syscalls;
mod tables;
mod uprobe_multi;
mod uring;

pub use calls::CallsReading;
pub use checkup::{Check, Checkup, State, checkup};
pub use error::BpfError;
pub use fds::FdReader;
pub use features::{AttachMode, Features, WalkBy};
pub use hazards::may_probe_returns;
pub use preflight::preflight;
pub use session::{LoadOptions, Module, ProgramSet, Session};
pub use survey::Surveyor;
pub use tables::Tables;

/// The compiled BPF programs.
#[cfg(not(feature = "object-override"))]
fn object() -> &'static [u8] {
    aya::include_bytes_aligned!("../../object/leaktrace.bpf.o")
}

/// The BPF programs that are to be tested in place of the built-in ones.
#[cfg(feature = "object-override")]
fn object() -> &'static [u8] {
    static OBJECT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    OBJECT.get_or_init(|| {
        let path = std::env::var_os("LEAKTRACE_BPF_OBJECT").expect("LEAKTRACE_BPF_OBJECT names the object to test");
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}
