//! A file that is mapped executable, held open.

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _, path::PathBuf, sync::Arc};

use rustix::fs::{MemfdFlags, Mode, OFlags};

use super::line::{MapsLine, unescape};
use crate::target::{Root, proc_dir::ProcDir, root::open_found};

const DELETED: &[u8] = b" (deleted)";
/// Longest path kept. The kernel's own limit, times four for what it escapes.
const PATH_BYTES: usize = 4 * 4096;

/// A file's device and inode as `fstat` gives them: the same file whichever process maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// A file mapped executable into a process, or the kernel's `[vdso]`, which has the same shape.
#[derive(Debug)]
pub struct Module {
    path: Arc<str>,
    deleted: bool,
    device: (u32, u32),
    inode: u64,
    file: Option<(Arc<File>, FileIdentity)>,
}

impl Module {
    /// Its path as the process's maps name it, without ` (deleted)`. Untrusted text.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The path no longer led to this file when it was first seen.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Major and minor device number as in maps. On btrfs and overlayfs not what `stat` says of the same file.
    pub fn device(&self) -> (u32, u32) {
        self.device
    }

    /// Inode as in maps; zero for the `[vdso]`.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The file; `None` when it could not be opened.
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref().map(|(file, _)| file)
    }

    /// What tells the file from others; `None` when it could not be opened.
    pub fn identity(&self) -> Option<FileIdentity> {
        self.file.as_ref().map(|&(_, identity)| identity)
    }

    /// A path that leads to the file for as long as this value lives, in this process only.
    pub fn fd_path(&self) -> Option<PathBuf> {
        self.file().map(|file| fd_path(file))
    }

    /// Whether the file is memory under a name, which is where code made at run time is put.
    pub fn is_memory_file(&self) -> bool {
        ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV"].iter().any(|prefix| self.path.starts_with(prefix))
    }

    /// Opens the file of a mapping.
    pub(super) fn open(dir: &ProcDir, root: Option<&Root>, line: &MapsLine<'_>) -> Self {
        let name = &line.name[..line.name.len().min(PATH_BYTES)];
        let opened = open_mapped(dir, line).or_else(|| open_executable(dir, line));
        let mut deleted = false;
        let mut path = name;
        let mut file = opened;
        if let Some(stem) = name.strip_suffix(DELETED) {
            // A living file may have such a name: then the whole of it leads to the mapped inode.
            let living = root.and_then(|root| open_path(root, name, line.inode));
            deleted = living.is_none();
            file = file.or(living);
            if deleted {
                path = stem;
            }
        } else {
            file = file.or_else(|| root.and_then(|root| open_path(root, name, line.inode)));
        }
        let path = Arc::from(String::from_utf8_lossy(path));
        if file.is_none() {
            log::debug!("cannot open {path:?} of process {}: its frames stay without names", dir.pid());
        }
        Self { path, deleted, device: line.device, inode: line.inode, file }
    }

    /// A file that is left closed, because too many are open.
    pub(super) fn unopened(line: &MapsLine<'_>) -> Self {
        let path = Arc::from(String::from_utf8_lossy(&line.name[..line.name.len().min(PATH_BYTES)]));
        Self { path, deleted: false, device: line.device, inode: line.inode, file: None }
    }

    /// Both stand for the same file, and neither has it open.
    pub(super) fn is_unopened_twin(&self, other: &Self) -> bool {
        let closed = self.file.is_none() && other.file.is_none();
        closed && (self.device, self.inode, &self.path) == (other.device, other.inode, &other.path)
    }

    /// The `[vdso]`: the kernel's own module has no file, so its bytes are put into one.
    pub(super) fn vdso(dir: &ProcDir, start: u64, end: u64) -> Self {
        const LIMIT: u64 = 1 << 20;
        let copy = || -> std::io::Result<(Arc<File>, FileIdentity)> {
            let length = usize::try_from((end - start).min(LIMIT)).map_err(std::io::Error::other)?;
            let mut image = vec![0; length];
            let memory = dir.file("mem").map_err(std::io::Error::other)?;
            std::os::unix::fs::FileExt::read_exact_at(&memory, &mut image, start)?;
            let mut file = File::from(rustix::fs::memfd_create("vdso", MemfdFlags::CLOEXEC)?);
            file.write_all(&image)?;
            let identity = identity(&rustix::fs::fstat(&file)?);
            Ok((Arc::new(file), identity))
        };
        let file = copy().inspect_err(|error| log::debug!("no [vdso] of process {}: {error}", dir.pid())).ok();
        Self { path: Arc::from("[vdso]"), deleted: false, device: (0, 0), inode: 0, file }
    }

    #[cfg(test)]
    pub(crate) fn of_file(path: &str, file: File) -> Self {
        let identity = identity(&rustix::fs::fstat(&file).expect("fstat"));
        let file = Some((Arc::new(file), identity));
        Self { path: Arc::from(path), deleted: false, device: (0, 0), inode: identity.inode, file }
    }
}

/// A path that leads to an open file while it is open.
pub(crate) fn fd_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

pub(crate) fn identity(stat: &rustix::fs::Stat) -> FileIdentity {
    FileIdentity { device: stat.st_dev, inode: stat.st_ino }
}

/// By the mapping itself: right for deleted files and other mount namespaces, but wants privilege.
fn open_mapped(dir: &ProcDir, line: &MapsLine<'_>) -> Option<(Arc<File>, FileIdentity)> {
    let name = format!("map_files/{:x}-{:x}", line.start, line.end);
    let found = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (file, stat) = open_found(&found).ok()?;
    if stat.st_ino != line.inode {
        // overlayfs shows one inode in maps and another in stat. The link itself cannot be wrong.
        log::debug!("inode {} in maps is {} by stat", line.inode, stat.st_ino);
    }
    Some((Arc::new(file), identity(&stat)))
}

/// The program's own file: also when deleted, and without privilege.
fn open_executable(dir: &ProcDir, line: &MapsLine<'_>) -> Option<(Arc<File>, FileIdentity)> {
    // An inode alone could be that of another file system's file.
    let executable = dir.executable()?;
    (executable == line.name || executable == unescape(line.name)).then_some(())?;
    let found = rustix::fs::openat(dir, "exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    verified(&found, line.inode)
}

/// By its path in the process's root, if that still leads to the mapped inode.
fn open_path(root: &Root, name: &[u8], inode: u64) -> Option<(Arc<File>, FileIdentity)> {
    let by_name = |name: &[u8]| verified(&root.find(name).ok()?, inode);
    // A name may hold the escape's own four characters, so the literal reading comes first.
    by_name(name).or_else(|| name.contains(&b'\\').then(|| by_name(&unescape(name))).flatten())
}

/// Devices are not compared: on btrfs and overlayfs maps and stat disagree on them.
fn verified(found: &rustix::fd::OwnedFd, inode: u64) -> Option<(Arc<File>, FileIdentity)> {
    if rustix::fs::fstat(found).ok()?.st_ino != inode {
        return None;
    }
    let (file, stat) = open_found(found).ok()?;
    Some((Arc::new(file), identity(&stat)))
}
