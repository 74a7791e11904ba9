//! What our probes cost the target: the trap of each kind, tried out on this process, and the run time of the programs, as
//! the kernel counts it for a moment now and then. All of it is as the CPU time of the target is counted, which may include what
//! a hypervisor takes.
//!
//! The kernel's account of run times (`BPF_ENABLE_STATS`) makes each run of every program of the machine a little slower, so it
//! is on for one hundredth of the time. What it costs by itself is in the run time of a program that does nothing, which
//! is taken off. Reading the clock in the programs would cost as much, and the programs a branch all the time.

use std::{
    arch::naked_asm,
    collections::BTreeMap,
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    sys::{Stats, enable_stats},
};

use super::{
    AttachMode, BpfError,
    links::{EMPTY_ENTER, EMPTY_RETURN, EMPTY_SESSION},
    stolen::stretch,
    sys,
    uprobe_multi::{At, Points, Programs},
};
use crate::probe::{Cost, ProbeKind};

/// Calls in one of many runs, of which the median counts. A run is short beside what a hypervisor leaves and takes in turn.
const CALLS: u32 = 20;
const RUNS: u32 = 105;
/// How long the kernel counts run times, and how long it does not.
const COUNTING: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_secs(5);
/// The same until a program has run.
const EARLY_REST: Duration = Duration::from_millis(100);
/// What a program takes to see that a block is not tracked, beyond what it takes to do nothing.
const LEFT_ALONE: Duration = Duration::from_nanos(60);
/// Runs of a program below which its time is not known.
const LEAST_RUNS: u64 = 20;

/// Begins with an instruction that is emulated.
#[unsafe(naked)]
extern "C" fn emulated_first() {
    naked_asm!("push rbp", "pop rbp", "ret")
}

/// Begins with an instruction that is single-stepped.
#[unsafe(naked)]
extern "C" fn stepped_first() {
    naked_asm!("xor eax, eax", "ret")
}

/// What is known of the costs, in nanoseconds of one hit.
#[derive(Clone, Debug, Default)]
struct Costs {
    emulated: f64,
    stepped: f64,
    /// What a return probe adds.
    returned: f64,
    /// A program that does nothing, as the kernel counts it.
    nothing: f64,
    /// The programs, as the kernel counts them.
    programs: BTreeMap<&'static str, f64>,
}

impl Costs {
    /// What it takes to get to the program and back.
    fn trap(&self, kind: ProbeKind, cost: Cost) -> f64 {
        match (kind, cost) {
            (ProbeKind::Return, _) => self.returned,
            (ProbeKind::Entry | ProbeKind::Exit, Cost::Emulated) => self.emulated,
            (ProbeKind::Entry | ProbeKind::Exit, Cost::SingleStepped) => self.stepped,
        }
    }
}

/// Knows what a hit of a probe costs. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Meter {
    costs: Arc<Mutex<Option<Costs>>>,
    _stop: Sender<()>,
}

impl Meter {
    /// Begins to measure these programs.
    pub(super) fn start(
        ebpf: &Ebpf,
        programs: BTreeMap<&'static str, OwnedFd>,
        mode: AttachMode,
    ) -> Result<Self, BpfError> {
        let for_sessions: &[_] = if mode.is_by_sessions() { &[EMPTY_SESSION] } else { &[] };
        let trials = Programs::load(ebpf, &[EMPTY_ENTER, EMPTY_RETURN], for_sessions)?;
        let costs = Arc::new(Mutex::new(None));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&costs);
        let work = move || {
            if let Err(error) = measure(&trials, &programs, &shared, &stopped) {
                log::debug!("what the probes cost cannot be measured: {error}");
            }
        };
        let started = std::thread::Builder::new().name("overhead".into()).spawn(work);
        started.map(|_| Self { costs, _stop: stop }).map_err(|error| BpfError::Load { reason: error.to_string() })
    }

    /// What a hit costs when no block is tracked: hardly more than the trap.
    pub(super) fn idle_cost(&self, kind: ProbeKind, cost: Cost) -> Option<Duration> {
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        Some(nanoseconds(costs.as_ref()?.trap(kind, cost)) + LEFT_ALONE.mul_f64(stretch()))
    }

    /// What a hit of such a probe costs; `None` while that is not known.
    pub(super) fn cost(&self, program: &str, kind: ProbeKind, cost: Cost) -> Option<Duration> {
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let costs = costs.as_ref()?;
        let run = costs.programs.get(program).map_or(0.0, |run| (run - costs.nothing).max(0.0));
        Some(nanoseconds(costs.trap(kind, cost) + run))
    }
}

fn nanoseconds(ns: f64) -> Duration {
    Duration::from_nanos(ns.round() as u64)
}

fn measure(
    trials: &Programs,
    programs: &BTreeMap<&'static str, OwnedFd>,
    shared: &Mutex<Option<Costs>>,
    stopped: &Receiver<()>,
) -> Result<(), BpfError> {
    let mut costs = try_out(trials)?;
    log::debug!("a probe costs {costs:.0?}");
    loop {
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(costs.clone());
        let runs = || -> Result<Vec<_>, BpfError> {
            programs.iter().map(|(name, program)| Ok((*name, run_time(program)?))).collect()
        };
        let counting = enable_stats(Stats::RunTime).map_err(|error| BpfError::Load { reason: error.to_string() })?;
        let before = runs()?;
        if stopped.recv_timeout(COUNTING) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        for ((name, before), (_, after)) in before.into_iter().zip(runs()?) {
            if let Some(ns) = per_run(before, after).filter(|_| after.1 - before.1 >= LEAST_RUNS) {
                costs.programs.insert(name, ns);
            }
        }
        drop(counting);
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(costs.clone());
        // What the first runs take is wanted soon.
        let rest = if costs.programs.is_empty() { EARLY_REST } else { REST };
        if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
    }
}

fn per_run(before: (u64, u64), after: (u64, u64)) -> Option<f64> {
    let runs = after.1.saturating_sub(before.1);
    (runs > 0).then(|| after.0.saturating_sub(before.0) as f64 / runs as f64)
}

/// Nanoseconds and runs of a program, as far as they were counted.
fn run_time(program: &OwnedFd) -> Result<(u64, u64), BpfError> {
    sys::prog_run_time(program.as_fd()).map_err(|error| BpfError::Load { reason: error.to_string() })
}

/// Probes functions of this process.
fn try_out(trials: &Programs) -> Result<Costs, BpfError> {
    let untraced = typical(emulated_first);
    let link = |program, function: extern "C" fn(), at| -> Result<OwnedFd, BpfError> {
        let offset = file_offset(function as usize as u64).ok_or_else(|| BpfError::Load {
            reason: "this program does not find itself in /proc/self/maps".to_owned(),
        })?;
        let path = CString::from(c"/proc/self/exe");
        let pid = std::process::id();
        let points = Points { path: &path, offsets: &[offset], cookies: &[0], at, pid };
        trials.link(program, &points)?.map_err(|error| BpfError::Load { reason: error.to_string() })
    };
    let entry = link(EMPTY_ENTER, emulated_first, At::Entry)?;
    let emulated = typical(emulated_first);
    let nothing = {
        let _counting = enable_stats(Stats::RunTime).map_err(|error| BpfError::Load { reason: error.to_string() })?;
        let runs = (0..RUNS).map(|_| {
            let before = run_time(trials.fd(EMPTY_ENTER)?)?;
            call(emulated_first);
            Ok(per_run(before, run_time(trials.fd(EMPTY_ENTER)?)?).unwrap_or(0.0))
        });
        median(runs.collect::<Result<_, BpfError>>()?)
    };
    // A session is at the entry by itself; a return probe comes beside it.
    let sessions = trials.has(EMPTY_SESSION);
    let (program, at) = if sessions { (EMPTY_SESSION, At::Both) } else { (EMPTY_RETURN, At::Return) };
    let entry = (!sessions).then_some(entry);
    let both = link(program, emulated_first, at)?;
    let with_return = typical(emulated_first);
    drop((entry, both));
    let _entry = link(EMPTY_ENTER, stepped_first, At::Entry)?;
    let stepped = typical(stepped_first);
    let added = |traced: f64, untraced: f64| (traced - untraced).max(0.0) * stretch();
    Ok(Costs {
        emulated: added(emulated, untraced),
        stepped: added(stepped, untraced),
        returned: added(with_return, emulated),
        nothing: nothing * stretch(),
        programs: BTreeMap::new(),
    })
}

/// Nanoseconds of a call while a CPU runs. The median of the runs: what else the machine does slows the target down as well.
pub(super) fn typical(function: extern "C" fn()) -> f64 {
    let run = |_| {
        let begun = Instant::now();
        call(function);
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    median((0..RUNS).map(run).collect())
}

fn call(function: extern "C" fn()) {
    for _ in 0..CALLS {
        function();
    }
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// Where an address of this program is in its file.
fn file_offset(address: u64) -> Option<u64> {
    let maps = procfs::process::Process::myself().ok()?.maps().ok()?;
    let map = maps.into_iter().find(|map| (map.address.0..map.address.1).contains(&address))?;
    Some(address - map.address.0 + map.offset)
}
