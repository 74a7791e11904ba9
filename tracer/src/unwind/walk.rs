//! The walk that the BPF program does, step by step, in user space: to test tables without a kernel, and to compare the
//! two.

use tracer_common::{
    stack::{MAX_FRAMES, StackEnd},
    unwind::{Mapping, ROW_SEARCH_STEPS, Row, Rule, RuleKind, SIGNAL_RBP, SIGNAL_RIP, SIGNAL_RSP},
};

use super::FlatTables;

/// The target's memory.
pub trait Memory {
    /// The eight bytes at an address, or `None` when they cannot be read.
    fn read_u64(&self, address: u64) -> Option<u64>;
}

/// The registers that a walk needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// rip.
    pub pc: u64,
    /// rsp.
    pub sp: u64,
    /// rbp.
    pub bp: u64,
}

/// A walked stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Program counters, innermost first: the first as given, and return addresses.
    pub frames: Vec<u64>,
    /// Why the walk ended.
    pub end: StackEnd,
}

/// The mapping that holds an address, among mappings sorted by address.
pub fn find_mapping(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let after = mappings.partition_point(|mapping| mapping.start <= address);
    mappings[..after].last().filter(|mapping| address < mapping.end)
}

/// The last row, from `low` to `high` inclusive, that starts at or before `address`; the row at `low` is one.
pub fn find_row(rows: &[Row], mut low: u32, mut high: u32, address: u32) -> Option<Row> {
    for _ in 0..ROW_SEARCH_STEPS {
        if low >= high {
            break;
        }
        let middle = low + (high - low).div_ceil(2);
        if rows.get(middle as usize)?.pc <= address {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    rows.get(low as usize).copied()
}

/// The caller's registers, or why there is no caller.
struct Caller {
    registers: Registers,
    /// The program counter is of an interrupted instruction, not a return address.
    exact: bool,
}

/// Walks a stack from `registers`, whose program counter is an instruction's own address (`exact`), or a return address.
/// `mappings` are the process's, sorted by address.
pub fn walk(
    mut registers: Registers,
    mut exact: bool,
    mappings: &[Mapping],
    tables: &FlatTables,
    memory: &impl Memory,
) -> Walk {
    let mut frames = Vec::new();
    let end = loop {
        if frames.len() == MAX_FRAMES {
            break StackEnd::Depth;
        }
        frames.push(registers.pc);
        // A return address may belong to the next function already, or to the next row.
        let look = if exact { registers.pc } else { registers.pc.wrapping_sub(1) };
        let Some(mapping) = find_mapping(mappings, look) else { break StackEnd::NoMapping };
        let rule = tables.rule_at(mapping, look);
        let caller = match rule.kind() {
            kind if kind == RuleKind::None.code() => by_frame_pointer(registers, mappings, memory),
            _ => by_rule(rule, registers, memory),
        };
        match caller {
            Ok(caller) => Caller { registers, exact } = caller,
            Err(end) => break end,
        }
    };
    Walk { frames, end }
}

fn by_rule(rule: Rule, registers: Registers, memory: &impl Memory) -> Result<Caller, StackEnd> {
    let Registers { pc, sp, bp } = registers;
    let read = |address: u64| memory.read_u64(address).ok_or(StackEnd::ReadFault);
    let cfa = match RuleKind::try_from(rule.kind()) {
        Ok(RuleKind::Rsp) => sp.wrapping_add_signed(rule.cfa_offset()),
        Ok(RuleKind::Rbp) => bp.wrapping_add_signed(rule.cfa_offset()),
        Ok(RuleKind::Plt) => {
            let pushed = pc & 15 >= u64::from(rule.cfa_field());
            sp.wrapping_add(if pushed { 16 } else { 8 })
        }
        Ok(RuleKind::DerefRbp) => read(bp.wrapping_add_signed(rule.cfa_offset()))?,
        Ok(RuleKind::DerefRsp) => {
            read(sp.wrapping_add_signed(rule.deref_offset()))?.wrapping_add_signed(rule.deref_add())
        }
        Ok(RuleKind::Signal) => {
            let field = |offset: u64| read(sp.wrapping_add(offset));
            let registers = Registers { pc: field(SIGNAL_RIP)?, sp: field(SIGNAL_RSP)?, bp: field(SIGNAL_RBP)? };
            return Ok(Caller { registers, exact: true });
        }
        Ok(RuleKind::End) => return Err(StackEnd::Complete),
        Ok(RuleKind::None) => return Err(StackEnd::NoRow),
        Ok(RuleKind::Unsupported) | Err(_) => return Err(StackEnd::UnsupportedRule),
    };
    let return_address = read(cfa.wrapping_sub(8))?;
    let caller_bp = match rule.rbp_offset() {
        _ if rule.kind() == RuleKind::DerefRbp.code() => read(bp)?,
        0 => bp,
        offset => read(cfa.wrapping_add_signed(offset))?,
    };
    if return_address == 0 {
        return Err(StackEnd::Complete);
    }
    // Every frame lies further up, unless its code switches stacks, which takes a slot to keep the old one in.
    if cfa <= sp && rule.kind() != RuleKind::DerefRsp.code() {
        return Err(StackEnd::FramePointer);
    }
    Ok(Caller { registers: Registers { pc: return_address, sp: cfa, bp: caller_bp }, exact: false })
}

/// Code without call-frame information (made at run time, or hand-written): rbp is taken for a frame pointer, and what
/// it leads to is believed only when it is in a mapping.
fn by_frame_pointer(registers: Registers, mappings: &[Mapping], memory: &impl Memory) -> Result<Caller, StackEnd> {
    let Registers { sp, bp, .. } = registers;
    if bp == 0 {
        return Err(StackEnd::NoRow);
    }
    if bp < sp || bp % 8 != 0 {
        return Err(StackEnd::FramePointer);
    }
    let read = |address: u64| memory.read_u64(address).ok_or(StackEnd::FramePointer);
    let (caller_bp, return_address) = (read(bp)?, read(bp.wrapping_add(8))?);
    if return_address == 0 {
        return Err(StackEnd::Complete);
    }
    if find_mapping(mappings, return_address.wrapping_sub(1)).is_none() {
        return Err(StackEnd::FramePointer);
    }
    let registers = Registers { pc: return_address, sp: bp.wrapping_add(16), bp: caller_bp };
    Ok(Caller { registers, exact: false })
}
