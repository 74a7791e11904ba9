//! What is done with recordings: no root, no kernel, no process.

mod args;
mod diff;
mod open;
mod report;
mod view;

pub use args::{At, DiffArguments, DiffFormat, ReportArguments, ViewArguments};

pub(super) use diff::run as diff;
pub(super) use report::run as report;
pub(super) use view::run as view;
