//! Waits for the end of any of the processes.

use std::{mem::MaybeUninit, os::fd::OwnedFd};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::{AsFd as _, BorrowedFd},
};

use crate::target::Target;

/// Ends that are taken in one system call.
const BATCH: usize = 64;

/// Becomes readable when a process has ended.
#[derive(Debug)]
pub(super) struct Exits {
    epoll: OwnedFd,
}

impl Exits {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Its descriptor, to wait with.
    pub(super) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.epoll.as_fd().try_clone_to_owned()
    }

    /// Waits for this one too.
    pub(super) fn add(&self, target: &Target) -> std::io::Result<()> {
        let data = EventData::new_u64(u64::from(target.info().pid.0));
        Ok(epoll::add(&self.epoll, target.pidfd(), data, EventFlags::IN)?)
    }

    /// Waits for this one no more.
    pub(super) fn remove(&self, pidfd: BorrowedFd<'_>) {
        if let Err(error) = epoll::delete(&self.epoll, pidfd) {
            log::debug!("a process that was not waited for: {error}");
        }
    }

    /// Processes that have ended; some of them when there are many.
    pub(super) fn take(&self) -> std::io::Result<Vec<u32>> {
        let mut events = [MaybeUninit::uninit(); BATCH];
        let (ended, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(ended.iter().map(|event| event.data.u64() as u32).collect())
    }
}
