//! A traced process, as long as it runs.

use std::time::{Duration, Instant};

use super::{
    allocators::{Allocators, Planned, Probes},
    follower::Follower,
};
use crate::{aggregate::Tgid, bpf::Session, symbolize::SharedModules, target::Target};

/// For this long after its beginning a program without an allocator is looked at all the time: the loader is at work.
const LOADING: Duration = Duration::from_secs(2);

/// How often the kernel is asked to take the probes of a program before it is taken at its word.
const TRIES: u32 = 4;

/// What a look for allocators without probes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// There is none with probes, or the one that there is had them at the last look.
    AsBefore,
    /// The program has one by now whose probes were there before it: they stay in their files through an exec.
    Already,
    /// Probes were put in.
    Now,
}

/// A process that runs and is traced.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) target: Target,
    pub(super) follower: Follower,
    /// The files that were looked through for an allocator.
    pub(super) planned: Planned,
    /// The process that forked it, when it is traced for that.
    pub(super) parent: Option<Tgid>,
    /// What it runs: see [`tracer_common::process::Image`].
    pub(super) image: u32,
    /// Since when it does, as far as we know.
    pub(super) began: Instant,
    /// The modules of the process that forked it, until it runs a program of its own.
    pub(super) inherited: Option<SharedModules>,
    /// Some allocator has its probes.
    has_allocator: bool,
    /// Times that the kernel has refused its probes since it began its program.
    refusals: u32,
}

impl Process {
    pub(super) fn new(target: Target, modules: SharedModules, planned: Planned, image: u32) -> Self {
        Self {
            target,
            follower: Follower::new(modules, image),
            planned,
            parent: None,
            image,
            began: Instant::now(),
            inherited: None,
            has_allocator: false,
            refusals: 0,
        }
    }

    /// It runs another program.
    pub(super) fn run(&mut self, modules: SharedModules, image: u32) {
        self.follower = Follower::new(modules, image);
        self.image = image;
        self.began = Instant::now();
        self.has_allocator = false;
        self.refusals = 0;
    }

    /// Whether an allocator must be about to come.
    pub(super) fn is_loading(&self) -> bool {
        self.image != 0 && !self.has_allocator && self.began.elapsed() < LOADING
    }

    /// Looks at the mappings. An allocator among what is new gets its probes when `allocators` are given.
    pub(super) fn follow(
        &mut self,
        session: &mut Session,
        allocators: Option<&mut Allocators>,
    ) -> anyhow::Result<Probed> {
        let changed = self.follower.follow(session)?;
        // One that is gone keeps its name.
        let _ = self.target.retitle();
        let is_refused = self.refusals > 0 && !self.has_allocator;
        Ok(if changed || is_refused { self.probe(session, allocators) } else { Probed::AsBefore })
    }

    /// Puts probes into the allocators that have none.
    pub(super) fn probe(&mut self, session: &mut Session, allocators: Option<&mut Allocators>) -> Probed {
        let Some(allocators) = allocators else { return Probed::AsBefore };
        let pid = self.target.info().pid.0;
        let (Probes { plan, modules: probed, wrong }, known) = self
            .follower
            .with_modules(|modules| (allocators.plan(modules, &mut self.planned), self.planned.has_allocator(modules)));
        if let Some(error) = wrong {
            log::warn!("process {pid}: {error:#}");
        }
        let had = std::mem::replace(&mut self.has_allocator, known);
        if plan.points.is_empty() {
            if !known || had {
                return Probed::AsBefore;
            }
            log::debug!("process {pid} has its probes already");
            return Probed::Already;
        }
        match session.add_probes(pid, &plan, &probed) {
            Ok(()) => {
                let (points, files) = (plan.points.len(), probed.len());
                log::debug!("process {pid} has its probes: {points} in {files} more allocators");
                return Probed::Now;
            }
            // It ends.
            Err(error) if !self.target.is_alive() => log::debug!("process {pid}: {error}"),
            // In the midst of an exec, say: all of them again at the next look.
            Err(error) if !had && self.refusals + 1 < TRIES => {
                log::debug!("process {pid}, once more: {error}");
                self.refusals += 1;
                session.remove_probes(pid);
                self.planned = Planned::default();
                self.has_allocator = false;
            }
            // This one library cannot be probed: the others can.
            Err(error) => log::warn!("process {pid}: {error}"),
        }
        Probed::AsBefore
    }
}
