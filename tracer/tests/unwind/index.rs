//! The page index finds what a scan of all rows finds.

use leaktrace::unwind::UnwindTable;
use proptest::prelude::*;
use tracer_common::unwind::{PAGE_BYTES, ROW_SEARCH_STEPS, Row, Rule};

use crate::{
    elf_image::{ElfImage, TEXT},
    rules::{ADVANCE, DEF_CFA_OFFSET, Frames},
};

/// A function: bytes of gap before it, its length, and its changes of the CFA's offset (after how many bytes, to what).
type Function = (u64, u64, Vec<(u8, u8)>);

fn table(functions: &[Function]) -> UnwindTable {
    let mut frames = Frames::new();
    let mut address = TEXT;
    for (gap, length, changes) in functions {
        let program: Vec<u8> =
            changes.iter().flat_map(|(after, offset)| [ADVANCE | after, DEF_CFA_OFFSET, offset * 8]).collect();
        frames.fde(address + gap, *length, &program);
        address += gap + length;
    }
    UnwindTable::from_elf(&ElfImage::new(address - TEXT, frames.bytes).bytes()).expect("well-formed")
}

fn scan(rows: &[Row], address: u32) -> Rule {
    rows.iter().take_while(|row| row.pc <= address).last().map_or(Rule::NONE, |row| row.rule)
}

fn check(table: &UnwindTable, addresses: impl Iterator<Item = u32>) {
    let rows = table.rows();
    assert_eq!(rows[0].pc, 0);
    assert_eq!(rows[rows.len() - 1].rule, Rule::NONE);
    assert!(rows.windows(2).all(|pair| pair[0].pc < pair[1].pc && pair[0].rule != pair[1].rule));
    assert!(table.pages().windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] < 1 << ROW_SEARCH_STEPS));
    for address in addresses {
        let found = table.lookup(address).map_or(Rule::NONE, |row| row.rule);
        assert_eq!(found, scan(rows, address), "at {address:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lookups_equal_a_scan(
        functions in prop::collection::vec(
            (0..3000u64, 1..2000u64, prop::collection::vec((0..64u8, 1..9u8), 0..40)),
            1..24,
        ),
    ) {
        let table = table(&functions);
        let last = table.rows()[table.rows().len() - 1].pc;
        check(&table, (0..last + 2 * PAGE_BYTES as u32).step_by(7));
        let edges = table.rows().iter().flat_map(|row| [row.pc.saturating_sub(1), row.pc, row.pc + 1]);
        check(&table, edges);
    }
}

#[test]
fn a_page_may_have_a_row_for_every_byte() {
    let changes = (0..2500).map(|at: u32| (1, 1 + (at % 2) as u8)).collect();
    let table = table(&[(0, 3000, changes)]);
    assert!(table.rows().len() > 2500);
    check(&table, 0..0x2000);
}
