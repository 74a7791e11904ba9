//! Descriptors that io_uring opens and closes.
//!
//! A request is submitted by the thread that wants it, whose call stack is its site, and is completed later, by whatever
//! thread the kernel does it in. What it asks for is remembered between the two. A thread of the ring's own that
//! submits (SQPOLL) has no call stack: what that opens is left to the comparison with the kernel's table, as is what
//! happens outside of the process (a ring that is torn down).
//!
//! A table that the loader fills says what each kind of request does, in the terms of the system calls.

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_probe_read_user as read_bytes, bpf_task_pt_regs},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counter::LossCause,
    event::{ADDRESS_BYTES, SiteKind},
    fd::{Effect, NO_SITE},
    uring::{MULTISHOT, UringOffsets, UringOp},
};

use super::{
    BAD_DESCRIPTOR, Call, MODERN,
    request::{NO_FD, Request, Turn},
    socket, thread,
};
use crate::{
    count,
    kernel::offset,
    maps::{URING_OPS, URING_PENDING, URING_TEMPLATE},
};

const CLOSES: u32 = Effect::Closes.code();
const CONNECTS: u32 = Effect::Connects.code();
const ACCEPTS: u32 = Effect::Accepts.code();
const PAIR: u32 = Effect::PairAtFirst.code();

/// `REQ_F_FIXED_FILE`: the request is about a file of the ring's own table.
const FIXED_FILE: u32 = 1 << 0;
/// `REQ_F_CQE_SKIP`: nobody is told when it succeeds.
const SILENT: u32 = 1 << 6;
/// `IORING_CQE_F_MORE`: the request goes on.
const MORE: u32 = 1 << 1;

/// Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static URING_KERNEL: UringOffsets = UringOffsets { opcode: 0, flags: 0, user_data: 0, ring: 0 };

/// How a completion finds its request.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct UringKey {
    /// 0, and the request itself; or the ring, and what the process calls the request, for those that complete more
    /// than once: the kernel says no more of them. The process tells them apart by nothing else either.
    ring: u64,
    id: u64,
}

/// A request that was submitted.
#[repr(C)]
pub(crate) struct Pending {
    request: Request,
    /// The descriptor that is accepted from, connected or closed.
    first: u64,
    tgid: u32,
    site: u32,
    /// A code of [`Effect`].
    effect: u32,
    opcode: u32,
    /// Of a connect: bytes of the address, and the address, which need not stay where it was submitted.
    address_len: u32,
    reserved: u32,
    address: [u8; ADDRESS_BYTES],
}

/// A field of the kernel's. Offsets have no more than this.
#[inline(always)]
fn field<T>(req: u64, offset: usize) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read.
    unsafe { bpf_probe_read_kernel((req + (offset as u64 & 0xfff)) as *const T) }.ok()
}

/// A field that the kind of request may not have: then 0.
#[inline(always)]
fn word(req: u64, offset: u32) -> u32 {
    if offset == 0 { 0 } else { field(req, offset as usize).unwrap_or(0) }
}

/// `io_uring_submit_req(req)`, before Linux 6.4 `io_uring_submit_sqe(req, force_nonblock)`: the request has been read.
#[btf_tracepoint(function = "io_uring_submit_req")]
fn uring_submit(ctx: BtfTracePointContext) -> i32 {
    let req: *const u8 = ctx.arg(0);
    if let Err(cause) = submitted(req as u64) {
        count::lost(cause);
    }
    0
}

#[inline(always)]
fn submitted(req: u64) -> Result<(), LossCause> {
    let Some(opcode) = field::<u8>(req, offset(&URING_KERNEL.opcode)) else { return Ok(()) };
    let Some(op) = URING_OPS.get(u32::from(opcode)) else { return Ok(()) };
    if op.effect == Effect::None.code() {
        return Ok(());
    }
    // SAFETY: helpers that return the current task, and its registers as they were when it entered the kernel. The
    // verifier knows their type.
    let user = unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs;
        ((*regs).rip, (*regs).rsp, (*regs).rbp)
    };
    let call = Call {
        number: 0,
        first: 0,
        second: 0,
        third: 0,
        fourth: 0,
        result: 0,
        pid_tgid: bpf_get_current_pid_tgid(),
        user,
    };
    let Some(thread) = thread::current(&call)? else { return Ok(()) };
    let mut key = UringKey { ring: 0, id: req };
    // The kernel uses its memory again: an earlier request there may have ended without a word.
    let _ = URING_PENDING.remove(key);
    let flags = field::<u32>(req, offset(&URING_KERNEL.flags)).unwrap_or(SILENT);
    let fixed = if op.first != 0 && op.effect != CLOSES { FIXED_FILE } else { 0 };
    let ignored = if op.effect == ACCEPTS { SILENT } else { SILENT | fixed };
    if flags & ignored != 0 || word(req, op.slot) != 0 {
        return Ok(());
    }
    let site = match op.effect {
        CLOSES => NO_SITE,
        _ if user.0 == 0 => return Ok(()),
        _ => {
            thread.walker.stack.site_kind = SiteKind::Fd.code();
            super::site_of(&call, thread)?
        }
    };
    if word(req, op.flags) & MULTISHOT != 0 {
        key.ring = field(req, offset(&URING_KERNEL.ring)).unwrap_or(0);
        key.id = field(req, offset(&URING_KERNEL.user_data)).unwrap_or(0);
    }
    // A descriptor that has a slot's number is none.
    let first = if flags & FIXED_FILE != 0 { NO_FD } else { word(req, op.first) };
    remember(req, key, op, &call, u64::from(first), u32::from(opcode), site)
}

#[inline(always)]
fn remember(
    req: u64,
    key: UringKey,
    op: &UringOp,
    call: &Call,
    first: u64,
    opcode: u32,
    site: u32,
) -> Result<(), LossCause> {
    let template = URING_TEMPLATE.get(0).ok_or(LossCause::FdsFull)?;
    let _ = URING_PENDING.insert(key, template, 0);
    let pending = URING_PENDING.get_ptr_mut(key).ok_or(LossCause::FdsFull)?;
    let address: u64 = if op.address == 0 { 0 } else { field(req, op.address as usize).unwrap_or(0) };
    let len = word(req, op.address_len).min(ADDRESS_BYTES as u32);
    // SAFETY: a map value, which is only read when its request completes; the address has room for the length.
    unsafe {
        (*pending).request.list(if op.effect == PAIR { address } else { 0 }, if op.effect == PAIR { 2 } else { 0 });
        (*pending).request.turn = match op.effect {
            CONNECTS => Turn::CONNECTED,
            ACCEPTS => Turn::ACCEPTED,
            _ => Turn::NONE,
        };
        (*pending).first = first;
        (*pending).tgid = call.tgid();
        (*pending).site = site;
        (*pending).effect = op.effect;
        (*pending).opcode = opcode;
        if op.effect == CONNECTS {
            let read = read_bytes((&raw mut (*pending).address).cast(), len, address as *const _);
            (*pending).address_len = if read == 0 { len } else { 0 };
        }
    }
    Ok(())
}

/// How a request ended, or what it brought so far.
#[derive(Clone, Copy)]
struct Completion {
    ring: u64,
    /// 0 when the request goes on.
    req: u64,
    user_data: u64,
    result: i32,
    flags: u32,
}

/// `struct io_uring_cqe`, of the kernel's interface.
#[repr(C)]
struct Cqe {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// `io_uring_complete(ring, req, cqe)`
#[btf_tracepoint(function = "io_uring_complete")]
fn uring_complete(ctx: BtfTracePointContext) -> i32 {
    let (ring, req): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let cqe: *const Cqe = ctx.arg(2);
    // SAFETY: the kernel's; the verifier knows the type and turns a bad pointer into a read of 0.
    let (user_data, result, flags) = unsafe { ((*cqe).user_data, (*cqe).result, (*cqe).flags) };
    completed(&Completion { ring: ring as u64, req: req as u64, user_data, result, flags });
    0
}

/// `io_uring_complete(ring, req, user_data, result, flags, ..)`, of kernels before 6.10.
#[btf_tracepoint(function = "io_uring_complete")]
fn uring_complete_old(ctx: BtfTracePointContext) -> i32 {
    let (ring, req): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let (user_data, result, flags) = (ctx.arg(2), ctx.arg(3), ctx.arg(4));
    completed(&Completion { ring: ring as u64, req: req as u64, user_data, result, flags });
    0
}

#[inline(always)]
fn completed(completion: &Completion) {
    let mut key = UringKey { ring: 0, id: completion.req };
    let mut found = URING_PENDING.get_ptr_mut(key);
    if found.is_none() {
        key = UringKey { ring: completion.ring, id: completion.user_data };
        found = URING_PENDING.get_ptr_mut(key);
    }
    let Some(pending) = found else { return };
    // SAFETY: a map value.
    let pending = unsafe { &mut *pending };
    // The descriptors of the current thread are looked at: they must be those of the process.
    if (bpf_get_current_pid_tgid() >> 32) as u32 != pending.tgid {
        return;
    }
    let goes_on = completion.flags & MORE != 0;
    let is_it = if completion.req == 0 {
        goes_on
    } else {
        field::<u8>(completion.req, offset(&URING_KERNEL.opcode)).map(u32::from) == Some(pending.opcode)
    };
    if is_it && let Err(cause) = ended(pending, completion.result) {
        count::lost(cause);
    }
    // What has its memory is another request.
    if (is_it || key.ring == 0) && !goes_on {
        let _ = URING_PENDING.remove(key);
    }
}

#[inline(always)]
fn ended(pending: &mut Pending, result: i32) -> Result<(), LossCause> {
    let result = i64::from(result);
    let call = Call {
        number: 0,
        first: pending.first,
        second: 0,
        third: 0,
        fourth: 0,
        result,
        pid_tgid: bpf_get_current_pid_tgid(),
        user: (0, 0, 0),
    };
    let first = pending.first as u32;
    match pending.effect {
        CLOSES if result == BAD_DESCRIPTOR => Ok(()),
        CLOSES => socket::closed(MODERN, call.key(first)),
        CONNECTS if result == 0 || result == socket::IN_PROGRESS => {
            let (len, address) = (pending.address_len, &raw const pending.address);
            socket::connected_to(MODERN, &call, first, pending.site, |to| {
                // SAFETY: both are arrays of this many words.
                unsafe { crate::words::copy(address.cast::<Words>(), to.cast::<Words>()) };
                len
            })
        }
        _ if result < 0 => Ok(()),
        effect => {
            pending.request.direct = if effect == PAIR { NO_FD } else { result as u32 };
            super::book(&call, &pending.request, pending.site)
        }
    }
}

/// An address, as words.
type Words = [u64; ADDRESS_BYTES / 8];
const _: () = assert!(core::mem::offset_of!(Pending, address).is_multiple_of(8));
