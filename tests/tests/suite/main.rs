//! leaktrace on real processes. One binary, so that it links once; a module for each kind of promise.
//!
//! Needs root, a kernel with uprobes and BPF, gcc and g++; and a leaktrace, see `harness/tracer.rs`. `jit` also needs
//! node and a Python with `-X perf`, `allocators` jemalloc, tcmalloc, mimalloc, musl-gcc and cargo, `stacks` gdb, binutils,
//! musl-gcc and node, `descriptor_services` these two besides PostgreSQL, Redis and npm, `targets` PostgreSQL, nginx and
//! memcached, `growth` Redis and Python, `terminal` tmux, `exports` Go, Chromium and binutils, `metrics` Prometheus. `ledgers` runs without root: it proves
//! the suite's own programs right. So do `descriptors::the_programs_have_open_what_they_say` and
//! `descriptor_services::the_services_leave_open_what_they_say`.

mod accounting;
mod allocators;
mod bad_input;
mod budget;
mod descriptor_services;
mod descriptors;
mod exports;
mod first_use;
mod growth;
mod heap_functions;
mod jit;
mod languages;
mod launched;
mod ledgers;
mod lifecycle;
mod metrics;
mod random_programs;
mod ranges;
mod recordings;
mod rules;
mod runtimes;
mod sampling;
mod servers;
mod sockets;
mod stacks;
mod targets;
mod terminal;
mod threads;
mod verdicts;
