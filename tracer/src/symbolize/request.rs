//! What can be asked of a symbolizer.

use std::sync::Arc;

use tracer_common::stack::{MAX_FRAMES, StackEnd};

use super::Stack;
use crate::aggregate::{SiteId, Tgid};

/// How soon a stack is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Some time.
    #[default]
    Background,
    /// It is on the screen.
    Visible,
}

/// The frames whose address is that of an instruction, rather than the return address after a call: what a signal
/// interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExactFrames(u128);

const _: () = assert!(MAX_FRAMES <= u128::BITS as usize);

impl ExactFrames {
    /// All frames are return addresses.
    pub const NONE: Self = Self(0);

    /// One bit for each frame, the lowest for the innermost.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// These, and frame `index` (from 0, innermost first). Frames beyond [`MAX_FRAMES`] cannot be marked.
    #[must_use]
    pub fn with(self, index: usize) -> Self {
        let bit = u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index));
        Self(self.0 | bit.unwrap_or(0))
    }

    /// Whether frame `index` is one.
    pub fn contains(self, index: usize) -> bool {
        u32::try_from(index).ok().and_then(|index| self.0.checked_shr(index)).is_some_and(|bits| bits & 1 == 1)
    }
}

/// A stack to be named.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back with the answer.
    pub site: SiteId,
    /// The process whose addresses these are.
    pub tgid: Tgid,
    /// The process's image: see [`tracer_common::process::Image`].
    pub image: u32,
    /// Innermost first.
    pub frames: Arc<[u64]>,
    /// Which of them are no return addresses.
    pub exact: ExactFrames,
    /// Passed on to the answer.
    pub end: StackEnd,
    /// How soon.
    pub priority: Priority,
}

/// The queue is full: nothing was taken. Ask again after the next [`Symbolize::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the symbolizer's queue is full; ask again after taking its answers")]
pub struct QueueFull;

/// Names stacks, sooner or later.
pub trait Symbolize {
    /// Asks for a stack. Asking for a site again replaces what was asked and keeps the higher priority.
    ///
    /// # Errors
    /// [`QueueFull`]: ask again later.
    fn request(&self, request: Request) -> Result<(), QueueFull>;

    /// Takes the answers that are ready. Does not wait.
    fn drain(&self) -> Vec<(SiteId, Arc<Stack>)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_frames_are_marked_one_by_one() {
        let exact = ExactFrames::NONE.with(0).with(126).with(128).with(usize::MAX);
        assert_eq!((0..300).filter(|&index| exact.contains(index)).collect::<Vec<_>>(), [0, 126]);
    }
}
