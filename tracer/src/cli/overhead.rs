//! Keeps to a budget: does what [`Budget`] decides.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::{
    budget::{Budget, Step, THINNED, Work},
    tracing::Tracing,
};
use crate::{
    aggregate::{Duty, work},
    bpf::Session,
    event::{EventSource as _, Reading},
};

/// A budget, and what was spent.
#[derive(Debug)]
pub(super) struct Keeping {
    budget: Budget,
    work: Work,
    /// The hits that it is of.
    hits: Vec<u64>,
}

impl Keeping {
    /// Begins, with nothing tracked. `None` where the kernel cannot take probes out quickly.
    pub(super) fn start(session: &mut Session, limit: f64, sampled: bool) -> Option<Self> {
        if !session.may_rest() {
            return None;
        }
        session.pause();
        let budget = Budget::new(limit, sampled, Instant::now(), fastrand::Rng::new());
        Some(Self { budget, work: Work::default(), hits: Vec::new() })
    }

    /// Adds what was done since the last time. `None` while it is not known what a hit costs.
    fn add_work(&mut self, reading: &Reading, session: &Session) -> Option<Work> {
        let (probes, idle) = (&reading.probes, session.idle_costs()?);
        let spent = work::spent(probes, &self.hits, |_, probe| probe.cost)?;
        let if_idle = work::spent(probes, &self.hits, |index, _| idle.get(index).copied())?;
        self.work.probes += spent.as_secs_f64();
        self.work.idle += if_idle.as_secs_f64();
        self.hits = work::hits(probes);
        self.work.cpu = reading.cpu?.as_secs_f64();
        Some(self.work)
    }
}

impl Tracing {
    /// Tracks as much as the budget has room for. To be called often.
    pub(super) fn keep_budget(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let Some(mut keeping) = self.keeping.take_if(|keeping| keeping.budget.is_due(now)) else { return Ok(()) };
        let reading = self.read_now()?;
        let work = keeping.add_work(&reading, &self.session);
        let step = keeping.budget.step(now, work);
        if step != Step::Wait {
            log::debug!("{step:?}, after {work:.3?}");
        }
        match step {
            Step::Wait => {}
            Step::Track | Step::GiveUp => self.session.go_on(),
            Step::Thin => self.session.thin_to(THINNED),
            Step::Rest { longer, duty } => self.rest(longer, duty)?,
            Step::Resume => {
                self.session.resume();
                keeping.budget.resumed(Instant::now());
            }
        }
        if step == Step::GiveUp {
            log::warn!("what the probes cost cannot be measured here: --max-overhead has no effect");
        } else {
            self.keeping = Some(keeping);
        }
        Ok(())
    }

    /// The window is over; with another share of the time, all begins anew.
    fn rest(&mut self, longer: Duration, duty: Option<Duty>) -> anyhow::Result<()> {
        self.session.rest();
        // Sites that are new are announced by now.
        self.take_events()?;
        let reading = self.read_now()?;
        let session = &self.session;
        self.aggregator.close_window(longer, &reading, |site| session.deaths(site));
        let Some(duty) = duty else { return Ok(()) };
        self.session.forget_blocks()?;
        let after = self.read_now()?;
        let session = &self.session;
        self.aggregator.begin_windows(duty, &reading, &after, |site| session.deaths(site));
        Ok(())
    }

    fn read_now(&mut self) -> anyhow::Result<Reading> {
        let mut reading = Reading::default();
        self.session.read(self.aggregator.site_ids(), &mut reading)?;
        reading.cpu = Some(self.cpu_time());
        Ok(reading)
    }
}

/// Why a limit that was asked for cannot be kept.
pub(super) fn no_budget() -> anyhow::Result<()> {
    bail!(
        "--max-overhead needs probes that come and go quickly (uprobe_multi links, Linux 6.10 or newer), and this kernel \
         has none: use --sample 64 to trace at less cost, or leave it out"
    )
}
