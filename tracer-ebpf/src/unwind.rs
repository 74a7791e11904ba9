//! The walk up the stack of the current thread, from the entry of a probed function.
//!
//! In: the registers at a function's entry, before it touched the stack. Out: return addresses, innermost first, why
//! the walk ended, and a hash of it all. The caller of the probed function is read from the top of the stack, so it
//! is right whatever the binary was compiled with.

use aya_ebpf::{bindings::pt_regs, helpers::bpf_probe_read_user};
use tracer_common::{
    event::NewSite,
    stack::{MAX_FRAMES, StackEnd},
};

/// Mixes one value into a hash: a multiplication spreads it upwards, a shift back down.
#[inline(always)]
fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ hash >> 32
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Walks from a function's entry, where the return address is on top of the stack. `seed` goes into the hash.
#[inline(always)]
pub(crate) fn walk_from_entry(regs: *const pt_regs, seed: u64, stack: &mut NewSite) {
    // SAFETY: the context of a uprobe program.
    let (sp, mut bp) = unsafe { ((*regs).rsp, (*regs).rbp) };
    let mut hash = mix(0, seed);
    let mut depth = 0;
    let mut end = StackEnd::ReadFault;
    if let Some(caller) = read::<u64>(sp) {
        let mut pc = caller;
        let mut floor = sp + 8;
        end = StackEnd::Depth;
        for i in 0..MAX_FRAMES {
            stack.frames[i] = pc;
            hash = mix(hash, pc);
            depth = i as u32 + 1;
            if bp < floor || bp & 7 != 0 {
                end = if bp == 0 { StackEnd::Complete } else { StackEnd::FramePointer };
                break;
            }
            let Some([saved_bp, ra]) = read::<[u64; 2]>(bp) else {
                end = StackEnd::ReadFault;
                break;
            };
            if ra == 0 {
                end = StackEnd::Complete;
                break;
            }
            floor = bp + 16;
            bp = saved_bp;
            pc = ra;
        }
    }
    stack.depth = depth;
    stack.end = end.code();
    stack.hash = hash;
}
