//! leaktrace on real processes. One binary, so that it links once; a module for each kind of promise.
//!
//! Needs root, a kernel with uprobes and BPF, gcc and g++; and a leaktrace, see `harness/tracer.rs`. `jit` also needs
//! node and a Python with `-X perf`, `stacks` gdb, binutils, musl-gcc and node. Only `ledgers` runs without root: it proves
//! the suite's own programs right.

mod accounting;
mod bad_input;
mod descriptor_services;
mod descriptors;
mod first_use;
mod heap_functions;
mod jit;
mod languages;
mod ledgers;
mod lifecycle;
mod random_programs;
mod servers;
mod sockets;
mod stacks;
mod threads;
