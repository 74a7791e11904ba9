//! Events as they come, and the mappings that they ask to be looked at.

use tracer_common::stack::StackEnd;

use super::Tracing;
use crate::{
    aggregate::{Processes, TargetState, Tgid},
    bpf::Session,
    cli::process::{Probed, Process},
    event::{EventSource as _, RawEvent},
};

impl Tracing {
    /// Takes the events that have come, and keeps the tables up with the target.
    pub(in crate::cli) fn take_events(&mut self) -> anyhow::Result<()> {
        self.session.poll(&mut self.events)?;
        self.live_through()?;
        // What a child has from its parent is there when it comes.
        if self.aggregator.follows_faults()
            && self.processes.keys().any(|pid| !self.aggregator.has_resident(Tgid(*pid)))
        {
            self.read_resident();
        }
        for pid in self.events.iter().filter_map(left_tables) {
            if let Some(process) = self.processes.get_mut(&pid.0) {
                process.follower.want();
            }
        }
        // First of all: what a target does meanwhile is walked by the old tables.
        let looked = if self.state == TargetState::Running {
            self.look_at_mappings(|process| {
                if process.is_loading() {
                    process.follower.want();
                }
                process.follower.is_due()
            })?
        } else {
            Vec::new()
        };
        self.apply_events();
        self.compare_ranges(&looked)
    }

    /// Looks at the mappings of those processes, and returns which they are.
    fn look_at_mappings(&mut self, mut is_due: impl FnMut(&mut Process) -> bool) -> anyhow::Result<Vec<u32>> {
        let mut looked = Vec::new();
        for (pid, process) in &mut self.processes {
            if is_due(process) {
                looked.push(*pid);
                let probed = process.follow(&mut self.session, self.allocators.as_mut())?;
                note(probed, Tgid(*pid), self.aggregator.processes(), &self.session);
                self.aggregator.processes().named(process.target.info());
            }
        }
        Ok(looked)
    }

    fn apply_events(&mut self) {
        for event in self.events.drain(..) {
            match event {
                RawEvent::Stopped { .. } => self.stops += 1,
                RawEvent::FdAtExit(open) => self.at_exit.entry(open.tgid).or_default().push(open),
                event => self.aggregator.apply(event),
            }
        }
    }

    /// A process that was started is stopped. Puts the probes in place that it is stopped for; returns whether that was
    /// why.
    pub(in crate::cli) fn take_stop(&mut self, pid: u32) -> anyhow::Result<bool> {
        self.take_events()?;
        if std::mem::take(&mut self.stops) == 0 {
            return Ok(false);
        }
        if let Some(process) = self.processes.get_mut(&pid)
            && process.follow(&mut self.session, self.allocators.as_mut())? != Probed::AsBefore
        {
            // It did nothing meanwhile.
            self.aggregator.processes().probed_before(Tgid(pid));
        }
        Ok(true)
    }

    /// Holds the ranges of processes to their mappings, which were read a moment ago.
    fn compare_ranges(&mut self, pids: &[u32]) -> anyhow::Result<()> {
        if pids.is_empty() {
            return Ok(());
        }
        // What changed before they were read has been announced by now.
        self.session.poll(&mut self.events)?;
        self.live_through()?;
        self.apply_events();
        for pid in pids {
            let Some(process) = self.processes.get_mut(pid) else { continue };
            let (tgid, whole) = (Tgid(*pid), process.follower.whole());
            self.aggregator.ranges().compare(tgid, &whole.ranges, whole.read_ns);
            if self.aggregator.ranges().is_in_doubt(tgid) {
                process.follower.want();
            }
        }
        Ok(())
    }

    /// Finds out now what is in doubt about the ranges.
    pub(super) fn settle_ranges(&mut self) -> anyhow::Result<()> {
        let ranges = self.aggregator.ranges();
        let doubted: Vec<u32> = self.processes.keys().copied().filter(|pid| ranges.is_in_doubt(Tgid(*pid))).collect();
        let looked = self.look_at_mappings(|process| doubted.contains(&process.target.info().pid.0))?;
        self.compare_ranges(&looked)
    }
}

/// Whether a process is without probes no more.
pub(in crate::cli) fn note(probed: Probed, pid: Tgid, processes: &mut Processes, session: &Session) {
    match probed {
        Probed::AsBefore => {}
        Probed::Already => processes.probed_before(pid),
        Probed::Now => processes.probed(pid, session.now_ns()),
    }
}

/// The process of which a walk came to an address that the tables do not know.
fn left_tables(event: &RawEvent) -> Option<Tgid> {
    match event {
        RawEvent::Mapped { tgid } => Some(*tgid),
        RawEvent::NewSite(site) => {
            matches!(site.end, StackEnd::NoMapping | StackEnd::FramePointer).then_some(site.tgid)
        }
        _ => None,
    }
}
