//! The descriptors of a process, as `/proc/PID/fd` shows them.
//!
//! In: the directory, held open on the process. Out: for each descriptor a [`ListedFd`], and how many there may be. A
//! descriptor that is closed meanwhile is left out; one that is opened meanwhile may be, too.
//!
//! The target's files may lie on a file system that does not answer any more, and stat(2) would wait for it. The link's
//! text and the protocol of a socket come from the kernel's own memory. Only the type of a file with a path needs more,
//! and statx(2) is asked for just that, with `AT_STATX_DONT_SYNC`: NFS and FUSE answer it from what they know. A file
//! system that does not heed this flag, as 9p, may still make us wait for its server.

mod limits;
mod link;
#[cfg(test)]
mod tests;

use std::{mem::MaybeUninit, sync::Arc};

use procfs::FromRead as _;
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags},
    io::Errno,
    path::DecInt,
};

use self::link::Link;
use super::{TargetError, proc_dir::ProcDir};
use crate::aggregate::{Fd, FdKind};

/// Bytes of directory entries that are read at a time: some thousand of them.
const DIR_BYTES: usize = 32 << 10;
/// Bytes of a link's text; the kernel gives a page at most.
const LINK_BYTES: usize = 4096;
/// Bytes read of a pidfd's `fdinfo`, which has a handful of lines.
const FDINFO_BYTES: usize = 1024;
/// Bytes read of `/proc/PID/stat`.
const STAT_BYTES: u64 = 64 << 10;

/// A descriptor of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFd {
    /// Its number.
    pub fd: Fd,
    /// What it refers to. Of sockets, as far as their protocol tells; it does even where the network namespace may not
    /// be entered.
    pub kind: FdKind,
    /// The path of a file, with the kernel's ` (deleted)`; the name of a memfd; the pid of a pidfd, or `exited`; which
    /// of BPF's things it is; the kernel's name of what has no kind of its own. Untrusted. Empty for all others.
    pub detail: Arc<str>,
    /// Of sockets and pipes, the number by which they are known in the whole system; of files, by which they are on
    /// their device. Tells whether a number has come to mean another file.
    pub inode: Option<u64>,
}

/// The table of descriptors of a process. Reads through it fail once the process is gone.
#[derive(Debug)]
pub struct FdTable {
    dir: ProcDir,
    fds: OwnedFd,
    infos: OwnedFd,
}

impl FdTable {
    /// Takes hold of the process's table.
    pub(crate) fn of(dir: &ProcDir) -> Result<Self, TargetError> {
        let open = |name| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty())
                .map_err(|error| TargetError::proc(dir.pid(), name, error))
        };
        Ok(Self { dir: dir.try_clone()?, fds: open("fd")?, infos: open("fdinfo")? })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.dir.pid()
    }

    /// Every descriptor, in the order of their numbers.
    ///
    /// # Errors
    /// When the process is gone, or its main thread is, with which the kernel stops showing them.
    pub fn list(&self) -> Result<Vec<ListedFd>, TargetError> {
        Ok(self.numbers()?.into_iter().filter_map(|fd| self.describe(fd)).collect())
    }

    /// The numbers in use, in order; cheaper than to describe them.
    ///
    /// # Errors
    /// As of [`FdTable::list`].
    pub fn numbers(&self) -> Result<Vec<Fd>, TargetError> {
        let failed = |error: Errno| TargetError::proc(self.dir.pid(), "fd", error);
        // Opened anew, because a directory that is open has one position for all who read it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.fds, ".", flags, Mode::empty()).map_err(failed)?;
        let mut buffer = vec![MaybeUninit::uninit(); DIR_BYTES];
        let mut entries = RawDir::new(dir, &mut buffer);
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            // Not `.` and `..`.
            numbers.extend(entry.file_name().to_str().ok().and_then(|name| name.parse().ok()).map(Fd));
        }
        if numbers.is_empty() {
            self.check_main_thread()?;
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What one descriptor refers to; `None` when it is closed, or the process is gone.
    pub fn describe(&self, fd: Fd) -> Option<ListedFd> {
        let mut buffer = [MaybeUninit::uninit(); LINK_BYTES];
        let link = match rustix::fs::readlinkat_raw(&self.fds, DecInt::new(fd.0), &mut buffer) {
            Ok((text, _)) => Link::parse(text),
            // A path longer than the kernel shows.
            Err(Errno::NAMETOOLONG) => Link::Path("".into()),
            Err(_) => return None,
        };
        let listed = |kind, detail, inode| Some(ListedFd { fd, kind, detail, inode });
        match link {
            Link::Known(kind, detail) => listed(kind, detail, None),
            Link::Pipe(inode) => listed(FdKind::Pipe, "".into(), Some(inode)),
            Link::Socket(inode) => listed(self.socket_kind(fd), "".into(), Some(inode)),
            Link::Pidfd(inode) => listed(FdKind::Pidfd, link::pidfd_detail(&self.fdinfo(fd)), inode),
            Link::Path(path) => {
                let (kind, inode) = self.file_kind(fd);
                listed(kind, path, inode)
            }
        }
    }

    /// From the name of its protocol, as sockfs tells it (`sockfs_xattr_get` in the kernel's `net/socket.c`).
    fn socket_kind(&self, fd: Fd) -> FdKind {
        let mut name = [0_u8; 64];
        let path = format!("/proc/self/fd/{}/{}", self.fds.as_raw_fd(), fd.0);
        let Ok(length) = rustix::fs::getxattr(path, "system.sockprotoname", &mut name) else {
            return FdKind::Socket;
        };
        match name.get(..length).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default() {
            b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" => FdKind::Tcp,
            b"UDP" | b"UDPv6" => FdKind::Udp,
            b"UNIX" | b"UNIX-STREAM" => FdKind::Unix,
            b"NETLINK" => FdKind::Netlink,
            _ => FdKind::Socket,
        }
    }

    /// The type of a file with a path, and its inode. A descriptor that is closed meanwhile passes for a file.
    fn file_kind(&self, fd: Fd) -> (FdKind, Option<u64>) {
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let mask = StatxFlags::TYPE | StatxFlags::INO;
        let Ok(stat) = rustix::fs::statx(&self.fds, DecInt::new(fd.0), flags, mask) else {
            return (FdKind::File, None);
        };
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => FdKind::File,
            FileType::Directory => FdKind::Directory,
            FileType::CharacterDevice | FileType::BlockDevice => FdKind::Device,
            FileType::Fifo => FdKind::Pipe,
            // Opened with O_PATH.
            FileType::Socket => FdKind::Unix,
            _ => FdKind::Other,
        };
        (kind, Some(stat.stx_ino))
    }

    /// The beginning of its `fdinfo`; empty when it is closed.
    fn fdinfo(&self, fd: Fd) -> Vec<u8> {
        read_at(self.infos.as_fd(), fd).unwrap_or_default()
    }

    /// An empty table may be that of a process whose main thread has exited while others still use it.
    fn check_main_thread(&self) -> Result<(), TargetError> {
        let pid = self.dir.pid();
        let bytes = self.dir.read("stat", STAT_BYTES)?;
        let stat = procfs::process::Stat::from_read(bytes.as_slice())
            .map_err(|error| TargetError::proc(pid, "stat", std::io::Error::other(error.to_string())))?;
        if matches!(stat.state, 'Z' | 'X') { Err(TargetError::Zombie { pid }) } else { Ok(()) }
    }
}

fn read_at(dir: BorrowedFd<'_>, fd: Fd) -> rustix::io::Result<Vec<u8>> {
    let file = rustix::fs::openat(dir, DecInt::new(fd.0), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; FDINFO_BYTES];
    let length = rustix::io::read(&file, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}
