//! The traced process, held by a pidfd.

use procfs::FromRead as _;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::{Pid, PidfdFlags},
};

use super::{FdTable, MemoryReader, SocketReader, SocketsError, TargetError, maps::ModuleMap, proc_dir::ProcDir};
use crate::aggregate::{TargetInfo, Tgid};

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, as field 9 of `/proc/PID/stat` shows it.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Bytes of the command line that are kept.
const CMDLINE_BYTES: u64 = 64 << 10;
/// Bytes read of `/proc/PID/status` and `stat`, which are some 1.5 KiB.
const STATUS_BYTES: u64 = 64 << 10;

/// A process that can be traced. Holds a pidfd from before the first look into `/proc`, so it is the same process for
/// as long as this value lives.
#[derive(Debug)]
pub struct Target {
    pidfd: OwnedFd,
    dir: ProcDir,
    info: TargetInfo,
}

impl Target {
    /// Takes hold of the process `pid`.
    ///
    /// # Errors
    /// Says why that pid cannot be traced, and what to do instead; see [`TargetError`].
    pub fn open(pid: u32) -> Result<Self, TargetError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(TargetError::NoSuchProcess { pid })?;
        if pid == std::process::id() {
            return Err(TargetError::OwnProcess { pid });
        }
        // First the pidfd, then /proc: what is alive afterwards is what was read.
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).map_err(|error| {
            match (thread_group(pid), error) {
                (Some(tgid), _) if tgid != pid => TargetError::IsThread { pid, tgid },
                (_, rustix::io::Errno::SRCH) => TargetError::NoSuchProcess { pid },
                (_, rustix::io::Errno::PERM) => TargetError::Permission { pid },
                (_, error) => TargetError::Pidfd { pid, source: error.into() },
            }
        })?;
        let dir = match ProcDir::open(pid) {
            // Alive, yet without a directory: /proc is mounted with hidepid.
            Err(TargetError::NoSuchProcess { .. }) if is_running(pidfd.as_fd()) => {
                return Err(TargetError::Permission { pid });
            }
            dir => dir?,
        };

        let stat = procfs::process::Stat::from_read(dir.read("stat", STATUS_BYTES)?.as_slice()).map_err(|error| {
            TargetError::Proc { pid, file: "stat", source: std::io::Error::other(error.to_string()) }
        })?;
        if stat.flags & PF_KTHREAD != 0 {
            return Err(TargetError::KernelThread { pid });
        }
        if matches!(stat.state, 'Z' | 'X') {
            return Err(TargetError::Zombie { pid });
        }
        // The kernel decides at open whether its memory may be looked into.
        dir.file("maps")?;

        let info = describe(&dir)?;
        let target = Self { pidfd, dir, info };
        if target.is_alive() { Ok(target) } else { Err(TargetError::NoSuchProcess { pid }) }
    }

    /// Its names, as they were when it was opened. Untrusted text.
    pub fn info(&self) -> &TargetInfo {
        &self.info
    }

    /// Looks at its names again: it runs another program.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rename(&mut self) -> Result<(), TargetError> {
        self.info = describe(&self.dir)?;
        Ok(())
    }

    /// Looks at its name and arguments again, which a process may change: servers say there what each of them does.
    ///
    /// # Errors
    /// When it is gone.
    pub fn retitle(&mut self) -> Result<(), TargetError> {
        // Not its program: that is another one after an exec, which is noticed otherwise, or is deleted by now.
        let TargetInfo { pid, comm, exe: _, cmdline } = describe(&self.dir)?;
        self.info = TargetInfo { pid, comm, cmdline, exe: std::mem::take(&mut self.info.exe) };
        Ok(())
    }

    /// Its children as they are now.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.info.pid.0;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
        let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).ok();
        let lists: Vec<String> = threads.filter_map(Result::ok).filter_map(of).collect();
        // Read by number: whoever has it now is the one that was opened.
        if !self.is_alive() {
            return Vec::new();
        }
        lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The handle on it, readable (in poll's sense) once all its threads have exited.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether a thread of it still runs.
    pub fn is_alive(&self) -> bool {
        is_running(self.pidfd.as_fd())
    }

    /// A reader of how much memory it has.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> Result<MemoryReader, TargetError> {
        Ok(MemoryReader::new(self.dir.try_clone()?))
    }

    /// How long it has been running; `None` when that cannot be told.
    pub fn running_for(&self) -> Option<std::time::Duration> {
        let stat = procfs::process::Stat::from_read(self.dir.read("stat", STATUS_BYTES).ok()?.as_slice()).ok()?;
        let uptime = procfs::Uptime::from_read(std::fs::read("/proc/uptime").ok()?.as_slice()).ok()?;
        let started = stat.starttime as f64 / procfs::ticks_per_second() as f64;
        Some(std::time::Duration::from_secs_f64((uptime.uptime - started).max(0.0)))
    }

    /// CPU time that it has used, user and system; `None` when that cannot be told.
    pub fn cpu_time(&self) -> Option<std::time::Duration> {
        let pid = libc::pid_t::try_from(self.info.pid.0).ok()?;
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both write to a place of ours, and fail for a process that is gone.
        let known = unsafe {
            libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
        };
        // Its number may be another one's by now.
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        (known && self.is_alive()).then(|| std::time::Duration::new(seconds, nanoseconds))
    }

    /// Whether a thread of it has a seccomp filter.
    pub fn is_filtered(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.info.pid.0)) else { return false };
        // 2 is SECCOMP_MODE_FILTER; the name in the first line may be anything, but it has one line.
        let filtered = |status: Vec<u8>| status.split(|&byte| byte == b'\n').any(|line| line == b"Seccomp:\t2");
        threads
            .filter_map(Result::ok)
            .filter_map(|thread| std::fs::read(thread.path().join("status")).ok())
            .any(filtered)
    }

    /// Its executable memory.
    ///
    /// # Errors
    /// When `/proc/PID/maps` cannot be read.
    pub fn modules(&self) -> Result<ModuleMap, TargetError> {
        ModuleMap::of(self.dir.try_clone()?)
    }

    /// Its descriptors.
    ///
    /// # Errors
    /// When it is gone.
    pub fn descriptors(&self) -> Result<FdTable, TargetError> {
        FdTable::of(&self.dir)
    }

    /// What tells its network namespace from others; 0 when it cannot be told.
    pub fn network(&self) -> u64 {
        let stat = rustix::fs::statat(self.dir.as_fd(), "ns/net", rustix::fs::AtFlags::empty());
        stat.map_or(0, |stat| stat.st_ino)
    }

    /// A reader of the sockets in its network namespace.
    ///
    /// # Errors
    /// When the namespace may not be entered or the kernel lists no sockets; tracing goes on without their details.
    pub fn sockets(&self) -> Result<SocketReader, SocketsError> {
        SocketReader::of(&self.dir)
    }
}

fn describe(dir: &ProcDir) -> Result<TargetInfo, TargetError> {
    Ok(TargetInfo {
        pid: Tgid(dir.pid()),
        comm: String::from_utf8_lossy(dir.read("comm", STATUS_BYTES)?.trim_ascii_end()).into_owned(),
        exe: dir.executable().map(|path| String::from_utf8_lossy(&path).into_owned()).unwrap_or_default(),
        cmdline: split_arguments(&dir.read("cmdline", CMDLINE_BYTES)?),
    })
}

fn is_running(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    // A poll that fails says nothing about the process.
    !matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

/// The process that a thread id belongs to. Reads bytes, because the name in `status` need not be UTF-8.
fn thread_group(tid: u32) -> Option<u32> {
    let status = ProcDir::open(tid).ok()?.read("status", STATUS_BYTES).ok()?;
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line.trim_ascii()).ok()?.parse().ok()
}

fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    // A title is one text with a space in it, and the rest of the room for arguments is empty.
    let title = bytes.iter().rposition(|&byte| byte != 0).map_or(&bytes[..0], |last| &bytes[..=last]);
    let bytes = if title.contains(&b' ') && !title.contains(&0) { title } else { bytes };
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|&byte| byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::target::fixture::{self, Held};

    fn error(pid: u32) -> TargetError {
        Target::open(pid).expect_err("must be refused")
    }

    #[test]
    fn a_child_is_described_and_its_end_is_noticed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let program = dir.path().join("a program");
        fixture::compile("hold.c", fixture::HOLD, &program, &[]);
        let mut held = Held::start_with(Command::new(&program).args(["", "b c"]));
        let target = Target::open(held.pid()).expect("a child can be traced");
        let path = program.to_str().expect("utf8");
        let expected = TargetInfo {
            pid: Tgid(held.pid()),
            comm: "a program".to_owned(),
            exe: path.to_owned(),
            cmdline: vec![path.to_owned(), String::new(), "b c".to_owned()],
        };
        assert_eq!(*target.info(), expected);
        assert!(target.is_alive());
        held.end();
        assert!(!target.is_alive());
        assert!(matches!(target.modules(), Err(TargetError::NoSuchProcess { .. })), "a stale handle reads nothing");
        assert!(matches!(error(held.pid()), TargetError::NoSuchProcess { .. }));
    }

    #[test]
    fn what_is_no_process_is_refused_with_the_next_step() {
        assert!(matches!(error(0), TargetError::NoSuchProcess { .. }));
        assert!(matches!(error(u32::MAX), TargetError::NoSuchProcess { .. }));
        assert!(matches!(error(std::process::id()), TargetError::OwnProcess { .. }));
    }

    #[test]
    fn a_zombie_is_told_from_a_process() {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().expect("true starts");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(Target::open(child.id()), Err(TargetError::Zombie { .. })) {
            assert!(Instant::now() < deadline, "the child never became a zombie");
            std::thread::yield_now();
        }
        child.wait().expect("wait");
    }

    #[test]
    fn a_thread_is_told_from_its_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(rustix::thread::gettid().as_raw_pid()).expect("the test waits");
            held.recv().ok();
        });
        let tid = receive.recv().expect("the thread sends its id").cast_unsigned();
        let error = error(tid);
        assert!(matches!(error, TargetError::IsThread { tgid, .. } if tgid == std::process::id()), "{error}");
        assert!(error.to_string().ends_with(&format!("-p {}", std::process::id())), "{error}");
        drop(hold);
        thread.join().expect("thread");
    }

    #[test]
    fn kernel_threads_have_no_heap() {
        // kthreadd is pid 2 wherever it can be seen; in a pid namespace of its own there is none to try.
        let is_kernel_thread = std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd");
        if is_kernel_thread {
            assert!(matches!(error(2), TargetError::KernelThread { .. }));
        }
    }

    #[test]
    fn arguments_keep_their_empty_ones() {
        assert!(split_arguments(b"").is_empty());
        assert_eq!(split_arguments(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(split_arguments(b"no end \xff"), ["no end \u{fffd}"]);
        assert_eq!(split_arguments(b"prog\0\0\0"), ["prog", "", ""]);
        assert_eq!(split_arguments(b"nginx: worker process\0\0\0\0"), ["nginx: worker process"]);
        assert_eq!(split_arguments(b"\0\0"), ["", ""]);
    }
}
