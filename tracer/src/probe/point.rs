//! Which instruction of a function to probe.
//!
//! The kernel emulates a few instructions under a uprobe and single-steps the others out of line, which costs two to
//! forty times as much. So the probe goes on the first emulated instruction that every call runs through while the
//! arguments are still in their registers and, where a return probe or a stack walk needs it, the return address is
//! still on top of the stack.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};

/// How the kernel gets over the probed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Emulated: one trap.
    Emulated,
    /// Single-stepped out of line: two traps and two switches.
    SingleStepped,
}

impl Cost {
    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::SingleStepped => "single-stepped",
        }
    }
}

/// What must still hold at the probed instruction.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Argument registers that the program reads, of the first four: rdi, rsi, rdx, rcx.
    pub arguments: usize,
    /// The stack pointer is as at the call.
    pub stack: bool,
}

/// A probe point within a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    /// Bytes from the function's start.
    pub offset: u64,
    /// What a hit costs.
    pub cost: Cost,
}

/// Bytes looked at for a point: no prologue is longer.
const REACH: u64 = 64;

/// Chooses the probe point of the function whose whole code is `code` (as far as its size is known). Falls back to
/// the first instruction, which is always right and may be slow.
pub fn choose(code: &[u8], needs: Needs) -> ProbePoint {
    let slow = ProbePoint { offset: 0, cost: Cost::SingleStepped };
    let Some(offset) = first_emulated(code, needs) else { return slow };
    if offset > 0 && is_branched_into(code, offset) { slow } else { ProbePoint { offset, cost: Cost::Emulated } }
}

fn first_emulated(code: &[u8], needs: Needs) -> Option<u64> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    let mut instruction = Instruction::default();
    while decoder.can_decode() && decoder.ip() < REACH {
        let offset = decoder.ip();
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        let bytes = code.get(offset as usize..instruction.next_ip() as usize)?;
        if is_emulated(&instruction, bytes) {
            return Some(offset);
        }
        if instruction.flow_control() != FlowControl::Next || breaks(&instruction, &mut info, needs) {
            return None;
        }
    }
    None
}

/// Where a function does nothing but jump to, with what it needs as it was at its start: the jump's offset. It is the same
/// function under another name.
pub(super) fn forwards(code: &[u8], needs: Needs) -> Option<u64> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    while decoder.can_decode() && decoder.ip() < REACH {
        let instruction = decoder.decode();
        match instruction.flow_control() {
            FlowControl::Next if !instruction.is_invalid() && !breaks(&instruction, &mut info, needs) => {}
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => return Some(instruction.ip()),
            _ => return None,
        }
    }
    None
}

/// The name of the instruction at an offset, for people.
pub(super) fn mnemonic(code: &[u8], offset: u64) -> String {
    let rest = code.get(offset as usize..).unwrap_or_default();
    let instruction = Decoder::with_ip(64, rest, offset, DecoderOptions::NONE).decode();
    format!("{:?}", instruction.mnemonic()).to_lowercase()
}

/// Whether the kernel emulates the instruction (arch/x86/kernel/uprobes.c, the `branch` and `push` operations, as of
/// Linux 5.10; later kernels only add to them).
fn is_emulated(instruction: &Instruction, bytes: &[u8]) -> bool {
    match instruction.code() {
        Code::Push_r64 => bytes.len() == 1 || (bytes.len() == 2 && bytes[0] == 0x41),
        Code::Nopd | Code::Nopw | Code::Nopq => bytes.last() == Some(&0x90),
        _ => {
            let near = matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
            );
            // loop and jrcxz are conditional branches too, but not among those the kernel knows.
            let known =
                instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() || instruction.is_call_near();
            near && known && bytes.first() != Some(&0x66)
        }
    }
}

/// Whether the instruction destroys what the probe needs.
fn breaks(instruction: &Instruction, info: &mut InstructionInfoFactory, needs: Needs) -> bool {
    if needs.stack && instruction.is_stack_instruction() || instruction.mnemonic() == Mnemonic::Leave {
        return true;
    }
    let arguments = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];
    info.info(instruction).used_registers().iter().any(|used| {
        let writes =
            !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None);
        let register = used.register().full_register();
        writes && (arguments[..needs.arguments.min(4)].contains(&register) || needs.stack && register == Register::RSP)
    })
}

/// Whether anything in the function jumps to an instruction after its start up to `offset`: a probe there would be
/// hit by more than calls.
fn is_branched_into(code: &[u8], offset: u64) -> bool {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    decoder.iter().any(|instruction| {
        matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
            && (1..=offset).contains(&instruction.near_branch_target())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Needs = Needs { arguments: 3, stack: true };
    const EMULATED_AT_START: ProbePoint = ProbePoint { offset: 0, cost: Cost::Emulated };
    const SLOW: ProbePoint = ProbePoint { offset: 0, cost: Cost::SingleStepped };

    #[test]
    fn push_is_probed_where_it_stands() {
        assert_eq!(choose(&[0x55, 0xc3], ALL), EMULATED_AT_START);
        assert_eq!(choose(&[0x41, 0x54, 0xc3], ALL), EMULATED_AT_START);
    }

    #[test]
    fn endbr64_and_a_test_are_stepped_over() {
        // endbr64; push rbp
        assert_eq!(choose(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], ALL), ProbePoint { offset: 4, cost: Cost::Emulated });
        // test rdi,rdi; je +1; ret; ret
        assert_eq!(
            choose(&[0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xc3], ALL),
            ProbePoint { offset: 3, cost: Cost::Emulated }
        );
    }

    #[test]
    fn a_destroyed_argument_or_stack_pointer_ends_the_search() {
        // mov rdi,rsi; push rbp
        assert_eq!(choose(&[0x48, 0x89, 0xf7, 0x55, 0xc3], ALL), SLOW);
        // the second argument is not needed: mov rsi,rax; push rbp
        let one = Needs { arguments: 1, stack: true };
        assert_eq!(choose(&[0x48, 0x89, 0xc6, 0x55, 0xc3], one), ProbePoint { offset: 3, cost: Cost::Emulated });
        // sub rsp,24; push rbp
        assert_eq!(choose(&[0x48, 0x83, 0xec, 0x18, 0x55, 0xc3], ALL), SLOW);
        assert_eq!(
            choose(&[0x48, 0x83, 0xec, 0x18, 0x55, 0xc3], Needs { arguments: 1, stack: false }),
            ProbePoint { offset: 4, cost: Cost::Emulated }
        );
        // mul rdx writes rdx; jo
        assert_eq!(choose(&[0x48, 0xf7, 0xe2, 0x70, 0x01, 0xc3, 0xc3], ALL), SLOW);
        // a 32-bit write destroys the whole register: mov edi,eax; push rbp
        assert_eq!(choose(&[0x89, 0xc7, 0x55, 0xc3], ALL), SLOW);
    }

    #[test]
    fn a_point_that_is_jumped_to_is_not_a_point() {
        // test rdi,rdi; L: push rbp; jmp L
        assert_eq!(choose(&[0x48, 0x85, 0xff, 0x55, 0xeb, 0xfd], ALL), SLOW);
    }

    #[test]
    fn prefixed_and_unknown_branches_are_single_stepped() {
        // 66-prefixed near call
        assert_eq!(choose(&[0x66, 0xe8, 0, 0, 0, 0, 0xc3], ALL), SLOW);
        // jrcxz
        assert_eq!(choose(&[0xe3, 0x00, 0xc3], ALL), SLOW);
        // ret
        assert_eq!(choose(&[0xc3], ALL), SLOW);
        // garbage and nothing at all
        assert_eq!(choose(&[0x06], ALL), SLOW);
        assert_eq!(choose(&[], ALL), SLOW);
    }

    #[test]
    fn a_one_byte_nop_is_emulated_and_a_long_one_is_not() {
        assert_eq!(choose(&[0x90, 0xc3], ALL), EMULATED_AT_START);
        assert_eq!(choose(&[0x0f, 0x1f, 0x40, 0x00, 0x55], ALL), ProbePoint { offset: 4, cost: Cost::Emulated });
    }
}
