//! Descriptors that a call lists in the target's memory: pairs, and those that come in messages (`SCM_RIGHTS`).

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_loop};
use tracer_common::{
    counter::LossCause,
    fd::{FdKey, call_flags},
};

use super::{Call, Means, request::Request, table};

/// The most descriptors that the kernel passes in one message: `SCM_MAX_FD`.
const MOST: u32 = 253;

/// What a round of `bpf_loop` needs.
#[repr(C)]
struct Descriptors {
    address: u64,
    tgid: u32,
    site: u32,
    flags: u32,
    /// Index of the first failure's cause plus one.
    failure: u32,
}

/// Puts all of them into the table, by `bpf_loop`.
#[inline(always)]
pub(super) fn open(call: &Call, request: &Request, site: u32) -> Result<(), LossCause> {
    let count = request.count;
    let mut context = MaybeUninit::<Descriptors>::uninit();
    let fields = context.as_mut_ptr();
    // SAFETY: all fields.
    let context = unsafe {
        (*fields).address = request.address;
        (*fields).tgid = call.tgid();
        (*fields).site = site;
        (*fields).failure = 0;
        (*fields).flags = call_flags(call.number);
        &mut *fields
    };
    let pointer = (&raw mut *context).cast::<c_void>();
    // SAFETY: the callback takes exactly this context, which outlives the call.
    unsafe { bpf_loop(count.min(MOST), descriptor_callback as *mut c_void, pointer, 0) };
    if context.failure == 0 {
        Ok(())
    } else {
        Err(LossCause::try_from(context.failure - 1).unwrap_or(LossCause::FdsFull))
    }
}

/// One round of `bpf_loop`: 0 to go on, 1 to end.
#[inline(never)]
extern "C" fn descriptor_callback(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context that `open` passes.
    let context = unsafe { &mut *context.cast::<Descriptors>() };
    let address = context.address.wrapping_add(index << 2);
    match open_at(super::MODERN, address, context.tgid, context.site, context.flags) {
        Ok(()) => 0,
        Err(cause) => {
            context.failure = cause.code() + 1;
            1
        }
    }
}

/// Puts the first of them into the table, and leaves the others in the list.
#[inline(always)]
pub(super) fn next(means: Means, call: &Call, request: &mut Request, site: u32) -> Result<(), LossCause> {
    let address = request.address;
    request.list(address.wrapping_add(4), request.count.wrapping_sub(1));
    open_at(means, address, call.tgid(), site, call_flags(call.number))
}

#[inline(always)]
fn open_at(means: Means, address: u64, tgid: u32, site: u32, flags: u32) -> Result<(), LossCause> {
    // SAFETY: the helper checks the address and fails where it cannot be read.
    let fd = unsafe { bpf_probe_read_user(address as *const u32) }.map_err(|_| LossCause::FdReadFault)?;
    table::open(means, FdKey { tgid, fd }, site, flags).map(|_| ())
}
