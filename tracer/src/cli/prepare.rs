//! Everything between the arguments and the first count: the targets, their modules, the plans, the probes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::Context as _;
use tracer_common::{config::FAULT_PERIOD, process::stops};

use super::{
    LiveArguments,
    allocators::{Allocators, Planned, Probes, no_allocator},
    fd_watch::FdWatch,
    overhead::no_budget,
    process::Process,
    progress::Progress,
};
use crate::{
    aggregate,
    bpf::{self, LoadOptions, ProgramSet, Session, Tables},
    probe::ProbeKind,
    report::units::bytes,
    symbolize::{SharedModules, Symbolizer},
    target::{Target, maps::ModuleMap},
};

/// Targets with their probes in place.
pub(super) struct Prepared {
    pub(super) processes: Vec<Process>,
    pub(super) session: Session,
    /// When descriptors are traced.
    pub(super) fds: Option<FdWatch>,
    pub(super) symbolizer: Symbolizer,
    pub(super) allocators: Allocators,
    pub(super) about: aggregate::Session,
    pub(super) summary: String,
}

/// Files from this size on take a moment.
const LARGE: u64 = 1 << 20;

/// Attaches to the processes of the arguments, or to the one that was started, which waits to run its program. `limited`:
/// what tracing costs is to stay below a limit.
pub(super) fn prepare(
    arguments: &LiveArguments,
    started: Option<u32>,
    limited: bool,
    verbose: u8,
    progress: &mut Progress,
) -> anyhow::Result<Prepared> {
    let begun = Instant::now();
    bpf::preflight()?;
    let mut pids = started.map_or_else(|| arguments.pids.clone(), |pid| vec![pid]);
    let mut seen = HashSet::new();
    pids.retain(|pid| seen.insert(*pid));
    let targets = pids.into_iter().map(Target::open).collect::<Result<Vec<_>, _>>()?;
    progress.begin()?;
    attach(targets, arguments, (started, limited), verbose, begun, progress)
}

fn attach(
    targets: Vec<Target>,
    arguments: &LiveArguments,
    (started, limited): (Option<u32>, bool),
    verbose: u8,
    begun: Instant,
    progress: &mut Progress,
) -> anyhow::Result<Prepared> {
    let (heap, traces_fds) = (arguments.traces_heap(), arguments.traces_fds());
    let mut allocators = Allocators::new(&arguments.allocator);
    let mut planned = Vec::with_capacity(targets.len());
    let mut nofile = traces_fds.then_some(0);
    for target in &targets {
        let alive = |error| or_gone(target, error);
        progress.step(|| format!("looking for allocators in {}", name(target)))?;
        let modules = target.modules().map_err(|error| alive(error.into()))?;
        let mut known = Planned::default();
        let probes = if heap && started.is_none() { allocators.plan(&modules, &mut known) } else { Probes::default() };
        let Probes { plan, modules: probed, wrong } = probes;
        wrong.map_or(Ok(()), |error| Err(alive(error)))?;
        if plan.points.iter().any(|point| point.kind == ProbeKind::Return) && !arguments.force {
            bpf::may_probe_returns(target.info().pid.0, target.is_filtered())?;
        }
        if heap && started.is_none() && plan.points.is_empty() {
            return Err(alive(no_allocator(target.info(), &known.findings(&modules))));
        }
        if let Some(sum) = &mut nofile {
            let limits = target.descriptors().map_err(|error| alive(error.into()))?.limits();
            *sum += limits.map_or(1 << 16, |limits| limits.nofile_soft);
        }
        planned.push((modules, known, plan, probed));
    }
    if heap && started.is_none() {
        named_are_met(&allocators, &targets, arguments.follow_forks)?;
    }
    let mut tables = Tables::new(arguments.unwind).with_room_for_programs(started.is_some() || arguments.follow_forks);
    for (modules, ..) in &planned {
        tables.add(modules, |module| {
            let size = module.file().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
            let words = || format!("making the unwind table of {} ({})", module.path(), bytes(size));
            if size >= LARGE { progress.step(words) } else { Ok(()) }
        })?;
    }
    let options = LoadOptions {
        max_live: arguments.max_live,
        sample: arguments.sample,
        may_sample: limited && heap,
        kernel_log: verbose > 0,
        programs: if arguments.empty_probes { ProgramSet::Empty } else { ProgramSet::Counting },
        mode: arguments.attach,
        fds: nofile,
        blocks: heap,
        ranges: (heap || arguments.growth) && !arguments.empty_probes,
        may_rest_calls: limited || arguments.growth,
        follow_forks: arguments.follow_forks,
    };
    progress.step(|| "loading the programs into the kernel".to_owned())?;
    let mut session = Session::load(tables, options)?;
    // Where probes can neither be measured nor taken out quickly, a limit is kept without them.
    let instead = heap && arguments.limits_overhead() && !session.may_rest();
    if instead {
        session.start_growth().map_err(|error| no_budget(&error))?;
    } else if arguments.growth {
        session.start_growth()?;
    }
    let heap = heap && !instead;
    let growth = arguments.growth || instead;
    if instead {
        planned.iter_mut().for_each(|(_, known, plan, _)| (*known, *plan) = Default::default());
    }
    for (target, (modules, _, plan, probed)) in targets.iter().zip(&planned) {
        let pid = target.info().pid.0;
        progress.step(|| format!("putting {} probes into {}", plan.points.len(), name(target)))?;
        session.add_target(pid, plan, probed, modules).map_err(|error| or_gone(target, error.into()))?;
    }
    if let Some(pid) = started {
        session.stop_for_probes(pid, if heap { stops::WHILE_LOADING } else { stops::AT_EXEC })?;
    }
    let started_ns = session.now_ns();
    let mut fds = session.take_fd_reader().map(FdWatch::new);
    for target in &targets {
        if let Some(fds) = &mut fds {
            fds.add(target).map_err(|error| or_gone(target, error))?;
        }
        if !target.is_alive() {
            return Err(bpf::BpfError::TargetGone { pid: target.info().pid.0 }.into());
        }
    }
    let symbolizer = Symbolizer::spawn().context("cannot start the symbolizer")?;
    let about = aggregate::Session {
        started: jiff::Timestamp::now(),
        started_ns,
        targets: targets.iter().map(|target| target.info().clone()).collect(),
        heap,
        growth: growth.then_some(FAULT_PERIOD),
        fds: fds.is_some().then_some(arguments.stale),
        features: session.features().to_vec(),
    };
    let mut probes = (0, Vec::new());
    let mut processes = Vec::with_capacity(targets.len());
    for (target, (modules, known, plan, probed)) in targets.into_iter().zip(planned) {
        probes.0 += plan.points.len();
        let is_used = |index: &usize| plan.points.iter().any(|point| point.module == *index);
        let used = (0..probed.len()).filter(is_used).filter_map(|index| probed.get(index));
        probes.1.extend(used.map(|module| module.path.to_string_lossy().into_owned()));
        processes.push(process(target, modules, known, &symbolizer));
    }
    let mut what = Vec::new();
    if heap {
        what.push(probes_words(probes));
    }
    if growth {
        let why = if instead { ", as what probes cost cannot be told or limited here" } else { "" };
        what.push(format!("1 page fault in {FAULT_PERIOD}{why}"));
    }
    if fds.is_some() {
        what.push("descriptors".to_owned());
    }
    let summary = summary(&about.targets, &what, begun);
    Ok(Prepared { processes, session, fds, symbolizer, allocators, about, summary })
}

fn name(target: &Target) -> String {
    let info = target.info();
    format!("{}[{}]", info.comm, info.pid.0)
}

/// What the user names must be there; with children, it may come with one.
fn named_are_met(allocators: &Allocators, targets: &[Target], follow_forks: bool) -> anyhow::Result<()> {
    let pids: Vec<u32> = targets.iter().map(|target| target.info().pid.0).collect();
    match allocators.are_met(&pids) {
        Err(error) if follow_forks => {
            log::warn!("{error:#}");
            Ok(())
        }
        // One that ended meanwhile has nothing mapped.
        met => met.map_err(|error| targets.iter().fold(error, |error, target| or_gone(target, error))),
    }
}

fn process(target: Target, modules: ModuleMap, planned: Planned, symbolizer: &Symbolizer) -> Process {
    let shared: SharedModules = Arc::new(Mutex::new(modules));
    symbolizer.add_process(target.info().pid, 0, Arc::clone(&shared));
    Process::new(target, shared, planned, 0)
}

/// What is said when tracing has begun.
fn summary(targets: &[aggregate::TargetInfo], what: &[String], begun: Instant) -> String {
    let who: Vec<String> = targets.iter().map(|target| format!("{} ({})", target.pid.0, target.comm)).collect();
    format!(
        "tracing {who}: {what}, attached in {time:.0?}",
        who = who.join(", "),
        what = what.join(", "),
        time = begun.elapsed(),
    )
}

fn probes_words((probes, mut places): (usize, Vec<String>)) -> String {
    let mut seen = HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    format!("{probes} probes in {}", places.join(", "))
}

/// A process that ends meanwhile makes any of the steps fail, in its own way: says what it means.
fn or_gone(target: &Target, error: anyhow::Error) -> anyhow::Error {
    if target.is_alive() { error } else { bpf::BpfError::TargetGone { pid: target.info().pid.0 }.into() }
}
