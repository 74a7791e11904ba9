//! A live run: probes on, Snapshots at an interval, until the target or the user ends it.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    os::fd::OwnedFd,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    Format, LiveArguments,
    alerts::{self, Alerts},
    export::export,
    launch::{self, Change, Launched},
    metrics,
    output::Output,
    prepare::prepare,
    privileges,
    progress::{Left, Naming, Progress, Screen},
    raise_file_limit,
    recording::{RecordFile, Recording},
    source::source_line,
    tracing::{JUDGING, Tracing, WINDOW},
};
use crate::{
    aggregate::{Ending, Snapshot, TargetState},
    metrics::Publisher,
    report::{ReportOptions, Suppressions, untrusted::displayable},
    tui::{self, App, AppOptions, Flow, Input, Terminal},
};

/// How often the ring buffer is drained and the symbolizer's answers are taken. New sites come at most once each, so
/// the buffer holds far more than can come in this time. What cannot wait for it wakes us.
const DRAIN: Duration = Duration::from_millis(10);
/// Percent of the target's CPU time that the dashboard may cost it.
const DASHBOARD_OVERHEAD: f64 = 10.0;
/// Time between Snapshots in the dashboard.
const DASHBOARD_INTERVAL: Duration = Duration::from_secs(1);
/// Time between pictures of the dashboard for which stacks have got names: a picture of many sites takes longer than a name.
const NAMED: Duration = Duration::from_millis(100);
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
        /// When the last one was written.
        last: Instant,
    },
}

/// What becomes of the Snapshots.
struct Shown<'a> {
    view: &'a mut View,
    output: &'a mut Output,
    recording: &'a mut Option<Recording>,
    /// Applied to what is recorded: where leaktrace is killed, no last report does it.
    suppressions: &'a Suppressions,
}

/// The signals that ask leaktrace to come to an end.
pub(super) struct Interrupts([Signal; 3]);

impl Interrupts {
    pub(super) fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    pub(super) async fn next(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal;
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
        }
    }
}

/// Traces the processes of the arguments.
pub(super) fn run(arguments: &LiveArguments, verbose: u8) -> anyhow::Result<ExitCode> {
    let options =
        ReportOptions { top: arguments.top, sort: arguments.sort.unwrap_or_default(), min_age: arguments.min_age };
    let output = Output::open(arguments.output.as_deref(), arguments.format.unwrap_or(Format::Text), options)?
        .beside_program(!arguments.program.is_empty())
        .measuring(arguments.by.unwrap_or_default());
    output.check_terminal()?;
    let suppressions =
        arguments.suppressions.as_deref().map(alerts::read_suppressions).transpose()?.unwrap_or_default();
    let metrics = arguments.metrics.map(metrics::listen).transpose()?;
    let record = arguments.record.as_deref().map(|path| RecordFile::create(path, arguments.overwrite)).transpose()?;
    let start = || Launched::start(&arguments.program, launch::file_limit());
    let launched = (!arguments.program.is_empty()).then(start).transpose()?;
    raise_file_limit();
    // Before there are other threads of ours.
    privileges::give_up(launched.is_some());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let publisher = metrics.map(metrics::serve).transpose()?;
    let watched = Watched { suppressions, record, publisher };
    match runtime.block_on(trace(arguments, launched, output, watched, verbose)) {
        Err(error) if error.is::<Left>() => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

/// What is done with what was seen besides showing it.
struct Watched {
    suppressions: Suppressions,
    record: Option<RecordFile>,
    publisher: Option<Publisher>,
}

async fn trace(
    arguments: &LiveArguments,
    mut launched: Option<Launched>,
    mut output: Output,
    Watched { suppressions, record, publisher }: Watched,
    verbose: u8,
) -> anyhow::Result<ExitCode> {
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let asks_for_dashboard = arguments.format.is_none() && arguments.output.is_none() && !arguments.only_record;
    let dashboard = asks_for_dashboard && on_terminal && launched.is_none();
    let options = AppOptions {
        sort: arguments.sort,
        min_age: arguments.min_age,
        source: Some(source_line),
        color: tui::color_from_env(),
        braille: tui::braille_from_env(),
    };
    let mut progress = Progress::new(dashboard.then_some(options));
    // What would end us must not leave a terminal behind that is taken over.
    let early = dashboard.then(Interrupts::listen).transpose()?;
    let limit = overhead_limit(arguments, dashboard);
    let started = launched.as_ref().map(Launched::pid);
    let prepared = prepare(arguments, started, limit.is_some(), verbose, &mut progress)?;
    // Before anyone is told that tracing has begun: from then on an interrupt asks for the report.
    let interrupts = early.map_or_else(Interrupts::listen, Ok)?;
    let mut summary = match &launched {
        Some(launched) => format!("tracing {} from its beginning", launched.program().to_string_lossy()),
        None => prepared.summary.clone(),
    };
    let mut tracing = Tracing::new(prepared)?;
    if launched.is_some() {
        tracing.aggregator.begins_with_nothing();
    }
    if arguments.follow_forks {
        let children = tracing.follow_children()?;
        summary.push_str(&format!("; following children, {children} so far"));
    }
    if let Some(limit) = limit
        && tracing.limit_overhead(limit / 100.0, arguments.sample)
    {
        summary.push_str(&format!("; it costs the target {limit} % of its CPU time at most"));
    }
    // SAFETY: an owned descriptor, which stays open and the same for as long as it is registered.
    let gone = unsafe { AsyncFd::register_with_interest(tracing.exits()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;
    // SAFETY: as above.
    let woken = unsafe { AsyncFd::register_with_interest(tracing.wakeups()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;

    let mut recording = record.map(Recording::start).transpose()?;
    let mut view = if let Some(Screen { terminal, app, events }) = progress.end() {
        View::Dashboard { terminal, app, events }
    } else {
        eprintln!("leaktrace: {}", displayable(&summary));
        if let Some(recording) = &recording {
            eprintln!("leaktrace: recording to {}", displayable(&recording.path().to_string_lossy()));
        }
        View::Reports { every: reports_every(arguments), last: Instant::now() }
    };
    let alerts = arguments.on_alert.as_deref().map(|command| Alerts::new(command, &arguments.fail_on));
    let watch = Watch { suppressions: suppressions.clone(), alerts, publisher };
    let sources = Sources { gone, woken, interrupts, launched: &mut launched, watch };
    let shown = Shown { view: &mut view, output: &mut output, recording: &mut recording, suppressions: &suppressions };
    let state = follow(&mut tracing, shown, sources, arguments).await?;
    drop(view);
    let mut ending = None;
    if let Some(launched) = &mut launched
        && state == TargetState::Exited
    {
        let how = launched.ending().await?;
        tracing.ended_with(how);
        ending = Some(how);
    }
    // Nobody reads the names of what is neither written nor compared with rules.
    let is_read = !dashboard || recording.is_some() || !arguments.fail_on.is_empty();
    let (mut last, history) = tracing.finish(state, is_read).await?;
    suppressions.apply(&mut last);
    let last = Arc::new(last);
    let broken = alerts::check(&arguments.fail_on, &last);
    if !dashboard && (!arguments.only_record || arguments.format.is_some()) {
        output.write(&last, Some(&history))?;
    }
    let recorded = recording.map_or(Ok(()), |recording| recording.finish(Arc::clone(&last)));
    if let Some(launched) = &mut launched
        && ending.is_none()
    {
        eprintln!("leaktrace: the program goes on, untraced");
        ending = Some(launched.ending().await?);
    }
    let broken = alerts::exit_code(&broken, &last);
    // The exit code is the rules', or the program's, whatever became of the recording.
    match recorded {
        Err(error) if ending.is_some() || broken.is_some() => {
            eprintln!("leaktrace: error: {}", displayable(&format!("{error:#}")));
        }
        recorded => recorded?,
    }
    Ok(broken.or(ending.map(exit_code)).unwrap_or(ExitCode::SUCCESS))
}

/// Percent of the targets' CPU time that tracing memory may take.
fn overhead_limit(arguments: &LiveArguments, dashboard: bool) -> Option<f64> {
    let default = dashboard.then_some(DASHBOARD_OVERHEAD);
    arguments
        .max_overhead
        .or(default)
        .filter(|limit| arguments.traces_heap() && !arguments.empty_probes && *limit < 100.0)
}

/// What leaktrace ends with after a program that it started: the same, or as a shell says that a signal ended it.
fn exit_code(ending: Ending) -> ExitCode {
    ExitCode::from(match ending {
        Ending::Code(code) => code as u8,
        Ending::Signal(signal) => 128_u8.wrapping_add(signal as u8),
    })
}

/// When reports come before the last one.
fn reports_every(arguments: &LiveArguments) -> Option<Duration> {
    let is_final = arguments.format.is_some_and(Format::is_final);
    if !arguments.program.is_empty() {
        return arguments.interval.filter(|_| !is_final || arguments.format == Some(Format::Json));
    }
    if arguments.output.is_some() || is_final || arguments.only_record {
        return None;
    }
    arguments.interval.or(if arguments.duration.is_some() { None } else { Some(TEXT_INTERVAL) })
}

/// What is waited for.
struct Sources<'a> {
    /// Readable when a target is gone.
    gone: AsyncFd<OwnedFd>,
    /// Readable when the tables want a look at a target's mappings.
    woken: AsyncFd<OwnedFd>,
    interrupts: Interrupts,
    /// The program that was started, when one was.
    launched: &'a mut Option<Launched>,
    watch: Watch,
}

/// What is done with every window besides showing it.
struct Watch {
    suppressions: Suppressions,
    alerts: Option<Alerts>,
    publisher: Option<Publisher>,
}

impl Watch {
    fn look(&mut self, tracing: &mut Tracing) -> anyhow::Result<()> {
        let view = tracing.observe(JUDGING)?;
        if self.alerts.is_none() && self.publisher.is_none() {
            return Ok(());
        }
        let view = Arc::new(tracing.annotated(view));
        if let Some(alerts) = &mut self.alerts {
            // Suppressions go by names.
            if alerts.may_be_due(&view) {
                let mut named = Arc::unwrap_or_clone(tracing.name_all(&view));
                self.suppressions.apply(&mut named);
                alerts.check(&named);
            }
        }
        if let Some(publisher) = &self.publisher {
            let mut view = Arc::unwrap_or_clone(view);
            self.suppressions.apply(&mut view);
            metrics::publish(publisher, tracing, view);
        }
        Ok(())
    }
}

/// Goes on until something ends it, and says what the targets' state is then.
async fn follow(
    tracing: &mut Tracing,
    mut shown: Shown<'_>,
    Sources { gone, woken, mut interrupts, launched, mut watch }: Sources<'_>,
    arguments: &LiveArguments,
) -> anyhow::Result<TargetState> {
    let begun = Instant::now();
    let every = match shown.view {
        View::Reports { every: Some(every), .. } if shown.recording.is_none() => *every,
        _ => arguments.interval.unwrap_or(DASHBOARD_INTERVAL),
    };
    let mut drain = interval_at(tokio::time::Instant::now(), DRAIN);
    drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut snapshots = interval_at(tokio::time::Instant::now() + every, every);
    snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut windows = interval_at(tokio::time::Instant::now() + WINDOW, WINDOW);
    windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = arguments.duration.map(|duration| tokio::time::Instant::from_std(begun + duration));
    let mut exited = false;
    let mut interrupted = false;
    let mut naming = Naming::default();
    // Names have come that are not shown yet, and when some were shown.
    let (mut unnamed, mut named) = (false, begun);

    // The first picture comes at once.
    show(tracing, &mut shown, Moment::First)?;
    if watch.publisher.is_some() {
        watch.look(tracing)?;
    }
    if let Some(launched) = launched {
        launched.release()?;
    }
    loop {
        tokio::select! {
            _ = drain.tick() => {
                let provoked = arguments.provoke_panic.is_some_and(|after| begun.elapsed() >= after);
                assert!(!provoked, "provoked by --provoke-panic");
                unnamed |= tracing.drain()?;
                if unnamed && named.elapsed() >= NAMED && matches!(shown.view, View::Dashboard { .. }) {
                    show(tracing, &mut shown, Moment::Named)?;
                    (unnamed, named) = (false, Instant::now());
                }
                if let View::Dashboard { terminal, app, .. } = shown.view
                    && let Some(words) = naming.news(tracing.symbolizer.backlog(), Instant::now())
                {
                    app.progress(words);
                    terminal.draw(app)?;
                }
            }
            ready = woken.readable(), if tracing.may_follow() => {
                // Before the ring is read: what comes while it is read makes it readable again.
                ready.context("waiting for events")?.clear_ready();
                tracing.take_events()?;
            }
            _ = windows.tick(), if !exited => watch.look(tracing)?,
            _ = snapshots.tick() => show(tracing, &mut shown, Moment::Interval)?,
            ready = gone.readable(), if !exited => {
                // Before it is asked who it is: whoever ends meanwhile makes it readable again.
                ready.context("waiting for the targets")?.clear_ready();
                exited = tracing.take_ended()?;
                if exited {
                    if let ControlFlow::Break(state) = on_exit(tracing, shown.view)? {
                        return Ok(state);
                    }
                    // The dashboard stays, and so do the metrics, which say that the targets are gone.
                    watch.look(tracing)?;
                }
            }
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => {
                return Ok(if exited { TargetState::Exited } else { TargetState::Detached });
            }
            signal = interrupts.next() => {
                match launched {
                    // The program is asked to end, and its end is waited for. The terminal asks it by itself.
                    Some(launched) if !interrupted && !exited => {
                        interrupted = true;
                        if signal != rustix::process::Signal::INT {
                            launched.signal(signal);
                        }
                    }
                    _ => return Ok(ended_by_user(exited)),
                }
            }
            change = next_change(launched) => on_change(tracing, launched, change)?,
            input = next_input(shown.view) => {
                if let ControlFlow::Break(()) = on_input(tracing, shown.view, input)? {
                    return Ok(ended_by_user(exited));
                }
            }
        }
    }
}

async fn next_change(launched: &mut Option<Launched>) -> Change {
    match launched {
        Some(launched) => launched.next().await,
        None => std::future::pending().await,
    }
}

/// The program that was started has been stopped, or has ended, or never was.
fn on_change(tracing: &mut Tracing, launched: &Option<Launched>, change: Change) -> anyhow::Result<()> {
    let Some(launched) = launched else { return Ok(()) };
    match change {
        Change::NotRun(error) => bail!(launch::not_run(launched.program(), &error)),
        Change::Stopped(_) => {
            // Whoever else stopped it continues it.
            if tracing.take_stop(launched.pid())? {
                launched.go_on()?;
            }
            Ok(())
        }
        // Its end is noticed as that of any target.
        Change::Ended(_) => Ok(()),
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
        Some(Ok(Input::Key(key))) => match app.on_key(key) {
            Flow::Quit => return Ok(ControlFlow::Break(())),
            Flow::Copy(text) => terminal.copy(&text)?,
            Flow::Export(what) => {
                if let Some(shown) = app.shown() {
                    let named = tracing.name_all(&shown);
                    app.status(export(&named, Some(tracing.history()), what));
                }
            }
            Flow::Continue | Flow::Seek(_) => {}
        },
        Some(Ok(Input::Mouse(mouse))) => app.on_mouse(mouse),
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

fn show(tracing: &mut Tracing, shown: &mut Shown<'_>, moment: Moment) -> anyhow::Result<()> {
    let Shown { view, output, recording, suppressions } = shown;
    match view {
        View::Dashboard { terminal, app, .. } => {
            let snapshot = if moment == Moment::Named { tracing.renamed()? } else { tracing.snapshot()? };
            if moment != Moment::Named
                && let Some(trouble) = record(tracing, recording, suppressions, &snapshot)
            {
                app.status(trouble);
            }
            app.update(snapshot);
            terminal.draw(app)?;
            tracing.want(&app.visible_sites());
        }
        View::Reports { every, last } => {
            // Reports without an interval come at the end; until then only the survey goes on.
            if moment == Moment::Interval || recording.is_some() {
                let snapshot = tracing.snapshot()?;
                if let Some(trouble) = record(tracing, recording, suppressions, &snapshot) {
                    eprintln!("leaktrace: {}", displayable(&trouble));
                }
                // With a recording the windows come more often than the reports. A little too early is in time.
                let is_due = |every: &Duration| recording.is_none() || last.elapsed() + DASHBOARD_INTERVAL / 2 > *every;
                if moment == Moment::Interval && every.as_ref().is_some_and(is_due) {
                    *last = Instant::now();
                    let named = tracing.name_all(&snapshot);
                    output.write(&named, None)?;
                }
            }
        }
    }
    Ok(())
}

/// Records a Snapshot, if anything is recorded. Returns what there is to say about it.
fn record(
    tracing: &mut Tracing,
    recording: &mut Option<Recording>,
    suppressions: &Suppressions,
    snapshot: &SharedSnapshot,
) -> Option<String> {
    let recording = recording.as_mut()?;
    // What gets its name by the next window has it in this one, too.
    tracing.want_all(snapshot);
    if suppressions.is_empty() {
        return recording.take(Arc::clone(snapshot));
    }
    let mut snapshot = Snapshot::clone(snapshot);
    suppressions.apply(&mut snapshot);
    recording.take(Arc::new(snapshot))
}

/// Keeps the Arc's type in one place.
pub(super) type SharedSnapshot = Arc<Snapshot>;
