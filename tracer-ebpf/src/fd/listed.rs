//! Descriptors that a call lists in the target's memory: pairs, and those that come in messages (`SCM_RIGHTS`).

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_loop};
use tracer_common::{
    counter::LossCause,
    fd::{FdKey, call_flags},
};

use super::{Call, Means, request::Request, table};
use crate::unwind::Drive;

/// The most descriptors that the kernel passes in one message: `SCM_MAX_FD`.
const MOST: u32 = 253;
/// Descriptors of one list that a bounded loop takes; more are found by the next comparison with the kernel's table.
const BOUNDED: u32 = 8;

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

/// Puts all of them into the table.
#[inline(always)]
pub(super) fn open(means: Means, call: &Call, request: &Request, site: u32) -> Result<(), LossCause> {
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
    match means.drive {
        Drive::Helper => {
            let pointer = (&raw mut *context).cast::<c_void>();
            // SAFETY: the callback takes exactly this context, which outlives the call.
            unsafe { bpf_loop(count.min(MOST), descriptor_callback as *mut c_void, pointer, 0) };
        }
        Drive::Bounded => {
            for index in 0..BOUNDED {
                if index >= count || descriptor_bounded(index, context) != 0 {
                    break;
                }
            }
        }
    }
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
    descriptor(super::MODERN, index as u32, unsafe { &mut *context.cast::<Descriptors>() })
}

#[inline(never)]
fn descriptor_bounded(index: u32, context: &mut Descriptors) -> i64 {
    descriptor(super::OLD, index, context)
}

#[inline(always)]
fn descriptor(means: Means, index: u32, context: &mut Descriptors) -> i64 {
    let address = context.address.wrapping_add(u64::from(index) << 2);
    // SAFETY: the helper checks the address and fails where it cannot be read.
    let opened = match unsafe { bpf_probe_read_user(address as *const u32) } {
        Ok(fd) => table::open(means, FdKey { tgid: context.tgid, fd }, context.site, context.flags).map(|_| ()),
        Err(_) => Err(LossCause::FdReadFault),
    };
    match opened {
        Ok(()) => 0,
        Err(cause) => {
            context.failure = cause.code() + 1;
            1
        }
    }
}
