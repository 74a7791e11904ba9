//! Names of code made at run time, from the map that a process writes for `perf`: `/tmp/perf-PID.map`, a line for each
//! function (the kernel's `tools/perf/Documentation/jit-interface.txt`). Node writes one with `--perf-basic-prof`,
//! CPython with `-X perf`, .NET with `DOTNET_PerfMapEnabled=1`, the JVM with `jcmd PID Compiler.perfmap`.
//!
//! In: an address in memory without a file. Out: the function that was put there last. The map grows while the process
//! runs, so each look reads what was added. The folder is open to everyone, so a file in it counts only when the
//! process can have written it ([`crate::target::Owner`]); what is in it is as untrusted as any symbol.

mod line;
mod name;
mod perf_map;
mod ranges;

use std::{
    fs::File,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{fs::Stat, io::Errno};

use self::perf_map::{Followed, PerfMap};
use super::{NoSymbol, module::Named};
use crate::target::{NotOwn, Owner};

/// A map that is replaced as a whole is read as a whole, but not more often than this.
const WHOLE_EVERY: Duration = Duration::from_millis(250);
/// Share of a core that reading whole maps may take: they rest this many times as long as they took.
const REST: u32 = 20;

/// The names of one process's run-time code.
#[derive(Debug)]
pub(super) struct JitNames {
    owner: Arc<Owner>,
    map: Option<PerfMap>,
    /// Before this, no map is read as a whole.
    rests_until: Option<Instant>,
    warned_of_file: bool,
    warned_of_limit: bool,
}

impl JitNames {
    pub(super) fn new(owner: Arc<Owner>) -> Self {
        Self { owner, map: None, rests_until: None, warned_of_file: false, warned_of_limit: false }
    }

    /// Whether these are that process's.
    pub(super) fn are_of(&self, owner: &Arc<Owner>) -> bool {
        Arc::ptr_eq(&self.owner, owner)
    }

    /// Reads what the process has written since the last time. A map that has disappeared stays known.
    pub(super) fn refresh(&mut self) {
        let owner = Arc::clone(&self.owner);
        for pid in owner.pids() {
            let path = format!("/tmp/perf-{pid}.map");
            match owner.open(&path) {
                Ok((file, stat)) => {
                    if let Err(error) = self.follow(&path, file, &stat) {
                        log::debug!("{path} in the target's root: {error}");
                    }
                    return;
                }
                Err(NotOwn::Closed(Errno::NOENT)) => {}
                Err(reason) => {
                    if !std::mem::replace(&mut self.warned_of_file, true) {
                        log::warn!("{path} in the target's root {reason}: no names of code made at run time from it");
                    }
                }
            }
        }
    }

    /// The function at an address, or why there is none.
    pub(super) fn look_up(&self, address: u64) -> Result<Named, NoSymbol> {
        let map = self.map.as_ref().ok_or(NoSymbol::Anonymous)?;
        map.name(address).map(|raw| name::describe(&raw)).ok_or(NoSymbol::NotCovered)
    }

    fn follow(&mut self, path: &str, file: File, stat: &Stat) -> io::Result<()> {
        if let Some(map) = &mut self.map
            && map.is_of(stat)
            && map.follow(stat)? == Followed::Grown
        {
            self.warn_of_limit(path);
            return Ok(());
        }
        let begun = Instant::now();
        if self.rests_until.is_some_and(|until| begun < until) {
            return Ok(());
        }
        let mut map = PerfMap::new(file, stat);
        let followed = map.follow(stat);
        self.map = Some(map);
        self.rests_until = Some(begun + WHOLE_EVERY.max(begun.elapsed() * REST));
        self.warn_of_limit(path);
        followed.map(|_| ())
    }

    fn warn_of_limit(&mut self, path: &str) {
        if let Some(limit) = self.map.as_ref().and_then(PerfMap::limit)
            && !std::mem::replace(&mut self.warned_of_limit, true)
        {
            log::warn!("{path} in the target's root {limit}: what is behind that gives no names");
        }
    }
}

#[cfg(test)]
mod tests;
