//! From one row of call-frame information, as DWARF states it, to a [`Rule`].

use gimli::{
    CfaRule, CommonInformationEntry, EndianSlice, LittleEndian, Operation, Register, RegisterRule, UnwindExpression,
    UnwindSection, UnwindTableRow, X86_64,
};
use tracer_common::unwind::{Rule, RuleKind, SIGNAL_RSP, Unsupported};

use super::frames::Storage;

/// A section's bytes, as gimli reads them.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Where the return address is, from the CFA.
const RETURN_ADDRESS: RegisterRule<usize> = RegisterRule::Offset(-8);
/// Longest expression looked at. Those that are known have nine operations at most.
const MAX_OPERATIONS: usize = 9;

/// The rule of one row, or why there is none.
pub(super) fn rule_of<'a, S: UnwindSection<Slice<'a>>>(
    row: &UnwindTableRow<usize, Storage>,
    cie: &CommonInformationEntry<Slice<'a>>,
    section: &S,
) -> Result<Rule, Unsupported> {
    if cie.return_address_register() != X86_64::RA {
        return Err(Unsupported::ReturnAddress);
    }
    let expression = |expression: &UnwindExpression<usize>| Operations::read(expression, cie, section);
    if cie.is_signal_trampoline() {
        return signal_rule(row, expression);
    }
    match row.register(X86_64::RA) {
        Some(RegisterRule::Undefined) => return Ok(Rule::END),
        Some(rule) if rule == RETURN_ADDRESS => {}
        _ => return Err(Unsupported::ReturnAddress),
    }
    match row.register(X86_64::RSP) {
        None | Some(RegisterRule::ValOffset(0)) => {}
        Some(_) => return Err(Unsupported::Rsp),
    }
    // Where the caller's rbp is: unchanged, at an offset from the CFA, or at *rbp (DRAP).
    let (rbp, rbp_at_rbp) = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => (None, false),
        Some(RegisterRule::Offset(offset)) => (Some(offset), false),
        Some(RegisterRule::Expression(place)) => match expression(&place).as_slice() {
            [Operation::RegisterOffset { register: X86_64::RBP, offset: 0, .. }] => (None, true),
            _ => return Err(Unsupported::Rbp),
        },
        Some(_) => return Err(Unsupported::Rbp),
    };

    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let kind = match *register {
                X86_64::RSP => RuleKind::Rsp,
                X86_64::RBP => RuleKind::Rbp,
                _ => return Err(Unsupported::CfaRegister),
            };
            Cfa::Offset(kind, *offset)
        }
        CfaRule::Expression(formula) => cfa_of(expression(formula).as_slice()).ok_or(Unsupported::CfaExpression)?,
    };
    if rbp_at_rbp != matches!(cfa, Cfa::Offset(RuleKind::DerefRbp, _)) {
        return Err(Unsupported::Rbp);
    }
    let rule = match cfa {
        Cfa::Offset(kind, offset) => Rule::offset(kind, offset, rbp),
        Cfa::DerefRsp { offset, add } => Rule::deref_rsp(offset, add, rbp),
        Cfa::Plt { boundary } if rbp.is_none() => Rule::plt(boundary),
        Cfa::Plt { .. } => None,
    };
    rule.ok_or_else(|| match rbp {
        Some(offset) if Rule::offset(RuleKind::Rsp, 0, Some(offset)).is_none() => Unsupported::Rbp,
        _ => Unsupported::CfaOffset,
    })
}

/// A signal frame is walked by the kernel's layout, so it must be that: CFA = *(rsp + offset of the saved rsp).
fn signal_rule<'a>(
    row: &UnwindTableRow<usize, Storage>,
    expression: impl Fn(&UnwindExpression<usize>) -> Operations<'a>,
) -> Result<Rule, Unsupported> {
    let CfaRule::Expression(formula) = row.cfa() else { return Err(Unsupported::SignalFrame) };
    match expression(formula).as_slice() {
        [Operation::RegisterOffset { register: X86_64::RSP, offset, .. }, Operation::Deref { .. }]
            if *offset == SIGNAL_RSP as i64 =>
        {
            Ok(Rule::SIGNAL)
        }
        _ => Err(Unsupported::SignalFrame),
    }
}

/// How the CFA is found.
enum Cfa {
    Offset(RuleKind, i64),
    DerefRsp { offset: i64, add: i64 },
    Plt { boundary: u32 },
}

/// The expressions that occur: the linker's for the PLT, GCC's for realigned frames, and that of hand-written code
/// (OpenSSL's, OCaml's) that keeps the caller's rsp in a slot.
fn cfa_of(operations: &[Operation<Slice<'_>>]) -> Option<Cfa> {
    const RIP: Register = X86_64::RA;
    match *operations {
        [
            Operation::RegisterOffset { register: X86_64::RSP, offset: 8, .. },
            Operation::RegisterOffset { register: RIP, offset: 0, .. },
            Operation::UnsignedConstant { value: 15 },
            Operation::And,
            Operation::UnsignedConstant { value: boundary @ 0..16 },
            Operation::Ge,
            Operation::UnsignedConstant { value: 3 },
            Operation::Shl,
            Operation::Plus,
        ] => Some(Cfa::Plt { boundary: boundary as u32 }),
        [Operation::RegisterOffset { register: X86_64::RBP, offset, .. }, Operation::Deref { size: 8, .. }] => {
            Some(Cfa::Offset(RuleKind::DerefRbp, offset))
        }
        [
            Operation::RegisterOffset { register: X86_64::RSP, offset, .. },
            Operation::Deref { size: 8, .. },
            ref rest @ ..,
        ] => {
            let mut add = 0i64;
            for operation in rest {
                let Operation::PlusConstant { value } = operation else { return None };
                add = add.checked_add(i64::try_from(*value).ok()?)?;
            }
            Some(Cfa::DerefRsp { offset, add })
        }
        _ => None,
    }
}

/// The operations of an expression; none when it is malformed or too long to be one that is known.
struct Operations<'a> {
    operations: [Operation<Slice<'a>>; MAX_OPERATIONS],
    count: usize,
}

impl<'a> Operations<'a> {
    fn read<S: UnwindSection<Slice<'a>>>(
        expression: &UnwindExpression<usize>,
        cie: &CommonInformationEntry<Slice<'a>>,
        section: &S,
    ) -> Self {
        let mut read = Self { operations: [Operation::Nop; MAX_OPERATIONS], count: 0 };
        let Ok(bytes) = expression.get(section) else { return read };
        let mut iterator = bytes.operations(cie.encoding());
        loop {
            let operation = match iterator.next() {
                Ok(Some(operation)) => operation,
                Ok(None) => return read,
                Err(_) => return Self { count: 0, ..read },
            };
            let Some(slot) = read.operations.get_mut(read.count) else { return Self { count: 0, ..read } };
            *slot = operation;
            read.count += 1;
        }
    }

    fn as_slice(&self) -> &[Operation<Slice<'a>>] {
        &self.operations[..self.count]
    }
}
