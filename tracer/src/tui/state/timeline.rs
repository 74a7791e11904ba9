//! The tab of charts: how far back they reach.

use super::Action;

#[derive(Debug, Default)]
pub(in crate::tui) struct Timeline {}

impl Timeline {
    pub(super) fn apply(&mut self, _action: Action) {}
}
