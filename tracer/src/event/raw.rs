//! Events as user space knows them.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tracer_common::{event::SiteKind, fd::KernelFd, stack::StackEnd};

use crate::aggregate::{Endpoint, Fd, RangeChange, SiteId, Tgid};

/// A record that does not follow the protocol: the object and the program do not belong together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its kind says.
    #[error("an event of {len} bytes is too short: {needed} are needed")]
    Short {
        /// Bytes there are.
        len: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// An integer that stands for nothing.
    #[error("code {code} is no {what}")]
    Code {
        /// The enum.
        what: &'static str,
        /// The integer.
        code: u32,
    },
    /// A stack deeper than any walk goes.
    #[error("a stack of {0} frames is deeper than any walk")]
    Depth(u32),
}

/// A call stack as the kernel walked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteStack {
    /// Its id.
    pub id: SiteId,
    /// The process.
    pub tgid: Tgid,
    /// The process's image: see [`tracer_common::process::Image`].
    pub image: u32,
    /// What it acquired.
    pub kind: SiteKind,
    /// Return addresses, innermost first.
    pub frames: Arc<[u64]>,
    /// A bit for each frame whose address is that of an interrupted instruction, not a return address.
    pub exact: u128,
    /// Why the walk ended.
    pub end: StackEnd,
}

/// A turn in the life of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The process.
    pub tgid: Tgid,
    /// The descriptor.
    pub fd: Fd,
    /// The kernel's file, as an identity; 0 where it cannot be known.
    pub file: u64,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What happened.
    pub turn: Turn,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The process connected it, or began to.
    Connected {
        /// The call stack.
        site: SiteId,
        /// The kernel's socket, as an identity; 0 where it cannot be known.
        sock: u64,
        /// To whom; `None` when the address is of another family, or dissolves the connection.
        to: Option<Endpoint>,
    },
    /// The process accepted it.
    Accepted {
        /// The call stack.
        site: SiteId,
        /// The descriptor that it was waiting on.
        listener: Fd,
    },
    /// The process closed it.
    Closed,
}

/// What a source reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawEvent {
    /// A call stack seen for the first time.
    NewSite(SiteStack),
    /// The leader of a process exited.
    Exit {
        /// The process.
        tgid: Tgid,
    },
    /// A process replaced its program.
    Exec {
        /// The process.
        tgid: Tgid,
        /// The new image.
        image: u32,
        /// The thread that called; the main thread if it is the process's number.
        caller: u32,
        /// When: `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// A process forked, and the child is traced.
    Fork {
        /// The process.
        parent: Tgid,
        /// The child.
        child: Tgid,
        /// The child's image.
        image: u32,
        /// The child's memory is the parent's until it replaces its program.
        borrows: bool,
        /// When: `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// A turn in the life of a connection.
    Connection(Connection),
    /// A TCP connection that a process began was established.
    Established {
        /// The kernel's socket, as an identity.
        sock: u64,
        /// Time since the connect.
        latency: Duration,
    },
    /// A descriptor that was open when its process ended.
    FdAtExit(KernelFd),
    /// A process changed its mappings.
    Range(RangeChange),
    /// A process that was started to be traced is being stopped.
    Stopped {
        /// The process.
        tgid: Tgid,
    },
    /// A process mapped code from a file.
    Mapped {
        /// The process.
        tgid: Tgid,
    },
}
