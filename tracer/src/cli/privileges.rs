//! The privileges that tracing needs; the rest is given up before anything of the target's is read.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// For bpf(2) and perf events (the first three, by kernel version), another user's /proc and files, and locked memory
/// on kernels before 5.11.
const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_RESOURCE);

/// Gives up every capability that tracing does not need, in this thread and those it starts from here on. Files that
/// are to be written must be open by then.
pub(super) fn give_up() {
    let dropped = capabilities(None).and_then(|mut sets| {
        sets.effective &= NEEDED;
        sets.permitted &= NEEDED;
        sets.inheritable &= NEEDED;
        set_capabilities(None, sets)
    });
    if let Err(error) = dropped {
        log::warn!("privileges that are not needed cannot be given up: {error}");
    }
}
