//! How many descriptors a process may have, and has.

use procfs::{
    FromBufRead as _,
    process::{LimitValue, Limits},
};

use super::FdTable;
use crate::{aggregate::FdLimits, target::TargetError};

/// Bytes read of `/proc/PID/limits`, which is some 1.5 KiB.
const LIMITS_BYTES: u64 = 64 << 10;

impl FdTable {
    /// Its limit in force, how far it may raise that, and how many are open.
    ///
    /// # Errors
    /// When the process is gone or may not be looked at.
    pub fn limits(&self) -> Result<FdLimits, TargetError> {
        let bytes = self.dir.read("limits", LIMITS_BYTES)?;
        let limits = Limits::from_buf_read(bytes.as_slice()).map_err(|error| TargetError::Proc {
            pid: self.dir.pid(),
            file: "limits",
            source: std::io::Error::other(error.to_string()),
        })?;
        let value = |limit| match limit {
            LimitValue::Value(value) => value,
            LimitValue::Unlimited => u64::MAX,
        };
        let limit = limits.max_open_files;
        let open = self.count()?;
        Ok(FdLimits { nofile_soft: value(limit.soft_limit), nofile_hard: value(limit.hard_limit), open })
    }

    /// How many are open. Does not list them where the kernel says it, as Linux 6.2 and newer do.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn count(&self) -> Result<u64, TargetError> {
        let stat = rustix::fs::fstat(&self.fds).map_err(|error| TargetError::proc(self.dir.pid(), "fd", error))?;
        match u64::try_from(stat.st_size) {
            Ok(count @ 1..) => Ok(count),
            // An older kernel, or a process without any.
            _ => Ok(self.numbers()?.len() as u64),
        }
    }
}
