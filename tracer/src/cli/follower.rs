//! Keeps the unwind tables up with the target: libraries that come and go, code made at run time.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use crate::{bpf::Session, symbolize::SharedModules};

/// A look at the mappings comes no sooner than this after the last one, however many walks leave the tables.
const SOONEST: Duration = Duration::from_millis(10);
/// Without a reason to look, a look is taken this often: an unloaded library's addresses may have got a new owner.
const LATEST: Duration = Duration::from_secs(1);

/// Follows the mappings of one process.
#[derive(Debug)]
pub(super) struct Follower {
    modules: SharedModules,
    described: u64,
    last: Instant,
}

impl Follower {
    pub(super) fn new(modules: SharedModules) -> Self {
        let described = modules.lock().unwrap_or_else(PoisonError::into_inner).generation();
        Self { modules, described, last: Instant::now() }
    }

    /// Whether it is time to look; `wanted` says that there is a reason.
    pub(super) fn is_due(&self, wanted: bool) -> bool {
        let wait = if wanted { SOONEST } else { LATEST };
        self.last.elapsed() >= wait && self.modules.lock().unwrap_or_else(PoisonError::into_inner).may_refresh()
    }

    /// Looks at the mappings, and tells the session when they changed.
    pub(super) fn follow(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        // A process that is gone has nothing new to tell; its end is noticed elsewhere.
        if let Err(error) = modules.refresh() {
            log::debug!("mappings: {error}");
        } else if modules.generation() != self.described {
            self.described = modules.generation();
            session.update_mappings(&modules)?;
        }
        self.last = Instant::now();
        Ok(())
    }
}
