//! The Snapshot in the formats of other tools, and as a page for people who do not have leaktrace: [folded stacks](write_folded),
//! a [flame graph](write_flame_graph), a [pprof profile](write_pprof), and a [page](write_html) with all of it.
//!
//! In: a Snapshot and what of it is shown ([`Measure`]). Out: bytes on any writer. All of them are about memory that is the
//! process's own: the heap, and what it maps by itself.

mod flame;
mod folded;
mod html;
mod measure;
mod names;
mod pprof;

pub use flame::write_flame_graph;
pub use folded::write_folded;
pub use html::write_html;
pub use measure::{By, Measure};
pub(crate) use names::{frame_name, process_of};
pub use pprof::write_pprof;

use crate::aggregate::{SiteSnapshot, Snapshot};

/// What the exports are about.
fn own_memory(snapshot: &Snapshot) -> impl Iterator<Item = &SiteSnapshot> {
    snapshot.own_memory()
}

/// When the Snapshot was taken, by the wall clock.
fn taken(snapshot: &Snapshot) -> jiff::Timestamp {
    let elapsed = jiff::SignedDuration::try_from(snapshot.elapsed).unwrap_or_default();
    snapshot.started.checked_add(elapsed).unwrap_or(snapshot.started)
}
