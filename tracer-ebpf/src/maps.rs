//! Every map and global of the object. User space knows them by these names.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, ProgramArray, Queue, RingBuf},
};
use tracer_common::{
    config::{
        DEFAULT_MAX_FDS, DEFAULT_MAX_LIVE, EVENT_RING_BYTES, MAX_CONNECTING, MAX_PROBES, MAX_SITES, MAX_TARGETS,
        MAX_THREADS, MAX_URING_PENDING,
    },
    counter::{LOSS_SLOTS, STAT_SLOTS},
    fd::{CallCount, FdKey, FdRecord, SYSCALLS},
    heap::{BUCKET, Block, BlockKey, Bucket, Deaths, NearBlock, SiteCounters},
    process::Image,
    sampling::{SampleControl, SampledFrees},
    unwind::{MAX_MAPPINGS, Mapping, MappingRange, PageRows, Row},
    uring,
};

use crate::{
    fd::{FdThread, Pending, UringKey},
    thread::Thread,
    walker::Walker,
};

/// Traced processes, by thread group id, and where their mappings are.
#[map]
pub(crate) static TARGETS: HashMap<u32, MappingRange> = HashMap::with_max_entries(MAX_TARGETS, BPF_F_NO_PREALLOC);

/// What the traced processes run, by thread group id. Changed here alone once a process is traced.
#[map]
pub(crate) static IMAGES: HashMap<u32, Image> = HashMap::with_max_entries(MAX_TARGETS, BPF_F_NO_PREALLOC);

/// Counts the changes of [`TARGETS`], so that a thread need not look itself up each time.
#[map]
pub(crate) static GENERATION: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Threads that were inside an allocator at least once, by thread id in both halves of `bpf_get_current_pid_tgid`.
#[map]
pub(crate) static THREADS: HashMap<u64, Thread> = HashMap::with_max_entries(MAX_THREADS, BPF_F_NO_PREALLOC);

/// A zeroed [`Thread`], too large to be built on the BPF stack.
#[map]
pub(crate) static THREAD_TEMPLATE: Array<Thread> = Array::with_max_entries(1, 0);

/// Buckets of the near table, less one. The loader sets it to a power of two less one.
#[unsafe(no_mangle)]
pub(crate) static NEAR_MASK: Global<u32> = Global::new(0);

/// Addresses of the outstanding blocks in the near table. The loader sets the size.
#[map]
pub(crate) static NEAR: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What is known of the blocks in the near table. The loader sets the size.
#[map]
pub(crate) static NEAR_BLOCKS: Array<NearBlock> = Array::with_max_entries(BUCKET as u32, BPF_F_MMAPABLE);

/// How many blocks are in [`LIVE`].
#[map]
pub(crate) static LIVE_COUNT: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Outstanding blocks that are not in the near table.
#[map]
pub(crate) static LIVE: HashMap<BlockKey, Block> = HashMap::with_max_entries(DEFAULT_MAX_LIVE, BPF_F_NO_PREALLOC);

/// Which blocks are tracked. The loader sets it before there is a target.
#[map]
pub(crate) static SAMPLE: Array<SampleControl> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What was freed while not all blocks were tracked, by site id.
#[map]
pub(crate) static SAMPLED_FREES: Array<SampledFrees> = Array::with_max_entries(MAX_SITES, BPF_F_MMAPABLE);

/// Descriptors of the traced processes that were opened since the attach. The loader sets the size.
#[map]
pub(crate) static FDS: HashMap<FdKey, FdRecord> = HashMap::with_max_entries(DEFAULT_MAX_FDS, BPF_F_NO_PREALLOC);

/// A descriptor that is not open.
#[map]
pub(crate) static FD_TEMPLATE: Array<FdRecord> = Array::with_max_entries(1, 0);

/// What each system call does to descriptors: an [`tracer_common::fd::Effect`] by system call number.
#[map]
pub(crate) static EFFECTS: Array<u32> = Array::with_max_entries(SYSCALLS, 0);

/// System calls of this CPU.
#[map]
pub(crate) static CALLS: PerCpuArray<CallCount> = PerCpuArray::with_max_entries(1, 0);

/// Threads that opened descriptors, by thread as in [`THREADS`].
#[map]
pub(crate) static FD_THREADS: HashMap<u64, FdThread> = HashMap::with_max_entries(MAX_THREADS, BPF_F_NO_PREALLOC);

/// A zeroed [`FdThread`], too large to be built on the BPF stack.
#[map]
pub(crate) static FD_THREAD_TEMPLATE: Array<FdThread> = Array::with_max_entries(1, 0);

/// When the connects under way began, by the kernel's `struct sock`: `CLOCK_MONOTONIC`, nanoseconds.
#[map]
pub(crate) static CONNECTING: HashMap<u64, u64> = HashMap::with_max_entries(MAX_CONNECTING, BPF_F_NO_PREALLOC);

/// What each kind of request of io_uring does to descriptors, by its code.
#[map]
pub(crate) static URING_OPS: Array<uring::UringOp> = Array::with_max_entries(uring::URING_OPS, 0);

/// Requests of io_uring that were submitted.
#[map]
pub(crate) static URING_PENDING: HashMap<UringKey, Pending> =
    HashMap::with_max_entries(MAX_URING_PENDING, BPF_F_NO_PREALLOC);

/// A zeroed [`Pending`], to be filled in place.
#[map]
pub(crate) static URING_TEMPLATE: Array<Pending> = Array::with_max_entries(1, 0);

/// Stack hash to site id.
#[map]
pub(crate) static SITES: HashMap<u64, u32> = HashMap::with_max_entries(MAX_SITES, BPF_F_NO_PREALLOC);

/// Site ids that are free. A queue because kernel 5.10 has no atomic that returns a value.
#[map]
pub(crate) static FREE_SITES: Queue<u32> = Queue::with_max_entries(MAX_SITES, 0);

/// Counters by site id. User space maps it and reads without a system call.
#[map]
pub(crate) static SITE_COUNTERS: Array<SiteCounters> = Array::with_max_entries(MAX_SITES, BPF_F_MMAPABLE);

/// How old the freed blocks of each site became, by site id.
#[map]
pub(crate) static DEATHS: Array<Deaths> = Array::with_max_entries(MAX_SITES, BPF_F_MMAPABLE);

/// Events lost, by [`tracer_common::counter::LossCause`].
#[map]
pub(crate) static LOSS: Array<u64> = Array::with_max_entries(LOSS_SLOTS, BPF_F_MMAPABLE);

/// Page faults that were looked at, by site. Their own counters, so that nothing else need be in place to read them.
#[map]
pub(crate) static FAULTS: Array<u64> = Array::with_max_entries(MAX_SITES, BPF_F_MMAPABLE);

/// Page faults of this CPU since the last one that was looked at.
#[map]
pub(crate) static FAULT_COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What the walk from a page fault needs, for each program.
#[map]
pub(crate) static FAULT_WALKERS: PerCpuArray<Walker> = PerCpuArray::with_max_entries(2, 0);

/// What else was seen, by [`tracer_common::counter::Stat`].
#[map]
pub(crate) static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(STAT_SLOTS, 0);

/// Hits by probe index.
#[map]
pub(crate) static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_PROBES, 0);

/// The program that walks for the entry programs of older kernels. The loader sets it.
#[map]
pub(crate) static WALK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The programs that follow [`crate::fd`]'s program for older kernels: such an array is for programs of one kind. The
/// loader sets them.
#[map]
pub(crate) static FD_STEPS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// New sites and lifecycle.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

/// Executable mappings of the traced processes: a sorted run for each.
#[map]
pub(crate) static MAPPINGS: Array<Mapping> = Array::with_max_entries(MAX_MAPPINGS, BPF_F_MMAPABLE);

/// Page indexes of the unwind tables. The loader sets the size.
#[map]
pub(crate) static PAGES: Array<PageRows> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Rows of the unwind tables. The loader sets the size.
#[map]
pub(crate) static ROWS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);
