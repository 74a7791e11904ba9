//! Hand-made call-frame information: each form of rule, and what happens where entries meet, overlap or break off.

use leaktrace::unwind::{UnwindError, UnwindTable};
use tracer_common::unwind::{Rule, RuleKind, Unsupported};

use crate::elf_image::{ElfImage, Section, TEXT};

// DWARF 5, 7.24 and 7.7.1.
pub(crate) const ADVANCE: u8 = 0x40;
pub(crate) const OFFSET_RBP: u8 = 0x80 | 6;
pub(crate) const DEF_CFA: u8 = 0x0c;
pub(crate) const DEF_CFA_OFFSET: u8 = 0x0e;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_EXPRESSION: u8 = 0x0f;
const EXPRESSION: u8 = 0x10;
const UNDEFINED: u8 = 0x07;
const SAME_VALUE: u8 = 0x08;
const REGISTER: u8 = 0x09;
const REMEMBER: u8 = 0x0a;
const RESTORE_STATE: u8 = 0x0b;
const BREG: u8 = 0x70;
const DEREF: u8 = 0x06;
const PLUS_UCONST: u8 = 0x23;

const RBP: u8 = 6;
const RSP: u8 = 7;
const RA: u8 = 16;

/// Call-frame information under construction.
#[derive(Default)]
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    cie: usize,
}

impl Frames {
    /// Begins with what compilers begin with: `CFA = rsp + 8`, return address at `CFA - 8`.
    pub(crate) fn new() -> Self {
        let mut frames = Self::default();
        frames.cie(b"zR", &[DEF_CFA, RSP, 8, 0x80 | RA, 1]);
        frames
    }

    fn cie(&mut self, augmentation: &[u8], program: &[u8]) {
        self.cie = self.bytes.len();
        let mut body = vec![0, 0, 0, 0, 1];
        body.extend(augmentation);
        // End of the string; code alignment 1, data alignment -8, return address, one byte of data: absolute udata8.
        body.extend([0, 1, 0x78, RA, 1, 0x04]);
        body.extend(program);
        self.entry(body);
    }

    pub(crate) fn fde(&mut self, start: u64, length: u64, program: &[u8]) {
        let back = self.bytes.len() + 4 - self.cie;
        let mut body = (back as u32).to_le_bytes().to_vec();
        body.extend(start.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.push(0);
        body.extend(program);
        self.entry(body);
    }

    fn entry(&mut self, mut body: Vec<u8>) {
        body.resize(body.len().next_multiple_of(4), 0);
        self.bytes.extend((body.len() as u32).to_le_bytes());
        self.bytes.extend(body);
    }

    fn table(self) -> Result<UnwindTable, UnwindError> {
        UnwindTable::from_elf(&ElfImage::new(0x1000, self.bytes).bytes())
    }
}

/// The rule of a function whose program is `program`.
fn rule(program: &[u8]) -> Rule {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, program);
    rule_at(&frames.table().unwrap(), TEXT)
}

fn rule_at(table: &UnwindTable, address: u64) -> Rule {
    table.lookup((address - table.base()) as u32).map_or(Rule::NONE, |row| row.rule)
}

fn offset(kind: RuleKind, cfa: i64, rbp: Option<i64>) -> Rule {
    Rule::offset(kind, cfa, rbp).unwrap()
}

fn unsupported(why: Unsupported) -> Rule {
    Rule::unsupported(why)
}

#[test]
fn frames_counted_from_a_register() {
    assert_eq!(rule(&[]), offset(RuleKind::Rsp, 8, None));
    assert_eq!(rule(&[DEF_CFA_OFFSET, 16, OFFSET_RBP, 2]), offset(RuleKind::Rsp, 16, Some(-16)));
    assert_eq!(rule(&[DEF_CFA_OFFSET, 16, OFFSET_RBP, 2, DEF_CFA_REGISTER, RBP]), offset(RuleKind::Rbp, 16, Some(-16)));
    // 1 MiB + 16, as LEB128: a large buffer on the stack.
    assert_eq!(rule(&[DEF_CFA_OFFSET, 0x90, 0x80, 0x40]), offset(RuleKind::Rsp, (1 << 20) + 16, None));
    assert_eq!(rule(&[SAME_VALUE, RBP]), offset(RuleKind::Rsp, 8, None));
}

#[test]
fn rules_that_a_row_cannot_express() {
    assert_eq!(rule(&[DEF_CFA_REGISTER, 3]), unsupported(Unsupported::CfaRegister));
    assert_eq!(rule(&[DEF_CFA_OFFSET, 12]), unsupported(Unsupported::CfaOffset));
    assert_eq!(rule(&[DEF_CFA_OFFSET, 0x80, 0x80, 0x80, 0x02]), unsupported(Unsupported::CfaOffset)); // 4 MiB
    assert_eq!(rule(&[DEF_CFA_EXPRESSION, 1, 0x30]), unsupported(Unsupported::CfaExpression));
    assert_eq!(rule(&[REGISTER, RBP, 3]), unsupported(Unsupported::Rbp));
    assert_eq!(rule(&[UNDEFINED, RBP]), unsupported(Unsupported::Rbp));
    assert_eq!(rule(&[OFFSET_RBP, 0]), unsupported(Unsupported::Rbp)); // at the CFA itself
    assert_eq!(rule(&[OFFSET_RBP, 0x81, 0x01]), unsupported(Unsupported::Rbp)); // 1032 bytes down
    assert_eq!(rule(&[REGISTER, RA, 2]), unsupported(Unsupported::ReturnAddress));
    assert_eq!(rule(&[0x80 | RA, 2]), unsupported(Unsupported::ReturnAddress));
    assert_eq!(rule(&[REGISTER, RSP, 2]), unsupported(Unsupported::Rsp));
    // Saved at *rbp, but the CFA is not what DRAP makes it.
    assert_eq!(rule(&[EXPRESSION, RBP, 2, BREG | RBP, 0]), unsupported(Unsupported::Rbp));
}

#[test]
fn frames_found_through_memory() {
    // GCC's DRAP: CFA = *(rbp - 40), rbp at *rbp.
    let drap = [EXPRESSION, RBP, 2, BREG | RBP, 0, DEF_CFA_EXPRESSION, 3, BREG | RBP, 0x58, DEREF];
    assert_eq!(rule(&drap), offset(RuleKind::DerefRbp, -40, None));
    assert_eq!(rule(&drap[5..]), unsupported(Unsupported::Rbp));
    // OpenSSL's: CFA = *(rsp + 152) + 8, rbp at CFA - 16. OCaml's adds twice.
    let slot = [OFFSET_RBP, 2, DEF_CFA_EXPRESSION, 6, BREG | RSP, 0x98, 0x01, DEREF, PLUS_UCONST, 8];
    assert_eq!(rule(&slot), Rule::deref_rsp(152, 8, Some(-16)).unwrap());
    let twice = [DEF_CFA_EXPRESSION, 7, BREG | RSP, 8, DEREF, PLUS_UCONST, 16, PLUS_UCONST, 24];
    assert_eq!(rule(&twice), Rule::deref_rsp(8, 40, None).unwrap());
    // An expression that breaks off is not taken for its beginning.
    assert_eq!(
        rule(&[DEF_CFA_EXPRESSION, 5, BREG | RSP, 8, DEREF, PLUS_UCONST, 0x88]),
        unsupported(Unsupported::CfaExpression)
    );
}

#[test]
fn the_linkers_plt() {
    let plt = |boundary: u8| {
        [DEF_CFA_EXPRESSION, 11, BREG | RSP, 8, 0x80, 0, 0x3f, 0x1a, 0x30 | boundary, 0x2a, 0x33, 0x24, 0x22]
    };
    assert_eq!(rule(&plt(11)), Rule::plt(11).unwrap());
    assert_eq!(rule(&plt(10)), Rule::plt(10).unwrap());
}

#[test]
fn the_outermost_frame_and_signal_frames() {
    assert_eq!(rule(&[UNDEFINED, RA]), Rule::END);

    let signal_frame = |program: &[u8]| {
        let mut frames = Frames::default();
        frames.cie(b"zRS", &[]);
        frames.fde(TEXT, 16, program);
        rule_at(&frames.table().unwrap(), TEXT)
    };
    assert_eq!(signal_frame(&[DEF_CFA_EXPRESSION, 4, BREG | RSP, 0xa0, 0x01, DEREF]), Rule::SIGNAL);
    assert_eq!(
        signal_frame(&[DEF_CFA_EXPRESSION, 4, BREG | RSP, 0xa8, 0x01, DEREF]),
        unsupported(Unsupported::SignalFrame)
    );
    assert_eq!(signal_frame(&[DEF_CFA, RSP, 8]), unsupported(Unsupported::SignalFrame));
}

#[test]
fn rows_follow_the_program_and_merge() {
    let mut frames = Frames::new();
    frames.fde(
        TEXT,
        64,
        &[ADVANCE | 1, DEF_CFA_OFFSET, 16, ADVANCE | 20, REMEMBER, DEF_CFA_OFFSET, 8, ADVANCE | 1, RESTORE_STATE],
    );
    frames.fde(TEXT + 64, 32, &[ADVANCE | 4, DEF_CFA_OFFSET, 16, ADVANCE | 8, DEF_CFA_OFFSET, 16]);
    let table = frames.table().unwrap();
    let rows: Vec<_> = table
        .rows()
        .iter()
        .map(|row| {
            (u64::from(row.pc) + table.base(), RuleKind::try_from(row.rule.kind()).unwrap(), row.rule.cfa_offset())
        })
        .collect();
    assert_eq!(
        rows,
        [
            (0, RuleKind::None, 0),
            (TEXT, RuleKind::Rsp, 8),
            (TEXT + 1, RuleKind::Rsp, 16),
            (TEXT + 21, RuleKind::Rsp, 8),
            (TEXT + 22, RuleKind::Rsp, 16),
            (TEXT + 64, RuleKind::Rsp, 8),
            (TEXT + 68, RuleKind::Rsp, 16),
            (TEXT + 96, RuleKind::None, 0),
        ]
    );
    assert_eq!(table.functions(), 2);
}

#[test]
fn gaps_are_marked_and_padding_is_not() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 9, &[]);
    frames.fde(TEXT + 16, 9, &[]);
    frames.fde(TEXT + 48, 9, &[]);
    let table = frames.table().unwrap();
    let plain = offset(RuleKind::Rsp, 8, None);
    assert_eq!(rule_at(&table, TEXT + 12), plain);
    assert_eq!(rule_at(&table, TEXT + 24), plain);
    assert_eq!(rule_at(&table, TEXT + 25), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 47), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 56), plain);
    assert_eq!(rule_at(&table, TEXT + 57), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT - 1), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 0x10_0000), Rule::NONE);
}

#[test]
fn an_entry_point_that_nothing_describes_is_the_end() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, &[]);
    frames.fde(TEXT + 0x40, 16, &[]);
    let mut image = ElfImage::new(0x1000, frames.bytes);
    image.entry = TEXT + 0x20;
    let table = UnwindTable::from_elf(&image.bytes()).unwrap();
    assert_eq!(rule_at(&table, TEXT + 0x1f), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 0x20), Rule::END);
    assert_eq!(rule_at(&table, TEXT + 0x3f), Rule::END);
    assert_eq!(rule_at(&table, TEXT + 0x40), offset(RuleKind::Rsp, 8, None));

    image.entry = TEXT + 0x100;
    let table = UnwindTable::from_elf(&image.bytes()).unwrap();
    assert_eq!(rule_at(&table, TEXT + 0x100), Rule::END);
    assert_eq!(rule_at(&table, TEXT + 0x1ff), Rule::NONE);
}

#[test]
fn what_signal_handlers_return_to_is_known_by_its_code() {
    const TRAMPOLINE: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];

    let mut frames = Frames::new();
    frames.fde(TEXT, 0x100, &[]);
    frames.fde(TEXT + 0x120, 16, &[]);
    frames.fde(TEXT + 0xf00, 0x100, &[]);
    let mut image = ElfImage::new(0x1000, frames.bytes).bytes();
    let mut put = |address: u64, code: &[u8]| image[address as usize..][..code.len()].copy_from_slice(code);
    // Described, in a gap that is too short, and twice where nothing else is known.
    for address in [TEXT + 0x40, TEXT + 0x110, TEXT + 0x801] {
        put(address, &TRAMPOLINE);
    }
    put(TEXT + 0x80a, &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]);
    let table = UnwindTable::from_elf(&image).unwrap();
    assert_eq!(rule_at(&table, TEXT + 0x40), offset(RuleKind::Rsp, 8, None));
    assert_eq!(rule_at(&table, TEXT + 0x110), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 0x7ff), Rule::NONE);
    // From one byte before: that is where a return address is looked up.
    for address in TEXT + 0x800..TEXT + 0x811 {
        assert_eq!(rule_at(&table, address), Rule::SIGNAL, "{address:#x}");
    }
    assert_eq!(rule_at(&table, TEXT + 0x811), Rule::NONE);
    assert_eq!(rule_at(&table, TEXT + 0xf00), offset(RuleKind::Rsp, 8, None));
}

#[test]
fn where_functions_overlap_the_later_start_holds() {
    let mut frames = Frames::new();
    frames.fde(TEXT + 32, 32, &[DEF_CFA_OFFSET, 32]);
    frames.fde(TEXT, 128, &[DEF_CFA_OFFSET, 16, ADVANCE | 60, DEF_CFA_OFFSET, 24]);
    frames.fde(TEXT + 32, 8, &[DEF_CFA_OFFSET, 40]); // a second one at the same start is ignored
    let table = frames.table().unwrap();
    assert_eq!(rule_at(&table, TEXT + 31).cfa_offset(), 16);
    assert_eq!(rule_at(&table, TEXT + 32).cfa_offset(), 32);
    assert_eq!(rule_at(&table, TEXT + 63).cfa_offset(), 32);
    assert_eq!(rule_at(&table, TEXT + 64), Rule::NONE);
}

#[test]
fn a_broken_program_spoils_its_own_function_only() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 32, &[ADVANCE | 4, DEF_CFA_OFFSET, 16, ADVANCE | 4, RESTORE_STATE]);
    frames.fde(TEXT + 32, 32, &[0x3f]);
    frames.fde(TEXT + 64, 32, &[]);
    frames.fde(TEXT + 0x10_0000, 32, &[]); // outside of the text
    frames.cie(b"zQ", &[]); // an unknown augmentation
    frames.fde(TEXT + 96, 32, &[]);
    let table = frames.table().unwrap();
    assert_eq!(rule_at(&table, TEXT + 7), offset(RuleKind::Rsp, 16, None));
    assert_eq!(rule_at(&table, TEXT + 8), unsupported(Unsupported::Malformed));
    assert_eq!(rule_at(&table, TEXT + 40), unsupported(Unsupported::Malformed));
    assert_eq!(rule_at(&table, TEXT + 64), offset(RuleKind::Rsp, 8, None));
    assert_eq!(rule_at(&table, TEXT + 96), Rule::NONE);
    assert_eq!(table.skipped(), 2);
}

#[test]
fn a_listed_section_needs_no_program_header_and_may_hold_zeroes() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, &[]);
    frames.bytes.extend([0; 8]); // a terminator that another file's frames follow
    frames.cie(b"zR", &[DEF_CFA, RSP, 24, 0x80 | RA, 1]);
    frames.fde(TEXT + 16, 16, &[]);
    let mut image = ElfImage::new(0x1000, Vec::new());
    image.sections.push(Section { name: ".eh_frame", flags: 2, address: 0x3000, bytes: frames.bytes });
    let table = UnwindTable::from_elf(&image.bytes()).unwrap();
    assert_eq!(rule_at(&table, TEXT).cfa_offset(), 8);
    assert_eq!(rule_at(&table, TEXT + 16).cfa_offset(), 24);
}

#[test]
fn debug_frame_fills_in_what_eh_frame_leaves_out() {
    let mut frames = Frames::new();
    frames.fde(TEXT + 16, 16, &[]);

    // .debug_frame: no augmentation, absolute addresses, CIE id of all ones, offsets from the section's start.
    let mut debug = Frames::default();
    let mut cie = vec![0xff, 0xff, 0xff, 0xff, 3, 0, 1, 0x78, RA];
    cie.extend([DEF_CFA, RSP, 48, 0x80 | RA, 1]);
    debug.entry(cie);
    for start in [TEXT, TEXT + 24, TEXT + 64] {
        let mut fde = vec![0; 4];
        fde.extend(start.to_le_bytes());
        fde.extend(16u64.to_le_bytes());
        debug.entry(fde);
    }
    let mut image = ElfImage::new(0x1000, frames.bytes);
    image.sections.push(Section { name: ".debug_frame", flags: 0, address: 0, bytes: debug.bytes });
    let both = UnwindTable::from_elf(&image.bytes()).unwrap();
    assert_eq!(rule_at(&both, TEXT).cfa_offset(), 48);
    assert_eq!(rule_at(&both, TEXT + 24).cfa_offset(), 8);
    assert_eq!(rule_at(&both, TEXT + 32), Rule::NONE);
    assert_eq!(rule_at(&both, TEXT + 64).cfa_offset(), 48);
    assert_eq!(both.functions(), 3);

    image.eh_frame.clear();
    let alone = UnwindTable::from_elf(&image.bytes()).unwrap();
    assert_eq!(rule_at(&alone, TEXT + 24).cfa_offset(), 48);
}

#[test]
fn addresses_follow_the_mapping() {
    let mut frames = Frames::new();
    frames.fde(TEXT, 16, &[]);
    let table = frames.table().unwrap();
    let bias = table.bias_for(0x7f00_0000_1000, TEXT).unwrap();
    assert_eq!(0x7f00_0000_1000 - bias, TEXT - table.base());
    assert_eq!(table.bias_for(0x7f00_0000_1000, 0x10_0000), None);
}

#[test]
fn errors_say_what_is_missing() {
    assert!(matches!(UnwindTable::from_elf(b""), Err(UnwindError::Elf(_))));
    assert!(matches!(UnwindTable::from_elf(&ElfImage::new(16, Vec::new()).bytes()), Err(UnwindError::NoFrames)));
    let mut image = ElfImage::new(16, Vec::new()).bytes();
    image[18] = 183; // aarch64
    assert!(matches!(UnwindTable::from_elf(&image), Err(UnwindError::Machine)));
}
