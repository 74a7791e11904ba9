//! A network of a test's own: every port is free in it, and nobody else is there.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::process::Guarded;

/// A network namespace with its loopback interface up, which lasts as long as this.
#[derive(Debug)]
pub struct Network {
    holder: Guarded,
}

impl Network {
    /// A new one. Needs root.
    pub fn new() -> Result<Self> {
        let mut command = Command::new("cat");
        // SAFETY: the closure makes system calls alone, and touches no memory shared with the parent.
        unsafe {
            command.pre_exec(|| {
                check(libc::unshare(libc::CLONE_NEWNET))?;
                loopback_up()
            });
        }
        // It waits on its input for as long as somebody could write there. By the time that spawn returns, it has its
        // network: that is done before the exec.
        let holder = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null())).context("no network")?;
        Ok(Self { holder })
    }

    /// Makes `command` run in it.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let path = format!("/proc/{}/ns/net", self.holder.pid());
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        // SAFETY: the closure makes one system call, on a descriptor that it owns.
        unsafe {
            command.pre_exec(move || check(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET)));
        }
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Between fork and exec: no allocation.
fn loopback_up() -> io::Result<()> {
    // SAFETY: a structure of numbers and bytes, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: takes no pointers; the descriptor is closed below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: an open socket, and the structure that this request is about.
    let result = check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &request) });
    // SAFETY: nobody else has it.
    unsafe { libc::close(socket) };
    result
}
