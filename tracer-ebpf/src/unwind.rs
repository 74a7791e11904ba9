//! The walk up the stack of the current thread, from the entry of a probed function or from a system call.
//!
//! In: the registers at a function's entry, before it touched the stack, or those of an interrupted instruction, and the process's unwind tables. Out: return
//! addresses, innermost first, why the walk ended, and a hash of it all. The caller of the probed function is read from
//! the top of the stack, so it is right whatever the binary was compiled with. Where there are no rows (code made at
//! run time, hand-written assembly) rbp is taken for a frame pointer, and what it leads to is believed only when it is
//! in a mapping.
//!
//! `leaktrace::unwind::walk` is the same walk in user space; the two are compared in tests.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_loop};
use tracer_common::{
    stack::{MAX_FRAMES, StackEnd},
    unwind::{
        MAPPING_SEARCH_STEPS, Mapping, MappingRange, PAGE_SHIFT, ROW_SEARCH_STEPS, Rule, RuleKind, SIGNAL_RBP,
        SIGNAL_RIP, SIGNAL_RSP,
    },
};

use crate::{
    maps::{MAPPINGS, PAGES, ROWS},
    walker::Walker,
    words,
};

/// How the steps of a walk are driven.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// By `bpf_loop` (Linux 5.17): a step is verified once.
    Helper,
    /// By a bounded loop, for older kernels; the verifier follows every round, so there are fewer.
    Bounded,
}

/// Frames that a bounded loop takes.
const BOUNDED_FRAMES: usize = 48;

/// What goes on from step to step.
#[repr(C)]
struct Walk {
    pc: u64,
    sp: u64,
    bp: u64,
    hash: u64,
    walker: *mut Walker,
    /// The mapping that the last address was in.
    mapping: Mapping,
    range: MappingRange,
    depth: u32,
    end: u32,
    /// 1 when `pc` is of an interrupted instruction, 0 when it is a return address.
    exact: u32,
}

/// Mixes one value into a hash: a multiplication spreads it upwards, a shift back down.
#[inline(always)]
fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ hash >> 32
}

/// Where a walk begins.
#[derive(Clone, Copy)]
struct Start {
    /// The first frame; 0 when it is the return address on top of the stack.
    pc: u64,
    /// 1 when `pc` is an interrupted instruction, 0 when it is a return address that was popped.
    exact: u32,
    /// With a return address, where it is or was.
    sp: u64,
    bp: u64,
}

/// Walks from a function's entry, where the return address is on top of the stack.
#[inline(always)]
pub(crate) fn walk_from_entry(drive: Drive, regs: *const pt_regs, tgid: u32, walker: &mut Walker) {
    // SAFETY: the context of a uprobe program.
    let (sp, bp) = unsafe { ((*regs).rsp, (*regs).rbp) };
    walk(drive, Start { pc: 0, exact: 0, sp, bp }, tgid, walker);
}

/// Walks from a function's return, where the return address has just been popped. What is found is what a walk from the
/// entry finds.
#[inline(always)]
pub(crate) fn walk_from_return(drive: Drive, (pc, sp, bp): (u64, u64, u64), tgid: u32, walker: &mut Walker) {
    walk(drive, Start { pc, exact: 0, sp: sp.wrapping_sub(8), bp }, tgid, walker);
}

/// Walks from an interrupted instruction, which is the first frame.
#[inline(always)]
pub(crate) fn walk_from_interrupted(drive: Drive, (pc, sp, bp): (u64, u64, u64), tgid: u32, walker: &mut Walker) {
    walk(drive, Start { pc, exact: 1, sp, bp }, tgid, walker);
}

/// Walks, unless the thread's last walk was the same. The kind of site, which must be in the stack already, and the
/// process with its image go into the hash.
#[inline(always)]
fn walk(drive: Drive, start: Start, tgid: u32, walker: &mut Walker) {
    let Start { pc, exact, sp, bp } = start;
    let range = walker.mappings(tgid);
    if walker.memory.is_unchanged(pc, sp, bp, walker.generation) {
        return;
    }
    walker.memory.begin(pc, sp, bp, walker.generation);
    walker.stack.depth = 0;
    walker.stack.exact[0] = 0;
    walker.stack.exact[1] = 0;
    let process = u64::from(tgid) << 32 | u64::from(range.image) << 8;
    let hash = mix(0, process | u64::from(walker.stack.site_kind));
    let (pc, sp) = if pc != 0 {
        (pc, if exact != 0 { sp } else { sp.wrapping_add(8) })
    } else {
        let Ok(pc) = walker.memory.word(sp) else {
            walker.stack.end = StackEnd::ReadFault.code();
            walker.stack.hash = hash;
            return;
        };
        (pc, sp.wrapping_add(8))
    };
    // Field by field: a whole value would be cleared byte by byte first.
    let mut walk = MaybeUninit::<Walk>::uninit();
    let fields = walk.as_mut_ptr();
    // SAFETY: all fields but those of the mapping behind its addresses, which hold no address until a mapping has been
    // copied over them.
    let walk = unsafe {
        (*fields).pc = pc;
        (*fields).sp = sp;
        (*fields).bp = bp;
        (*fields).hash = hash;
        (*fields).walker = walker;
        // No address is at or above this one.
        (*fields).mapping.start = u64::MAX;
        (*fields).mapping.end = 0;
        (*fields).range = range;
        (*fields).depth = 0;
        (*fields).end = StackEnd::Depth.code();
        (*fields).exact = exact;
        &mut *fields
    };
    match drive {
        Drive::Helper => {
            let context = (&raw mut *walk).cast::<c_void>();
            // SAFETY: the callback takes exactly this context, which outlives the call.
            unsafe { bpf_loop(MAX_FRAMES as u32, step_callback as *mut c_void, context, 0) };
        }
        Drive::Bounded => {
            for index in 0..BOUNDED_FRAMES as u64 {
                if bounded_step(index, walk) != 0 {
                    break;
                }
            }
        }
    }
    walker.stack.depth = walk.depth;
    walker.stack.end = walk.end;
    walker.stack.hash = walk.hash;
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn step_callback(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `walk` passes.
    step(index, unsafe { &mut *context.cast::<Walk>() })
}

#[inline(never)]
fn bounded_step(index: u64, walk: &mut Walk) -> i64 {
    step(index, walk)
}

#[inline(always)]
fn step(index: u64, walk: &mut Walk) -> i64 {
    match try_step(index, walk) {
        Ok(()) => 0,
        Err(end) => {
            walk.end = end.code();
            1
        }
    }
}

/// Records the frame and moves to its caller.
#[inline(always)]
fn try_step(index: u64, walk: &mut Walk) -> Result<(), StackEnd> {
    if index >= MAX_FRAMES as u64 {
        return Err(StackEnd::Depth);
    }
    // SAFETY: the record lives in a map value; the index is below its length.
    unsafe { (*walk.walker).stack.frames[index as usize & 127] = walk.pc };
    walk.depth = index as u32 + 1;
    if walk.exact != 0 {
        // SAFETY: as above.
        unsafe { (*walk.walker).stack.exact[(index >> 6) as usize & 1] |= 1 << (index & 63) };
    }
    walk.hash = mix(walk.hash, walk.pc);
    // A return address may belong to the next function already, or to the next row.
    let look = if walk.exact != 0 { walk.pc } else { walk.pc.wrapping_sub(1) };
    walk.exact = 0;
    enter_mapping(walk, look)?;
    let rule = rule_at(&walk.mapping, look);
    if rule.kind() == RuleKind::None.code() { by_frame_pointer(walk) } else { by_rule(walk, rule) }
}

/// Makes the mapping that holds `address` the walk's.
#[inline(always)]
fn enter_mapping(walk: &mut Walk, address: u64) -> Result<(), StackEnd> {
    if address >= walk.mapping.start && address < walk.mapping.end {
        return Ok(());
    }
    let (mut low, mut high) = (walk.range.first, walk.range.first.wrapping_add(walk.range.count));
    for _ in 0..MAPPING_SEARCH_STEPS {
        if low >= high {
            break;
        }
        let middle = low.wrapping_add(high.wrapping_sub(low) >> 1);
        let mapping = MAPPINGS.get(middle).ok_or(StackEnd::NoMapping)?;
        if address < mapping.start {
            high = middle;
        } else if address >= mapping.end {
            low = middle + 1;
        } else {
            // SAFETY: from a map value into the walk.
            unsafe { words::copy(mapping, &raw mut walk.mapping) };
            return Ok(());
        }
    }
    Err(StackEnd::NoMapping)
}

/// The rule for an address in a mapping.
#[inline(always)]
fn rule_at(mapping: &Mapping, address: u64) -> Rule {
    let relative = address.wrapping_sub(mapping.bias);
    let page = relative >> PAGE_SHIFT;
    if page >= u64::from(mapping.page_count) {
        return Rule::NONE;
    }
    let Some(rows) = PAGES.get(mapping.first_page.wrapping_add(page as u32)) else { return Rule::NONE };
    let mut low = mapping.first_row.wrapping_add(rows.first);
    let mut high = mapping.first_row.wrapping_add(rows.last);
    for _ in 0..ROW_SEARCH_STEPS {
        if low >= high {
            break;
        }
        let middle = low.wrapping_add(high.wrapping_sub(low).wrapping_add(1) >> 1);
        let Some(row) = ROWS.get(middle) else { return Rule::NONE };
        if row.pc <= relative as u32 {
            low = middle;
        } else {
            high = middle.wrapping_sub(1);
        }
    }
    ROWS.get(low).map_or(Rule::NONE, |row| row.rule)
}

#[inline(always)]
fn read(walk: &mut Walk, address: u64) -> Result<u64, StackEnd> {
    // SAFETY: the walker is in a map value that outlives the walk.
    unsafe { (*walk.walker).memory.word(address) }
}

#[inline(always)]
fn by_rule(walk: &mut Walk, rule: Rule) -> Result<(), StackEnd> {
    const RSP: u32 = RuleKind::Rsp.code();
    const RBP: u32 = RuleKind::Rbp.code();
    const PLT: u32 = RuleKind::Plt.code();
    const DEREF_RBP: u32 = RuleKind::DerefRbp.code();
    const DEREF_RSP: u32 = RuleKind::DerefRsp.code();
    const SIGNAL: u32 = RuleKind::Signal.code();
    const END: u32 = RuleKind::End.code();
    let kind = rule.kind();
    let cfa = match kind {
        RSP => walk.sp.wrapping_add_signed(rule.cfa_offset()),
        RBP => walk.bp.wrapping_add_signed(rule.cfa_offset()),
        PLT => walk.sp.wrapping_add(if walk.pc & 15 >= u64::from(rule.cfa_field()) { 16 } else { 8 }),
        DEREF_RBP => read(walk, walk.bp.wrapping_add_signed(rule.cfa_offset()))?,
        DEREF_RSP => {
            read(walk, walk.sp.wrapping_add_signed(rule.deref_offset()))?.wrapping_add_signed(rule.deref_add())
        }
        SIGNAL => {
            let (bp, sp, pc) = (
                read(walk, walk.sp.wrapping_add(SIGNAL_RBP))?,
                read(walk, walk.sp.wrapping_add(SIGNAL_RSP))?,
                read(walk, walk.sp.wrapping_add(SIGNAL_RIP))?,
            );
            (walk.bp, walk.sp, walk.pc, walk.exact) = (bp, sp, pc, 1);
            return Ok(());
        }
        END => return Err(StackEnd::Complete),
        _ => return Err(StackEnd::UnsupportedRule),
    };
    let bp = match rule.rbp_offset() {
        _ if kind == DEREF_RBP => read(walk, walk.bp)?,
        0 => walk.bp,
        offset => read(walk, cfa.wrapping_add_signed(offset))?,
    };
    let return_address = read(walk, cfa.wrapping_sub(8))?;
    if return_address == 0 {
        return Err(StackEnd::Complete);
    }
    // Every frame lies further up, unless its code switches stacks, which takes a slot to keep the old one in.
    if cfa <= walk.sp && kind != DEREF_RSP {
        return Err(StackEnd::FramePointer);
    }
    (walk.bp, walk.sp, walk.pc) = (bp, cfa, return_address);
    Ok(())
}

#[inline(always)]
fn by_frame_pointer(walk: &mut Walk) -> Result<(), StackEnd> {
    let (sp, bp) = (walk.sp, walk.bp);
    if bp == 0 {
        return Err(StackEnd::NoRow);
    }
    if bp < sp || bp & 7 != 0 {
        return Err(StackEnd::FramePointer);
    }
    let caller_bp = read(walk, bp).map_err(|_| StackEnd::FramePointer)?;
    let return_address = read(walk, bp.wrapping_add(8)).map_err(|_| StackEnd::FramePointer)?;
    enter_mapping(walk, return_address.wrapping_sub(1)).map_err(|_| StackEnd::FramePointer)?;
    (walk.bp, walk.sp, walk.pc) = (caller_bp, bp.wrapping_add(16), return_address);
    Ok(())
}
