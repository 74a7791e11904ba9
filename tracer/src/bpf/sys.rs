//! bpf(2) where aya has no call for it. Layouts are those of `union bpf_attr` in `linux/bpf.h`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_TEST_RUN: i64 = 10;
const BPF_OBJ_GET_INFO_BY_FD: i64 = 15;
const BPF_BTF_LOAD: i64 = 18;
const BPF_MAP_LOOKUP_BATCH: i64 = 24;
const BPF_MAP_DELETE_ELEM: i64 = 3;
const BPF_LINK_CREATE: i64 = 28;
const BPF_ITER_CREATE: i64 = 33;
/// `BPF_TRACE_ITER`
const TRACE_ITER: u32 = 28;

/// `BPF_TRACE_UPROBE_MULTI`
pub(super) const TRACE_UPROBE_MULTI: u32 = 48;
/// `BPF_TRACE_UPROBE_SESSION`
pub(super) const TRACE_UPROBE_SESSION: u32 = 57;
/// `BPF_F_UPROBE_MULTI_RETURN`
pub(super) const UPROBE_MULTI_RETURN: u32 = 1;
/// `BPF_PROG_TYPE_KPROBE`, the type of uprobe programs.
pub(super) const PROG_TYPE_KPROBE: u32 = 2;

/// Attributes of a program to load.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: [u8; 16],
    pub(super) prog_ifindex: u32,
    pub(super) expected_attach_type: u32,
    pub(super) prog_btf_fd: u32,
    pub(super) func_info_rec_size: u32,
    pub(super) func_info: u64,
    pub(super) func_info_cnt: u32,
    pub(super) line_info_rec_size: u32,
    pub(super) line_info: u64,
    pub(super) line_info_cnt: u32,
    pub(super) attach_btf_id: u32,
    pub(super) attach_prog_fd: u32,
    pub(super) reserved: u32,
}

/// Attributes of a link over many probe points of one file.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct UprobeMultiLink {
    pub(super) prog_fd: u32,
    pub(super) target_fd: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
    pub(super) path: u64,
    pub(super) offsets: u64,
    pub(super) ref_ctr_offsets: u64,
    pub(super) cookies: u64,
    pub(super) cnt: u32,
    pub(super) multi_flags: u32,
    pub(super) pid: u32,
    pub(super) reserved: u32,
}

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    log_buf: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    log_true_size: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// # Safety
/// Every pointer in `attr` is valid for what the command does with it.
unsafe fn bpf<T>(command: i64, attr: &mut T) -> io::Result<i64> {
    // SAFETY: the attributes are a live, initialized value of the size given; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Loads a program.
///
/// # Safety
/// The pointers in `attr` are valid for the counts beside them.
pub(super) unsafe fn prog_load(attr: &mut ProgLoad) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    unsafe { bpf(BPF_PROG_LOAD, attr) }.map(owned)
}

/// Attaches a program to many points.
///
/// # Safety
/// `path` is a C string; `offsets` and `cookies` have `cnt` entries.
pub(super) unsafe fn link_create(attr: &mut UprobeMultiLink) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    unsafe { bpf(BPF_LINK_CREATE, attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct IterLink {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    reserved: u32,
}

/// `union bpf_iter_link_info`, for tasks.
#[repr(C)]
#[derive(Default)]
struct IterTask {
    tid: u32,
    pid: u32,
    pid_fd: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Default)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Links an iterator program. With a process, the kernel walks that one alone (Linux 6.1).
pub(super) fn iter_link(program: BorrowedFd<'_>, pid: Option<u32>) -> io::Result<OwnedFd> {
    let task = IterTask { pid: pid.unwrap_or(0), ..IterTask::default() };
    let mut attr = IterLink { prog_fd: program.as_raw_fd() as u32, attach_type: TRACE_ITER, ..IterLink::default() };
    if pid.is_some() {
        attr.iter_info = std::ptr::from_ref(&task) as u64;
        attr.iter_info_len = size_of::<IterTask>() as u32;
    }
    // SAFETY: the one pointer is to a live value of the length beside it.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(owned)
}

/// Of the kernel's `union bpf_attr`, for single elements.
#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Takes an element out of a map.
pub(super) fn map_delete<K: aya::Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr =
        MapElement { map_fd: map.as_raw_fd() as u32, key: std::ptr::from_ref(key) as u64, ..MapElement::default() };
    // SAFETY: the one pointer is to a live key; the caller's type is the map's.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) }.map(|_| ())
}

/// A new walk of an iterator: reading it runs the program.
pub(super) fn iter_create(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = IterCreate { link_fd: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: no pointers.
    unsafe { bpf(BPF_ITER_CREATE, &mut attr) }.map(owned)
}

/// Runs a raw tracepoint program once, with these arguments.
pub(super) fn run_raw_tracepoint(program: BorrowedFd<'_>, arguments: &[u64]) -> io::Result<()> {
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        ctx_size_in: size_of_val(arguments) as u32,
        ctx_in: arguments.as_ptr() as u64,
        ..TestRun::default()
    };
    // SAFETY: the one pointer is the slice's, with its length.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }.map(|_| ())
}

/// The start of the kernel's `struct bpf_prog_info`, up to its run time (Linux 5.1).
#[repr(C)]
struct ProgInfo {
    before: [u64; 24],
    run_time_ns: u64,
    run_cnt: u64,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// Nanoseconds that a program has run and how often, while the kernel counted that.
pub(super) fn prog_run_time(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut info = ProgInfo { before: [0; 24], run_time_ns: 0, run_cnt: 0 };
    let mut attr = InfoByFd {
        fd: program.as_raw_fd() as u32,
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the one pointer is to a live value of the length beside it; all its lists are of length 0.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok((info.run_time_ns, info.run_cnt))
}

/// Loads type information.
pub(super) fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = BtfLoad { btf: btf.as_ptr() as u64, size: btf.len() as u32, ..BtfLoad::default() };
    // SAFETY: the one pointer is the slice's, with its length.
    unsafe { bpf(BPF_BTF_LOAD, &mut attr) }.map(owned)
}

/// Position of a batched read. A hash map's cursor is a bucket number of 32 bits.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    position: u64,
    started: bool,
}

/// Entries that are read in one system call.
const BATCH: usize = 4096;

/// Reads all entries of a hash map. Those that come and go meanwhile may or may not be seen.
pub(super) fn for_each<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    let (mut keys, mut values) = (vec![K::default(); BATCH], vec![V::default(); BATCH]);
    let mut cursor = Cursor::default();
    loop {
        let (count, more) = match lookup_batch(map, &mut cursor, &mut keys, &mut values) {
            Ok(read) => read,
            // A bucket holds more than fits: only a larger buffer gets past it.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                let larger = keys.len() * 2;
                keys.resize(larger, K::default());
                values.resize(larger, V::default());
                continue;
            }
            Err(error) => return Err(error),
        };
        keys.iter().zip(&values).take(count).for_each(|(key, value)| each(*key, *value));
        if !more {
            return Ok(());
        }
    }
}

/// Reads the next entries of a hash map into `keys` and `values`. Returns how many, and whether there are more.
pub(super) fn lookup_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let count = keys.len().min(values.len());
    let mut next = 0u64;
    let mut attr = MapBatch {
        in_batch: if cursor.started { std::ptr::from_ref(&cursor.position) as u64 } else { 0 },
        out_batch: std::ptr::from_mut(&mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: count as u32,
        map_fd: map.as_raw_fd() as u32,
        ..MapBatch::default()
    };
    // SAFETY: the buffers hold `count` plain values each; the cursors are live for the call.
    let more = match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    *cursor = Cursor { position: next, started: true };
    Ok((attr.count as usize, more))
}
