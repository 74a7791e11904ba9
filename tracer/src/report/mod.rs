//! From a [`crate::aggregate::Snapshot`] to a document: text for people, JSON for programs, and the formats of [`export`]
//! for other tools.
//!
//! In: a Snapshot and [`ReportOptions`]. Out: bytes on any writer; nothing is read, measured or remembered here.
//! What the live dashboard must say in the same words lives here too: [`untrusted`] makes text of the target
//! displayable, [`units`] writes quantities, and the order and the naming of call sites are shared.

mod call_site;
pub mod diff;
pub mod doctor;
pub(crate) mod estimates;
pub mod export;
pub(crate) mod fd_words;
mod frame_text;
pub(crate) mod growth_words;
mod json;
mod listing;
mod merged;
pub(crate) mod mode_words;
mod order;
mod startup;
mod suppressions;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod text_analysis;
mod text_fds;
mod text_growth;
mod text_heap;
pub mod units;
pub mod untrusted;
mod words;

pub(crate) use call_site::{FOLD, call_site, call_site_index, library_runs, short_name};
pub(crate) use estimates::{estimate_mark, with_errors};
pub(crate) use frame_text::{FrameText, basename, place};
pub use json::{SCHEMA, write_json};
pub use order::Sort;
pub(crate) use order::sort_indices;
pub use suppressions::Suppressions;
pub use text::{ReportOptions, write_text};
pub(crate) use text_heap::site_text;
pub(crate) use words::{
    loss_advice, loss_words, no_symbol_words, stack_end_words, stat_words, state_name, state_words,
};
