//! Code made at run time that is known by its bytes: the trampolines of CPython's support for perf.
//!
//! With `-X perf` each Python function is called through a copy of one small piece of code, for its address to have a
//! name of its own. CPython fills anonymous memory with copies, 64 KiB at a time (`Python/asm_trampoline.S` and
//! `Python/perf_trampoline.c`). It describes them to nobody, and until 3.14 they leave rbp alone, so that a walk by
//! frame pointer would step over frames or end.
//!
//! What the bytes say is so whatever lies around them: from each of their instructions on, the processor comes to their
//! `ret` without another branch, with the stack pointer where the offsets say.

use tracer_common::unwind::{Rule, RuleKind};

use super::{UnwindTable, table::Rows};

/// Bytes that CPython fills with copies at a time.
pub const ARENA_BYTES: usize = 1 << 16;
/// Longest trampoline, and so the least that tells whether an arena begins.
pub const TRAMPOLINE_BYTES: usize = 16;

/// Where indirect branches may lead to: the first instruction of a trampoline of a CPython that was compiled for CET.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// A trampoline: its code, and the CFA's offset from rsp and that of the saved rbp from the CFA, from which byte on.
struct Trampoline {
    code: &'static [u8],
    rows: [(u32, i64, Option<i64>); 3],
}

const TRAMPOLINES: [Trampoline; 2] = [
    // sub $8, %rsp; call *%rcx; add $8, %rsp; ret
    Trampoline {
        code: &[0x48, 0x83, 0xec, 0x08, 0xff, 0xd1, 0x48, 0x83, 0xc4, 0x08, 0xc3],
        rows: [(0, 8, None), (4, 16, None), (10, 8, None)],
    },
    // push %rbp; mov %rsp, %rbp; call *%rcx; pop %rbp; ret
    Trampoline {
        code: &[0x55, 0x48, 0x89, 0xe5, 0xff, 0xd1, 0x5d, 0xc3],
        rows: [(0, 8, None), (1, 16, Some(-16)), (7, 8, None)],
    },
];

/// The trampoline at the beginning of `bytes`, and the length of what is before its own code.
fn trampoline(bytes: &[u8]) -> Option<(&'static Trampoline, u32)> {
    let (code, before) = bytes.strip_prefix(&ENDBR64).map_or((bytes, 0), |rest| (rest, ENDBR64.len() as u32));
    TRAMPOLINES.iter().find(|known| code.starts_with(known.code)).map(|known| (known, before))
}

/// Whether `bytes`, [`TRAMPOLINE_BYTES`] of them, are the beginning of an arena of trampolines.
pub fn begins_with_trampoline(bytes: &[u8]) -> bool {
    trampoline(bytes).is_some()
}

impl UnwindTable {
    /// The table of an arena of trampolines, [`ARENA_BYTES`] at most; its address 0 is the arena's first byte. `None`
    /// when it does not begin with one. What is no trampoline in it has no rule.
    pub fn from_trampolines(arena: &[u8]) -> Option<Self> {
        if arena.len() > ARENA_BYTES || !begins_with_trampoline(arena) {
            return None;
        }
        let mut rows = Rows::default();
        let (mut at, mut count) = (0, 0);
        while let Some(rest) = arena.get(at..).filter(|rest| !rest.is_empty()) {
            let Some((known, before)) = trampoline(rest) else {
                at += 1;
                continue;
            };
            // An arena is shorter than 4 GiB.
            let start = at as u32;
            for (index, (offset, cfa, rbp)) in known.rows.into_iter().enumerate() {
                let from = if index == 0 { start } else { start + before + offset };
                rows.push(from, Rule::offset(RuleKind::Rsp, cfa, rbp)?);
            }
            at += before as usize + known.code.len();
            rows.push(at as u32, Rule::NONE);
            count += 1;
        }
        Some(Self::from_rows(rows, arena.len() as u64, count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_common::{stack::StackEnd, unwind::Mapping};

    use super::*;
    use crate::unwind::{FlatTables, Memory, Registers, walk};

    /// An arena as CPython fills it: copies at multiples of `stride`, as many as fit.
    fn arena(code: &[u8], stride: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes.chunks_exact_mut(stride).for_each(|chunk| chunk[..code.len()].copy_from_slice(code));
        bytes
    }

    fn rule(cfa: i64, rbp: Option<i64>) -> Rule {
        Rule::offset(RuleKind::Rsp, cfa, rbp).expect("it fits")
    }

    #[test]
    fn every_copy_has_its_rows() {
        for (known, stride) in [(0, 11), (0, 16), (0, 272), (1, 8), (1, 16)] {
            let Trampoline { code, rows } = &TRAMPOLINES[known];
            for before in [&[][..], &ENDBR64] {
                let whole = [before, code].concat();
                let stride = stride + before.len();
                let table = UnwindTable::from_trampolines(&arena(&whole, stride, ARENA_BYTES)).expect("an arena");
                assert_eq!(table.functions(), ARENA_BYTES / stride);
                for copy in [0, 1, 7, ARENA_BYTES / stride - 1] {
                    for (offset, cfa, rbp) in *rows {
                        let at = copy * stride + before.len() + offset as usize;
                        let found = table.lookup(at as u32).map(|row| row.rule);
                        assert_eq!(found, Some(rule(cfa, rbp)), "copy {copy}, offset {offset}, stride {stride}");
                    }
                    if stride > whole.len() {
                        let padding = table.lookup((copy * stride + whole.len()) as u32).map(|row| row.rule);
                        assert_eq!(padding, Some(Rule::NONE));
                    }
                }
                assert!(table.lookup(ARENA_BYTES as u32).is_none_or(|row| row.rule == Rule::NONE));
            }
        }
    }

    #[test]
    fn other_code_is_no_arena() {
        let code = TRAMPOLINES[0].code;
        for bytes in [&[][..], &code[..10], &[0x90], &arena(code, 16, ARENA_BYTES + 1)] {
            assert_eq!(UnwindTable::from_trampolines(bytes), None);
        }
        let mut late = vec![0x90];
        late.extend(code);
        assert_eq!(UnwindTable::from_trampolines(&late), None);
        // What follows the copies has no rule.
        let mut mixed = arena(code, 11, 33);
        mixed.extend([0x90; 100]);
        let table = UnwindTable::from_trampolines(&mixed).expect("an arena");
        assert_eq!(table.lookup(40).map(|row| row.rule), Some(Rule::NONE));
    }

    struct Stack(u64, Vec<u64>);

    impl Memory for Stack {
        fn read_u64(&self, address: u64) -> Option<u64> {
            self.1.get(usize::try_from(address.checked_sub(self.0)? / 8).ok()?).copied()
        }
    }

    /// From the return address in a trampoline to its caller's, though rbp is no frame pointer there.
    #[test]
    fn a_walk_goes_through() {
        let table = UnwindTable::from_trampolines(&arena(TRAMPOLINES[0].code, 11, 4096)).expect("an arena");
        let mut tables = FlatTables::default();
        let place = tables.add(&table, 1 << 20, 1 << 20).expect("room");
        let start = 0x7f00_0000_0000;
        let bias = table.bias_for(start, 0).expect("from its first byte on");
        let mappings =
            [Mapping { start: 0x1000, end: 0x2000, ..Mapping::default() }, place.mapping(start, start + 4096, bias)];
        // A gap of 8 bytes, then the caller in code without rows.
        let memory = Stack(0x7000, vec![41, 0x1234]);
        let registers = Registers { pc: start + 11 * 5 + 6, sp: 0x7000, bp: 0 };
        let walked = walk(registers, false, &mappings, &tables, &memory);
        assert_eq!((walked.frames, walked.end), (vec![registers.pc, 0x1234], StackEnd::NoRow));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop::sample::select(vec![
            0x48u8, 0x83, 0xec, 8, 0xff, 0xd1, 0xc4, 0xc3, 0x55, 0x89, 0xe5, 0x5d, 0xf3, 0x0f, 0x1e, 0xfa,
        ]), 0..200)) {
            UnwindTable::from_trampolines(&bytes);
            let begun = [TRAMPOLINES[1].code, &bytes].concat();
            let table = UnwindTable::from_trampolines(&begun).expect("an arena");
            let rows = table.rows();
            prop_assert!(rows.windows(2).all(|pair| pair[0].pc < pair[1].pc && pair[0].rule != pair[1].rule));
            prop_assert_eq!(rows[rows.len() - 1].rule, Rule::NONE);
        }
    }
}
