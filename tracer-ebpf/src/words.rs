//! Copies word by word. The compiler turns a copy of more than a few bytes into a call of a memmove that goes byte by
//! byte; on a probe's path that is dear.

/// Copies a value made of 64-bit words.
///
/// # Safety
/// `from` can be read and `to` written; they do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy>(from: *const T, to: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within both values. Volatile, so that the loop is not made a memmove again.
        unsafe { to.cast::<u64>().add(word).write_volatile(from.cast::<u64>().add(word).read_volatile()) };
    }
}
