//! The kernel's own table of a process's files, for comparison with ours.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;
use tracer_common::fd::KernelFd;

use crate::{
    kernel::{KERNEL, offset},
    maps::TARGETS,
};

/// `struct bpf_iter__task_file`
#[repr(C)]
pub(super) struct TaskFile {
    meta: *const Meta,
    task: *const u8,
    fd: u32,
    padding: u32,
    file: *const u8,
}

/// `struct bpf_iter_meta`
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// `iter/task_file`: writes a [`KernelFd`] for each file of the traced processes.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn task_files(ctx: *const TaskFile) -> i32 {
    // SAFETY: the iterator's context; the verifier knows the types of its pointers and turns a bad one into a read of 0.
    unsafe {
        let (task, file) = ((*ctx).task, (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        let tgid = task.add(offset(&KERNEL.task_tgid)).cast::<u32>().read_volatile();
        if TARGETS.get_ptr(tgid).is_none() {
            return 0;
        }
        let inode = file.add(offset(&KERNEL.file_inode)).cast::<*const u8>().read_volatile();
        let record = KernelFd {
            tgid,
            fd: (*ctx).fd,
            file: file as u64,
            inode: inode.add(offset(&KERNEL.inode_ino)).cast::<u64>().read_volatile(),
            mode: u32::from(inode.add(offset(&KERNEL.inode_mode)).cast::<u16>().read_volatile()),
            reserved: 0,
        };
        bpf_seq_write((*(*ctx).meta).seq.cast(), (&raw const record).cast_mut().cast(), size_of::<KernelFd>() as u32);
    }
    0
}
