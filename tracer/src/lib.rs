//! leaktrace finds the call sites of a running process that hold memory, exactly, and shows them live.
//!
//! One way through: BPF programs count blocks per call stack in the kernel ([`bpf`]); an [`event::EventSource`] hands
//! counters and new stacks to [`aggregate`], which makes a [`aggregate::Snapshot`] each interval; [`symbolize`] names the
//! stacks; [`tui`], [`report`] and [`metrics`] show the Snapshot and nothing else.

pub mod aggregate;
pub mod analyze;
pub mod bpf;
pub mod cli;
mod clock;
pub mod demo;
pub mod event;
pub mod metrics;
pub mod probe;
pub mod record;
pub mod report;
pub mod symbolize;
pub mod target;
pub mod tui;
pub mod unwind;
