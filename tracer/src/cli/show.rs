//! What becomes of a Snapshot: it is shown in the dashboard or reported, and recorded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    output::Output,
    recording::Recording,
    tracing::{SharedSnapshot, Tracing},
};
use crate::{
    aggregate::Snapshot,
    report::{Suppressions, untrusted::displayable},
    tui::{self, App, Terminal},
};

/// Time between Snapshots in the dashboard.
pub(super) const DASHBOARD_INTERVAL: Duration = Duration::from_secs(1);

/// What is shown while tracing.
pub(super) enum View {
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
pub(super) struct Shown<'a> {
    pub(super) view: &'a mut View,
    pub(super) output: &'a mut Output,
    pub(super) recording: &'a mut Option<Recording>,
    /// Applied to what is recorded: where leaktrace is killed, no last report does it.
    pub(super) suppressions: &'a Suppressions,
}

/// Why something is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    First,
    Interval,
    /// Stacks have got their names; the numbers stay.
    Named,
}

pub(super) fn show(tracing: &mut Tracing, shown: &mut Shown<'_>, moment: Moment) -> anyhow::Result<()> {
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
