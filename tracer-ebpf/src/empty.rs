//! Programs that do nothing: what a probe costs before it does anything, for measuring.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

/// Entry.
#[uprobe]
fn empty_enter(_ctx: ProbeContext) -> u32 {
    0
}

/// Return.
#[uretprobe]
fn empty_return(_ctx: RetProbeContext) -> u32 {
    0
}

/// Entry and return in a session: comes at the return as well.
#[uprobe]
fn empty_session(_ctx: ProbeContext) -> u32 {
    0
}
