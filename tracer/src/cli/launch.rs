//! `leaktrace -- CMD`: starts a program and holds it until its probes are in place.
//!
//! The child waits before its exec until it is a target. From then on the BPF programs stop it where probes may be missing:
//! at the first instruction of each program it becomes, and when the loader has mapped a library. Nothing of this is
//! ptrace; the child is stopped as by `kill -STOP`, and continued as by `kill -CONT`.

use std::{
    ffi::{OsStr, OsString},
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd, BorrowedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use anyhow::{Context as _, bail};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setrlimit, waitid,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::aggregate::Ending;

/// What the child does that its parent is told of.
#[derive(Debug)]
pub(super) enum Change {
    /// The program cannot be run.
    NotRun(io::Error),
    /// A signal has stopped it.
    Stopped(i32),
    /// It has ended.
    Ended(Ending),
}

/// A program that was started to be traced.
#[derive(Debug)]
pub(super) struct Launched {
    pid: Pid,
    program: OsString,
    /// A byte in it lets the child run the program; its end lets the child end.
    go: Option<PipeWriter>,
    changes: UnboundedReceiver<Change>,
    ended: Option<Ending>,
}

impl Launched {
    /// Starts a child that waits. To be called with all privileges, which the program is to have, and with the limit of
    /// open files that it is to have.
    pub(super) fn start(command: &[OsString], nofile: Rlimit) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = command else { bail!("no program to start; write it after --") };
        let (wait, go) = io::pipe().context("cannot make a pipe")?;
        let (mut told, tell) = io::pipe().context("cannot make a pipe")?;
        let command = command_of(program, arguments, [&wait.as_fd(), &go.as_fd(), &tell.as_fd()], nofile);
        let (send, changes) = unbounded_channel();
        // A thread, because starting ends with the exec. It stays for as long as the child does: if it ends with leaktrace, a
        // child that is stopped just then goes on.
        let work = move || watch(command, (wait, tell), &send);
        std::thread::Builder::new().name("program".into()).spawn(work).context("cannot start a thread")?;
        let mut pid = [0; 4];
        told.read_exact(&mut pid).context("the child did not start")?;
        let pid = Pid::from_raw(i32::from_ne_bytes(pid)).context("the child has no process id")?;
        Ok(Self { pid, program: program.clone(), go: Some(go), changes, ended: None })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// What it was started as.
    pub(super) fn program(&self) -> &OsStr {
        &self.program
    }

    /// Lets it run the program.
    pub(super) fn release(&mut self) -> anyhow::Result<()> {
        self.go.take().map_or(Ok(()), |mut go| go.write_all(b"!")).context("the child has ended before its program")
    }

    /// Waits for what it does next; for ever, once it has ended.
    pub(super) async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Some(change) => {
                if let Change::Ended(ending) = change {
                    self.ended = Some(ending);
                }
                change
            }
            None => std::future::pending().await,
        }
    }

    /// Lets it go on after it was stopped to be probed.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::CONT).context("the program was stopped for its probes and cannot be continued")
    }

    /// Passes a signal on.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Err(error) = kill_process(self.pid, signal)
        {
            log::warn!("a signal cannot be passed on to the program: {error}");
        }
    }

    /// How it ended, once it has.
    pub(super) async fn ending(&mut self) -> anyhow::Result<Ending> {
        loop {
            if let Some(ending) = self.ended {
                return Ok(ending);
            }
            match self.changes.recv().await {
                Some(Change::Ended(ending)) => self.ended = Some(ending),
                Some(Change::NotRun(error)) => bail!(not_run(&self.program, &error)),
                // Stopped for nothing: the probes are out.
                Some(Change::Stopped(signal)) if signal == Signal::STOP.as_raw() => self.go_on()?,
                Some(Change::Stopped(_)) => {}
                None => bail!("the program's end was not seen"),
            }
        }
    }
}

/// Why there is nothing to trace.
pub(super) fn not_run(program: &OsStr, error: &io::Error) -> String {
    format!("cannot run {}: {error}", program.to_string_lossy())
}

fn command_of(program: &OsStr, arguments: &[OsString], pipes: [&BorrowedFd<'_>; 3], nofile: Rlimit) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    let pipes = pipes.map(AsRawFd::as_raw_fd);
    // SAFETY: between fork and exec, `hold` makes system calls and touches nothing else.
    unsafe { command.pre_exec(move || hold(pipes, nofile)) };
    command
}

/// Runs in the child: says who it is, and waits until it may run the program.
fn hold([wait, go, tell]: [RawFd; 3], nofile: Rlimit) -> io::Result<()> {
    // SAFETY: these are the child's own copies. The parent's end is closed here, so that `wait` ends with the parent.
    let (wait, tell) = unsafe {
        rustix::io::close(go);
        (BorrowedFd::borrow_raw(wait), BorrowedFd::borrow_raw(tell))
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?;
    setrlimit(Resource::Nofile, nofile)?;
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    rustix::io::write(tell, &pid.to_ne_bytes())?;
    let mut byte = [0];
    loop {
        match rustix::io::read(wait, &mut byte) {
            Ok(1) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            // leaktrace could not trace, or is gone.
            _ => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

/// Starts the child and says what becomes of it.
fn watch(mut command: Command, pipes: (PipeReader, PipeWriter), changes: &UnboundedSender<Change>) {
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = changes.send(Change::NotRun(error));
            return;
        }
    };
    drop(pipes);
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else { return };
    loop {
        let change = match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::STOPPED) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal(), status.stopping_signal()) {
                (Some(code), _, _) => Change::Ended(Ending::Code(code)),
                (_, Some(signal), _) => Change::Ended(Ending::Signal(signal)),
                (_, _, Some(signal)) => Change::Stopped(signal),
                _ => continue,
            },
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                log::warn!("the program cannot be waited for: {error}");
                return;
            }
        };
        let has_ended = matches!(change, Change::Ended(_));
        if changes.send(change).is_err() || has_ended {
            return;
        }
    }
}

/// The limit of open files as it is now.
pub(super) fn file_limit() -> Rlimit {
    getrlimit(Resource::Nofile)
}
