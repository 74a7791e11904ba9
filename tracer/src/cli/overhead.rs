//! Keeps to a budget: does what [`Budget`] decides.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use tracer_common::config::FAULT_PERIOD;

use super::{
    budget::{Budget, Step, THINNED, Work},
    calls::CallKeeping,
    limits::MOST_FOR_CALLS,
    tracing::Tracing,
};
use crate::{
    aggregate::{Duty, Mode, SampleRate, work},
    bpf::{BpfError, Session},
    event::{EventSource as _, Reading},
};

/// A budget, and what was spent.
#[derive(Debug)]
pub(super) struct Keeping {
    budget: Budget,
    /// All that tracing may cost.
    limit: f64,
    work: Work,
    /// The hits that it is of.
    hits: Vec<u64>,
    /// How many blocks are tracked where some are all the time.
    rate: SampleRate,
}

impl Keeping {
    /// Begins, with nothing tracked. `None` where the kernel cannot take probes out quickly.
    pub(super) fn start(session: &mut Session, limit: f64, rate: SampleRate) -> Option<Self> {
        if !session.may_rest() {
            return None;
        }
        session.pause();
        let budget = Budget::new(limit, !rate.is_all(), Instant::now(), fastrand::Rng::new());
        Some(Self { budget, limit, work: Work::default(), hits: Vec::new(), rate })
    }

    /// The way in which blocks are tracked all the time.
    fn all(&self) -> Mode {
        if self.rate.is_all() { Mode::All } else { Mode::Sampled(self.rate) }
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
        let for_calls = self.calls.as_ref().map_or(0.0, CallKeeping::cost);
        keeping.budget.limit_to(keeping.limit - for_calls.min(keeping.limit * MOST_FOR_CALLS));
        let step = keeping.budget.step(now, work);
        if step != Step::Wait {
            log::debug!("{step:?}, after {work:.3?}");
        }
        if step == Step::GiveUp {
            log::warn!("what the probes cost cannot be measured here: --max-overhead has no effect");
            self.session.go_on();
            return Ok(());
        }
        self.take_step(step, &mut keeping)?;
        self.keeping = Some(keeping);
        Ok(())
    }

    fn take_step(&mut self, step: Step, keeping: &mut Keeping) -> anyhow::Result<()> {
        match step {
            // Where tracking has begun anew, what was tracked counts from time to time.
            Step::Wait if keeping.budget.is_staying() && self.aggregator.windows().is_some() => {
                self.close_window(Duration::ZERO)?;
            }
            Step::Wait | Step::GiveUp => {}
            Step::Track => {
                self.session.go_on();
                self.enter(keeping.all());
            }
            Step::Thin => {
                self.session.thin_to(THINNED);
                keeping.rate = SampleRate::Blocks(THINNED);
                self.enter(keeping.all());
            }
            Step::Rest { longer, duty } => {
                self.session.rest();
                self.take_turns(longer, duty)?;
            }
            Step::Resume => {
                self.session.resume();
                keeping.budget.resumed(Instant::now());
            }
            Step::Grow => self.grow(keeping)?,
            Step::Look => {
                self.session.look();
                keeping.budget.resumed(Instant::now());
            }
            Step::Leave => self.session.rest(),
            Step::Back(duty) => self.go_back(duty, keeping)?,
        }
        Ok(())
    }

    fn enter(&mut self, mode: Mode) {
        self.aggregator.enter(mode, self.session.now_ns());
    }

    /// The window is over; with another share of the time, all begins anew.
    fn take_turns(&mut self, longer: Duration, duty: Option<Duty>) -> anyhow::Result<()> {
        self.close_window(longer)?;
        if let Some(duty) = duty {
            self.begin_windows(duty)?;
            self.enter(Mode::Windows(duty.share()));
        }
        Ok(())
    }

    /// Page faults instead of blocks.
    fn grow(&mut self, keeping: &mut Keeping) -> anyhow::Result<()> {
        self.session.rest();
        if let Err(error) = self.session.start_growth() {
            log::warn!("{error}; blocks are tracked for very little of the time instead");
            let (longer, duty) = keeping.budget.refuse_growth(Instant::now());
            return self.take_turns(longer, Some(duty));
        }
        let reading = self.close_window(keeping.budget.take_longer())?;
        self.aggregator.follow_faults(FAULT_PERIOD, &reading);
        self.aggregator.use_features(self.session.features().to_vec());
        self.begin_windows(Duty::ALWAYS)?;
        self.enter(Mode::PageFaults);
        self.read_resident();
        Ok(())
    }

    /// Blocks, for this share of the time, while the probes are there.
    fn go_back(&mut self, duty: Duty, keeping: &Keeping) -> anyhow::Result<()> {
        self.session.pause();
        if !duty.off.is_zero() {
            self.session.rest();
        }
        self.close_window(Duration::ZERO)?;
        let after = self.begin_windows(duty)?;
        if self.aggregator.follows_faults() {
            self.session.stop_growth();
            self.aggregator.follow_blocks(&after);
        }
        if duty.off.is_zero() {
            self.session.go_on();
            self.enter(keeping.all());
        } else {
            self.enter(Mode::Windows(duty.share()));
        }
        Ok(())
    }

    /// Lets what was tracked until now count, where there are windows. Returns what was counted.
    fn close_window(&mut self, longer: Duration) -> anyhow::Result<Reading> {
        // Sites that are new are announced by now.
        self.take_events()?;
        let reading = self.read_now()?;
        let session = &self.session;
        self.aggregator.close_window(longer, &reading, |site| session.deaths(site));
        Ok(reading)
    }

    /// Begins anew, while nothing is tracked. Returns what is counted then.
    fn begin_windows(&mut self, duty: Duty) -> anyhow::Result<Reading> {
        let before = self.read_now()?;
        self.session.forget_blocks()?;
        let after = self.read_now()?;
        let session = &self.session;
        self.aggregator.begin_windows(duty, &before, &after, |site| session.deaths(site));
        Ok(after)
    }

    /// Tracking has ended: the window that it ended in counts as well.
    pub(super) fn close_last_window(&mut self) -> anyhow::Result<()> {
        let Some(mut keeping) = self.keeping.take() else { return Ok(()) };
        if keeping.budget.is_tracking() {
            self.session.pause();
            self.close_window(keeping.budget.take_longer())?;
        }
        Ok(())
    }

    fn read_now(&mut self) -> anyhow::Result<Reading> {
        let mut reading = Reading::default();
        self.session.read(self.aggregator.site_ids(), &mut reading)?;
        reading.cpu = Some(self.cpu_time());
        Ok(reading)
    }
}

/// Why a limit that was asked for cannot be kept: there is no way to find out what probes cost, nor one without them.
pub(super) fn no_budget(growth: &BpfError) -> anyhow::Error {
    anyhow!(
        "--max-overhead needs probes that come and go quickly (uprobe_multi links, Linux 6.10 or newer) or page faults, and \
         this kernel has neither: use --sample 64 to trace at less cost, or leave it out ({growth})"
    )
}
