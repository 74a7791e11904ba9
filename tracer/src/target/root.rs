//! A file system root: the target's or the host's. Paths that the target controls are resolved inside of it.

use std::{fs::File, io};

use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::{TargetError, proc_dir::ProcDir};

/// Times that a lookup is repeated which the kernel gave up because of a rename elsewhere.
const RACE_RETRIES: usize = 8;

/// A root directory, held open, so that it outlives the process.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    device_inode: (u64, u64),
}

impl Root {
    /// The root that the process sees, in its own mount namespace.
    pub(crate) fn of(dir: &ProcDir) -> Result<Self, TargetError> {
        Self::open(dir.as_fd(), "root").map_err(|error| TargetError::proc(dir.pid(), "root", error))
    }

    /// This program's root.
    pub(crate) fn host() -> io::Result<Self> {
        Ok(Self::open(rustix::fs::CWD, "/")?)
    }

    /// Any directory, as if it were a root.
    #[cfg(test)]
    pub(crate) fn at(path: &std::path::Path) -> Self {
        Self::open(rustix::fs::CWD, path.to_str().expect("utf8")).expect("a directory")
    }

    fn open(directory: BorrowedFd<'_>, path: &str) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(directory, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self { fd, device_inode: (stat.st_dev, stat.st_ino) })
    }

    /// Whether both are the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.device_inode == other.device_inode
    }

    /// Finds a path without opening what it names. Symbolic links, absolute ones too, stay inside the root.
    pub(crate) fn find(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.find_with(path, OFlags::empty())
    }

    /// The same, but a symbolic link at the end of the path is found itself, not followed.
    pub(crate) fn find_itself(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.find_with(path, OFlags::NOFOLLOW)
    }

    fn find_with(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..RACE_RETRIES {
            result = rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }

    /// Opens a regular file for reading.
    pub(crate) fn open_regular(&self, path: &[u8]) -> rustix::io::Result<File> {
        open_found(&self.find(path)?).map(|(file, _)| file)
    }
}

/// Opens for reading what an `O_PATH` descriptor holds, if it is a regular file: opening a FIFO would wait, opening a
/// device might do something.
pub(crate) fn open_found(found: &OwnedFd) -> rustix::io::Result<(File, Stat)> {
    let stat = rustix::fs::fstat(found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOEXEC);
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    Ok((file.into(), stat))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_and_only_regular_files_open() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("file"), "inside").expect("write");
        symlink("/file", dir.path().join("absolute")).expect("symlink");
        symlink("../../../../file", dir.path().join("climbing")).expect("symlink");
        let flags = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), flags.0, flags.1, 0).expect("fifo");

        let root = Root::at(dir.path());
        for name in ["/file", "/absolute", "/climbing", "/../../file"] {
            let file = root.open_regular(name.as_bytes()).expect(name);
            assert_eq!(std::io::read_to_string(file).expect(name), "inside");
        }
        assert_eq!(root.open_regular(b"/fifo").expect_err("a fifo would block"), Errno::NOEXEC);
        assert_eq!(root.open_regular(b"/").expect_err("a directory"), Errno::NOEXEC);
        assert_eq!(root.open_regular(b"/none").expect_err("nothing there"), Errno::NOENT);
        assert!(!root.is_same(&Root::host().expect("host")));
    }
}
