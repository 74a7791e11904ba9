//! The tools that are compared. In: a command line, or a process that is ready. Out: what the tool's report names of the
//! planted leaks, and the memory that it takes. How each is run is what its manual says for production.

mod attached;
mod launched;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

pub(super) use self::attached::{Attached, Mode};
use self::launched::Launched;
use super::programs::Bench;
use crate::{apt, suite};

/// Debian's packages, and the program or file by which each is known to be there.
const NEEDS: [(&str, &str); 12] = [
    ("gcc", "gcc"),
    ("libc6-dev", "/usr/include/stdlib.h"),
    ("bpftrace", "bpftrace"),
    ("heaptrack", "/usr/lib/heaptrack/libheaptrack_preload.so"),
    ("valgrind", "valgrind"),
    // It brings the library.
    ("google-perftools", "google-pprof"),
    ("libjemalloc2", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"),
    ("libjemalloc-dev", "jeprof"),
    ("redis-server", "/usr/bin/redis-server"),
    ("redis-tools", "redis-benchmark"),
    ("python3", "/usr/bin/python3"),
    ("nodejs", "/usr/bin/node"),
];

/// Packages whose versions belong to the figures.
const VERSIONS: [&str; 8] =
    ["bpftrace", "heaptrack", "valgrind", "google-perftools", "libjemalloc2", "redis-server", "python3", "nodejs"];

/// The functions of the planted leaks.
pub(super) const PLANTED: [&str; 3] = ["planted_small", "planted_middle", "planted_large"];

pub(super) fn install() -> Result<()> {
    suite::install_missing(&NEEDS, "the benchmark")
}

/// Names and versions of the peers, as Debian has them.
pub(super) fn versions() -> String {
    let version = |package: &&str| Some(format!("{package} {}", apt::installed_version(package)?));
    VERSIONS.iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

/// How many of the planted leaks a report names.
pub(super) fn planted_in(report: &str) -> usize {
    PLANTED.iter().filter(|name| report.contains(*name)).count()
}

/// A tool, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Untraced,
    Leaktrace(Mode),
    Bpftrace,
    Heaptrack,
    Valgrind,
    Gperftools,
    Jemalloc,
}

impl Tool {
    /// All of them, with those modes that this leaktrace has.
    pub(super) fn all(bench: &Bench) -> Result<Vec<Self>> {
        let modes = Mode::known_to(&bench.leaktrace)?.into_iter().map(Self::Leaktrace);
        let peers = [Self::Bpftrace, Self::Heaptrack, Self::Valgrind, Self::Gperftools, Self::Jemalloc];
        Ok([Self::Untraced].into_iter().chain(modes).chain(peers).collect())
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Leaktrace(mode) => mode.name(),
            Self::Bpftrace => "bpftrace",
            Self::Heaptrack => "heaptrack",
            Self::Valgrind => "valgrind memcheck",
            Self::Gperftools => "gperftools",
            Self::Jemalloc => "jemalloc, sampled",
        }
    }

    /// How long it takes until it costs what it is going to cost.
    pub(super) fn settles_within(self) -> Duration {
        match self {
            Self::Leaktrace(mode) => mode.settles_within(),
            _ => Duration::ZERO,
        }
    }

    fn launched(self) -> Option<Launched> {
        match self {
            Self::Untraced | Self::Leaktrace(_) | Self::Bpftrace => None,
            Self::Heaptrack => Some(Launched::Heaptrack),
            Self::Valgrind => Some(Launched::Valgrind),
            Self::Gperftools => Some(Launched::Gperftools),
            Self::Jemalloc => Some(Launched::Jemalloc),
        }
    }

    /// The command that runs `words`, under the tool if that is how it works; its files go to `folder`.
    pub(super) fn command(self, words: &[OsString], folder: &Path) -> Result<Command> {
        ensure!(!words.is_empty(), "no command");
        Ok(match self.launched() {
            Some(launched) => launched.command(words, folder),
            None => plain(words),
        })
    }

    /// Attaches to a running process, if that is how it works.
    pub(super) fn attach(self, bench: &Bench, pid: u32, folder: &Path) -> Result<Option<Attached>> {
        match self {
            Self::Leaktrace(mode) => Attached::leaktrace(bench, mode, pid, folder).map(Some),
            Self::Bpftrace => Attached::bpftrace(bench, pid, folder).map(Some),
            _ => Ok(None),
        }
    }

    /// What it reports of a program that it was started with and that has ended.
    pub(super) fn report(self, program: &Path, folder: &Path, wanted: bool) -> Result<Option<String>> {
        let Some(launched) = self.launched() else { return Ok(None) };
        let file = launched.profile(folder)?;
        if wanted { launched.report(program, &file).map(Some) } else { Ok(None) }
    }
}

fn plain(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// The one library that a process takes `malloc` from, as bpftrace is to be told.
fn allocator(maps: &str) -> PathBuf {
    let mut files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    files.find(|file| file.contains("/libjemalloc.so")).map_or_else(|| "libc".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_searched_for_each_planted_leak() {
        assert_eq!(planted_in("planted_small+14\nplanted_until+82\nplanted_small+14"), 1);
        assert_eq!(planted_in("planted_large planted_middle planted_small"), 3);
    }

    #[test]
    fn the_allocator_is_the_library_that_brings_malloc() {
        let line = |file: &str| format!("7f00-7f01 r-xp 00000000 fe:00 1234    {file}\n");
        assert_eq!(allocator(&line("/lib/x86_64-linux-gnu/libc.so.6")), Path::new("libc"));
        let jemalloc = "/lib/x86_64-linux-gnu/libjemalloc.so.2";
        assert_eq!(allocator(&(line("/lib/x86_64-linux-gnu/libc.so.6") + &line(jemalloc))), Path::new(jemalloc));
    }
}
