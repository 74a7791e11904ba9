//! Putting the probes of a plan in place, by whichever way the kernel has.

use std::{
    collections::HashMap,
    ffi::CString,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
};

use aya::{
    Ebpf,
    maps::{MapError, ProgramArray},
    programs::{
        ProgramError, ProgramFd, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
};
use tracer_common::{config::cookie, heap::Function};

use super::{
    BpfError,
    error::chain,
    features::{AttachMode, Features, has_uprobe_multi},
    uprobe_multi::{At, Points, Programs},
};
use crate::probe::{AttachPlan, AttachPoint, ProbeKind};

/// Threads that close links.
const CLOSERS: usize = 32;

const ALLOC_ENTER: &str = "alloc_enter";
const ALLOC_RETURN: &str = "alloc_return";
const ALLOC_EXIT: &str = "alloc_exit";
const FREE_ENTER: &str = "free_enter";
const RELEASE_ENTER: &str = "release_enter";
const THROW_ENTER: &str = "throw_enter";
pub(super) const ALLOC_SESSION: &str = "alloc_session";
pub(super) const EMPTY_ENTER: &str = "empty_enter";
pub(super) const EMPTY_RETURN: &str = "empty_return";
pub(super) const EMPTY_SESSION: &str = "empty_session";

/// A module that probes go into.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its path as the target's maps name it.
    pub path: PathBuf,
    /// The file itself. Probes go to the inode, whatever the path leads to by now.
    pub file: Arc<File>,
}

impl Module {
    /// A path that leads to the held file in this process.
    fn held_path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

/// One probe, or many by one link.
#[derive(Debug)]
enum Link {
    Multi(OwnedFd),
    Perf(&'static str, UProbeLinkId),
}

/// Probes that a process is to have.
#[derive(Clone, Debug)]
struct Wanted {
    plan: AttachPlan,
    modules: Vec<Module>,
    /// Of the points' hit counters.
    indexes: Vec<u32>,
}

/// The programs, and the probes in place by process. Dropping it takes them out (perf events go with the aya object that
/// holds them).
#[derive(Debug)]
pub(super) struct Links {
    pub(super) mode: AttachMode,
    set: ProgramSet,
    /// Those of aya's programs that the kernel has.
    loaded: Vec<&'static str>,
    /// Dropped before the programs, so that a probe never outlives what it runs.
    by_pid: HashMap<u32, Vec<Link>>,
    /// What is to be in place, for when it is put there again. Only where links hold many probes.
    wanted: HashMap<u32, Vec<Wanted>>,
    /// The probes are out for now.
    resting: bool,
    /// Taking them out takes a while.
    leaving: Option<JoinHandle<()>>,
    programs: Option<Programs>,
}

/// What runs at the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramSet {
    /// The programs that count.
    Counting,
    /// Programs that do nothing: to measure what the probes cost by themselves.
    Empty,
}

impl ProgramSet {
    /// In the order of attaching.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Counting => &[RELEASE_ENTER, FREE_ENTER, THROW_ENTER, ALLOC_EXIT, ALLOC_RETURN, ALLOC_ENTER],
            Self::Empty => &[EMPTY_RETURN, EMPTY_ENTER],
        }
    }

    /// The program that serves a point where the kernel has cookies.
    pub(super) fn serves(self, point: &AttachPoint, mode: AttachMode) -> &'static str {
        match (self, point.kind, point.function) {
            // What may throw has no probe at its return.
            (Self::Counting, ProbeKind::Entry | ProbeKind::Return, function)
                if mode.is_by_sessions() && function.allocates() && !function.may_throw() =>
            {
                ALLOC_SESSION
            }
            (Self::Counting, _, Function::Free) => FREE_ENTER,
            (Self::Counting, _, Function::Release) => RELEASE_ENTER,
            (Self::Counting, _, Function::Throw) => THROW_ENTER,
            (Self::Counting, ProbeKind::Exit, _) => ALLOC_EXIT,
            (Self::Counting, ProbeKind::Return, _) => ALLOC_RETURN,
            (Self::Counting, ProbeKind::Entry, _) => ALLOC_ENTER,
            (Self::Empty, ProbeKind::Return, _) => EMPTY_RETURN,
            (Self::Empty, ProbeKind::Entry | ProbeKind::Exit, _) => EMPTY_ENTER,
        }
    }
}

/// The program that serves a point without cookies: entries need one each.
fn program_without_cookie(point: &AttachPoint) -> &'static str {
    match point.kind {
        ProbeKind::Return => return "alloc_return_old",
        ProbeKind::Exit => return "alloc_exit_old",
        ProbeKind::Entry => {}
    }
    match point.function {
        Function::Malloc => "malloc_enter",
        Function::Calloc => "calloc_enter",
        Function::Realloc => "realloc_enter",
        Function::Reallocarray => "reallocarray_enter",
        Function::PosixMemalign => "posix_memalign_enter",
        Function::AlignedAlloc => "aligned_alloc_enter",
        Function::Memalign => "memalign_enter",
        Function::Valloc => "valloc_enter",
        Function::Pvalloc => "pvalloc_enter",
        Function::Free => "free_enter_old",
        Function::Release => "release_enter_old",
        Function::New => "new_enter",
        Function::NewArray => "new_array_enter",
        Function::HeapNew => "heap_new_enter",
        Function::HeapNewArray => "heap_new_array_enter",
        Function::Reallocf => "reallocf_enter",
        Function::Xallocx => "xallocx_enter",
        Function::HeapMalloc => "heap_malloc_enter",
        Function::HeapCalloc => "heap_calloc_enter",
        Function::HeapRealloc => "heap_realloc_enter",
        Function::HeapReallocarray => "heap_reallocarray_enter",
        Function::HeapReallocf => "heap_reallocf_enter",
        Function::Throw => "throw_enter_old",
    }
}

/// Index of a point's hit counter where there are no cookies: its function, or one slot for all returns.
pub(super) fn hit_slot(mode: AttachMode, index: u32, point: &AttachPoint) -> u32 {
    match (mode, point.kind) {
        (AttachMode::PerfEventOld, ProbeKind::Entry) => point.function.code(),
        (AttachMode::PerfEventOld, ProbeKind::Return | ProbeKind::Exit) => Function::ALL.len() as u32,
        _ => index,
    }
}

impl Links {
    /// Loads the programs. `wanted` forces a way of attaching; else the best one the kernel has is taken, for tracking all
    /// blocks or, if `may_sample`, some.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        features: Features,
        set: ProgramSet,
        wanted: Option<AttachMode>,
        may_sample: bool,
    ) -> Result<Self, BpfError> {
        let links = |mode, loaded, programs| Self {
            mode,
            set,
            loaded,
            by_pid: HashMap::new(),
            wanted: HashMap::new(),
            resting: false,
            leaving: None,
            programs,
        };
        if features.cookies && wanted.is_none_or(AttachMode::is_by_multi) {
            let by_sessions = set == ProgramSet::Counting && wanted.map_or(may_sample, AttachMode::is_by_sessions);
            let for_sessions: &[_] = if by_sessions { &[ALLOC_SESSION] } else { &[] };
            match Programs::load(ebpf, set.names(), for_sessions) {
                Ok(programs) if has_uprobe_multi(&programs) => {
                    let sessions = programs.has(ALLOC_SESSION);
                    if by_sessions && wanted.is_some() && !sessions {
                        let reason = "sessions of uprobes need Linux 6.13 or newer; leave out --attach".to_owned();
                        return Err(BpfError::Load { reason });
                    }
                    let mode = if sessions { AttachMode::UprobeSession } else { AttachMode::UprobeMulti };
                    return Ok(links(mode, Vec::new(), Some(programs)));
                }
                Ok(_) => log::debug!("the kernel has no uprobe_multi links, or none that filter by process"),
                Err(error) if wanted.is_some_and(AttachMode::is_by_multi) => return Err(error),
                Err(error) => log::debug!("uprobe_multi programs do not load: {error}"),
            }
        }
        // Cookies came with 5.15, bpf_loop with 5.17: a kernel between them has the programs of the older ones.
        let modern = features.cookies && wanted != Some(AttachMode::PerfEventOld) && loads(ebpf, set.names())?;
        let (mode, loaded) =
            if modern { (AttachMode::PerfEvent, set.names().to_vec()) } else { (AttachMode::PerfEventOld, Vec::new()) };
        if !modern {
            let refused = |error: ProgramError| BpfError::Load { reason: chain(&error) };
            let walk = uprobe(ebpf, "walk_old")?;
            walk.load().map_err(refused)?;
            let walk = walk.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(refused)?;
            set_step(ebpf, "WALK", 0, &walk)?;
        }
        Ok(links(mode, loaded, None))
    }

    /// Attaches every point of a plan to a process. `indexes` are those of the points' hit counters.
    pub(super) fn add(
        &mut self,
        ebpf: &mut Ebpf,
        plan: &AttachPlan,
        modules: &[Module],
        pid: u32,
        indexes: &[u32],
    ) -> Result<(), BpfError> {
        if self.mode.is_by_multi() {
            if !self.resting {
                self.add_multi(plan, modules, pid, indexes)?;
            }
            let wanted = Wanted { plan: plan.clone(), modules: modules.to_vec(), indexes: indexes.to_vec() };
            self.wanted.entry(pid).or_default().push(wanted);
            Ok(())
        } else {
            self.add_perf(ebpf, plan, modules, pid, indexes)
        }
    }

    fn add_multi(&mut self, plan: &AttachPlan, modules: &[Module], pid: u32, indexes: &[u32]) -> Result<(), BpfError> {
        let Self { mode, set, by_pid, programs: Some(programs), .. } = self else { return Ok(()) };
        let links = by_pid.entry(pid).or_default();
        for (index, module) in modules.iter().enumerate() {
            let path = CString::new(module.held_path()).unwrap_or_default();
            // After the exits, and before the entries that these are of.
            let names = set.names().iter().flat_map(|name| match *name {
                ALLOC_ENTER if mode.is_by_sessions() => [Some(ALLOC_SESSION), Some(ALLOC_ENTER)],
                name => [Some(name), None],
            });
            for program in names.flatten() {
                let points: Vec<_> = plan
                    .points
                    .iter()
                    .zip(indexes)
                    .filter(|(point, _)| point.module == index && set.serves(point, *mode) == program)
                    .collect();
                // A session has its return with its entry.
                let (returns, entries): (Vec<_>, Vec<_>) = points
                    .into_iter()
                    .partition(|(point, _)| program == ALLOC_SESSION && point.kind == ProbeKind::Return);
                let Some((first, _)) = entries.first() else { continue };
                let at = match first.kind {
                    _ if program == ALLOC_SESSION => At::Both,
                    ProbeKind::Return => At::Return,
                    ProbeKind::Entry | ProbeKind::Exit => At::Entry,
                };
                let offsets: Vec<u64> = entries.iter().map(|(point, _)| point.file_offset).collect();
                let cookie = |(point, index): &(&AttachPoint, &u32)| {
                    let same = |(other, _): &&(&AttachPoint, &u32)| other.file_offset == point.file_offset;
                    let at_return = returns.iter().find(same).map_or(u32::MAX, |(_, index)| **index);
                    cookie(**index, at_return, point.function.code())
                };
                let cookies: Vec<u64> = entries.iter().map(cookie).collect();
                let linked =
                    programs.link(program, &Points { path: &path, offsets: &offsets, cookies: &cookies, at, pid })?;
                let link = linked.map_err(|error| refused(module, first, pid, error.raw_os_error(), &error))?;
                links.push(Link::Multi(link));
            }
        }
        Ok(())
    }

    fn add_perf(
        &mut self,
        ebpf: &mut Ebpf,
        plan: &AttachPlan,
        modules: &[Module],
        pid: u32,
        indexes: &[u32],
    ) -> Result<(), BpfError> {
        let scope = UProbeScope::OneProcess(pid.try_into().map_err(|_| BpfError::TargetGone { pid })?);
        let links = self.by_pid.entry(pid).or_default();
        for (point, index) in plan.points.iter().zip(indexes) {
            let modern = self.mode != AttachMode::PerfEventOld;
            let name = if modern { self.set.serves(point, self.mode) } else { program_without_cookie(point) };
            let program = uprobe(ebpf, name)?;
            if !self.loaded.contains(&name) {
                program.load().map_err(|error| BpfError::Load { reason: chain(&error) })?;
                self.loaded.push(name);
            }
            let Some(module) = modules.get(point.module) else { continue };
            let cookie = modern.then(|| cookie(*index, u32::MAX, point.function.code()));
            let location = UProbeAttachLocation::AbsoluteOffset(point.file_offset);
            let link = program
                .attach(UProbeAttachPoint { location, cookie }, module.held_path(), scope)
                .map_err(|error| refused(module, point, pid, errno_of(&error), &error))?;
            links.push(Link::Perf(name, link));
        }
        Ok(())
    }

    /// Whether probes can come and go: where each would take a tenth of a second, they cannot.
    pub(super) fn may_rest(&self) -> bool {
        self.mode.is_by_multi()
    }

    /// Takes all probes out for a while. That goes on behind the caller's back.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        let links = self.take_multi();
        self.leaving = std::thread::Builder::new().name("detach".into()).spawn(move || close(links)).ok();
    }

    /// Puts them back.
    pub(super) fn resume(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.join();
        }
        self.resting = false;
        for (pid, wanted) in self.wanted.clone() {
            for Wanted { plan, modules, indexes } in wanted {
                // It may be about to end, or to run another program: then it is probed anew or forgotten.
                if let Err(error) = self.add_multi(&plan, &modules, pid, &indexes) {
                    log::debug!("process {pid}: {error}");
                    break;
                }
            }
        }
    }

    fn take_multi(&mut self) -> Vec<OwnedFd> {
        let multi = |link| match link {
            Link::Multi(link) => Some(link),
            Link::Perf(..) => None,
        };
        self.by_pid.drain().flat_map(|(_, links)| links).filter_map(multi).collect()
    }

    /// Takes the probes of a process out.
    pub(super) fn remove(&mut self, ebpf: &mut Ebpf, pid: u32) {
        self.wanted.remove(&pid);
        for link in self.by_pid.remove(&pid).into_iter().flatten() {
            if let Link::Perf(name, link) = link
                && let Ok(program) = uprobe(ebpf, name)
                && let Err(error) = program.detach(link)
            {
                log::debug!("taking a probe out of process {pid}: {error}");
            }
        }
    }

    /// The programs of links over many probes; none where there are no such links.
    pub(super) fn programs(&self) -> Option<&Programs> {
        self.programs.as_ref()
    }

    /// Probes that come out one by one.
    pub(super) fn slow_probes(&self) -> usize {
        self.by_pid.values().flatten().filter(|link| matches!(link, Link::Perf(..))).count()
    }

    /// Takes all probes out now.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf) {
        self.wanted.clear();
        close(self.take_multi());
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.join();
        }
        for name in self.loaded.drain(..) {
            if let Ok(program) = uprobe(ebpf, name)
                && let Err(error) = program.unload()
            {
                log::debug!("unloading a probe: {error}");
            }
        }
    }
}

/// Each closing of a link waits for the kernel to forget it: they wait side by side.
fn close(mut links: Vec<OwnedFd>) {
    let share = links.len().div_ceil(CLOSERS).max(1);
    std::thread::scope(|scope| {
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(share));
            scope.spawn(move || drop(some));
        }
    });
}

/// Gives programs for older kernels one that goes on for them.
pub(super) fn set_step(ebpf: &mut Ebpf, name: &'static str, step: u32, program: &ProgramFd) -> Result<(), BpfError> {
    let refused = |error: &dyn std::error::Error| BpfError::Load { reason: chain(error) };
    let map = ebpf.map_mut(name).ok_or(BpfError::Object { name })?;
    let mut steps: ProgramArray<_> = map.try_into().map_err(|error: MapError| refused(&error))?;
    steps.set(step, program, 0).map_err(|error| refused(&error))
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, BpfError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })
}

/// Whether the kernel takes all these programs.
pub(super) fn loads(ebpf: &mut Ebpf, names: &[&'static str]) -> Result<bool, BpfError> {
    for &name in names {
        let program = uprobe(ebpf, name)?;
        if let Err(error) = program.load() {
            log::debug!("program {name} does not load: {}", chain(&error));
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first errno in a chain of errors.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(os) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
            return Some(os);
        }
        cause = inner.source();
    }
    None
}

fn refused(
    module: &Module,
    point: &AttachPoint,
    pid: u32,
    errno: Option<i32>,
    error: &dyn std::error::Error,
) -> BpfError {
    if errno == Some(libc::ESRCH) {
        return BpfError::TargetGone { pid };
    }
    BpfError::Attach {
        module: module.path.clone(),
        symbol: point.symbol.to_string(),
        offset: point.offset,
        reason: chain(error),
    }
}
