//! The tab that says how far the numbers can be trusted.

use super::Scroll;

#[derive(Debug, Default)]
pub(in crate::tui) struct Health {
    pub(in crate::tui) scroll: Scroll,
}
