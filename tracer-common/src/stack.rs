//! Call stacks as the programs walk them.

use crate::wire_enum;

/// Frames kept of a stack, innermost first, the allocator's own frame left out. perf and the kernel use the same limit.
pub const MAX_FRAMES: usize = 127;

wire_enum! {
    /// Why a walk ended.
    pub enum StackEnd {
        /// The outermost frame was reached.
        Complete = 0 => "complete",
        /// [`MAX_FRAMES`] frames were taken and there were more.
        Depth = 1 => "depth",
        /// An address outside of every known executable mapping.
        NoMapping = 2 => "no_mapping",
        /// A mapping without unwind information for the address, and no frame pointer to go by.
        NoRow = 3 => "no_row",
        /// Unwind information that cannot be expressed in a row.
        UnsupportedRule = 4 => "unsupported_rule",
        /// The stack could not be read.
        ReadFault = 5 => "read_fault",
        /// The frame pointer did not lead further up the stack.
        FramePointer = 6 => "frame_pointer",
    }
}
