//! A traced process, as long as it runs.

use std::collections::HashSet;

use super::{allocators::Allocators, follower::Follower};
use crate::{
    bpf::Session,
    symbolize::SharedModules,
    target::{Target, maps::FileIdentity},
};

/// A process that runs and is traced.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) target: Target,
    pub(super) follower: Follower,
    /// The files that were looked through for an allocator.
    planned: HashSet<FileIdentity>,
}

impl Process {
    pub(super) fn new(target: Target, modules: SharedModules, planned: HashSet<FileIdentity>) -> Self {
        Self { target, follower: Follower::new(modules), planned }
    }

    /// Looks at the mappings. An allocator among what is new gets its probes when `allocators` are given.
    pub(super) fn follow(&mut self, session: &mut Session, allocators: Option<&mut Allocators>) -> anyhow::Result<()> {
        let changed = self.follower.follow(session)?;
        let Some(allocators) = allocators.filter(|_| changed) else { return Ok(()) };
        let pid = self.target.info().pid.0;
        let (plan, probed) = self.follower.with_modules(|modules| allocators.plan(modules, &mut self.planned));
        if plan.points.is_empty() {
            return Ok(());
        }
        match session.add_probes(pid, &plan, &probed) {
            Ok(()) => log::debug!("process {pid}: {} probes in {} more allocators", plan.points.len(), probed.len()),
            // It ends, or this one library cannot be probed: the others can.
            Err(error) if self.target.is_alive() => log::warn!("process {pid}: {error}"),
            Err(error) => log::debug!("process {pid}: {error}"),
        }
        Ok(())
    }
}
