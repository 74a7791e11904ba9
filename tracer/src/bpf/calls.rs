//! The programs at the return of every system call: what they look at, which of them the kernel takes, and what they cost.
//!
//! While one is in place, the kernel takes a longer way through every system call of every process of the machine. So
//! it can be taken out and put back: the descriptors that are opened meanwhile are found by comparing with the kernel's
//! table, without their call stacks.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    maps::{Array, PerCpuArray},
    programs::{BtfTracePoint, RawTracePoint, raw_trace_point::RawTracePointLink, tp_btf::BtfTracePointLink},
};
use tracer_common::fd::{CallCount, Effect};

use super::{
    BpfError,
    error::chain,
    links::set_step,
    overhead::typical,
    stolen::stretch,
    syscalls::{EFFECTS, RANGE_EFFECTS},
    uring::UringLayout,
};
use crate::{aggregate::ProbeStatus, event::SourceError};

/// How often it is put in place to find out what it costs.
const TRIALS: u32 = 2;

/// What system calls are looked at for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// Descriptors.
    pub(super) fds: bool,
    /// What the process maps.
    pub(super) ranges: bool,
}

impl Watched {
    /// Whether there is anything to look at.
    fn is_any(self) -> bool {
        self.fds || self.ranges
    }

    fn effects(self) -> impl Iterator<Item = (i64, Effect)> {
        let fds = if self.fds { EFFECTS } else { &[] };
        let ranges = if self.ranges { RANGE_EFFECTS } else { &[] };
        fds.iter().chain(ranges).copied()
    }
}

/// System calls while they were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsReading {
    /// Of all processes of the machine.
    pub all: u64,
    /// Of the targets, as an estimate.
    pub of_targets: u64,
    /// What looking adds to one in which there is nothing to do.
    pub cost: Duration,
}

/// The program in place. Dropping it takes it out.
#[derive(Debug)]
enum Link {
    Typed { _link: BtfTracePointLink },
    Raw { _link: RawTracePointLink },
}

/// The program at the return of every system call.
#[derive(Debug)]
pub(super) struct Calls {
    /// Whether the typed programs are in use.
    pub(super) is_typed: bool,
    link: Option<Link>,
    /// It has been in place, since there was a target.
    begun: bool,
    /// What it adds to a system call in which there is nothing to do.
    cost: Duration,
}

impl Calls {
    /// Tries it out, if there is anything to look at: what keeps it from being put in place shows here.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        btf: Option<&Btf>,
        watched: Watched,
        uring: Option<&UringLayout>,
    ) -> Result<Option<Self>, BpfError> {
        if !watched.is_any() {
            return Ok(None);
        }
        fill(ebpf, "EFFECTS", watched.effects().map(|(number, effect)| (number as u32, effect.code())))?;
        let typed = btf.and_then(|btf| {
            let attached = attach_typed(ebpf, btf, watched);
            attached.map_err(|error| log::debug!("the typed program for system calls cannot be used: {error}")).ok()
        });
        let is_typed = typed.is_some();
        if typed.is_none() {
            attach_untyped(ebpf)?;
        }
        drop(typed);
        let cost = cost(|| link(ebpf, is_typed))?;
        if let (true, true, Some(btf), Some(uring)) = (is_typed, watched.fds, btf, uring)
            && let Err(error) = attach_uring(ebpf, btf, uring)
        {
            log::debug!("what io_uring opens cannot be followed: {error}");
        }
        log::debug!("system calls by a {} program, {cost:?} each", if is_typed { "typed" } else { "raw" });
        Ok(Some(Self { is_typed, link: None, begun: false, cost }))
    }

    /// Puts it in place for the first time.
    pub(super) fn begin(&mut self, ebpf: &mut Ebpf) -> Result<(), BpfError> {
        if self.begun { Ok(()) } else { self.resume(ebpf) }
    }

    /// Takes it out.
    pub(super) fn rest(&mut self) {
        self.link = None;
    }

    /// Puts it back.
    pub(super) fn resume(&mut self, ebpf: &mut Ebpf) -> Result<(), BpfError> {
        if self.link.is_none() {
            self.begun = true;
            self.link = Some(link(ebpf, self.is_typed)?);
        }
        Ok(())
    }

    /// How many calls there were, and what that takes.
    pub(super) fn read(&self, ebpf: &Ebpf) -> Result<CallsReading, SourceError> {
        let map = ebpf.map("CALLS").ok_or_else(|| SourceError::Read("no map CALLS".to_owned()))?;
        let counts = PerCpuArray::<_, CallCount>::try_from(map).and_then(|counts| counts.get(&0, 0));
        let counts = counts.map_err(|error| SourceError::Read(chain(&error)))?;
        let sum = |of: fn(&CallCount) -> u64| counts.iter().map(of).sum();
        Ok(CallsReading { all: sum(|count| count.all), of_targets: sum(|count| count.of_targets), cost: self.cost })
    }
}

/// The same as of a probe.
pub(super) fn status(CallsReading { all: _, of_targets, cost }: CallsReading) -> ProbeStatus {
    let (module, symbol) = ("kernel".to_owned(), "sys_exit".to_owned());
    ProbeStatus { module, symbol, offset: 0, kind: "tracepoint", hits: of_targets, cost: Some(cost) }
}

/// What the program adds to a system call in which there is nothing to do. That of another tracer may come or go meanwhile, which
/// makes single differences far too large, or nothing.
fn cost(mut link: impl FnMut() -> Result<Link, BpfError>) -> Result<Duration, BpfError> {
    let (mut untraced, mut traced) = (typical(system_call), f64::INFINITY);
    for _ in 0..TRIALS {
        let link = link()?;
        traced = traced.min(typical(system_call));
        drop(link);
        untraced = untraced.min(typical(system_call));
    }
    Ok(Duration::from_nanos(((traced - untraced).max(0.0) * stretch()).round() as u64))
}

/// A short one.
extern "C" fn system_call() {
    let _ = rustix::process::getppid();
}

/// Loads and attaches the programs for older kernels.
fn attach_untyped(ebpf: &mut Ebpf) -> Result<Link, BpfError> {
    for (step, name) in ["fd_walk_old", "fd_book_old"].into_iter().enumerate() {
        let program = raw(ebpf, name)?;
        program.load().map_err(|error| BpfError::Load { reason: format!("{name}: {}", chain(&error)) })?;
        let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| refused(&error))?;
        set_step(ebpf, "FD_STEPS", step as u32, &fd)?;
    }
    raw(ebpf, "sys_exit_old")?.load().map_err(|error| refused(&error))?;
    link_raw(ebpf)
}

fn link(ebpf: &mut Ebpf, is_typed: bool) -> Result<Link, BpfError> {
    if is_typed { link_typed(ebpf) } else { link_raw(ebpf) }
}

fn link_raw(ebpf: &mut Ebpf) -> Result<Link, BpfError> {
    let program = raw(ebpf, "sys_exit_old")?;
    let link = program.attach("sys_exit").and_then(|id| program.take_link(id)).map_err(|error| refused(&error))?;
    Ok(Link::Raw { _link: link })
}

fn link_typed(ebpf: &mut Ebpf) -> Result<Link, BpfError> {
    let program = typed(ebpf, "sys_exit")?;
    let link = program.attach().and_then(|id| program.take_link(id)).map_err(|error| refused(&error))?;
    Ok(Link::Typed { _link: link })
}

fn fill<T: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: impl Iterator<Item = (u32, T)>,
) -> Result<(), BpfError> {
    let map = ebpf.map_mut(name).ok_or(BpfError::Object { name })?;
    let failed = |error: aya::maps::MapError| BpfError::Map {
        map: name,
        what: "cannot fill it",
        source: std::io::Error::other(chain(&error)),
    };
    let mut array: Array<_, T> = Array::try_from(map).map_err(failed)?;
    for (index, value) in values {
        array.set(index, value, 0).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn refused(error: &dyn std::error::Error) -> BpfError {
    BpfError::Load { reason: chain(error) }
}

/// Loads and attaches the typed ones.
fn attach_typed(ebpf: &mut Ebpf, btf: &Btf, watched: Watched) -> Result<Link, BpfError> {
    const OF_FDS: [(&str, &str); 2] = [("fd_exec", "sched_process_exec"), ("fd_exit", "sched_process_exit")];
    let of_fds = if watched.fds { &OF_FDS[..] } else { &[] };
    // None is attached before all are loaded, or what replaces them would count besides.
    for (name, tracepoint) in [("sys_exit", "sys_exit")].iter().chain(of_fds) {
        typed(ebpf, name)?.load(tracepoint, btf).map_err(|error| refused(&error))?;
    }
    for (name, _) in of_fds {
        typed(ebpf, name)?.attach().map_err(|error| refused(&error))?;
    }
    link_typed(ebpf)
}

fn typed<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint, BpfError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })
}

fn attach_btf(ebpf: &mut Ebpf, btf: &Btf, name: &'static str, tracepoint: &str) -> Result<(), BpfError> {
    let program = typed(ebpf, name)?;
    program.load(tracepoint, btf).map_err(|error| refused(&error))?;
    program.attach().map_err(|error| refused(&error))?;
    Ok(())
}

/// Completions come first: one without its submission does nothing.
fn attach_uring(ebpf: &mut Ebpf, btf: &Btf, uring: &UringLayout) -> Result<(), BpfError> {
    fill(ebpf, "URING_OPS", uring.ops.iter().copied())?;
    attach_btf(ebpf, btf, uring.complete, "io_uring_complete")?;
    attach_btf(ebpf, btf, "uring_submit", uring.submit)
}

fn raw<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut RawTracePoint, BpfError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })
}

pub(super) fn attach_raw(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), BpfError> {
    let program = raw(ebpf, name)?;
    program.load().map_err(|error| refused(&error))?;
    program.attach(tracepoint).map_err(|error| refused(&error))?;
    Ok(())
}

pub(super) fn load_raw(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, BpfError> {
    let program = raw(ebpf, name)?;
    program.load().map_err(|error| refused(&error))?;
    let fd = program.fd().map_err(|error| refused(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| refused(&error))
}
