//! Why a process cannot be traced, and what to do instead.

use std::io;

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing runs under that pid (any more).
    #[error("no process has pid {pid}; list the running ones with `ps -e`")]
    NoSuchProcess {
        /// The pid asked for.
        pid: u32,
    },
    /// A thread of the kernel: it has no user-space memory to leak.
    #[error("pid {pid} is a kernel thread and has no user-space heap; choose a process with `ps -e`")]
    KernelThread {
        /// The pid asked for.
        pid: u32,
    },
    /// It has exited and only waits for its parent to collect its status, or for threads that outlive its main one.
    #[error(
        "the main thread of process {pid} has exited, so the kernel shows nothing of its memory any more; choose a running process with `ps -e`"
    )]
    Zombie {
        /// The pid asked for.
        pid: u32,
    },
    /// The id is a thread's, not a process's.
    #[error("{pid} is a thread of process {tgid}; trace that one: -p {tgid}")]
    IsThread {
        /// The id asked for.
        pid: u32,
        /// The process it belongs to.
        tgid: u32,
    },
    /// The kernel does not let this user look into the process.
    #[error("not permitted to look into process {pid}; run leaktrace as root (`sudo leaktrace -p {pid}`)")]
    Permission {
        /// The pid asked for.
        pid: u32,
    },
    /// leaktrace was asked to trace itself, which would make it observe its own observing.
    #[error("pid {pid} is leaktrace itself; choose another process with `ps -e`")]
    OwnProcess {
        /// The pid asked for.
        pid: u32,
    },
    /// No handle on the process could be had.
    #[error("cannot open a pidfd for process {pid}: {source}; leaktrace needs Linux 5.10 or newer")]
    Pidfd {
        /// The pid asked for.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file in the process's directory could not be read.
    #[error("cannot read /proc/{pid}/{file}: {source}; check that the process still runs and that /proc is mounted")]
    Proc {
        /// The process.
        pid: u32,
        /// Name within `/proc/PID`.
        file: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// A line of `/proc/PID/maps` has a shape that no known kernel writes.
    #[error("line {line} of /proc/{pid}/maps is not understood; please report it with `uname -r`")]
    MapsFormat {
        /// The process.
        pid: u32,
        /// The line, from 1.
        line: usize,
    },
}

impl TargetError {
    /// What an error on a file in `/proc/PID` means.
    pub(crate) fn proc(pid: u32, file: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::SRCH | rustix::io::Errno::NOENT) => Self::NoSuchProcess { pid },
            Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Self::Permission { pid },
            _ => Self::Proc { pid, file, source },
        }
    }
}
