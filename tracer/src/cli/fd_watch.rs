//! Watches the targets' descriptors: compares the tables, describes what is new, asks for the sockets' states.
//!
//! A look reads tables that may be long, so the watch has a thread of its own and rests a multiple of the time it took.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tracer_common::fd::KernelFd;

use super::fd_process::{FdProcess, LookByProcess};
use crate::{
    aggregate::{Comparison, Corrections, OpenRecord},
    bpf::FdReader,
    event::FdSurvey,
    target::{SocketReader, Target, TargetError, sockets::SocketEntry},
};

/// Looks come no more often than this.
const INTERVAL: Duration = Duration::from_secs(1);
/// Share of one core that looks may take: they rest this many times as long as they took.
const REST: u32 = 50;
/// Between two looks that are to agree on what is wrong.
const CONFIRM: Duration = Duration::from_millis(3);

/// Looks at the descriptors of the targets.
#[derive(Debug)]
pub(super) struct FdWatch {
    reader: FdReader,
    processes: Vec<FdProcess>,
    /// By network namespace.
    sockets: HashMap<u64, SocketReader>,
    /// As of the last look, by network namespace and inode: a process that has ended has them no more.
    seen_sockets: HashMap<u64, HashMap<u64, SocketEntry>>,
    limitations: Vec<String>,
    /// Of processes that are forgotten.
    corrections: Corrections,
    /// Processes that have ended, and when: what they had open is gone with them.
    gone: HashMap<u32, u64>,
}

impl FdWatch {
    pub(super) fn new(reader: FdReader) -> Self {
        Self {
            reader,
            processes: Vec::new(),
            sockets: HashMap::new(),
            seen_sockets: HashMap::new(),
            limitations: Vec::new(),
            corrections: Corrections::default(),
            gone: HashMap::new(),
        }
    }

    /// Takes the first look at a process, which says what was open before.
    pub(super) fn add(&mut self, target: &Target) -> anyhow::Result<()> {
        let network = target.network();
        let mut process = FdProcess::of(target, network)?;
        self.reader.add(process.pid());
        if let Entry::Vacant(absent) = self.sockets.entry(network) {
            match target.sockets() {
                Ok(sockets) => {
                    absent.insert(sockets);
                }
                Err(error) => {
                    log::warn!("no details of sockets: {error}");
                    self.limitations.push(format!("no details of sockets: {error}"));
                    self.limitations.dedup();
                }
            }
        }
        let mut look = LookByProcess::from(self.reader.look(&std::mem::take(&mut self.gone))?);
        match process.compare(&mut look) {
            // It is ending, and what it has open is announced.
            Ok(_) | Err(TargetError::Zombie { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.processes.push(process);
        Ok(())
    }

    /// A process has ended. What it had open stays.
    pub(super) fn end(&mut self, pid: u32, announced: Vec<KernelFd>) -> anyhow::Result<()> {
        let mut look = LookByProcess::from(self.reader.look(&std::mem::take(&mut self.gone))?);
        self.reader.remove(pid);
        let Some(process) = self.processes.iter_mut().find(|process| process.pid() == pid && !process.has_ended())
        else {
            return Ok(());
        };
        let open = process.end(&mut look, announced);
        process.survey(&open, self.seen_sockets.get(&process.network).unwrap_or(&HashMap::new()));
        Ok(())
    }

    /// A process has ended by then, and what it had open is gone with it.
    fn forget(&mut self, pid: u32, ended_ns: u64) {
        self.reader.remove(pid);
        if let Some(index) = self.processes.iter().position(|process| process.pid() == pid && !process.has_ended()) {
            self.corrections = add(self.corrections, self.processes.remove(index).corrections());
        }
        // The next look takes its records out.
        self.gone.insert(pid, ended_ns);
    }

    /// What is open now, with details. Puts right what two looks found wrong.
    pub(super) fn survey(&mut self) -> anyhow::Result<FdSurvey> {
        let mut look = LookByProcess::from(self.reader.look(&std::mem::take(&mut self.gone))?);
        let time_ns = look.time_ns();
        let mut found: Vec<Option<Vec<OpenRecord>>> = Vec::with_capacity(self.processes.len());
        let mut gone = None;
        for process in &mut self.processes {
            if process.has_ended() {
                found.push(None);
                continue;
            }
            match process.compare(&mut look) {
                Ok(Comparison { open, wrong }) => {
                    self.reader.correct(&wrong);
                    found.push(Some(open));
                }
                // The process is ending, or its main thread has ended: what was seen last stays.
                Err(error) => {
                    log::debug!("descriptors: {error}");
                    found.push(None);
                    gone = Some(error);
                }
            }
        }
        if let Some(error) = gone.filter(|_| found.iter().all(Option::is_none)) {
            return Err(error.into());
        }
        let mut limitations = self.read_sockets();
        let none = HashMap::new();
        for (process, open) in self.processes.iter_mut().zip(&found) {
            if let Some(open) = open {
                process.survey(open, self.seen_sockets.get(&process.network).unwrap_or(&none));
            }
        }
        limitations.extend_from_slice(&self.limitations);
        Ok(self.all(time_ns, limitations))
    }

    /// What the processes had open when each of them was looked at last.
    fn all(&self, time_ns: u64, limitations: Vec<String>) -> FdSurvey {
        let nearest = |a: &crate::aggregate::FdLimits, b: &crate::aggregate::FdLimits| a.share().total_cmp(&b.share());
        let running = || self.processes.iter().filter(|process| !process.has_ended()).filter_map(FdProcess::limits);
        FdSurvey {
            time_ns,
            fds: self.processes.iter().flat_map(FdProcess::open).cloned().collect(),
            limits: running().max_by(nearest).or_else(|| {
                let ended = self.processes.iter().filter_map(FdProcess::limits);
                ended.max_by(nearest)
            }),
            corrections: self.processes.iter().map(FdProcess::corrections).fold(self.corrections, add),
            limitations,
        }
    }

    /// Reads the sockets of all network namespaces that are in use. Returns what stood in the way.
    fn read_sockets(&mut self) -> Vec<String> {
        let mut limitations = Vec::new();
        let in_use =
            |network: u64| self.processes.iter().any(|process| process.network == network && !process.has_ended());
        self.sockets.retain(|network, _| in_use(*network));
        self.seen_sockets.retain(|network, _| in_use(*network));
        for (network, reader) in &mut self.sockets {
            match reader.read() {
                Ok(read) => {
                    self.seen_sockets.insert(*network, read);
                }
                Err(error) => {
                    self.seen_sockets.remove(network);
                    limitations.push(format!("no details of sockets: {error}"));
                }
            }
        }
        limitations
    }

    /// The last survey: what is wrong is put right at once. `announced` is what processes had open that have ended
    /// just now.
    pub(super) fn last_survey(&mut self, announced: &HashMap<u32, Vec<KernelFd>>) -> anyhow::Result<FdSurvey> {
        let mut look = LookByProcess::from(self.reader.look(&std::mem::take(&mut self.gone))?);
        let mut ended = Vec::new();
        for process in self.processes.iter_mut().filter(|process| !process.has_ended()) {
            match process.compare(&mut look) {
                Ok(found) => self.reader.correct(&found.wrong),
                Err(_) => ended.push(process.pid()),
            }
        }
        for pid in ended {
            self.end(pid, announced.get(&pid).cloned().unwrap_or_default())?;
        }
        if self.processes.iter().all(FdProcess::has_ended) {
            return Ok(self.all(look.time_ns(), self.limitations.clone()));
        }
        std::thread::sleep(CONFIRM);
        match self.survey() {
            // The last one ended just now: what it had open a moment ago is what is known.
            Err(error) if error.is::<TargetError>() => Ok(self.all(look.time_ns(), self.limitations.clone())),
            survey => survey,
        }
    }
}

fn add(a: Corrections, b: Corrections) -> Corrections {
    let Corrections { unseen_closes, unseen_opens, replaced } = b;
    Corrections {
        unseen_closes: a.unseen_closes + unseen_closes,
        unseen_opens: a.unseen_opens + unseen_opens,
        replaced: a.replaced + replaced,
    }
}

/// What the watch is told.
enum Turn {
    /// A process came.
    Came(u32),
    /// A process has ended, with these descriptors open, which stay.
    Ended(u32, Vec<KernelFd>),
    /// A process has ended by then, and what it had open is gone.
    Forget(u32, u64),
}

impl FdWatch {
    fn take(&mut self, turn: Turn) {
        let taken = match turn {
            Turn::Came(pid) => match Target::open(pid) {
                Ok(target) => self.add(&target).or_else(|error| if target.is_alive() { Err(error) } else { Ok(()) }),
                // It is gone by now.
                Err(_) => Ok(()),
            },
            Turn::Forget(pid, ended_ns) => {
                self.forget(pid, ended_ns);
                Ok(())
            }
            Turn::Ended(pid, announced) => self.end(pid, announced),
        };
        if let Err(error) = taken {
            log::warn!("descriptors cannot be looked at: {error:#}");
        }
    }
}

/// A watch at work on a thread.
#[derive(Debug)]
pub(super) struct Watching {
    surveys: Receiver<FdSurvey>,
    turns: Sender<Turn>,
    thread: JoinHandle<FdWatch>,
}

impl Watching {
    pub(super) fn start(watch: FdWatch) -> anyhow::Result<Self> {
        let (send, surveys) = sync_channel(1);
        let (turns, told) = channel();
        let work = move || {
            let mut watch = watch;
            loop {
                let begun = Instant::now();
                match watch.survey() {
                    Ok(survey) => {
                        let _ = send.try_send(survey);
                    }
                    // All are ending: what was seen last stays.
                    Err(error) if error.is::<TargetError>() => log::debug!("descriptors: {error}"),
                    Err(error) => log::warn!("descriptors cannot be looked at: {error:#}"),
                }
                let next = Instant::now() + INTERVAL.max(begun.elapsed() * REST);
                loop {
                    match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
                        Ok(turn) => watch.take(turn),
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => return watch,
                    }
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("descriptors".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { surveys, turns, thread })
    }

    /// A survey that is ready.
    pub(super) fn take(&self) -> Option<FdSurvey> {
        self.surveys.try_recv().ok()
    }

    /// A process came that is a target already.
    pub(super) fn came(&self, pid: u32) {
        let _ = self.turns.send(Turn::Came(pid));
    }

    /// A process has ended by then, and what it had open is gone with it.
    pub(super) fn forget(&self, pid: u32, ended_ns: u64) {
        let _ = self.turns.send(Turn::Forget(pid, ended_ns));
    }

    /// A process has ended, with these descriptors open, which stay.
    pub(super) fn ended(&self, pid: u32, announced: Vec<KernelFd>) {
        let _ = self.turns.send(Turn::Ended(pid, announced));
    }

    /// Ends the thread and gives the watch back.
    pub(super) fn stop(self) -> Option<FdWatch> {
        drop(self.turns);
        self.thread.join().ok()
    }
}
