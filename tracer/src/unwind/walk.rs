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
/// it leads to is believed only when it is in a mapping. 0 is in none, and is no sign of an outermost frame either: rbp
/// may point at anything.
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
    if find_mapping(mappings, return_address.wrapping_sub(1)).is_none() {
        return Err(StackEnd::FramePointer);
    }
    let registers = Registers { pc: return_address, sp: bp.wrapping_add(16), bp: caller_bp };
    Ok(Caller { registers, exact: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a stack, from this address on.
    struct Words(u64, &'static [u64]);

    impl Memory for Words {
        fn read_u64(&self, address: u64) -> Option<u64> {
            let at = address.checked_sub(self.0)? / 8;
            self.1.get(usize::try_from(at).ok()?).copied()
        }
    }

    /// A walk in code without rows, at 0x1000 to 0x2000, from a return address with these sp and bp.
    fn by_frame_pointers(sp: u64, bp: u64, words: &'static [u64]) -> Walk {
        let mappings = [Mapping { start: 0x1000, end: 0x2000, ..Mapping::default() }];
        let registers = Registers { pc: 0x1010, sp, bp };
        walk(registers, false, &mappings, &FlatTables::default(), &Words(0x7000, words))
    }

    #[test]
    fn frame_pointers_lead_up_until_there_is_none() {
        let walked = by_frame_pointers(0x7000, 0x7000, &[0x7018, 0x1020, 41, 0, 0x1030]);
        assert_eq!(walked, Walk { frames: vec![0x1010, 0x1020, 0x1030], end: StackEnd::NoRow });
    }

    #[test]
    fn a_frame_pointer_that_leads_to_no_code_is_none() {
        for word in [0, 1, 43, 0x1000, 0x2001, u64::MAX] {
            let words: &[u64] = Box::leak(Box::new([0x7018, word]));
            let walked = by_frame_pointers(0x7000, 0x7000, words);
            assert_eq!(walked, Walk { frames: vec![0x1010], end: StackEnd::FramePointer }, "{word:#x}");
        }
        for bp in [0x6ff8, 0x7001, 0x7008, 0x9000] {
            assert_eq!(by_frame_pointers(0x7000, bp, &[0x7018, 0]).end, StackEnd::FramePointer, "{bp:#x}");
        }
    }
}
