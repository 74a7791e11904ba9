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
/// are to be written must be open by then, and a program that is to be traced from its beginning must have been started:
/// it may become another user's, and has to be continued all the same.
pub(super) fn give_up(has_started: bool) {
    let needed = if has_started { NEEDED.union(CapabilitySet::KILL) } else { NEEDED };
    let dropped = capabilities(None).and_then(|mut sets| {
        sets.effective &= needed;
        sets.permitted &= needed;
        sets.inheritable &= needed;
        set_capabilities(None, sets)
    });
    if let Err(error) = dropped {
        log::warn!("privileges that are not needed cannot be given up: {error}");
    }
}
