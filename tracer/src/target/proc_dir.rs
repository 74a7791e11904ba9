//! A handle on `/proc/PID` that never turns into another process's: reads through it fail once the process is gone,
//! even if its pid is in use again.

use std::{fs::File, io::Read as _};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
};

use super::TargetError;

/// `/proc/PID`, held open.
#[derive(Debug)]
pub(crate) struct ProcDir {
    pid: u32,
    fd: OwnedFd,
}

impl ProcDir {
    /// Opens the directory of a process (or thread).
    pub(crate) fn open(pid: u32) -> Result<Self, TargetError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|error| TargetError::proc(pid, "", error))?;
        Ok(Self { pid, fd })
    }

    /// Another handle on the same process.
    pub(crate) fn try_clone(&self) -> Result<Self, TargetError> {
        let fd = self.fd.try_clone().map_err(|error| TargetError::proc(self.pid, "", error))?;
        Ok(Self { pid: self.pid, fd })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens a file in the directory for reading.
    pub(crate) fn file(&self, name: &'static str) -> Result<File, TargetError> {
        rustix::fs::openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|error| TargetError::proc(self.pid, name, error))
    }

    /// The first `limit` bytes of a file in the directory.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Vec<u8>, TargetError> {
        let mut bytes = Vec::new();
        self.file(name)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| TargetError::proc(self.pid, name, error))?;
        Ok(bytes)
    }

    /// What the `exe` link says.
    pub(crate) fn executable(&self) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.fd, "exe", Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
