//! Follows the targets until something ends it: events, windows, the user and the targets' ends, as they come.

use std::{
    ops::ControlFlow,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::unix::AsyncFd,
    time::{MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    LiveArguments,
    alerts::Alerts,
    export::export,
    interrupts::Interrupts,
    launch::{self, Change, Launched},
    metrics,
    progress::Naming,
    show::{DASHBOARD_INTERVAL, Moment, Shown, View, show},
    tracing::{JUDGING, Tracing, WINDOW},
};
use crate::{
    aggregate::TargetState,
    metrics::Publisher,
    report::Suppressions,
    tui::{Flow, Input},
};

/// How often the ring buffer is drained and the symbolizer's answers are taken. New sites come at most once each, so
/// the buffer holds far more than can come in this time. What cannot wait for it wakes us.
const DRAIN: Duration = Duration::from_millis(10);
/// Time between pictures of the dashboard for which stacks have got names: a picture of many sites takes longer than a name.
const NAMED: Duration = Duration::from_millis(100);

/// What is waited for.
pub(super) struct Sources<'a> {
    /// Readable when a target is gone.
    pub(super) gone: AsyncFd<OwnedFd>,
    /// Readable when the tables want a look at a target's mappings.
    pub(super) woken: AsyncFd<OwnedFd>,
    pub(super) interrupts: Interrupts,
    /// The program that was started, when one was.
    pub(super) launched: &'a mut Option<Launched>,
    pub(super) watch: Watch,
}

/// What is done with every window besides showing it.
pub(super) struct Watch {
    pub(super) suppressions: Suppressions,
    pub(super) alerts: Option<Alerts>,
    pub(super) publisher: Option<Publisher>,
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
pub(super) async fn follow(
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
