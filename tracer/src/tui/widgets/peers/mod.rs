//! The tab of peers: the table, and the pane of who connects to the selected one.

pub(in crate::tui) mod pane;
pub(in crate::tui) mod table;
