//! The Snapshot for Prometheus: a small HTTP server with one page of numbers, in the OpenMetrics text format.
//!
//! In: Snapshots, as they come. Out: the newest one, whenever somebody asks. How many series there are is bounded,
//! whatever the target does: the greatest [`LISTED`] of processes, call sites and peers have series of their own, and how
//! many are left out is a number too.

mod address;
mod exposition;
mod own;
mod server;

use std::sync::Arc;

use tokio::sync::watch;

pub use self::{address::parse as address, exposition::CONTENT_TYPE, server::Server};
use crate::{
    aggregate::{SiteId, SiteSnapshot, Snapshot},
    symbolize::{NoSymbol, Stack},
};

/// Call sites that have series of their own; likewise processes, peers, and call sites of descriptors.
pub const LISTED: usize = 20;

/// Where Snapshots are handed to the server.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Option<Arc<Snapshot>>>);

impl Publisher {
    /// Without a Snapshot yet, and where it is read.
    pub fn new() -> (Self, watch::Receiver<Option<Arc<Snapshot>>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// Shows this Snapshot from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.send_replace(Some(Arc::new(snapshot)));
    }
}

/// The call sites that are listed once they have names.
pub fn listed(snapshot: &Snapshot) -> Vec<SiteId> {
    let fds = snapshot.descriptors.iter().flat_map(|descriptors| descriptors.opening_sites());
    largest(snapshot).map(|site| site.id).chain(fds.take(LISTED).map(|site| site.id)).collect()
}

/// Those that hold most of the process's own memory.
fn largest(snapshot: &Snapshot) -> impl Iterator<Item = &SiteSnapshot> {
    let own = snapshot.sites.iter().filter(|site| site.kind.is_own_memory() && site.counters.inuse_objects() > 0);
    own.take(LISTED)
}

/// A name that would be another one a moment later makes a series that ends at once.
fn has_its_name(stack: &Stack) -> bool {
    !stack.frames.iter().any(|frame| frame.function == Err(NoSymbol::Pending))
}
