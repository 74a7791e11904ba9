//! The descriptors of one process: compares the tables, describes what is new.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tracer_common::fd::{FdKey, FdRecord, KernelFd};

use crate::{
    aggregate::{Comparison, Corrections, Fd, FdKind, FdLimits, FdTables, OpenRecord},
    event::{FdLook, SurveyedFd, SurveyedSocket},
    target::{Target, TargetError, descriptors::FdTable, sockets::SocketEntry},
};

/// What a descriptor was found to be. The rest tells whether its number has come to mean something else.
#[derive(Debug)]
struct Described {
    kind: FdKind,
    detail: Arc<str>,
    inode: u64,
    file: u64,
    born_ns: Option<u64>,
}

/// A look at all processes, by process.
#[derive(Debug)]
pub(super) struct LookByProcess {
    time_ns: u64,
    kernel: Option<BTreeMap<u32, Vec<KernelFd>>>,
    records: BTreeMap<u32, Vec<(FdKey, FdRecord)>>,
}

impl From<FdLook> for LookByProcess {
    fn from(FdLook { time_ns, kernel, records }: FdLook) -> Self {
        let kernel = kernel.map(|open| {
            let mut by_process: BTreeMap<u32, Vec<KernelFd>> = BTreeMap::new();
            open.into_iter().for_each(|fd| by_process.entry(fd.tgid).or_default().push(fd));
            by_process
        });
        let mut by_process: BTreeMap<u32, Vec<(FdKey, FdRecord)>> = BTreeMap::new();
        records.into_iter().for_each(|record| by_process.entry(record.0.tgid).or_default().push(record));
        Self { time_ns, kernel, records: by_process }
    }
}

impl LookByProcess {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) fn time_ns(&self) -> u64 {
        self.time_ns
    }

    fn take(&mut self, pid: u32) -> FdLook {
        let kernel = self.kernel.as_mut().map(|kernel| kernel.remove(&pid).unwrap_or_default());
        FdLook { time_ns: self.time_ns, kernel, records: self.records.remove(&pid).unwrap_or_default() }
    }
}

/// Watches the descriptors of one process.
#[derive(Debug)]
pub(super) struct FdProcess {
    listed: FdTable,
    /// Its network namespace, 0 when that is not known: the sockets' states come from there.
    pub(super) network: u64,
    tables: FdTables,
    described: HashMap<FdKey, Described>,
    limits: Option<FdLimits>,
    /// What was open at the last look.
    open: Vec<SurveyedFd>,
    /// Nothing changes any more.
    ended: bool,
}

impl FdProcess {
    pub(super) fn of(target: &Target, network: u64) -> Result<Self, TargetError> {
        Ok(Self {
            listed: target.descriptors()?,
            network,
            tables: FdTables::default(),
            described: HashMap::new(),
            limits: None,
            open: Vec::new(),
            ended: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.listed.pid()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Compares the tables. Returns what is open, and the records that are to be taken out.
    pub(super) fn compare(&mut self, look: &mut LookByProcess) -> Result<Comparison, TargetError> {
        let mut look = look.take(self.pid());
        if look.kernel.as_ref().is_some_and(Vec::is_empty) {
            // It has none, or it is gone: /proc tells.
            self.listed.numbers()?;
            if self.is_ending() {
                return Err(TargetError::Zombie { pid: self.pid() });
            }
        }
        if look.kernel.is_none() {
            // Where the kernel's table cannot be walked, /proc shows its numbers. Read after the records: what is open
            // by then and has no record may be newer than them.
            let (numbers, tgid) = (self.listed.numbers()?, self.pid());
            look.kernel = Some(numbers.iter().map(|fd| KernelFd { tgid, fd: fd.0, ..KernelFd::default() }).collect());
        }
        Ok(self.tables.compare(&look))
    }

    /// Whether the process gives up its descriptors because it ends, which is not closing them.
    fn is_ending(&self) -> bool {
        /// `PF_EXITING` in the kernel's `include/linux/sched.h`.
        const EXITING: u32 = 0x4;
        let stat = i32::try_from(self.pid()).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok());
        stat.is_none_or(|stat| stat.flags & EXITING != 0)
    }

    /// What was open when the process ended, as it was announced: nobody closed it.
    pub(super) fn end(&mut self, look: &mut LookByProcess, announced: Vec<KernelFd>) -> Vec<OpenRecord> {
        self.ended = true;
        // A kernel that announces nothing leaves the records.
        let kernel = (!announced.is_empty()).then_some(announced);
        self.tables.compare(&FdLook { kernel, ..look.take(self.pid()) }).open
    }

    pub(super) fn corrections(&self) -> Corrections {
        self.tables.corrections()
    }

    pub(super) fn limits(&self) -> Option<FdLimits> {
        self.limits
    }

    /// What was open at the last look.
    pub(super) fn open(&self) -> &[SurveyedFd] {
        &self.open
    }

    /// Describes what is open.
    pub(super) fn survey(&mut self, open: &[OpenRecord], sockets: &HashMap<u64, SocketEntry>) {
        match self.listed.limits() {
            Ok(limits) => {
                let (nofile_soft, nofile_hard) = (limits.nofile_soft, limits.nofile_hard);
                self.limits = Some(FdLimits { nofile_soft, nofile_hard, open: 0 });
            }
            Err(error) => log::debug!("limits: {error}"),
        }
        if let Some(limits) = &mut self.limits {
            limits.open = open.len() as u64;
        }
        let mut described = HashMap::with_capacity(open.len());
        self.open = open.iter().map(|record| self.surveyed(record, sockets, &mut described)).collect();
        self.described = described;
    }

    fn surveyed(
        &mut self,
        record: &OpenRecord,
        sockets: &HashMap<u64, SocketEntry>,
        described: &mut HashMap<FdKey, Described>,
    ) -> SurveyedFd {
        let OpenRecord { key, file, inode, origin, born_ns, connected_by, mode: _, call: _ } = *record;
        let known = self.described.remove(&key).filter(|known| {
            // Without the kernel's table there is no inode to go by.
            known.file == file && known.born_ns == born_ns && (inode == 0 || known.inode == inode)
        });
        let this = known.unwrap_or_else(|| self.describe(record));
        let entry = sockets.get(&this.inode);
        let (kind, detail) = (entry.map_or(this.kind, |entry| entry.kind), Arc::clone(&this.detail));
        let is_socket = entry.is_some() || is_socket(this.kind);
        described.insert(key, this);
        SurveyedFd {
            key,
            file,
            kind,
            detail,
            origin,
            born_ns,
            connected_by,
            socket: is_socket.then(|| entry.map(socket).unwrap_or_default()),
        }
    }

    fn describe(&self, record: &OpenRecord) -> Described {
        let listed = self.listed.describe(Fd(record.key.fd));
        let (kind, detail, inode) = match listed {
            Some(listed) => (listed.kind, listed.detail, listed.inode),
            // Closed since, or the process is gone.
            None => (kind_of(record), "".into(), None),
        };
        // The kernel's own number is of the file at the time of the look.
        let inode = if record.inode == 0 { inode.unwrap_or(0) } else { record.inode };
        Described { kind, detail, inode, file: record.file, born_ns: record.born_ns }
    }
}

/// What a descriptor must be by its file's type and the system call that opened it.
fn kind_of(record: &OpenRecord) -> FdKind {
    let by_call = record.call.and_then(|number| opened_kind(i64::from(number)));
    match record.mode & libc::S_IFMT {
        libc::S_IFDIR => FdKind::Directory,
        libc::S_IFCHR | libc::S_IFBLK => FdKind::Device,
        libc::S_IFIFO => FdKind::Pipe,
        libc::S_IFSOCK => FdKind::Socket,
        // A memfd is a regular file, too.
        libc::S_IFREG => by_call.filter(|kind| *kind == FdKind::Memfd).unwrap_or(FdKind::File),
        // Anonymous inodes have no type.
        _ => by_call.unwrap_or(FdKind::Other),
    }
}

/// What a system call opens, when it opens one kind of thing.
fn opened_kind(number: i64) -> Option<FdKind> {
    Some(match number {
        libc::SYS_socket | libc::SYS_socketpair | libc::SYS_accept | libc::SYS_accept4 => FdKind::Socket,
        libc::SYS_pipe | libc::SYS_pipe2 => FdKind::Pipe,
        libc::SYS_epoll_create | libc::SYS_epoll_create1 => FdKind::Epoll,
        libc::SYS_eventfd | libc::SYS_eventfd2 => FdKind::Eventfd,
        libc::SYS_timerfd_create => FdKind::Timerfd,
        libc::SYS_signalfd | libc::SYS_signalfd4 => FdKind::Signalfd,
        libc::SYS_inotify_init | libc::SYS_inotify_init1 => FdKind::Inotify,
        libc::SYS_fanotify_init => FdKind::Fanotify,
        libc::SYS_memfd_create => FdKind::Memfd,
        libc::SYS_pidfd_open => FdKind::Pidfd,
        libc::SYS_userfaultfd => FdKind::Userfaultfd,
        libc::SYS_perf_event_open => FdKind::PerfEvent,
        libc::SYS_bpf => FdKind::Bpf,
        libc::SYS_io_uring_setup => FdKind::IoUring,
        _ => return None,
    })
}

fn is_socket(kind: FdKind) -> bool {
    matches!(kind, FdKind::Tcp | FdKind::Udp | FdKind::Unix | FdKind::Netlink | FdKind::Socket)
}

fn socket(entry: &SocketEntry) -> SurveyedSocket {
    let SocketEntry {
        kind: _,
        local,
        peer,
        state,
        hung_up,
        idle,
        last_ack,
        rtt: _,
        unacked: _,
        rx_bytes,
        tx_bytes,
        recv_queue,
        send_queue,
        backlog: _,
    } = entry.clone();
    SurveyedSocket { local, peer, state, hung_up, idle, last_ack, rx_bytes, tx_bytes, recv_queue, send_queue }
}
