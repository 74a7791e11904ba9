//! Why the details of sockets cannot be had. Tracing goes on without them.

use std::io;

use super::Table;
use crate::target::TargetError;

/// Why sockets cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The process is gone, or its network namespace may not be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its network namespace is another one, and this user may not enter it.
    #[error(
        "process {pid} has a network namespace of its own, which may not be entered: {source}; run leaktrace as root of the host, with CAP_SYS_ADMIN"
    )]
    Enter {
        /// The process.
        pid: u32,
        /// What setns(2) said.
        source: io::Error,
    },
    /// No netlink socket could be made.
    #[error(
        "cannot open a netlink socket for sock_diag: {source}; seccomp filters and kernels without CONFIG_INET_DIAG do that, see whether `ss -tan` works here"
    )]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// None of the tables exists.
    #[error("this kernel lists no sockets by sock_diag; try `modprobe -a tcp_diag udp_diag unix_diag`")]
    Unsupported,
    /// A table could not be read.
    #[error("cannot read the table of {table} sockets: {source}; see whether `ss -an` works here")]
    Read {
        /// Which one.
        table: Table,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not answer, or not in time.
    #[error("the kernel did not give the table of {table} sockets in time; it is read again with the next look")]
    TimedOut {
        /// Which one.
        table: Table,
    },
    /// The answer has a shape that no known kernel writes.
    #[error("the table of {table} sockets is not understood; please report it with `uname -r`")]
    Format {
        /// Which one.
        table: Table,
    },
}
