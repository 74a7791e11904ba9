//! Keeps the unwind tables up with the target: libraries that come and go, code made at run time.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    bpf::Session,
    symbolize::SharedModules,
    target::maps::{MappedRanges, ModuleMap},
};

/// A look at the mappings comes no sooner than this after the last one, however many walks leave the tables.
const SOONEST: Duration = Duration::from_millis(10);
/// Without a reason to look, a look is taken this often: an unloaded library's addresses may have got a new owner.
const LATEST: Duration = Duration::from_secs(1);
/// After a look there is a rest of so many times as long as it took, with the tables that it led to, up to [`LATEST`].
const REST: u32 = 20;

/// Follows the mappings of one process.
#[derive(Debug)]
pub(super) struct Follower {
    modules: SharedModules,
    /// The image they are of: see [`tracer_common::process::Image`].
    image: u32,
    described: u64,
    last: Instant,
    /// How long the last look took.
    took: Duration,
    /// There is a reason to look.
    wanted: bool,
}

impl Follower {
    pub(super) fn new(modules: SharedModules, image: u32) -> Self {
        let described = modules.lock().unwrap_or_else(PoisonError::into_inner).generation();
        Self { modules, image, described, last: Instant::now(), took: Duration::ZERO, wanted: false }
    }

    /// There is a reason to look, until that is done.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self) -> bool {
        if self.wanted { self.may_look() } else { self.last.elapsed() >= LATEST && self.may_look() }
    }

    /// Whether it would be time to look if there were a reason.
    pub(super) fn may_look(&self) -> bool {
        self.last.elapsed() >= (self.took * REST).clamp(SOONEST, LATEST)
            && self.modules.lock().unwrap_or_else(PoisonError::into_inner).may_refresh()
    }

    /// All that was mapped at the last look.
    pub(super) fn whole(&self) -> MappedRanges {
        self.with_modules(|modules| modules.whole().clone())
    }

    /// The modules.
    pub(super) fn modules(&self) -> SharedModules {
        Arc::clone(&self.modules)
    }

    /// Looks at what is mapped.
    pub(super) fn with_modules<T>(&self, look: impl FnOnce(&ModuleMap) -> T) -> T {
        look(&self.modules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the mappings, and tells the session when they changed. Returns whether they did.
    pub(super) fn follow(&mut self, session: &mut Session) -> anyhow::Result<bool> {
        let begun = Instant::now();
        self.wanted = false;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        // A process that is gone has nothing new to tell; its end is noticed elsewhere.
        if let Err(error) = modules.refresh() {
            log::debug!("mappings: {error}");
        } else if modules.generation() != self.described {
            self.described = modules.generation();
            changed = true;
            session.update_mappings(&modules, self.image)?;
            log::debug!("{} mappings, described in {:?}", modules.mappings().len(), begun.elapsed());
        }
        self.last = Instant::now();
        self.took = self.last - begun;
        Ok(changed)
    }
}
