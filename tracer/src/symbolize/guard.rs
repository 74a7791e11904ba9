//! Panics in a parser of untrusted files, kept where they are.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, is caught and turned into a reason why a frame has no name. A panic hook asks
/// this before it restores a terminal or prints.
pub fn panic_is_contained() -> bool {
    CONTAINED.get()
}

/// The closure panicked. What it used may be in any state and must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs a closure over untrusted input.
pub(super) fn contain<T>(untrusted: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(untrusted));
    CONTAINED.set(outer);
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_stay_inside() {
        assert!(!panic_is_contained());
        assert_eq!(contain(panic_is_contained), Ok(true));
        assert_eq!(contain(|| -> u8 { panic!("a parser's, on purpose") }), Err(Panicked));
        assert!(!panic_is_contained());
    }
}
