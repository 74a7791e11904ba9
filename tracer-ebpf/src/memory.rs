//! The target's stack as a walk sees it: read in blocks, and remembered.
//!
//! A read of another process's memory costs the same for 8 bytes as for some hundred, and the frames of a stack lie
//! close together, so words come out of a window. The words that a walk depended on are kept: as long as they and the
//! registers are the same, so is the stack, and it need not be walked again. To see that, the part of the stack that they
//! lie in is read at once.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::{
    bpf_probe_read_user,
    generated::{bpf_loop, bpf_probe_read_user as read_bytes},
};
use tracer_common::stack::StackEnd;

use crate::drive::Drive;

/// Words that the window has room for.
const WINDOW: usize = 256;
/// Words that are read at once, at most: their bytes fit the mask of an offset.
const MOST: u32 = WINDOW as u32 - 1;
const PAGE: u64 = 4096;
/// Words that are remembered; a walk that reads more is not.
const REMEMBERED: usize = 160;
/// In place of a count: the last walk cannot be verified.
const NOT_REMEMBERED: u32 = u32::MAX;

/// Masks an offset to that of a word in the window. The compiler knows that a checked offset needs no mask and leaves it
/// out; the verifier does not know, and wants one.
#[inline(always)]
fn in_window(offset: u64) -> usize {
    let mut masked = offset;
    // SAFETY: arithmetic on a register.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const (WINDOW - 1) * 8, options(pure, nomem, nostack)) };
    masked as usize
}

/// How far the words that are remembered are what they were.
#[derive(Clone, Copy)]
enum Compared {
    Same,
    Changed,
    /// The rest is not in the window.
    Beyond,
}

/// The window and the memory of one thread's last walk.
#[repr(C)]
pub(crate) struct StackMemory {
    /// Registers at the start of the last walk; `pc` is 0 when it was on the stack.
    pc: u64,
    sp: u64,
    bp: u64,
    /// The generation of the mappings it went by.
    generation: u64,
    /// Address of the window's first word.
    start: u64,
    /// Bytes that were read into it.
    length: u64,
    /// Words remembered, or [`NOT_REMEMBERED`].
    count: u32,
    /// Words from `sp` to the end of the last that is remembered.
    span: u32,
    /// Words that have been compared, where they are not all in one window.
    compared: u32,
    reserved: u32,
    window: [u64; WINDOW],
    values: [u64; REMEMBERED],
    /// Where the values were, in words from `sp`.
    slots: [u16; REMEMBERED],
}

impl StackMemory {
    /// Forgets everything, for a walk that begins.
    #[inline(always)]
    pub(crate) fn begin(&mut self, pc: u64, sp: u64, bp: u64, generation: u64) {
        self.pc = pc;
        self.sp = sp;
        self.bp = bp;
        self.generation = generation;
        self.count = 0;
        self.span = 0;
    }

    /// Lets no walk be taken for the last one.
    #[inline(always)]
    pub(crate) fn forget(&mut self) {
        self.count = NOT_REMEMBERED;
    }

    /// The word at an address, remembered.
    #[inline(always)]
    pub(crate) fn word(&mut self, address: u64) -> Result<u64, StackEnd> {
        let value = self.peek(address)?;
        let slot = address.wrapping_sub(self.sp);
        let count = self.count as usize;
        if count < REMEMBERED && slot & 7 == 0 && slot >> 3 <= u64::from(u16::MAX) {
            self.values[count] = value;
            self.slots[count] = (slot >> 3) as u16;
            self.count += 1;
            self.span = self.span.max((slot >> 3) as u32 + 1);
        } else {
            self.count = NOT_REMEMBERED;
        }
        Ok(value)
    }

    /// The word at an address.
    #[inline(always)]
    fn peek(&mut self, address: u64) -> Result<u64, StackEnd> {
        let within = address.wrapping_sub(self.start);
        if within < self.length && within & 7 == 0 {
            return Ok(self.at(within));
        }
        if self.load_from(address) {
            return Ok(self.window[0]);
        }
        // SAFETY: the helper checks the address and fails where it cannot be read.
        unsafe { bpf_probe_read_user(address as *const u64) }.map_err(|_| StackEnd::ReadFault)
    }

    /// The word at an offset into the window.
    #[inline(always)]
    fn at(&self, offset: u64) -> u64 {
        // SAFETY: the offset has been masked to a word of the window.
        unsafe { *self.window.as_ptr().byte_add(in_window(offset)) }
    }

    /// Moves the window to an address. Returns whether words can be read there.
    #[inline(always)]
    fn load_from(&mut self, address: u64) -> bool {
        // Near the end of the stack, what is left of the page.
        self.load(address, MOST) || self.load(address, ((PAGE - address % PAGE) >> 3) as u32)
    }

    /// Moves the window to an address. Returns whether so many words, and not none, can be read there.
    #[inline(always)]
    fn load(&mut self, address: u64, words: u32) -> bool {
        let bytes = in_window(u64::from(words) << 3);
        // SAFETY: the helper checks the address, and writes no more than the window.
        let read = unsafe { read_bytes(self.window.as_mut_ptr().cast(), bytes as u32, address as *const _) } == 0;
        (self.start, self.length) = (address, if read { bytes as u64 } else { 0 });
        self.length > 0
    }

    /// Whether the stack is the one that was walked last: the same registers, mappings and words.
    #[inline(always)]
    pub(crate) fn is_unchanged(&mut self, drive: Drive, pc: u64, sp: u64, bp: u64, generation: u64) -> bool {
        // What the window shows is of an earlier time.
        self.length = 0;
        let moved = self.pc != pc || self.sp != sp || self.bp != bp;
        if moved || self.generation != generation || self.count > REMEMBERED as u32 || self.count == 0 {
            return false;
        }
        if !self.load(sp, self.span.min(MOST)) {
            return false;
        }
        match drive {
            Drive::Helper => match self.compare_window(0, 0) {
                Compared::Same => true,
                Compared::Changed => false,
                Compared::Beyond => self.compare_rest(),
            },
            Drive::Bounded => self.compare_words(sp),
        }
    }

    /// Compares the words that are remembered one by one. There are several ways from each to the next, which is more to
    /// verify than what `compare_window` does, and less than what would come after it without `bpf_loop`.
    #[inline(always)]
    fn compare_words(&mut self, sp: u64) -> bool {
        for index in 0..REMEMBERED {
            // SAFETY: as in `compare_window`.
            if index as u32 >= unsafe { (&raw const self.count).read_volatile() } {
                break;
            }
            let slot = u64::from(self.slots[index]) << 3;
            if self.peek(sp.wrapping_add(slot)) != Ok(self.values[index]) {
                return false;
            }
        }
        true
    }

    /// Compares the words that are remembered, from one on and up to the first that is not in the window, which begins
    /// `below` bytes below `sp`.
    ///
    /// The verifier follows every round: there must be one way to the next.
    #[inline(always)]
    fn compare_window(&mut self, from: u32, below: u64) -> Compared {
        for round in 0..REMEMBERED as u32 {
            let index = from + round;
            // SAFETY: a field of our own. Volatile, because the compiler knows how many there can be, and would leave the end
            // of the loop to that; the verifiers of older kernels do not know it.
            if index >= unsafe { (&raw const self.count).read_volatile() } || index >= REMEMBERED as u32 {
                break;
            }
            let offset = (u64::from(self.slots[index as usize]) << 3).wrapping_add(below);
            if offset >= self.length {
                self.compared = index;
                return Compared::Beyond;
            }
            if self.at(offset) != self.values[index as usize] {
                return Compared::Changed;
            }
        }
        Compared::Same
    }

    /// Compares what is not in the first window, of a stack that lies further apart.
    #[inline(always)]
    fn compare_rest(&mut self) -> bool {
        let mut context = Context { memory: &raw mut *self };
        // SAFETY: the callback takes exactly this context, which outlives the call.
        unsafe { bpf_loop(REMEMBERED as u32, compare_callback as *mut c_void, (&raw mut context).cast(), 0) };
        self.compared >= self.count
    }

    /// Compares the words in the window that begins with the first that was not in the last. Returns whether all of them are
    /// the same, and there are more.
    #[inline(always)]
    fn compare_next_window(&mut self) -> bool {
        let from = self.compared;
        if from >= REMEMBERED as u32 {
            return false;
        }
        let slot = u64::from(self.slots[from as usize]) << 3;
        if !self.load_from(self.sp.wrapping_add(slot)) {
            return false;
        }
        match self.compare_window(from, slot.wrapping_neg()) {
            Compared::Beyond => true,
            Compared::Changed => false,
            Compared::Same => {
                self.compared = self.count;
                false
            }
        }
    }
}

/// What `bpf_loop` hands on, from the stack.
#[repr(C)]
struct Context {
    memory: *mut StackMemory,
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn compare_callback(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `compare_rest` passes, and the memory in it.
    i64::from(!unsafe { (*(*context.cast::<Context>()).memory).compare_next_window() })
}
