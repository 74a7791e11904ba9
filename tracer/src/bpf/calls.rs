//! The programs at the return of every system call: what they look at, and which of them the kernel takes.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Btf, Ebpf,
    maps::Array,
    programs::{BtfTracePoint, RawTracePoint},
};
use tracer_common::fd::Effect;

use super::{
    BpfError,
    error::chain,
    links::set_step,
    syscalls::{CODE_EFFECTS, EFFECTS, RANGE_EFFECTS},
    uring::UringLayout,
};

/// What system calls are looked at for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// Descriptors.
    pub(super) fds: bool,
    /// What the process maps.
    pub(super) ranges: bool,
}

impl Watched {
    fn effects(self) -> impl Iterator<Item = (i64, Effect)> {
        let fds = if self.fds { EFFECTS } else { &[] };
        let maps = if self.ranges { RANGE_EFFECTS } else { CODE_EFFECTS };
        fds.iter().chain(maps).copied()
    }
}

/// Loads and attaches them. Nothing is counted before the process is a target. Returns whether the typed programs are in
/// use.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: Option<&Btf>,
    watched: Watched,
    uring: Option<&UringLayout>,
) -> Result<bool, BpfError> {
    fill(ebpf, "EFFECTS", watched.effects().map(|(number, effect)| (number as u32, effect.code())))?;
    let modern = btf.is_some_and(|btf| match attach_typed(ebpf, btf, watched) {
        Ok(()) => true,
        Err(error) => {
            log::debug!("the typed program for system calls cannot be used: {error}");
            false
        }
    });
    if !modern {
        for (step, name) in ["fd_walk_old", "fd_book_old"].into_iter().enumerate() {
            let program = raw(ebpf, name)?;
            program.load().map_err(|error| BpfError::Load { reason: format!("{name}: {}", chain(&error)) })?;
            let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| refused(&error))?;
            set_step(ebpf, "FD_STEPS", step as u32, &fd)?;
        }
        attach_raw(ebpf, "sys_exit_old", "sys_exit")?;
    }
    if let (true, true, Some(btf), Some(uring)) = (modern, watched.fds, btf, uring)
        && let Err(error) = attach_uring(ebpf, btf, uring)
    {
        log::debug!("what io_uring opens cannot be followed: {error}");
    }
    log::debug!("system calls by a {} program", if modern { "typed" } else { "raw" });
    Ok(modern)
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

fn attach_typed(ebpf: &mut Ebpf, btf: &Btf, watched: Watched) -> Result<(), BpfError> {
    const PROGRAMS: [(&str, &str); 3] =
        [("sys_exit", "sys_exit"), ("fd_exec", "sched_process_exec"), ("fd_exit", "sched_process_exit")];
    let programs = if watched.fds { &PROGRAMS[..] } else { &PROGRAMS[..1] };
    // None is attached before all are loaded, or what replaces them would count besides.
    for (name, tracepoint) in programs {
        typed(ebpf, name)?.load(tracepoint, btf).map_err(|error| refused(&error))?;
    }
    for (name, _) in programs {
        typed(ebpf, name)?.attach().map_err(|error| refused(&error))?;
    }
    Ok(())
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
