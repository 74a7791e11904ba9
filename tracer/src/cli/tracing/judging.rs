//! What the analysis is told: windows, ages, and the surveys that find them.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::Tracing;
use crate::{
    aggregate::{SiteMap, Snapshot, Tgid},
    analyze::{
        Observed,
        history::History,
        survival::{Lifetimes, Weighs},
    },
    bpf::Surveyor,
    event::{EventSource as _, Survey},
};

/// Share of one core that surveys may take: they rest this many times as long as they took.
const REST: u32 = 50;
/// Surveys come no more often than this.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);

impl Tracing {
    pub(super) fn take_survey(&mut self, survey: Survey) {
        let Survey { oldest_born_ns, weights, weighs, blocks: _, time_ns, ages, sizes } = survey;
        self.aggregator.apply_survey(oldest_born_ns, weights);
        let looked_at = self.since_attach(time_ns);
        let windows = self.aggregator.windows();
        let lifetimes = ages.into_iter().map(|(site, (live, freed))| {
            let weighs = weighs.get(&site).copied().unwrap_or_default();
            let (live, freed, weighs) = match windows {
                Some(windows) => windows.lifetimes(site, &live, weighs),
                None => (live, freed, weighs),
            };
            (site, Lifetimes { freed, live, looked_at, weighs })
        });
        self.analyst.take_heap_lifetimes(lifetimes.collect(), sizes);
    }

    fn since_attach(&self, time_ns: u64) -> Duration {
        Duration::from_nanos(time_ns.saturating_sub(self.aggregator.started_ns()))
    }

    /// The ages of ranges and descriptors.
    fn other_lifetimes(&mut self) -> SiteMap<Lifetimes> {
        let now_ns = self.session.now_ns();
        let looked_at = self.since_attach(now_ns);
        let ranges = self.aggregator.ranges().ages(now_ns);
        let fds = self.aggregator.fd_ages().into_iter().map(|(site, live)| (site, (live, self.session.deaths(site))));
        ranges
            .into_iter()
            .chain(fds)
            .map(|(site, (live, freed))| (site, Lifetimes { freed, live, looked_at, weighs: Weighs::default() }))
            .collect()
    }

    /// Looks at everything for the analysis, and judges for no longer than `budget`. Returns what was seen.
    pub(in crate::cli) fn observe(&mut self, budget: Duration) -> anyhow::Result<Snapshot> {
        let (view, observed) = self.look()?;
        self.analyst.observe(&view, observed, budget);
        Ok(view)
    }

    /// Looks for the last time, and judges all sites.
    pub(super) fn conclude(&mut self) -> anyhow::Result<()> {
        let (view, observed) = self.look()?;
        self.analyst.conclude(&view, observed);
        Ok(())
    }

    /// What the analysis is told.
    fn look(&mut self) -> anyhow::Result<(Snapshot, BTreeMap<Tgid, Observed>)> {
        self.drain()?;
        self.session.read(self.aggregator.site_ids(), &mut self.reading)?;
        self.read_resident();
        self.reading.cpu = Some(self.cpu_time());
        let view = self.aggregator.view(&self.reading, self.state.clone());
        let mut observed = self.watches.observe(self.processes.values());
        for (tgid, observed) in &mut observed {
            let unknown = self.session.image(tgid.0).map(|image| image.unknown_frees.into());
            // Of blocks that were allocated while none were tracked, most of them: they say nothing.
            observed.reading.unknown_frees = if self.aggregator.windows().is_some() { Some(0) } else { unknown };
        }
        let lifetimes = self.other_lifetimes();
        let sizes = self.aggregator.ranges().sizes();
        self.analyst.take_other_lifetimes(lifetimes, sizes);
        Ok((view, observed))
    }

    /// What was seen so far.
    pub(in crate::cli) fn history(&self) -> &History {
        self.analyst.history()
    }

    /// What a window showed, with what was found.
    pub(in crate::cli) fn annotated(&self, mut view: Snapshot) -> Snapshot {
        self.analyst.annotate(&mut view);
        view
    }
}

/// Surveys on a thread of their own, at most one of them waiting to be taken.
pub(super) fn start_surveys(surveyor: Surveyor, stopped: Receiver<()>) -> anyhow::Result<Receiver<Survey>> {
    let (send, receive) = sync_channel(1);
    let work = move || {
        loop {
            let begun = Instant::now();
            match surveyor.survey() {
                Ok(survey) => {
                    let _ = send.try_send(survey);
                }
                Err(error) => {
                    log::warn!("ages are not known: {error}");
                    return;
                }
            }
            let rest = SURVEY_INTERVAL.max(begun.elapsed() * REST);
            if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("survey".into()).spawn(work).context("cannot start a thread")?;
    Ok(receive)
}
