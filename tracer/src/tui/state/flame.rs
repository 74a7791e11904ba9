//! The tab of the flame graph.

use super::Action;
use crate::aggregate::{SiteId, Snapshot};

#[derive(Debug, Default)]
pub(in crate::tui) struct Flame {
    searched: String,
}

impl Flame {
    pub(super) fn update(&mut self, _snapshot: &Snapshot) {}

    pub(super) fn apply(&mut self, _action: Action) {}

    pub(super) fn next_measure(&mut self, _snapshot: Option<&Snapshot>) {}

    /// What is searched for; empty for nothing.
    pub(in crate::tui) fn searched(&self) -> &str {
        &self.searched
    }

    pub(super) fn search(&mut self, text: &str) {
        text.clone_into(&mut self.searched);
    }

    pub(super) fn visible_sites(&self) -> Vec<SiteId> {
        Vec::new()
    }
}
