//! Keeps what looking at system calls costs below its limit: does what [`CallTurns`] decides.

use std::time::Instant;

use anyhow::Context as _;
use procfs::{CpuTime, CurrentSI as _, KernelStats};

use super::{
    call_turns::{Account, CallLimits, CallTurns, CallWork, Turn},
    process::Process,
    tracing::Tracing,
};
use crate::bpf::CallsReading;

/// A limit, and how it is kept.
#[derive(Debug)]
pub(super) struct CallKeeping {
    limits: CallLimits,
    /// From the first turn on.
    account: Option<Account>,
    /// `None` while they must be looked at all the time: what a program loads that has just been started is seen by them.
    turns: Option<CallTurns>,
}

impl CallKeeping {
    /// The share of the targets' CPU time that it takes.
    pub(super) fn cost(&self) -> f64 {
        self.turns.as_ref().map_or(0.0, CallTurns::cost)
    }
}

impl Tracing {
    /// Keeps what looking at system calls costs below a limit, from here on.
    pub(super) fn limit_calls(&mut self, limits: CallLimits) {
        self.calls = self.session.may_rest_calls().then_some(CallKeeping { limits, account: None, turns: None });
    }

    /// Looks at system calls for as much of the time as there is room for. To be called often.
    pub(super) fn keep_calls(&mut self) -> anyhow::Result<()> {
        let Some(mut keeping) = self.calls.take() else { return Ok(()) };
        // Of those that are to get probes.
        if self.allocators.is_some() && self.processes.values().any(Process::is_loading) {
            if keeping.turns.take().is_some() {
                self.look_at_calls();
                self.aggregator.look_at_calls_for(1.0);
            }
        } else {
            self.take_turn(&mut keeping)?;
        }
        self.calls = Some(keeping);
        Ok(())
    }

    /// Begins to take turns, or takes the next one if it is due.
    fn take_turn(&mut self, keeping: &mut CallKeeping) -> anyhow::Result<()> {
        let now = Instant::now();
        let Some(turns) = &mut keeping.turns else {
            if let Some(work) = self.call_work()? {
                let account = *keeping.account.get_or_insert_with(|| Account::open(now, &work));
                keeping.turns = Some(CallTurns::new(keeping.limits, account, now, work, fastrand::Rng::new()));
            }
            return Ok(());
        };
        if turns.is_due(now)
            && let Some(work) = self.call_work()?
        {
            match turns.step(now, work) {
                Turn::Wait => {}
                Turn::Rest => {
                    self.session.rest_calls();
                    self.lose_ranges()?;
                }
                Turn::Resume => {
                    // One that was under way when they were looked at last may have been announced since.
                    self.lose_ranges()?;
                    self.look_at_calls();
                }
            }
            self.aggregator.look_at_calls_for(turns.share());
        }
        Ok(())
    }

    /// The next turn tries again.
    fn look_at_calls(&mut self) {
        if let Err(error) = self.session.resume_calls() {
            log::warn!("system calls cannot be looked at for now: {error}");
        }
    }

    fn lose_ranges(&mut self) -> anyhow::Result<()> {
        // What was mapped until now has been announced.
        self.take_events()?;
        self.aggregator.ranges().lose();
        Ok(())
    }

    /// What looking at system calls has cost until now; `None` where none are looked at.
    fn call_work(&mut self) -> anyhow::Result<Option<CallWork>> {
        let Some(CallsReading { all, of_targets, cost }) = self.session.calls()? else { return Ok(None) };
        let took = |calls: u64| calls as f64 * cost.as_secs_f64();
        let (targets_calls, all_calls) = (took(of_targets), took(all));
        let machine = KernelStats::current().context("/proc/stat")?.total;
        let CpuTime { user, nice, system, .. } = machine;
        let ticks = user + nice + system + machine.irq.unwrap_or(0) + machine.softirq.unwrap_or(0);
        let machine = ticks as f64 / procfs::ticks_per_second() as f64;
        Ok(Some(CallWork { targets_calls, all_calls, targets: self.cpu_time().as_secs_f64(), machine }))
    }
}
