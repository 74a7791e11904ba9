//! What this kernel can do, found by trying.

use std::borrow::Cow;

use super::{hazards, sys, uprobe_multi::Programs};
use crate::aggregate::Feature;

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// The same as `uprobe-multi`, with one program at the entry and at the return, which need not come at the return
    /// (Linux 6.13): costs less when blocks are sampled, a little more when all are tracked.
    UprobeSession,
    /// One link over all points of a file (Linux 6.6, in order since 6.10): attach and detach take milliseconds.
    UprobeMulti,
    /// One perf event for each point: detaching takes about a tenth of a second each.
    PerfEvent,
    /// The same, with the programs for kernels before 5.17, which lack cookies or `bpf_loop`.
    PerfEventOld,
}

impl AttachMode {
    /// Whether one link holds many probes.
    pub(super) fn is_by_multi(self) -> bool {
        matches!(self, Self::UprobeSession | Self::UprobeMulti)
    }

    /// Whether an entry decides if there will be a return.
    pub(super) fn is_by_sessions(self) -> bool {
        self == Self::UprobeSession
    }

    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::UprobeSession => "uprobe_session",
            Self::UprobeMulti => "uprobe_multi",
            Self::PerfEvent => "perf_event",
            Self::PerfEventOld => "perf_event, programs for old kernels",
        }
    }
}

/// How stacks are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WalkBy {
    /// By the unwind tables of the target's files, and by frame pointers where there are none.
    #[default]
    Tables,
    /// By frame pointers alone, to compare.
    #[value(name = "fp")]
    FramePointers,
}

/// Features that have a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Attach cookies (Linux 5.15).
    pub cookies: bool,
}

impl Features {
    /// Asks the kernel.
    pub fn detect() -> Self {
        Self { cookies: aya::features().bpf_cookie() }
    }
}

/// What a session found and goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct InUse {
    pub(super) mode: AttachMode,
    /// Whether system calls come with types; `None` when none are looked at.
    pub(super) typed_calls: Option<bool>,
    /// The kernel describes its types.
    pub(super) btf: bool,
    /// The layout of io_uring's requests is known.
    pub(super) uring: bool,
    /// Whether the kernel lists descriptors; `None` when they are not traced.
    pub(super) iterator: Option<bool>,
}

impl InUse {
    /// In words, for those who look at what a run went by.
    pub(super) fn describe(self) -> Vec<Feature> {
        let Self { mode, typed_calls, btf, uring, iterator } = self;
        let feature = |name: &'static str, used: Cow<'static, str>, best| Feature { name: name.into(), used, best };
        let either = |best: bool, yes: &'static str, no: &'static str| if best { yes } else { no }.into();
        let release = hazards::release();
        let probes = match mode {
            AttachMode::UprobeSession => "uprobe_session: one link for many probes, returns only where they matter",
            AttachMode::UprobeMulti => "uprobe_multi: one link for many probes",
            AttachMode::PerfEvent => "perf_event: each takes a tenth of a second to take out",
            AttachMode::PerfEventOld => "perf_event, programs for old kernels: shorter stack walks",
        };
        let types = either(btf, "/sys/kernel/btf/vmlinux", "none: sockets are not followed by their types");
        let requests = either(uring, "seen", "not seen: this kernel has no io_uring, or does not describe it");
        let mut features = vec![
            feature("kernel", release.into(), true),
            feature("probes", probes.into(), mode.is_by_multi()),
            feature("events", "ring buffer".into(), true),
            feature("counters", "mapped memory, read without system calls".into(), true),
            feature("kernel types", types, btf),
        ];
        features.extend(typed_calls.map(|typed| {
            let used = either(typed, "typed tracepoint (tp_btf)", "untyped tracepoint, which costs more for each");
            feature("system calls", used, typed)
        }));
        features.push(feature("io_uring", requests, uring));
        features.extend(iterator.map(|best| {
            feature("descriptors", either(best, "listed by an iterator in the kernel", "listed through /proc"), best)
        }));
        features
    }
}

/// Whether links over many probe points work, with their process filter. The first kernels that had them filtered by
/// thread; those refuse a bad file before they look at a bad pid (as libbpf tells them apart).
pub(super) fn has_uprobe_multi(programs: &Programs) -> bool {
    let attempt = |pid: u32| {
        let offsets = [0u64];
        let mut attr = sys::UprobeMultiLink {
            prog_fd: programs.any_fd(),
            attach_type: sys::TRACE_UPROBE_MULTI,
            path: c"/".as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            cnt: 1,
            pid,
            ..sys::UprobeMultiLink::default()
        };
        // SAFETY: a C string and one offset, both alive for the call.
        unsafe { sys::link_create(&mut attr) }.err().and_then(|error| error.raw_os_error())
    };
    attempt(0) == Some(libc::EBADF) && attempt(u32::MAX) == Some(libc::EINVAL)
}
