//! A live run: probes on, Snapshots at an interval, until the target or the user ends it.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval_at, sleep_until},
};

use super::{Format, LiveArguments, output::Output, prepare::prepare, privileges, tracing::Tracing};
use crate::{
    aggregate::TargetState,
    report::{ReportOptions, untrusted::displayable},
    tui::{self, App, AppOptions, Flow, Input, Terminal},
};

/// How often the ring buffer is drained and the symbolizer's answers are taken. New sites come at most once each, so
/// the buffer holds far more than can come in this time. What cannot wait for it wakes us.
const DRAIN: Duration = Duration::from_millis(10);
/// Time between Snapshots in the dashboard.
const DASHBOARD_INTERVAL: Duration = Duration::from_secs(1);
/// Time between text reports when nothing says how long.
const TEXT_INTERVAL: Duration = Duration::from_secs(10);

/// What is shown while tracing.
enum View {
    Dashboard {
        terminal: Terminal,
        app: Box<App>,
        events: tui::Events,
    },
    /// Reports, at an interval or only at the end.
    Reports {
        every: Option<Duration>,
    },
}

/// The signals that ask leaktrace to come to an end.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Traces the processes of the arguments.
pub(super) fn run(arguments: &LiveArguments, verbose: u8) -> anyhow::Result<()> {
    let options = ReportOptions { top: arguments.top, sort: arguments.sort, min_age: arguments.min_age };
    let output = Output::open(arguments.output.as_deref(), arguments.format.unwrap_or(Format::Text), options)?;
    // Before there are other threads.
    privileges::give_up();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(trace(arguments, output, verbose))
}

async fn trace(arguments: &LiveArguments, mut output: Output, verbose: u8) -> anyhow::Result<()> {
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let dashboard = arguments.format.is_none() && arguments.output.is_none() && on_terminal;
    let prepared = prepare(arguments, verbose)?;
    // Before anyone is told that tracing has begun: from then on an interrupt asks for the report.
    let interrupts = Interrupts::listen()?;
    let mut summary = prepared.summary.clone();
    let mut tracing = Tracing::new(prepared, arguments.traces_heap())?;
    if arguments.follow_forks {
        let children = tracing.follow_children()?;
        summary.push_str(&format!("; following children, {children} so far"));
    }
    // SAFETY: an owned descriptor, which stays open and the same for as long as it is registered.
    let gone = unsafe { AsyncFd::register_with_interest(tracing.exits()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;
    // SAFETY: as above.
    let woken = unsafe { AsyncFd::register_with_interest(tracing.wakeups()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;

    let mut view = if dashboard {
        let terminal = Terminal::enter().context("cannot use the terminal; try --format text")?;
        let app =
            App::new(AppOptions { sort: arguments.sort, min_age: arguments.min_age, color: tui::color_from_env() });
        View::Dashboard { terminal, app: Box::new(app), events: tui::events()? }
    } else {
        eprintln!("leaktrace: {}", displayable(&summary));
        View::Reports { every: reports_every(arguments) }
    };
    let state =
        follow(&mut tracing, &mut view, &mut output, Descriptors { gone, woken }, interrupts, arguments).await?;
    drop(view);
    let last = tracing.finish(state).await?;
    if !dashboard {
        output.write(&last)?;
    }
    Ok(())
}

/// When reports come before the last one.
fn reports_every(arguments: &LiveArguments) -> Option<Duration> {
    if arguments.output.is_some() || arguments.format == Some(Format::Json) {
        return None;
    }
    arguments.interval.or(if arguments.duration.is_some() { None } else { Some(TEXT_INTERVAL) })
}

/// What is waited for.
struct Descriptors {
    /// Readable when a target is gone.
    gone: AsyncFd<OwnedFd>,
    /// Readable when the tables want a look at a target's mappings.
    woken: AsyncFd<OwnedFd>,
}

/// Goes on until something ends it, and says what the targets' state is then.
async fn follow(
    tracing: &mut Tracing,
    view: &mut View,
    output: &mut Output,
    Descriptors { gone, woken }: Descriptors,
    mut interrupts: Interrupts,
    arguments: &LiveArguments,
) -> anyhow::Result<TargetState> {
    let begun = Instant::now();
    let every = match view {
        View::Dashboard { .. } => arguments.interval.unwrap_or(DASHBOARD_INTERVAL),
        View::Reports { every } => every.unwrap_or(DASHBOARD_INTERVAL),
    };
    let mut drain = interval_at(tokio::time::Instant::now(), DRAIN);
    drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut snapshots = interval_at(tokio::time::Instant::now() + every, every);
    snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = arguments.duration.map(|duration| tokio::time::Instant::from_std(begun + duration));
    let mut exited = false;

    // The first picture comes at once.
    show(tracing, view, output, Moment::First)?;
    loop {
        tokio::select! {
            _ = drain.tick() => {
                if tracing.drain()? && matches!(view, View::Dashboard { .. }) {
                    show(tracing, view, output, Moment::Named)?;
                }
            }
            ready = woken.readable(), if tracing.may_follow() => {
                // Before the ring is read: what comes while it is read makes it readable again.
                ready.context("waiting for events")?.clear_ready();
                tracing.take_events()?;
            }
            _ = snapshots.tick() => show(tracing, view, output, Moment::Interval)?,
            ready = gone.readable(), if !exited => {
                // Before it is asked who it is: whoever ends meanwhile makes it readable again.
                ready.context("waiting for the targets")?.clear_ready();
                exited = tracing.take_ended()?;
                if exited && let ControlFlow::Break(state) = on_exit(tracing, view)? {
                    return Ok(state);
                }
            }
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => {
                return Ok(if exited { TargetState::Exited } else { TargetState::Detached });
            }
            () = interrupts.next() => return Ok(ended_by_user(exited)),
            input = next_input(view) => {
                if let ControlFlow::Break(()) = on_input(tracing, view, input)? {
                    return Ok(ended_by_user(exited));
                }
            }
        }
    }
}

fn ended_by_user(exited: bool) -> TargetState {
    if exited { TargetState::Exited } else { TargetState::Detached }
}

/// The targets are gone. Reports end with them; the dashboard stays for as long as the user looks at it.
fn on_exit(tracing: &mut Tracing, view: &mut View) -> anyhow::Result<ControlFlow<TargetState>> {
    match view {
        View::Reports { .. } => Ok(ControlFlow::Break(TargetState::Exited)),
        View::Dashboard { terminal, app, .. } => {
            tracing.target_exited()?;
            app.update(tracing.snapshot()?);
            terminal.draw(app)?;
            Ok(ControlFlow::Continue(()))
        }
    }
}

async fn next_input(view: &mut View) -> Option<std::io::Result<Input>> {
    match view {
        View::Dashboard { events, .. } => events.next().await,
        View::Reports { .. } => std::future::pending().await,
    }
}

fn on_input(
    tracing: &mut Tracing,
    view: &mut View,
    input: Option<std::io::Result<Input>>,
) -> anyhow::Result<ControlFlow<()>> {
    let View::Dashboard { terminal, app, .. } = view else { return Ok(ControlFlow::Continue(())) };
    match input {
        Some(Ok(Input::Key(key))) => {
            if app.on_key(key) == Flow::Quit {
                return Ok(ControlFlow::Break(()));
            }
        }
        Some(Ok(Input::Resize)) => {}
        Some(Err(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            return Err(error).context("reading the terminal");
        }
        // The terminal is gone.
        Some(Err(_)) | None => return Ok(ControlFlow::Break(())),
    }
    terminal.draw(app)?;
    tracing.want(&app.visible_sites());
    Ok(ControlFlow::Continue(()))
}

/// Why something is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    First,
    Interval,
    /// Stacks have got their names; the numbers stay.
    Named,
}

fn show(tracing: &mut Tracing, view: &mut View, output: &mut Output, moment: Moment) -> anyhow::Result<()> {
    match view {
        View::Dashboard { terminal, app, .. } => {
            let snapshot = if moment == Moment::Named { tracing.renamed()? } else { tracing.snapshot()? };
            app.update(snapshot);
            terminal.draw(app)?;
            tracing.want(&app.visible_sites());
        }
        View::Reports { every } => {
            // Reports without an interval come at the end; until then only the survey goes on.
            if moment == Moment::Interval {
                let snapshot = tracing.snapshot()?;
                if every.is_some() {
                    let named = tracing.name_all(&snapshot);
                    output.write(&named)?;
                }
            }
        }
    }
    Ok(())
}

/// Keeps the Arc's type in one place.
pub(super) type SharedSnapshot = Arc<crate::aggregate::Snapshot>;
