//! What the comparison runs: programs with planted leaks, and redis-server. In: a [`Workload`] and words that start it
//! under a tool or alone. Out: a [`Subject`] that waits to be told to work, and says how fast it was.

mod own;
mod redis;

use std::{ffi::OsString, path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use clap::ValueEnum;

pub(super) use self::{
    own::{Programs, start_threads},
    redis::{Rates, Redis},
};
use super::programs::Bench;

/// How long a subject works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
}

/// A program at work, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Pair,
    Mixed,
    Threads,
    Deep,
    Redis,
    Python,
    Node,
}

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pair => "pairs of 64 bytes",
            Self::Mixed => "mixed sizes",
            Self::Threads => "8 threads, mixed sizes",
            Self::Deep => "stacks of 50 frames",
            Self::Redis => "redis-server, SET and GET",
            Self::Python => "python3, JSON",
            Self::Node => "node, JSON and zlib",
        }
    }

    /// Whether it has the planted leaks.
    pub(super) fn is_planted(self) -> bool {
        self != Self::Redis
    }

    /// The program that the words start, for tools that need to know it.
    pub(super) fn program(self, programs: &Programs) -> PathBuf {
        match self {
            Self::Redis => "/usr/bin/redis-server".into(),
            _ => programs.program(self),
        }
    }

    /// The command line, without a tool.
    pub(super) fn words(self, programs: &Programs) -> Result<Vec<OsString>> {
        match self {
            Self::Redis => redis::words(),
            _ => Ok(programs.words(self)),
        }
    }

    /// Starts what `command` made of the words, and waits until it is ready.
    pub(super) fn start(self, bench: &Bench, command: &mut Command) -> Result<Subject> {
        match self {
            Self::Redis => Ok(Subject::Redis(Redis::start(bench, command)?)),
            Self::Threads => bench.on_all_cpus(|| own::Own::start(command)).map(Subject::Own),
            _ => bench.on_target_cpu(|| own::Own::start(command)).map(Subject::Own),
        }
    }
}

/// A program that is ready to work.
#[derive(Debug)]
pub(super) enum Subject {
    Own(own::Own),
    Redis(Redis),
}

impl Subject {
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Own(own) => own.pid(),
            Self::Redis(redis) => redis.pid(),
        }
    }

    /// Has it work; operations per second after the warm-up.
    pub(super) fn work(&mut self, timing: Timing) -> Result<f64> {
        match self {
            Self::Own(own) => own.work(timing),
            Self::Redis(redis) => redis.work(timing).map(Rates::both),
        }
    }

    /// Has it end as it does by itself.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Own(own) => own.finish(),
            Self::Redis(redis) => redis.finish(),
        }
    }
}
