//! Which modules are allocators, and where their probes go.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use object::ReadCache;

use crate::{
    bpf,
    probe::{AttachPlan, AttachPoint, ProbeKind},
    target::maps::{FileIdentity, Module, ModuleMap},
};

/// The plans of all files met so far: each is looked through once, however many processes map it.
#[derive(Debug, Default)]
pub(super) struct Allocators {
    /// With no points for what is no allocator.
    plans: HashMap<FileIdentity, AttachPlan>,
}

impl Allocators {
    /// The probes for every allocator among the modules that are not in `planned` yet, where they all are afterwards. A
    /// module that cannot be read or parsed is no allocator.
    pub(super) fn plan(
        &mut self,
        modules: &ModuleMap,
        planned: &mut HashSet<FileIdentity>,
    ) -> (AttachPlan, Vec<bpf::Module>) {
        let (mut plan, mut probed) = (AttachPlan::default(), Vec::new());
        for module in modules.modules() {
            let (Some(identity), Some(file)) = (module.identity(), module.file()) else { continue };
            if !planned.insert(identity) {
                continue;
            }
            let own = self.plans.entry(identity).or_insert_with(|| plan_of(module));
            if own.points.is_empty() {
                continue;
            }
            let index = probed.len();
            plan.points.extend(own.points.iter().map(|point| AttachPoint { module: index, ..point.clone() }));
            probed.push(bpf::Module { path: module.path().as_ref().into(), file: Arc::clone(file) });
        }
        plan.points.sort_by_key(|point| point.kind == ProbeKind::Entry);
        (plan, probed)
    }
}

impl Allocators {
    /// Whether an allocator is among the modules, as far as they were looked through.
    pub(super) fn has_any(&self, modules: &ModuleMap) -> bool {
        let identities = modules.modules().filter_map(|module| module.identity());
        identities.into_iter().any(|identity| self.plans.get(&identity).is_some_and(|plan| !plan.points.is_empty()))
    }
}

fn plan_of(module: &Module) -> AttachPlan {
    let mut plan = AttachPlan::default();
    let Some(file) = module.file() else { return plan };
    // Read, not mapped: a file that is truncated meanwhile would end this process.
    if let Err(error) = plan.add_module(0, &ReadCache::new(&**file)) {
        log::debug!("{}: {error}", module.path());
        return AttachPlan::default();
    }
    plan
}
