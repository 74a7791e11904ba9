//! What the integration suite stands on: programs with known leaks, leaktrace run on them, and the comparison of what
//! the program says it did (its ledger) with what leaktrace says it saw (its report).
//!
//! In: the sources in `leakers/` and seeds for random programs. Out: a [`ledger::Ledger`] and a [`report::Report`], both
//! plain values. Nothing here sleeps for luck: every wait polls a condition or reads a line, with [`DEADLINE`] as its end,
//! and every process started is killed when its handle is dropped, also by a panic.

pub mod browser;
pub mod compare;
pub mod descriptors;
pub mod doctor;
pub mod folder;
pub mod gdb;
pub mod kernel_objects;
pub mod labelled;
pub mod launch;
pub mod leaker;
pub mod ledger;
pub mod machine;
pub mod modules;
pub mod network;
pub mod oracle;
pub mod process;
pub mod profile;
pub mod programs;
pub mod prometheus;
pub mod random;
pub mod recording;
pub mod report;
mod schema;
pub mod services;
pub mod terminal;
pub mod text;
pub mod tracer;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything may take before a test gives up. Far more than it does take: two cores may be shared by many,
/// and emulated ones take ten times as long.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Where compiled leakers, reports and kept sources go: `target/tmp/leaktrace-tests`.
pub fn work_dir() -> Result<PathBuf> {
    let dir = target_dir().join("tmp/leaktrace-tests");
    std::fs::create_dir_all(&dir)?;
    // Chromium writes to no path with `..` in it.
    Ok(dir.canonicalize()?)
}

/// The workspace's target directory.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
    }
}

/// Whether `LEAKTRACE_LONG=1` asks for as much as there is time for.
pub fn is_long() -> bool {
    std::env::var_os("LEAKTRACE_LONG").is_some_and(|value| value == "1")
}

/// Polls `condition` until it gives a value.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_for_every(Duration::from_millis(5), what, condition)
}

/// The same, looking no more often than this, and for no more than a quarter of the time: the CPUs are for what is
/// waited for.
pub fn wait_for_every<T>(pause: Duration, what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let look = Instant::now();
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if begun.elapsed() > DEADLINE {
            bail!("waited {DEADLINE:?} in vain for {what}");
        }
        std::thread::sleep(pause.max((look.elapsed() * 3).min(Duration::from_secs(1))));
    }
}
