//! io_uring: which of its requests open, close or connect descriptors, and where this kernel keeps what they ask for.

use tracer_common::{
    fd::Effect,
    uring::{URING_OPS, UringOffsets, UringOp},
};

use super::kernel_types::{Parameter, Types};

/// What the programs need to know, and which of them and of the kernel's tracepoints belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UringLayout {
    pub(super) offsets: UringOffsets,
    pub(super) ops: Vec<(u32, UringOp)>,
    /// The tracepoint of a submission.
    pub(super) submit: &'static str,
    /// The program for completions.
    pub(super) complete: &'static str,
}

/// A kind of request: its code (`enum io_uring_op`), what it does, and the kernel's structure that holds what it asks
/// for, with the members of interest.
struct Op {
    code: u32,
    effect: Effect,
    structure: &'static str,
    slot: Option<&'static str>,
    /// Otherwise, for what needs a descriptor, the one that the request is made on.
    first: Option<&'static str>,
    address: Option<&'static str>,
    address_len: Option<&'static str>,
}

const OP: Op = Op {
    code: 0,
    effect: Effect::None,
    structure: "",
    slot: Some("file_slot"),
    first: None,
    address: None,
    address_len: None,
};

const OPS: &[Op] = &[
    Op { code: 13, effect: Effect::Accepts, structure: "io_accept", ..OP },
    Op {
        code: 16,
        effect: Effect::Connects,
        structure: "io_connect",
        slot: None,
        address: Some("addr"),
        address_len: Some("addr_len"),
        ..OP
    },
    Op { code: 18, effect: Effect::Opens, structure: "io_open", ..OP },
    Op { code: 19, effect: Effect::Closes, structure: "io_close", first: Some("fd"), ..OP },
    Op { code: 28, effect: Effect::Opens, structure: "io_open", ..OP },
    Op { code: 45, effect: Effect::Opens, structure: "io_socket", ..OP },
    // A descriptor for a file of the ring's own table.
    Op { code: 54, effect: Effect::Opens, structure: "io_fixed_install", slot: None, ..OP },
    Op { code: 62, effect: Effect::PairAtFirst, structure: "io_pipe", address: Some("fds"), ..OP },
];

impl UringLayout {
    /// `None` when this kernel has no io_uring, or one whose requests are not understood.
    pub(super) fn of(types: &Types<'_>) -> Option<Self> {
        let submit = ["io_uring_submit_req", "io_uring_submit_sqe"].into_iter().find(|name| {
            let parameters = types.parameters(&format!("btf_trace_{name}"));
            parameters.is_some_and(|all| all.get(1) == Some(&Parameter::Pointer("io_kiocb")))
        })?;
        // The first parameter of all of them is the program's own.
        let complete = match types.parameters("btf_trace_io_uring_complete")?[..] {
            [_, Parameter::Pointer(_), Parameter::Pointer(_), Parameter::Pointer("io_uring_cqe")] => "uring_complete",
            [
                _,
                Parameter::Pointer(_),
                Parameter::Pointer(_),
                Parameter::Other,
                Parameter::Other,
                Parameter::Other,
                ..,
            ] => "uring_complete_old",
            _ => return None,
        };
        let request = |member| types.offset("io_kiocb", member);
        let completion = |member| Some(request("cqe")? + types.offset("io_cqe", member)?);
        let offsets = UringOffsets {
            opcode: request("opcode")?,
            flags: request("flags")?,
            user_data: completion("user_data")?,
            ring: request("ctx")?,
        };
        let (asked, on) = (request("cmd")?, completion("fd")?);
        let ops = OPS.iter().filter_map(|op| Some((op.code, op.of(types, asked, on)?))).collect();
        Some(Self { offsets, ops, submit, complete })
    }
}

impl Op {
    /// `None` when the kernel has no such request. `asked`: where a request has what it asks for; `on`: where it has the
    /// descriptor that it is made on.
    fn of(&self, types: &Types<'_>, asked: u32, on: u32) -> Option<UringOp> {
        let Self { code, effect, structure, slot, first, address, address_len } = *self;
        debug_assert!(code < URING_OPS);
        types.offset(structure, "file")?;
        let member = |name: Option<&str>| match name {
            Some(name) => Some(asked + types.offset(structure, name)?),
            None => Some(0),
        };
        let (accepts, connects) = (effect == Effect::Accepts, effect == Effect::Connects);
        Some(UringOp {
            effect: effect.code(),
            slot: member(slot)?,
            first: if accepts || connects { on } else { member(first)? },
            address: member(address)?,
            address_len: member(address_len)?,
            // Not every kernel that accepts can go on accepting.
            flags: if accepts { member(Some("iou_flags")).unwrap_or(0) } else { 0 },
        })
    }
}
