//! What can go wrong between us and the kernel, and what to do about it.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why tracing cannot start or go on.
#[derive(Debug, Error)]
pub enum BpfError {
    /// The process lacks capabilities.
    #[error("missing {missing}: tracing needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE; run it with sudo")]
    Capabilities {
        /// Names of those that are missing.
        missing: String,
    },
    /// The kernel was built or booted without uprobes.
    #[error(
        "this kernel has no uprobes (no /sys/bus/event_source/devices/uprobe): it needs CONFIG_UPROBES=y and \
         CONFIG_UPROBE_EVENTS=y; boot a distribution kernel"
    )]
    NoUprobes,
    /// The kernel's lockdown mode forbids it.
    #[error(
        "the kernel is locked down ({mode}): BPF may not read process memory; boot with lockdown=integrity or none"
    )]
    LockedDown {
        /// Its mode.
        mode: String,
    },
    /// The kernel refuses the object.
    #[error(
        "the kernel refused the BPF object: {reason}; it must be 5.10 or newer and allow bpf(2) (check: sysctl kernel.unprivileged_bpf_disabled, a seccomp profile of a container)"
    )]
    Load {
        /// aya's error with its causes.
        reason: String,
    },
    /// A program or map is not in the object: a build that does not fit together.
    #[error("the BPF object has no {name}: it does not belong to this build; run `cargo xtask bpf`")]
    Object {
        /// What was looked for.
        name: &'static str,
    },
    /// A probe cannot be attached.
    #[error("cannot attach to {symbol}+{offset:#x} in {}: {reason}", module.display())]
    Attach {
        /// The module's path.
        module: PathBuf,
        /// The function.
        symbol: String,
        /// Bytes into it.
        offset: u64,
        /// The kernel's word.
        reason: String,
    },
    /// The kernel does not take the programs that run at page faults.
    #[error(
        "this kernel ({release}) cannot follow page faults, which takes Linux 5.17 with its types in /sys/kernel/btf/vmlinux: \
         leave --growth out to trace the allocator; it said: {reason}"
    )]
    NoGrowth {
        /// The kernel's.
        release: String,
        /// The kernel's word.
        reason: String,
    },
    /// The target ended while the probes went in.
    #[error("process {pid} exited while the probes were being attached; nothing was traced")]
    TargetGone {
        /// The process.
        pid: u32,
    },
    /// Return probes would end the target.
    #[error(
        "process {pid} has a seccomp filter, and this kernel ({release}) ends such a process at its first return probe \
         (CVE-2025-21834): update it to 6.12.14, 6.13.3 or newer, trace descriptors alone with --fds, or, if your distribution \
         has repaired it, use --force"
    )]
    KillsFiltered {
        /// The process.
        pid: u32,
        /// The kernel's.
        release: String,
    },
    /// The machine would end.
    #[error(
        "this kernel ({release}) is set to panic at a warning (kernel.panic_on_warn), and before Linux 6.1 it warns, once until \
         the next boot, of programs whose maps grow: nothing was loaded. Use Linux 6.1 or newer, or switch that off while \
         leaktrace starts: `sysctl kernel.panic_on_warn=0`"
    )]
    PanicsOnWarning {
        /// The kernel's.
        release: String,
    },
    /// A map cannot be used.
    #[error("BPF map {map}: {what}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    // A verifier log is long, and full of warnings on older kernels; its last lines say what was refused.
    let text = text.trim_end().replace('\n', " ");
    let (head, tail) = (text.char_indices().nth(HEAD), text.char_indices().rev().nth(TAIL));
    match (head, tail) {
        (Some((head, _)), Some((tail, _))) if head < tail => format!("{} … {}", &text[..head], &text[tail..]),
        _ => text,
    }
}

/// Characters that are shown of a long error: of its beginning, and of its end.
const HEAD: usize = 100;
const TAIL: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_keeps_its_end() {
        let log = format!("refused: {}the cause\n", "a warning\n".repeat(1000));
        let shown = chain(&io::Error::other(log));
        assert!(shown.starts_with("refused: a warning"), "{shown}");
        assert!(shown.ends_with("a warning the cause"), "{shown}");
        assert!(shown.chars().count() < 500, "{shown}");
        assert_eq!(chain(&io::Error::other("short\nof two lines")), "short of two lines");
    }
}
