//! The kernel's own structures, at the offsets that the loader found in its BTF.
//!
//! Programs that the kernel knows the types of (tp_btf) follow pointers themselves; others, on older kernels, copy each
//! word with a helper.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, generated::bpf_get_current_task_btf};
use tracer_common::fd::KernelOffsets;

/// Set by the loader.
#[unsafe(no_mangle)]
pub(crate) static KERNEL: KernelOffsets = KernelOffsets {
    task_tgid: 0,
    task_files: 0,
    files_fdt: 0,
    fdtable_max_fds: 0,
    fdtable_fd: 0,
    file_inode: 0,
    file_private: 0,
    inode_ino: 0,
    inode_mode: 0,
    socket_sk: 0,
    task_signal: 0,
    signal_live: 0,
    task_mm: 0,
    known: 0,
};

/// An offset as the loader set it. The compiler would take the initial value for the last word.
#[inline(always)]
pub(crate) fn offset(field: &'static u32) -> usize {
    // SAFETY: a reference can be read.
    unsafe { core::ptr::read_volatile(field) as usize }
}

/// How a program reaches the kernel's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By following typed pointers.
    Typed,
    /// By copying.
    Copied,
}

/// What is behind a descriptor right now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// This `struct file`.
    File(u64),
    /// Nothing: it is not open.
    Nothing,
    /// There are no offsets to look with.
    Unknown,
}

impl Behind {
    /// The file as an identity, 0 when there is none.
    #[inline(always)]
    pub(crate) fn identity(self) -> u64 {
        match self {
            Self::File(file) => file,
            Self::Nothing | Self::Unknown => 0,
        }
    }

    /// The number of its inode, 0 where it cannot be known.
    #[inline(always)]
    pub(crate) fn inode(self) -> u64 {
        match self {
            Self::File(file) => inode_at(file).and_then(inode_number).unwrap_or(0),
            Self::Nothing | Self::Unknown => 0,
        }
    }
}

#[inline(always)]
fn copied<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// What a descriptor of the current thread refers to.
#[inline(always)]
pub(crate) fn behind(reach: Reach, fd: u32) -> Behind {
    if offset(&KERNEL.known) == 0 {
        return Behind::Unknown;
    }
    let Some((table, len)) = table(reach) else { return Behind::Unknown };
    if fd >= len {
        return Behind::Nothing;
    }
    match copied::<u64>(table.wrapping_add(u64::from(fd) << 3)) {
        Some(0) => Behind::Nothing,
        Some(file) => Behind::File(file),
        None => Behind::Unknown,
    }
}

/// The process of a thread, and whether its memory is that of the current one's.
#[inline(always)]
pub(crate) fn process_of(task: u64) -> Option<(u32, bool)> {
    if offset(&KERNEL.known) == 0 {
        return None;
    }
    let tgid = copied::<u32>(task.wrapping_add(offset(&KERNEL.task_tgid) as u64))?;
    let memory = |task: u64| copied::<u64>(task.wrapping_add(offset(&KERNEL.task_mm) as u64));
    // SAFETY: a helper without arguments.
    let current = unsafe { bpf_get_current_task() };
    Some((tgid, memory(task)? == memory(current)?))
}

/// Whether the current thread is the last one of its process; as of `sched_process_exit`.
#[inline(always)]
pub(crate) fn is_last_thread() -> bool {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let signal = copied::<u64>(task.wrapping_add(offset(&KERNEL.task_signal) as u64));
    let live = signal.and_then(|signal| copied::<u32>(signal.wrapping_add(offset(&KERNEL.signal_live) as u64)));
    offset(&KERNEL.known) != 0 && live == Some(0)
}

/// The inode of a file.
#[inline(always)]
fn inode_at(file: u64) -> Option<u64> {
    copied(file.wrapping_add(offset(&KERNEL.file_inode) as u64))
}

#[inline(always)]
fn inode_number(inode: u64) -> Option<u64> {
    copied(inode.wrapping_add(offset(&KERNEL.inode_ino) as u64))
}

/// Inode number and mode of a file.
#[inline(always)]
pub(crate) fn inode_of(file: u64) -> (u64, u32) {
    let Some(inode) = inode_at(file) else { return (0, 0) };
    let number = inode_number(inode).unwrap_or(0);
    let mode = copied::<u16>(inode.wrapping_add(offset(&KERNEL.inode_mode) as u64)).unwrap_or(0);
    (number, u32::from(mode))
}

/// Length of the current thread's table of files; 0 when it cannot be known.
#[inline(always)]
pub(crate) fn table_len(reach: Reach) -> u32 {
    if offset(&KERNEL.known) == 0 {
        return 0;
    }
    table(reach).map_or(0, |(_, len)| len)
}

/// Address and length of the current thread's table of files.
#[inline(always)]
fn table(reach: Reach) -> Option<(u64, u32)> {
    match reach {
        // SAFETY: the verifier knows the types of these pointers and turns a bad one into a read of 0.
        Reach::Typed => unsafe {
            let task = bpf_get_current_task_btf().cast::<u8>().cast_const();
            let files = task.add(offset(&KERNEL.task_files)).cast::<*const u8>().read_volatile();
            if files.is_null() {
                return None;
            }
            let fdt = files.add(offset(&KERNEL.files_fdt)).cast::<*const u8>().read_volatile();
            if fdt.is_null() {
                return None;
            }
            let len = fdt.add(offset(&KERNEL.fdtable_max_fds)).cast::<u32>().read_volatile();
            Some((fdt.add(offset(&KERNEL.fdtable_fd)).cast::<u64>().read_volatile(), len))
        },
        Reach::Copied => {
            // SAFETY: a helper without arguments.
            let task = unsafe { bpf_get_current_task() };
            let files: u64 = copied(task.wrapping_add(offset(&KERNEL.task_files) as u64))?;
            let fdt: u64 = copied(files.wrapping_add(offset(&KERNEL.files_fdt) as u64))?;
            let len: u32 = copied(fdt.wrapping_add(offset(&KERNEL.fdtable_max_fds) as u64))?;
            Some((copied(fdt.wrapping_add(offset(&KERNEL.fdtable_fd) as u64))?, len))
        }
    }
}

/// The `struct sock` of a file that is a socket; 0 when it cannot be known.
#[inline(always)]
pub(crate) fn sock_of(file: Behind) -> u64 {
    let Behind::File(file) = file else { return 0 };
    let Some(socket) = copied::<u64>(file.wrapping_add(offset(&KERNEL.file_private) as u64)) else { return 0 };
    copied(socket.wrapping_add(offset(&KERNEL.socket_sk) as u64)).unwrap_or(0)
}
