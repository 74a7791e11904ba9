//! A module's code, by the addresses that the module itself counts in.

use std::{cell::OnceCell, collections::HashMap};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::{
    Endianness, Object, ObjectSegment, ObjectSymbol, ObjectSymbolTable, ReadRef, RelocationTarget, SegmentFlags, elf,
    read::elf::{ElfFile64, FileHeader},
};

use super::PlanError;

/// Longest instruction of the architecture.
const INSTRUCTION_MAX: u64 = 15;

/// Functions that a call of does not come back from, as the compiler knows and what follows the call shows.
const NO_RETURN: &[&str] = &[
    "_ZSt17__throw_bad_allocv",
    "_ZSt28__throw_bad_array_new_lengthv",
    "_ZSt9terminatev",
    "_Unwind_Resume",
    "__assert_fail",
    "__cxa_bad_cast",
    "__cxa_rethrow",
    "__cxa_throw",
    "__cxa_throw_bad_array_new_length",
    "__stack_chk_fail",
    "_exit",
    "abort",
    "exit",
];

/// What the dynamic linker puts into a slot.
#[derive(Clone, Copy)]
enum Slot {
    /// A function of the module itself, unless another module comes first.
    Own(u64),
    /// One that never returns.
    NoReturn,
}

/// An ELF file's code.
pub(super) struct Image<'data, R: ReadRef<'data>> {
    pub(super) file: ElfFile64<'data, Endianness, R>,
    data: R,
    /// Functions by the slot of the global offset table that the dynamic linker puts them into.
    slots: OnceCell<HashMap<u64, Slot>>,
}

impl<'data, R: ReadRef<'data>> Image<'data, R> {
    pub(super) fn parse(data: R) -> Result<Self, PlanError> {
        let file = ElfFile64::<Endianness, _>::parse(data).map_err(|error| PlanError::NotElf(error.to_string()))?;
        if file.elf_header().e_machine(file.endian()) != object::elf::EM_X86_64 {
            return Err(PlanError::NotElf("another machine".into()));
        }
        Ok(Self { file, data, slots: OnceCell::new() })
    }

    /// Where an address is in the file, and how many bytes of its segment follow. Code alone.
    fn locate(&self, address: u64) -> Option<(u64, u64)> {
        self.file.segments().find_map(|segment| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return None };
            let (offset, size) = segment.file_range();
            let within = address.checked_sub(segment.address())?;
            let is_code = p_flags & elf::PF_X != Default::default();
            if within >= size || !is_code {
                return None;
            }
            Some((offset.checked_add(within)?, size - within))
        })
    }

    /// Where code is in the file.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.locate(address).map(|(offset, _)| offset)
    }

    /// Code at an address: as much as is wanted, or less where it ends.
    pub(super) fn code(&self, address: u64, wanted: u64) -> Option<&'data [u8]> {
        let (offset, left) = self.locate(address)?;
        self.data.read_bytes_at(offset, wanted.min(left)).ok()
    }

    /// The instruction at an address.
    pub(super) fn instruction(&self, address: u64) -> Option<Instruction> {
        let mut decoder = Decoder::with_ip(64, self.code(address, INSTRUCTION_MAX)?, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// Where a jump leads to, through the procedure linkage table too; `None` when that is not known from the file.
    pub(super) fn jump_target(&self, jump: &Instruction) -> Option<u64> {
        match jump.flow_control() {
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                Some(self.through_linkage(jump.near_branch_target()))
            }
            FlowControl::IndirectBranch => self.slot_target(jump),
            _ => None,
        }
    }

    /// Whether a call does not come back.
    pub(super) fn never_returns(&self, call: &Instruction) -> bool {
        let slot = match call.flow_control() {
            FlowControl::Call if call.is_call_near() => self.linkage_slot(call.near_branch_target()),
            FlowControl::IndirectCall => self.slot(call),
            _ => None,
        };
        matches!(slot, Some(Slot::NoReturn))
    }

    fn through_linkage(&self, address: u64) -> u64 {
        match self.linkage_slot(address) {
            Some(Slot::Own(function)) => function,
            Some(Slot::NoReturn) | None => address,
        }
    }

    /// The slot behind an entry of the procedure linkage table: `jmp *slot(%rip)`, perhaps behind an `endbr64`.
    fn linkage_slot(&self, address: u64) -> Option<Slot> {
        let first = self.instruction(address)?;
        let jump = if first.mnemonic() == Mnemonic::Endbr64 { self.instruction(first.next_ip())? } else { first };
        if jump.flow_control() == FlowControl::IndirectBranch { self.slot(&jump) } else { None }
    }

    fn slot_target(&self, jump: &Instruction) -> Option<u64> {
        match self.slot(jump)? {
            Slot::Own(function) => Some(function),
            Slot::NoReturn => None,
        }
    }

    fn slot(&self, branch: &Instruction) -> Option<Slot> {
        let through_memory = branch.op0_kind() == OpKind::Memory && branch.memory_base() == Register::RIP;
        through_memory.then(|| self.slots().get(&branch.memory_displacement64()).copied()).flatten()
    }

    fn slots(&self) -> &HashMap<u64, Slot> {
        self.slots.get_or_init(|| {
            let (Some(relocations), Some(symbols)) =
                (self.file.dynamic_relocations(), self.file.dynamic_symbol_table())
            else {
                return HashMap::new();
            };
            relocations
                .filter_map(|(slot, relocation)| {
                    let RelocationTarget::Symbol(index) = relocation.target() else { return None };
                    let symbol = symbols.symbol_by_index(index).ok()?;
                    if symbol.name().is_ok_and(|name| NO_RETURN.contains(&name)) {
                        return Some((slot, Slot::NoReturn));
                    }
                    symbol.is_definition().then(|| (slot, Slot::Own(symbol.address())))
                })
                .collect()
        })
    }
}
