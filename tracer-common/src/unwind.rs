//! Call-frame information as the BPF programs look it up: three flat arrays.
//!
//! A program counter is found in a process's slice of the [`Mapping`]s; `pc - bias` is then an address within one
//! table. The page index (one `u32` for every [`PAGE_BYTES`] of text) narrows the table down to a few [`Row`]s, and the
//! last row that starts at or before the address holds the rule. A row lasts until the next one starts.
//!
//! Everything here is x86-64: the registers that rules speak of are rsp, rbp and the return address at `CFA - 8`.

use crate::{assert_layout, wire_enum};

/// Binary logarithm of the bytes of text that one entry of the page index covers.
pub const PAGE_SHIFT: u32 = 10;
/// Bytes of text that one entry of the page index covers.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// Halvings after which the search among the rows of one page has ended. At most [`PAGE_BYTES`] rows start in a page
/// and one more reaches into it.
pub const ROW_SEARCH_STEPS: u32 = PAGE_SHIFT + 1;
/// Halvings after which the search among the mappings of one process has ended.
pub const MAPPING_SEARCH_STEPS: u32 = 16;
/// Mappings of all processes together, twice over: a new list is written before the old one is given up.
pub const MAX_MAPPINGS: u32 = 1 << MAPPING_SEARCH_STEPS;
/// Rows that one table may have. Chromium, the largest program in wide use, has three million.
pub const MAX_TABLE_ROWS: u32 = 1 << 24;
/// Unit of the offsets in a [`Rule`], bytes.
pub const OFFSET_UNIT: i64 = 8;

wire_enum! {
    /// How the frame of the caller is found. All but [`RuleKind::Signal`] leave the return address at `CFA - 8`, and
    /// the caller's rsp is the CFA.
    pub enum RuleKind {
        /// No call-frame information for these addresses.
        None = 0 => "none",
        /// `CFA = rsp + cfa`.
        Rsp = 1 => "rsp",
        /// `CFA = rbp + cfa`.
        Rbp = 2 => "rbp",
        /// A PLT stub, 16 bytes long and aligned: `CFA = rsp + 8`, and 8 more from the instruction on that follows its
        /// push. The cfa field is that instruction's offset in the stub, in bytes.
        Plt = 3 => "plt",
        /// A frame realigned by the compiler (GCC's DRAP): `CFA = *(rbp + cfa)`, and the caller's rbp is at `*rbp`.
        DerefRbp = 4 => "deref_rbp",
        /// A frame that keeps the caller's rsp in a slot: `CFA = *(rsp + deref_offset) + deref_add`.
        DerefRsp = 5 => "deref_rsp",
        /// The kernel's `rt_sigframe` is at rsp: rbp at [`SIGNAL_RBP`], rsp at [`SIGNAL_RSP`], rip at [`SIGNAL_RIP`].
        /// The rip is the interrupted instruction itself, not a return address.
        Signal = 6 => "signal",
        /// The outermost frame: there is no caller.
        End = 7 => "end",
        /// There is a rule, and a row cannot express it. The cfa field is an [`Unsupported`].
        Unsupported = 8 => "unsupported",
    }
}

wire_enum! {
    /// Why a rule could not be expressed.
    pub enum Unsupported {
        /// The CFA is counted from a register that is not tracked.
        CfaRegister = 0 => "cfa_register",
        /// The CFA's offset is out of range, or no multiple of 8.
        CfaOffset = 1 => "cfa_offset",
        /// The CFA is an expression of an unknown form.
        CfaExpression = 2 => "cfa_expression",
        /// The caller's rbp is not where a fixed offset from the CFA can say.
        Rbp = 3 => "rbp",
        /// The return address is not at `CFA - 8`.
        ReturnAddress = 4 => "return_address",
        /// The caller's rsp is not the CFA.
        Rsp = 5 => "rsp",
        /// A signal frame that is not the kernel's `rt_sigframe`.
        SignalFrame = 6 => "signal_frame",
        /// The program of call-frame instructions is malformed from here on.
        Malformed = 7 => "malformed",
    }
}

/// Offset of the interrupted rbp from rsp in a signal frame: `uc.uc_mcontext.gregs[REG_RBP]`, after the return address
/// to the restorer has been popped.
pub const SIGNAL_RBP: u64 = 120;
/// Offset of the interrupted rsp from rsp in a signal frame.
pub const SIGNAL_RSP: u64 = 160;
/// Offset of the interrupted rip from rsp in a signal frame.
pub const SIGNAL_RIP: u64 = 168;

/// How to find the caller's frame, in 32 bits: kind (4), offset of the saved rbp from the CFA (8, signed, units of
/// 8 bytes; 0: the caller's rbp is still in rbp), cfa (20, signed, units of 8 bytes: frames of up to 4 MiB).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule(pub u32);

/// Bits of a rule that hold its kind.
const KIND_BITS: u32 = 4;
/// Bits of a rule below its cfa field.
const CFA_SHIFT: u32 = 12;
/// Bits of each half of the cfa field of a [`RuleKind::DerefRsp`].
const DEREF_BITS: u32 = 10;

impl Rule {
    /// No call-frame information.
    pub const NONE: Self = Self::plain(RuleKind::None);
    /// The outermost frame.
    pub const END: Self = Self::plain(RuleKind::End);
    /// A signal frame.
    pub const SIGNAL: Self = Self::plain(RuleKind::Signal);

    const fn plain(kind: RuleKind) -> Self {
        Self(kind.code())
    }

    /// A rule that cannot be expressed.
    pub const fn unsupported(why: Unsupported) -> Self {
        Self(RuleKind::Unsupported.code() | why.code() << CFA_SHIFT)
    }

    /// A PLT stub whose push is done from `boundary` on, bytes into the stub.
    pub const fn plt(boundary: u32) -> Option<Self> {
        if boundary < 16 { Some(Self(RuleKind::Plt.code() | boundary << CFA_SHIFT)) } else { None }
    }

    /// A frame counted from a register ([`RuleKind::Rsp`], [`RuleKind::Rbp`] or [`RuleKind::DerefRbp`]). Offsets in
    /// bytes; `rbp` is from the CFA and `None` when rbp is unchanged. `None` when an offset does not fit.
    pub const fn offset(kind: RuleKind, cfa: i64, rbp: Option<i64>) -> Option<Self> {
        let (Some(cfa), Some(rbp)) = (units(cfa, 20), rbp_field(rbp)) else { return None };
        Some(Self(kind.code() | rbp | cfa << CFA_SHIFT))
    }

    /// A frame whose CFA is `*(rsp + offset) + add`, all in bytes. `None` when a number does not fit.
    pub const fn deref_rsp(offset: i64, add: i64, rbp: Option<i64>) -> Option<Self> {
        let (Some(offset), Some(add), Some(rbp)) = (units(offset, DEREF_BITS), units(add, DEREF_BITS), rbp_field(rbp))
        else {
            return None;
        };
        Some(Self(RuleKind::DerefRsp.code() | rbp | (add << DEREF_BITS | offset) << CFA_SHIFT))
    }

    /// The code of a [`RuleKind`].
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.0 & ((1 << KIND_BITS) - 1)
    }

    /// The cfa field as it is.
    #[inline(always)]
    pub const fn cfa_field(self) -> u32 {
        self.0 >> CFA_SHIFT
    }

    /// The cfa field as an offset, bytes.
    #[inline(always)]
    pub const fn cfa_offset(self) -> i64 {
        ((self.0 as i32) >> CFA_SHIFT) as i64 * OFFSET_UNIT
    }

    /// Offset of the caller's rbp from the CFA, bytes; 0: rbp is unchanged.
    #[inline(always)]
    pub const fn rbp_offset(self) -> i64 {
        ((self.0 << (32 - CFA_SHIFT)) as i32 >> 24) as i64 * OFFSET_UNIT
    }

    /// [`RuleKind::DerefRsp`]: offset of the slot from rsp, bytes.
    #[inline(always)]
    pub const fn deref_offset(self) -> i64 {
        ((self.0 << (32 - CFA_SHIFT - DEREF_BITS)) as i32 >> (32 - DEREF_BITS)) as i64 * OFFSET_UNIT
    }

    /// [`RuleKind::DerefRsp`]: what is added to the slot's content, bytes.
    #[inline(always)]
    pub const fn deref_add(self) -> i64 {
        ((self.0 as i32) >> (CFA_SHIFT + DEREF_BITS)) as i64 * OFFSET_UNIT
    }
}

/// `offset` in units, as a signed field of `bits` bits.
const fn units(offset: i64, bits: u32) -> Option<u32> {
    let units = offset / OFFSET_UNIT;
    let limit = 1i64 << (bits - 1);
    if offset % OFFSET_UNIT != 0 || units < -limit || units >= limit {
        return None;
    }
    Some(units as u32 & ((1 << bits) - 1))
}

/// The rbp field in its place. An rbp saved at the CFA itself would read as unchanged.
const fn rbp_field(rbp: Option<i64>) -> Option<u32> {
    match rbp {
        None => Some(0),
        Some(0) => None,
        Some(offset) => match units(offset, 8) {
            Some(units) => Some(units << KIND_BITS),
            None => None,
        },
    }
}

/// A rule and the first address it holds for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// First address, in the table's own addresses: `pc - bias`.
    pub pc: u32,
    /// The rule, until the next row.
    pub rule: Rule,
}
assert_layout!(Row, size 8, pc at 0, rule at 4);

/// An executable mapping of a process. Several mappings may use one table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// What to subtract from a program counter, wrapping, to get an address of the table.
    pub bias: u64,
    /// Where the table's first row is in the array of rows.
    pub first_row: u32,
    /// Where the table's page index begins in the array of pages. Its entries count from `first_row`.
    pub first_page: u32,
    /// Pages that the table has. The index holds one entry more. 0: no call-frame information, as in code made at run
    /// time.
    pub page_count: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(Mapping, size 40, start at 0, end at 8, bias at 16, first_row at 24, first_page at 28, page_count at 32, reserved at 36);

/// First and last row to search for the addresses of one page, counted from the table's first row.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRows {
    /// The row that covers the page's first byte.
    pub first: u32,
    /// The last row that starts in the page, or the same.
    pub last: u32,
}
assert_layout!(PageRows, size 8, first at 0, last at 4);

/// The mappings of one process, sorted by address, in the array of mappings.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingRange {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The image they are of: see [`crate::process::Image`]. After an exec they are nobody's.
    pub image: u32,
    /// Always zero.
    pub reserved: u32,
}
assert_layout!(MappingRange, size 16, first at 0, count at 4, image at 8, reserved at 12);

// The layout of a rule, by example.
const _: () = {
    let Some(rule) = Rule::offset(RuleKind::Rsp, 2 << 20, Some(-16)) else { panic!() };
    assert!(rule.kind() == RuleKind::Rsp as u32 && rule.cfa_offset() == 2 << 20 && rule.rbp_offset() == -16);
    let Some(rule) = Rule::offset(RuleKind::DerefRbp, -40, None) else { panic!() };
    assert!(rule.kind() == RuleKind::DerefRbp as u32 && rule.cfa_offset() == -40 && rule.rbp_offset() == 0);
    let Some(rule) = Rule::deref_rsp(-8, 56, Some(-1024)) else { panic!() };
    assert!(rule.deref_offset() == -8 && rule.deref_add() == 56 && rule.rbp_offset() == -1024);
    assert!(Rule::offset(RuleKind::Rsp, 4 << 20, None).is_none() && Rule::offset(RuleKind::Rsp, 12, None).is_none());
    assert!(Rule::plt(16).is_none());
    assert!(RuleKind::ALL.len() <= 1 << KIND_BITS);
};
