//! What works on this kernel, found by trying: for `leaktrace doctor`.

use aya::{Btf, Ebpf};

use super::{
    BpfError,
    calls::{Calls, Watched},
    fds,
    features::{AttachMode, Features, has_uprobe_multi},
    growth::Growth,
    hazards,
    links::{self, ALLOC_SESSION},
    preflight,
    session::{LoadOptions, ProgramSet, load},
    uprobe_multi::Programs,
};
use crate::aggregate::SampleRate;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Works,
    /// It does not, and something else takes its place.
    Missing,
    /// Tracing is not possible without it.
    Fails,
}

impl State {
    /// The word shown to people, and used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Missing => "missing",
            Self::Fails => "fails",
        }
    }
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What that means, and what to do.
    pub meaning: String,
}

/// What works on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// The kernel's own name, as `uname -r` says.
    pub release: String,
    /// What was tried, in the order of need.
    pub checks: Vec<Check>,
}

impl Checkup {
    /// Whether tracing is possible.
    pub fn works(&self) -> bool {
        self.checks.iter().all(|check| check.state != State::Fails)
    }
}

/// Tries everything once. Nothing is counted: no process is a target.
pub fn checkup() -> Checkup {
    let release = hazards::release();
    let mut checks = Vec::new();
    let mut add = |name, state, meaning: String| checks.push(Check { name, state, meaning });
    match preflight() {
        Ok(()) => add("privileges and uprobes", State::Works, "this process may trace others".to_owned()),
        Err(error) => {
            add("privileges and uprobes", State::Fails, error.to_string());
            return Checkup { release, checks };
        }
    }
    if hazards::kills_filtered_targets(&release) {
        let meaning = "this kernel ends a process with a seccomp filter at its first return probe (CVE-2025-21834), unless your \
                       distribution has repaired it: such a process is traced with --force only";
        add("return probes", State::Missing, meaning.to_owned());
    }
    if hazards::warns_of_maps(&release) {
        let meaning = "this kernel warns in its log, once until the next boot, of programs whose maps grow: \"trace type BPF program \
                       uses run-time allocation\". It means probes inside the kernel's allocator; leaktrace has none";
        add("a quiet kernel log", State::Missing, meaning.to_owned());
    }
    let options = LoadOptions {
        max_live: 1,
        sample: SampleRate::default(),
        may_sample: false,
        kernel_log: false,
        programs: ProgramSet::Counting,
        mode: None,
        fds: Some(1),
        blocks: true,
        ranges: true,
        may_rest_calls: false,
        follow_forks: false,
    };
    let (mut ebpf, uring) = match load(&options, (1, 1)) {
        Ok(loaded) => loaded,
        Err(error) => {
            add("BPF maps", State::Fails, error.to_string());
            return Checkup { release, checks };
        }
    };
    add("BPF maps", State::Works, "the kernel takes the object".to_owned());
    let (state, meaning) = match attach_mode(&mut ebpf) {
        Ok(AttachMode::UprobeSession) => {
            let meaning = "one link for many probes: attaching and detaching take milliseconds, and what is not sampled costs no \
                           return (uprobe_session)";
            (State::Works, meaning.to_owned())
        }
        Ok(AttachMode::UprobeMulti) => {
            (State::Works, "one link for many probes: attaching and detaching take milliseconds (uprobe_multi)".to_owned())
        }
        Ok(AttachMode::PerfEvent) => (
            State::Missing,
            "no uprobe_multi links with a process filter (Linux 6.10): each probe is a perf event, and takes about a tenth \
             of a second to detach"
                .to_owned(),
        ),
        Ok(AttachMode::PerfEventOld) => (
            State::Missing,
            "no attach cookies (Linux 5.15) or no bpf_loop (5.17): a program for each function, shorter stack walks, and a \
             slower table of blocks; each probe takes about a tenth of a second to detach"
                .to_owned(),
        ),
        Err(error) => (State::Fails, error.to_string()),
    };
    add("probes", state, meaning);
    let btf = Btf::from_sys_fs().ok();
    let (state, meaning) = if btf.is_some() {
        (State::Works, "the kernel describes its types: sockets are followed by them")
    } else {
        (State::Missing, "no /sys/kernel/btf/vmlinux: descriptors are traced by an untyped program")
    };
    add("BTF", state, meaning.to_owned());
    let watched = Watched { fds: true, ranges: true };
    let calls = Calls::load(&mut ebpf, btf.as_ref(), watched, uring.as_ref()).and_then(|calls| {
        let modern = calls.is_some_and(|calls| calls.is_typed);
        Ok((modern, fds::attach(&mut ebpf, btf.as_ref(), modern)?))
    });
    match calls {
        Ok((modern, programs)) => {
            let (state, meaning) = if modern {
                (State::Works, "system calls are seen by a typed tracepoint")
            } else {
                (State::Missing, "system calls are seen by an untyped tracepoint, which costs more for each of them")
            };
            add("descriptors", state, meaning.to_owned());
            let (state, meaning) = if programs.iterator.is_some() {
                (State::Works, "the kernel lists open descriptors itself: what no system call showed is found")
            } else {
                (State::Missing, "no iterator over descriptors: they are listed through /proc")
            };
            add("descriptor iterator", state, meaning.to_owned());
        }
        Err(error) => {
            add("descriptors", State::Missing, format!("system calls cannot be traced: {error}"));
        }
    }
    let (state, meaning) = match Growth::attach(&mut ebpf) {
        Ok(_) => (State::Works, "growth can be followed by page faults, without any probe (--growth)".to_owned()),
        Err(error) => (State::Missing, error.to_string()),
    };
    add("page faults", state, meaning);
    Checkup { release, checks }
}

/// The way in which probes would be attached.
fn attach_mode(ebpf: &mut Ebpf) -> Result<AttachMode, BpfError> {
    let names = ProgramSet::Counting.names();
    if Features::detect().cookies {
        if let Ok(programs) = Programs::load(ebpf, names, &[ALLOC_SESSION])
            && has_uprobe_multi(&programs)
        {
            let sessions = programs.has(ALLOC_SESSION);
            return Ok(if sessions { AttachMode::UprobeSession } else { AttachMode::UprobeMulti });
        }
        if links::loads(ebpf, names)? {
            return Ok(AttachMode::PerfEvent);
        }
    }
    let oldest = ["malloc_enter", "alloc_return_old", "free_enter_old"];
    if links::loads(ebpf, &oldest)? {
        return Ok(AttachMode::PerfEventOld);
    }
    Err(BpfError::Load { reason: "it takes none of the programs; -v shows why".to_owned() })
}
