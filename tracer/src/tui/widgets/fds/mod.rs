//! The tab of descriptors: the table of who opened them, and the pane of what the selected one has open.

pub(in crate::tui) mod pane;
pub(in crate::tui) mod summary;
pub(in crate::tui) mod table;
