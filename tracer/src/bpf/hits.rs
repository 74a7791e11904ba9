//! Which counter counts the hits of which probe. Processes that map the same file share its probes' counters.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use tracer_common::config::MAX_PROBES;

use super::{
    AttachMode,
    links::{Module, ProgramSet, hit_slot},
};
use crate::{
    aggregate::ProbeStatus,
    probe::{AttachPlan, AttachPoint, Cost, ProbeKind},
};

/// What makes a probe the same as another: its file's path, and the point in it.
type Key = (PathBuf, u64, Arc<str>, &'static str);

/// What a hit of a probe costs depends on these.
#[derive(Clone, Copy, Debug)]
pub(super) struct HitKind {
    pub(super) program: &'static str,
    pub(super) kind: ProbeKind,
    pub(super) cost: Cost,
}

/// The probes that were ever in place, by index.
#[derive(Debug, Default)]
pub(super) struct HitCounters {
    known: HashMap<Key, u32>,
    /// What they are, and their slots in the counters.
    points: Vec<(ProbeStatus, u32, HitKind)>,
}

impl HitCounters {
    /// The index of each point of a plan. One beyond the counters works, and its hits are not counted.
    pub(super) fn indexes(&mut self, plan: &AttachPlan, modules: &[Module], mode: AttachMode) -> Vec<u32> {
        plan.points.iter().map(|point| self.index(point, modules, mode)).collect()
    }

    fn index(&mut self, point: &AttachPoint, modules: &[Module], mode: AttachMode) -> u32 {
        let path = modules.get(point.module).map(|module| module.path.clone()).unwrap_or_default();
        let key = (path, point.file_offset, Arc::clone(&point.symbol), point.kind.name());
        if let Some(index) = self.known.get(&key) {
            return *index;
        }
        let index = self.known.len() as u32;
        if index < MAX_PROBES {
            let status = ProbeStatus {
                module: key.0.to_string_lossy().into_owned(),
                symbol: point.symbol.to_string(),
                offset: point.offset,
                kind: point.kind.name(),
                hits: 0,
                cost: None,
            };
            let program = ProgramSet::Counting.serves(point, mode);
            let kind = HitKind { program, kind: point.kind, cost: point.cost };
            self.points.push((status, hit_slot(mode, index, point), kind));
        } else if index == MAX_PROBES {
            log::warn!("the hits of more than {MAX_PROBES} different probes are not counted apart");
        }
        self.known.insert(key, index);
        index
    }

    /// The probes, the slots of their counters and what a hit is.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProbeStatus, u32, HitKind)> {
        self.points.iter().map(|(status, slot, kind)| (status, *slot, *kind))
    }
}
