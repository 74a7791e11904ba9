//! The walk up the stack of the current thread, from the entry of a probed function or from a system call.
//!
//! In: the registers at a function's entry, before it touched the stack, or those of an interrupted instruction, and the process's unwind tables. Out: return
//! addresses, innermost first, why the walk ended, and a hash of it all. The caller of the probed function is read from
//! the top of the stack, so it is right whatever the binary was compiled with. Where there are no rows (code made at
//! run time, hand-written assembly) rbp is taken for a frame pointer, and what it leads to is believed only when it is
//! in a mapping.
//!
//! `leaktrace::unwind::walk` is the same walk in user space; the two are compared in tests.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_loop};
use tracer_common::{
    stack::{MAX_FRAMES, StackEnd},
    unwind::{
        MAPPING_SEARCH_STEPS, Mapping, MappingRange, PAGE_SHIFT, ROW_SEARCH_STEPS, Rule, RuleKind, SIGNAL_RBP,
        SIGNAL_RIP, SIGNAL_RSP,
    },
};

use crate::{
    drive::Drive,
    maps::{MAPPINGS, PAGES, ROWS},
    walker::Walker,
    words,
};

/// Frames that a bounded loop takes.
const BOUNDED_FRAMES: usize = 48;

/// What goes on from step to step.
///
/// It is in the walker, a map value, and not on the stack: the verifier follows every value on the stack, so that it would
/// go through the step once for each way in which a walk can stand.
#[repr(C)]
pub(crate) struct Walk {
    pc: u64,
    sp: u64,
    bp: u64,
    hash: u64,
    /// The mapping that the last address was in.
    mapping: Mapping,
    range: MappingRange,
    depth: u32,
    end: u32,
    /// 1 when `pc` is of an interrupted instruction, 0 when it is a return address.
    exact: u32,
    reserved: u32,
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
    if walker.memory.is_unchanged(drive, pc, sp, bp, walker.generation) {
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
    let state = &mut walker.walk;
    (state.pc, state.sp, state.bp, state.hash) = (pc, sp, bp, hash);
    // No address is at or above this one.
    state.mapping.start = u64::MAX;
    state.mapping.end = 0;
    state.range = range;
    state.depth = 0;
    state.end = StackEnd::Depth.code();
    state.exact = exact;
    match drive {
        Drive::Helper => {
            let mut context = Context { walker: &raw mut *walker };
            // SAFETY: the callback takes exactly this context, which outlives the call.
            unsafe { bpf_loop(MAX_FRAMES as u32, step_callback as *mut c_void, (&raw mut context).cast(), 0) };
        }
        Drive::Bounded => {
            for index in 0..BOUNDED_FRAMES as u64 {
                if bounded_step(index, walker) != 0 {
                    break;
                }
            }
        }
    }
    walker.stack.depth = walker.walk.depth;
    walker.stack.end = walker.walk.end;
    walker.stack.hash = walker.walk.hash;
}

/// What `bpf_loop` hands on, from the stack.
#[repr(C)]
struct Context {
    walker: *mut Walker,
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn step_callback(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `walk` passes, and the walker in it.
    step(index, unsafe { &mut *(*context.cast::<Context>()).walker })
}

#[inline(never)]
fn bounded_step(index: u64, walker: &mut Walker) -> i64 {
    step(index, walker)
}

#[inline(always)]
fn step(index: u64, walker: &mut Walker) -> i64 {
    match try_step(index, walker) {
        Ok(()) => 0,
        Err(end) => {
            walker.walk.end = end.code();
            1
        }
    }
}

/// Records the frame and moves to its caller.
#[inline(always)]
fn try_step(index: u64, walker: &mut Walker) -> Result<(), StackEnd> {
    if index >= MAX_FRAMES as u64 {
        return Err(StackEnd::Depth);
    }
    let Walker { walk, stack, .. } = walker;
    stack.frames[index as usize & 127] = walk.pc;
    walk.depth = index as u32 + 1;
    if walk.exact != 0 {
        stack.exact[(index >> 6) as usize & 1] |= 1 << (index & 63);
    }
    walk.hash = mix(walk.hash, walk.pc);
    // A return address may belong to the next function already, or to the next row.
    let look = if walk.exact != 0 { walk.pc } else { walk.pc.wrapping_sub(1) };
    walk.exact = 0;
    enter_mapping(walk, look)?;
    let rule = rule_at(&walk.mapping, look);
    if rule.kind() == RuleKind::None.code() { by_frame_pointer(walker) } else { by_rule(walker, rule) }
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
fn by_rule(walker: &mut Walker, rule: Rule) -> Result<(), StackEnd> {
    let Walker { walk, memory, .. } = walker;
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
        DEREF_RBP => memory.word(walk.bp.wrapping_add_signed(rule.cfa_offset()))?,
        DEREF_RSP => {
            memory.word(walk.sp.wrapping_add_signed(rule.deref_offset()))?.wrapping_add_signed(rule.deref_add())
        }
        SIGNAL => {
            let (bp, sp, pc) = (
                memory.word(walk.sp.wrapping_add(SIGNAL_RBP))?,
                memory.word(walk.sp.wrapping_add(SIGNAL_RSP))?,
                memory.word(walk.sp.wrapping_add(SIGNAL_RIP))?,
            );
            (walk.bp, walk.sp, walk.pc, walk.exact) = (bp, sp, pc, 1);
            return Ok(());
        }
        END => return Err(StackEnd::Complete),
        _ => return Err(StackEnd::UnsupportedRule),
    };
    let bp = match rule.rbp_offset() {
        _ if kind == DEREF_RBP => memory.word(walk.bp)?,
        0 => walk.bp,
        offset => memory.word(cfa.wrapping_add_signed(offset))?,
    };
    let return_address = memory.word(cfa.wrapping_sub(8))?;
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
fn by_frame_pointer(walker: &mut Walker) -> Result<(), StackEnd> {
    let Walker { walk, memory, .. } = walker;
    let (sp, bp) = (walk.sp, walk.bp);
    if bp == 0 {
        return Err(StackEnd::NoRow);
    }
    if bp < sp || bp & 7 != 0 {
        return Err(StackEnd::FramePointer);
    }
    let caller_bp = memory.word(bp).map_err(|_| StackEnd::FramePointer)?;
    let return_address = memory.word(bp.wrapping_add(8)).map_err(|_| StackEnd::FramePointer)?;
    enter_mapping(walk, return_address.wrapping_sub(1)).map_err(|_| StackEnd::FramePointer)?;
    (walk.bp, walk.sp, walk.pc) = (caller_bp, bp.wrapping_add(16), return_address);
    Ok(())
}
