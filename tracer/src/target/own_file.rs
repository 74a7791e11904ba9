//! Files that a process leaves for its observers under a name that anyone could have taken before it, as in `/tmp`.
//!
//! In: a name. Out: the file, if the process can have written it: a regular file, no link to one, that belongs to the
//! process's user or to root and was written to since the process started.

use std::{
    fs::File,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use procfs::FromRead as _;
use rustix::{fs::Stat, io::Errno, time::ClockId};

use super::{Root, TargetError, proc_dir::ProcDir, root::open_found};

/// Bytes read of `/proc/PID/status` and `stat`, which are some 1.5 KiB.
const STATUS_BYTES: u64 = 64 << 10;
/// A file's time comes from a coarser clock than the process's start, and the wall clock may be set meanwhile.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// Why a file is not taken for the process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOwn {
    /// There is none, or it cannot be opened.
    #[error("cannot be opened: {0}")]
    Closed(#[from] Errno),
    /// A link, a directory, a pipe, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Another user's.
    #[error("belongs to user {user}, who is not the process's")]
    Foreign {
        /// `st_uid`.
        user: u32,
    },
    /// Written last before the process started: by an earlier one with the same pid.
    #[error("was written before the process started")]
    Stale,
}

/// What tells a process's own files from others'. Outlives the process.
#[derive(Debug)]
pub(crate) struct Owner {
    dir: Option<ProcDir>,
    root: Arc<Root>,
    /// As the process itself counts, then as we do; one when both are the same.
    pids: Vec<u32>,
    /// Every user it was seen to run as.
    users: Mutex<Vec<u32>>,
    started: SystemTime,
}

impl Owner {
    pub(crate) fn of(dir: &ProcDir, root: &Arc<Root>) -> Result<Self, TargetError> {
        let status = dir.read("status", STATUS_BYTES)?;
        let mut pids: Vec<u32> = numbers(&status, b"NSpid:").last().into_iter().chain([dir.pid()]).collect();
        pids.dedup();
        Ok(Self {
            dir: Some(dir.try_clone()?),
            root: Arc::clone(root),
            pids,
            users: Mutex::new(users(&status)),
            started: started(dir)?,
        })
    }

    /// A process of these ids that started at the epoch, in a directory as if it were its root.
    #[cfg(test)]
    pub(crate) fn fake(root: Root, pids: &[u32], users: &[u32]) -> Self {
        let users = Mutex::new(users.to_vec());
        Self { dir: None, root: Arc::new(root), pids: pids.to_vec(), users, started: UNIX_EPOCH }
    }

    /// The ids by which it may call itself, the likelier one first.
    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Opens a file of the process's own, in its root. Links are followed on the way there, not at its end.
    pub(crate) fn open(&self, path: &str) -> Result<(File, Stat), NotOwn> {
        let found = self.root.find_itself(path.as_bytes())?;
        let (file, stat) = open_found(&found).map_err(|error| match error {
            Errno::NOEXEC => NotOwn::NotRegular,
            error => NotOwn::Closed(error),
        })?;
        if stat.st_uid != 0 && !self.runs_as(stat.st_uid) {
            return Err(NotOwn::Foreign { user: stat.st_uid });
        }
        let written = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        if written + CLOCK_SLACK < self.started {
            return Err(NotOwn::Stale);
        }
        Ok((file, stat))
    }

    fn runs_as(&self, user: u32) -> bool {
        let mut known = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have become another user since; once it is gone, it stays what it was.
        if let Some(Ok(status)) = self.dir.as_ref().map(|dir| dir.read("status", STATUS_BYTES)) {
            known.extend(users(&status));
            known.sort_unstable();
            known.dedup();
        }
        known.contains(&user)
    }
}

/// Real, effective, saved and file system user.
fn users(status: &[u8]) -> Vec<u32> {
    numbers(status, b"Uid:").collect()
}

/// The numbers in a line of `status`. Reads bytes, because the name in it need not be UTF-8; the kernel escapes line
/// feeds in that name.
fn numbers<'a>(status: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    let line = status.split(|&byte| byte == b'\n').find_map(move |line| line.strip_prefix(key)).unwrap_or_default();
    let fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.map_while(|field| std::str::from_utf8(field).ok()?.parse().ok())
}

/// When the process started, by the wall clock as it goes now.
fn started(dir: &ProcDir) -> Result<SystemTime, TargetError> {
    let bytes = dir.read("stat", STATUS_BYTES)?;
    let stat = procfs::process::Stat::from_read(bytes.as_slice())
        .map_err(|error| TargetError::proc(dir.pid(), "stat", std::io::Error::other(error.to_string())))?;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let since_boot = Duration::from_secs_f64(stat.starttime as f64 / ticks as f64);
    let boottime = rustix::time::clock_gettime(ClockId::Boottime);
    let now = Duration::new(boottime.tv_sec.unsigned_abs(), u32::try_from(boottime.tv_nsec).unwrap_or(0));
    let age = now.saturating_sub(since_boot);
    Ok(SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn own(users: &[u32]) -> (tempfile::TempDir, Owner) {
        let dir = tempfile::tempdir().expect("temp dir");
        let owner = Owner::fake(Root::at(dir.path()), &[7], users);
        (dir, owner)
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn only_a_regular_file_of_the_processs_user_is_opened() {
        let (dir, owner) = own(&[me()]);
        std::fs::write(dir.path().join("file"), "names").expect("write");
        symlink("file", dir.path().join("link")).expect("symlink");
        symlink(".", dir.path().join("tmp")).expect("symlink");
        for path in ["/file", "/tmp/file", "/../file"] {
            let (file, stat) = owner.open(path).expect(path);
            assert_eq!((std::io::read_to_string(file).expect(path).as_str(), stat.st_size), ("names", 5));
        }
        assert_eq!(owner.open("/link").expect_err("a link"), NotOwn::NotRegular);
        assert_eq!(owner.open("/").expect_err("a directory"), NotOwn::NotRegular);
        assert_eq!(owner.open("/none").expect_err("nothing"), NotOwn::Closed(Errno::NOENT));
    }

    #[test]
    fn another_users_file_is_not() {
        // Only root can give a file away, and root's own files are taken for anyone's.
        let (dir, owner) = own(&[12345]);
        let path = dir.path().join("file");
        std::fs::write(&path, "names").expect("write");
        if me() != 0 {
            assert_eq!(owner.open("/file").expect_err("mine, not its"), NotOwn::Foreign { user: me() });
            return;
        }
        owner.open("/file").expect("root's");
        std::os::unix::fs::chown(&path, Some(12346), None).expect("chown");
        assert_eq!(owner.open("/file").expect_err("another's"), NotOwn::Foreign { user: 12346 });
        std::os::unix::fs::chown(&path, Some(12345), None).expect("chown");
        owner.open("/file").expect("its own");
    }

    #[test]
    fn what_an_earlier_process_left_is_not() {
        let (dir, mut owner) = own(&[me()]);
        let path = dir.path().join("file");
        std::fs::write(&path, "names").expect("write");
        owner.started = SystemTime::now() - Duration::from_secs(3600);
        owner.open("/file").expect("written since");
        owner.started = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(owner.open("/file").expect_err("written before"), NotOwn::Stale);
    }

    #[test]
    fn a_process_is_described_by_its_status() {
        let dir = ProcDir::open(std::process::id()).expect("this process");
        let root = Arc::new(Root::of(&dir).expect("a root"));
        let owner = Owner::of(&dir, &root).expect("this process");
        assert_eq!(owner.pids().last(), Some(&std::process::id()));
        assert!(owner.runs_as(me()) && !owner.runs_as(12347));
        let age = SystemTime::now().duration_since(owner.started).expect("in the past");
        let uptime = rustix::time::clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs();
        assert!(age < Duration::from_secs(uptime + 1), "{age:?}");

        let status = b"Name:\tUid:\\n\xff\nUid:\t1000\t0\t1001\t0\nNSpid:\t4000\t17\t1\nGid:\t5\n";
        assert_eq!(users(status), [1000, 0, 1001, 0]);
        assert_eq!(numbers(status, b"NSpid:").last(), Some(1));
        assert_eq!(numbers(status, b"NStgid:").last(), None);
    }
}
