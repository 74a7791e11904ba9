//! The Snapshot for Prometheus: a small HTTP server with one page of numbers, in the text format.
//!
//! In: Snapshots, as they come. Out: the newest one, whenever somebody asks. How many series there are is bounded,
//! whatever the target does: the greatest [`LISTED`] of processes, call sites and peers have series of their own, and how
//! many are left out is a number too.

mod address;
mod exposition;
mod own;
mod server;

use std::{borrow::Cow, sync::Arc};

use tokio::sync::watch;

pub use self::{address::parse as address, server::Server};
use crate::{
    aggregate::{Descriptors, SiteId, SiteSnapshot, Snapshot},
    analyze::verdict::Label,
    report::untrusted::clean,
    symbolize::{NoSymbol, Stack},
};

/// Call sites that have series of their own; likewise processes, peers, and call sites of descriptors.
pub const LISTED: usize = 20;

/// Columns of a label.
const LABEL: usize = 120;

/// Where Snapshots are handed to the server.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Option<Arc<Snapshot>>>);

impl Publisher {
    /// Without a Snapshot yet, and where it is read.
    fn new() -> (Self, watch::Receiver<Option<Arc<Snapshot>>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// Shows this Snapshot from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.send_replace(Some(Arc::new(snapshot)));
    }
}

/// The call sites whose names are needed: those that are listed once they have them, and those that may be suppressed by them.
pub fn listed(snapshot: &Snapshot) -> Vec<SiteId> {
    let fds = snapshot.descriptors.iter().flat_map(Descriptors::opening_sites);
    let leaking = snapshot.sites.iter().filter(|site| is_leaking(site)).take(LISTED);
    let memory = largest(snapshot).chain(leaking).map(|site| site.id);
    memory.chain(fds.take(LISTED).map(|site| site.id)).collect()
}

/// Those that hold most of the process's own memory.
fn largest(snapshot: &Snapshot) -> impl Iterator<Item = &SiteSnapshot> {
    let own = snapshot.own_memory().filter(|site| site.counters.inuse_objects() > 0);
    own.take(LISTED)
}

fn is_leaking(site: &SiteSnapshot) -> bool {
    !site.suppressed && site.verdict.as_deref().is_some_and(|verdict| verdict.label == Label::Leaking)
}

/// A name that would be another one a moment later makes a series that ends at once.
fn has_its_name(stack: &Stack) -> bool {
    !stack.frames.iter().any(|frame| frame.function == Err(NoSymbol::Pending))
}

/// Text of the target for a label: displayable, and no longer than is read.
fn label(text: &str) -> Cow<'_, str> {
    clean(text, LABEL)
}
