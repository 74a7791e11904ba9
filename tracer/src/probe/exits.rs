//! Where a function ends: each `ret` that ends it, or a function that it jumps to.
//!
//! A return probe replaces the return address on the stack, and the C++ runtime cannot unwind through what it is
//! replaced by: an exception that leaves such a function ends the process. So a function that may throw is probed at its
//! exits instead. Whoever else runs through them has another stack pointer than the call that is under way.

use std::collections::{BTreeSet, VecDeque};

use iced_x86::{FlowControl, Mnemonic};
use object::ReadRef;

use super::image::Image;

/// Instructions looked at. tcmalloc's `operator new` with all that it jumps to has some three hundred.
const INSTRUCTIONS_MAX: usize = 8_192;
/// Exits that are probed at most.
const EXITS_MAX: usize = 24;

/// The exits of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exits {
    /// Addresses of its `ret` instructions.
    pub(super) addresses: Vec<u64>,
    /// There are no others, as far as the code tells.
    pub(super) complete: bool,
}

/// Follows the code of the function at `start`, from instruction to instruction.
pub(super) fn exits<'data, R: ReadRef<'data>>(image: &Image<'data, R>, start: u64) -> Exits {
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    let mut open = VecDeque::from([start]);
    let mut complete = true;
    while let Some(from) = open.pop_front() {
        let mut address = from;
        loop {
            if seen.len() >= INSTRUCTIONS_MAX {
                complete = false;
                break;
            }
            if !seen.insert(address) {
                break;
            }
            let Some(instruction) = image.instruction(address) else {
                complete = false;
                break;
            };
            match instruction.flow_control() {
                FlowControl::Return => {
                    // With an operand it also takes arguments off the stack, which C functions do not.
                    if instruction.mnemonic() == Mnemonic::Ret && instruction.op_count() == 0 {
                        found.insert(address);
                    } else {
                        complete = false;
                    }
                    break;
                }
                FlowControl::ConditionalBranch => open.push_back(instruction.near_branch_target()),
                FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                    match image.jump_target(&instruction) {
                        Some(target) => open.push_back(target),
                        None if image.never_returns(&instruction) => {}
                        None => complete = false,
                    }
                    break;
                }
                FlowControl::Exception | FlowControl::Interrupt => break,
                FlowControl::XbeginXabortXend => {
                    complete = false;
                    break;
                }
                FlowControl::Call | FlowControl::IndirectCall if image.never_returns(&instruction) => break,
                // What follows another call that never returns is the next function or padding: instructions too.
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
            }
            address = instruction.next_ip();
        }
    }
    if found.len() > EXITS_MAX {
        complete = false;
    }
    Exits { addresses: found.into_iter().take(EXITS_MAX).collect(), complete }
}
