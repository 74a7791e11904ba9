//! Watches the target's descriptors: compares the tables, describes what is new, asks for the sockets' states.
//!
//! A look reads tables that may be long, so the watch has a thread of its own and rests a multiple of the time it took.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tracer_common::fd::{FdKey, KernelFd};

use crate::{
    aggregate::{Comparison, Fd, FdKind, FdTables, OpenRecord},
    bpf::FdReader,
    event::{FdLook, FdSurvey, SurveyedFd, SurveyedSocket},
    target::{SocketReader, Target, TargetError, descriptors::FdTable, sockets::SocketEntry},
};

/// Looks come no more often than this.
const INTERVAL: Duration = Duration::from_millis(200);
/// Share of one core that looks may take: they rest this many times as long as they took.
const REST: u32 = 50;
/// Between two looks that are to agree on what is wrong.
const CONFIRM: Duration = Duration::from_millis(3);

/// What a descriptor was found to be. The rest tells whether its number has come to mean something else.
#[derive(Debug)]
struct Described {
    kind: FdKind,
    detail: Arc<str>,
    inode: u64,
    file: u64,
    born_ns: Option<u64>,
}

/// Looks at the descriptors of one process.
#[derive(Debug)]
pub(super) struct FdWatch {
    reader: FdReader,
    listed: FdTable,
    sockets: Option<SocketReader>,
    /// As of the last look, by inode: a process that has ended has them no more.
    seen_sockets: HashMap<u64, SocketEntry>,
    tables: FdTables,
    described: HashMap<FdKey, Described>,
    limitations: Vec<String>,
    nofile: Option<(u64, u64)>,
}

impl FdWatch {
    /// Takes the first look, which says what was open before.
    pub(super) fn begin(target: &Target, reader: FdReader) -> anyhow::Result<Self> {
        let listed = target.descriptors()?;
        let (sockets, limitations) = match target.sockets() {
            Ok(sockets) => (Some(sockets), Vec::new()),
            Err(error) => {
                log::warn!("no details of sockets: {error}");
                (None, vec![format!("no details of sockets: {error}")])
            }
        };
        let mut watch = Self {
            reader,
            listed,
            sockets,
            seen_sockets: HashMap::new(),
            tables: FdTables::default(),
            described: HashMap::new(),
            limitations,
            nofile: None,
        };
        let look = watch.look()?;
        watch.tables.compare(&look);
        Ok(watch)
    }

    /// Both tables. Where the kernel's cannot be walked, /proc shows its numbers.
    fn look(&mut self) -> anyhow::Result<FdLook> {
        let mut look = self.reader.look()?;
        if look.kernel.as_ref().is_some_and(Vec::is_empty) {
            // It has none, or it is gone: /proc tells.
            self.listed.numbers()?;
        }
        if look.kernel.is_none() {
            // Read after the records: what is open by then and has no record may be newer than them.
            let numbers = self.listed.numbers()?;
            let tgid = self.listed.pid();
            look.kernel = Some(numbers.iter().map(|fd| KernelFd { tgid, fd: fd.0, ..KernelFd::default() }).collect());
        }
        Ok(look)
    }

    /// Whether the process gives up its descriptors because it ends, which is not closing them.
    fn is_ending(&self) -> bool {
        /// `PF_EXITING` in the kernel's `include/linux/sched.h`.
        const EXITING: u32 = 0x4;
        let stat =
            i32::try_from(self.listed.pid()).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok());
        stat.is_none_or(|stat| stat.flags & EXITING != 0)
    }

    /// What is open now, with details. Puts right what two looks found wrong.
    pub(super) fn survey(&mut self) -> anyhow::Result<FdSurvey> {
        let look = self.look()?;
        if look.kernel.as_ref().is_some_and(Vec::is_empty) && self.is_ending() {
            bail!(TargetError::Zombie { pid: self.listed.pid() });
        }
        let Comparison { open, wrong } = self.tables.compare(&look);
        self.reader.correct(&wrong);
        Ok(self.with_details(&look, &open, true))
    }

    /// The last survey: what is wrong is put right at once.
    pub(super) fn last_survey(&mut self) -> anyhow::Result<FdSurvey> {
        let look = self.look()?;
        let found = self.tables.compare(&look);
        self.reader.correct(&found.wrong);
        std::thread::sleep(CONFIRM);
        self.survey()
    }

    /// What was open when the process ended, as it was announced: nobody closed it.
    pub(super) fn survey_of_ended(&mut self, announced: Vec<KernelFd>) -> anyhow::Result<FdSurvey> {
        // A kernel that announces nothing leaves the records.
        let kernel = (!announced.is_empty()).then_some(announced);
        let look = FdLook { kernel, ..self.reader.look()? };
        let Comparison { open, wrong: _ } = self.tables.compare(&look);
        Ok(self.with_details(&look, &open, false))
    }

    fn with_details(&mut self, look: &FdLook, open: &[OpenRecord], alive: bool) -> FdSurvey {
        match self.listed.limits() {
            Ok(limits) => self.nofile = Some((limits.nofile_soft, limits.nofile_hard)),
            Err(error) => log::debug!("limits: {error}"),
        }
        let mut limitations = self.limitations.clone();
        let mut sockets = std::mem::take(&mut self.seen_sockets);
        // A process that is gone has none any more; those that it had are remembered.
        if alive && let Some(reader) = &mut self.sockets {
            match reader.read() {
                Ok(read) => sockets = read,
                Err(error) => {
                    sockets.clear();
                    limitations.push(format!("no details of sockets: {error}"));
                }
            }
        }
        let mut described = HashMap::with_capacity(open.len());
        let fds = open.iter().map(|record| self.surveyed(record, &sockets, &mut described)).collect();
        self.described = described;
        self.seen_sockets = sockets;
        FdSurvey {
            time_ns: look.time_ns,
            fds,
            nofile: self.nofile,
            corrections: self.tables.corrections(),
            limitations,
        }
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

/// A watch at work on a thread.
#[derive(Debug)]
pub(super) struct Watching {
    surveys: Receiver<FdSurvey>,
    stop: Sender<()>,
    thread: JoinHandle<FdWatch>,
}

impl Watching {
    pub(super) fn start(watch: FdWatch) -> anyhow::Result<Self> {
        let (send, surveys) = sync_channel(1);
        let (stop, stopped) = channel();
        let work = move || {
            let mut watch = watch;
            loop {
                let begun = Instant::now();
                match watch.survey() {
                    Ok(survey) => {
                        let _ = send.try_send(survey);
                    }
                    // The process is ending, or its main thread has ended: what was seen last stays.
                    Err(error) if error.is::<TargetError>() => log::debug!("descriptors: {error}"),
                    Err(error) => log::warn!("descriptors cannot be looked at: {error:#}"),
                }
                let rest = INTERVAL.max(begun.elapsed() * REST);
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return watch;
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("descriptors".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { surveys, stop, thread })
    }

    /// A survey that is ready.
    pub(super) fn take(&self) -> Option<FdSurvey> {
        self.surveys.try_recv().ok()
    }

    /// Ends the thread and gives the watch back.
    pub(super) fn stop(self) -> Option<FdWatch> {
        drop(self.stop);
        self.thread.join().ok()
    }
}
