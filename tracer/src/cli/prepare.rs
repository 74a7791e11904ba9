//! Everything between the arguments and the first count: the target, its modules, the plan, the probes.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::{Context as _, bail};

use super::{
    LiveArguments,
    allocators::{Probes, no_allocator, probes},
    fd_watch::FdWatch,
};
use crate::{
    aggregate,
    bpf::{self, AttachOptions, ProgramSet, Session, Tables},
    symbolize::{SharedModules, Symbolizer},
    target::Target,
};

/// A target with its probes in place.
pub(super) struct Prepared {
    pub(super) target: Target,
    pub(super) session: Session,
    /// When descriptors are traced.
    pub(super) fds: Option<FdWatch>,
    pub(super) symbolizer: Symbolizer,
    pub(super) modules: SharedModules,
    pub(super) about: aggregate::Session,
    pub(super) summary: String,
}

/// Attaches to the process of the arguments.
pub(super) fn prepare(pid: u32, arguments: &LiveArguments, verbose: u8) -> anyhow::Result<Prepared> {
    let begun = Instant::now();
    bpf::preflight()?;
    let target = Target::open(pid)?;
    attach(target, arguments, verbose, begun)
}

fn attach(target: Target, arguments: &LiveArguments, verbose: u8, begun: Instant) -> anyhow::Result<Prepared> {
    let pid = target.info().pid.0;
    // A process that ends meanwhile makes any of the steps fail, in its own way: say what it means.
    let alive = |error: anyhow::Error| if target.is_alive() { error } else { bpf::BpfError::TargetGone { pid }.into() };
    let modules = target.modules().map_err(|error| alive(error.into()))?;
    let Probes { plan, modules: probed, findings } =
        if arguments.traces_heap() { probes(&modules, &arguments.allocator)? } else { Probes::default() };
    if arguments.traces_heap() && plan.points.is_empty() {
        return Err(alive(no_allocator(target.info(), &findings)));
    }
    let fds = arguments.traces_fds().then(|| target.descriptors()).transpose()?;
    let nofile = fds.as_ref().map(|fds| fds.limits().map_or(1 << 16, |limits| limits.nofile_soft));
    let programs = if arguments.empty_probes { ProgramSet::Empty } else { ProgramSet::Counting };
    let options = AttachOptions {
        pid,
        max_live: arguments.max_live,
        kernel_log: verbose > 0,
        programs,
        mode: arguments.attach,
        fds: nofile,
        ranges: arguments.traces_heap() && programs == ProgramSet::Counting,
    };
    let tables = Tables::of(&modules, arguments.unwind);
    let mut session =
        Session::attach(&plan, &probed, &modules, tables, options).map_err(|error| alive(error.into()))?;
    let started_ns = session.now_ns();
    let fds = session.take_fd_reader().map(|reader| FdWatch::begin(&target, reader)).transpose().map_err(alive)?;
    if !target.is_alive() {
        bail!(bpf::BpfError::TargetGone { pid });
    }
    let symbolizer = Symbolizer::spawn().context("cannot start the symbolizer")?;
    let shared: SharedModules = Arc::new(Mutex::new(modules));
    symbolizer.add_process(target.info().pid, Arc::clone(&shared));
    let about = aggregate::Session {
        started: jiff::Timestamp::now(),
        started_ns,
        target: target.info().clone(),
        heap: arguments.traces_heap(),
        fds: fds.is_some().then_some(arguments.stale),
    };
    let is_used = |index: usize| plan.points.iter().any(|point| point.module == index);
    let used = probed.iter().enumerate().filter(|(index, _)| is_used(*index));
    let places = || used.clone().map(|(_, module)| module.path.to_string_lossy()).collect::<Vec<_>>().join(", ");
    let heap = arguments.traces_heap().then(|| format!("{} probes in {}", plan.points.len(), places()));
    let descriptors = fds.is_some().then(|| "descriptors".to_owned());
    let summary = format!(
        "tracing {pid} ({comm}): {what}, attached in {time:.0?}",
        comm = target.info().comm,
        what = [heap, descriptors].into_iter().flatten().collect::<Vec<_>>().join(", "),
        time = begun.elapsed(),
    );
    Ok(Prepared { target, session, fds, symbolizer, modules: shared, about, summary })
}
