//! Looks at descriptors, raw and with their details.

use std::{sync::Arc, time::Duration};

use tracer_common::fd::{FdKey, FdRecord, KernelFd};

use crate::aggregate::{Corrections, Endpoint, FdKind, FdLimits, Origin, SiteId, TcpState};

/// A look at both tables of descriptors. The kernel's own comes first, so what is in it and not in ours was opened in a
/// way that the programs did not see, or is being opened now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdLook {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The kernel's table; `None` when it cannot be seen: the process is gone, or the kernel has no iterator over it.
    pub kernel: Option<Vec<KernelFd>>,
    /// The records of open descriptors.
    pub records: Vec<(FdKey, FdRecord)>,
}

/// A descriptor that is open, with what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SurveyedFd {
    /// Process and number.
    pub key: FdKey,
    /// The kernel's file, as an identity; 0 where it cannot be known.
    pub file: u64,
    /// What it refers to.
    pub kind: FdKind,
    /// Path, name or the like; untrusted. Empty for sockets.
    pub detail: Arc<str>,
    /// How it came to be.
    pub origin: Origin,
    /// When it was opened: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: Option<u64>,
    /// The call stack that connected it.
    pub connected_by: Option<SiteId>,
    /// What the kernel says of its socket.
    pub socket: Option<SurveyedSocket>,
}

/// What the kernel says of a socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SurveyedSocket {
    /// Our end.
    pub local: Option<Endpoint>,
    /// The other end.
    pub peer: Option<Endpoint>,
    /// Its state.
    pub state: Option<TcpState>,
    /// The other end has hung up, and ours is open.
    pub hung_up: bool,
    /// Time without traffic.
    pub idle: Option<Duration>,
    /// Time since the other end acknowledged anything.
    pub last_ack: Option<Duration>,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Bytes sent.
    pub tx_bytes: Option<u64>,
    /// Bytes that the target has not read.
    pub recv_queue: Option<u32>,
    /// Bytes that the other end has not acknowledged.
    pub send_queue: Option<u32>,
}

/// A look at all descriptors, with their details.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FdSurvey {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What is open, by process and number.
    pub fds: Vec<SurveyedFd>,
    /// The limits of the process that is nearest to its own.
    pub limits: Option<FdLimits>,
    /// What was put right since attach.
    pub corrections: Corrections,
    /// What cannot be known, in words.
    pub limitations: Vec<String>,
}
