//! leaktrace's BPF programs.
//!
//! In: hits of uprobes on the allocator functions, returns of system calls, and lifecycle tracepoints. Out: the tables of
//! outstanding blocks and open descriptors, the counters of each site, and a ring buffer with what happens once: new
//! sites, connections, exits. A block that is freed or a file that is closed is never streamed.
//!
//! Entry functions are thin shells over `try_*`; every failure path counts itself by cause.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "the target has no fetch_add; atomic_xadd is the one atomic that kernel 5.10 knows"
)]

mod account;
mod count;
mod drive;
mod emit;
mod empty;
mod fd;
mod growth;
mod heap;
mod kernel;
mod lifecycle;
mod live;
mod maps;
mod memory;
mod ranges;
mod sample;
mod site;
mod thread;
mod unwind;
mod walker;
mod words;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
