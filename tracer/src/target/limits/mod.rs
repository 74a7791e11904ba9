//! How much memory a process may have: its cgroups, its resource limits, the machine.
//!
//! In: a file system root and a pid. Out: [`Limits`]: every [`MemoryLimit`] that applies, with what is in use of it as it
//! counts, the one with the least room first; and what could not be read, with the reason.
//!
//! Cgroups of version 2 and 1 limit with everything above them, so all parents are read. Files that the kernel can drop
//! at once (`inactive_file`) are not in use: it does so before anything is killed.

mod cgroup;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use procfs::{
    FromBufRead as _, Meminfo,
    process::{LimitValue, Limits as ResourceLimits},
};

use crate::analyze::process::Pressure;

/// What limits memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// `memory.max` of a cgroup: beyond it, a process in it is killed.
    CgroupMax,
    /// `memory.high` of a cgroup: beyond it, its processes are slowed down.
    CgroupHigh,
    /// `memory.limit_in_bytes` of a cgroup of version 1.
    CgroupV1,
    /// `RLIMIT_AS`: beyond it, mapping memory fails.
    AddressSpace,
    /// `RLIMIT_DATA`: beyond it, growing the heap fails.
    Data,
    /// Memory and swap of the machine.
    Machine,
}

impl LimitKind {
    /// Whether a process that goes beyond it usually ends.
    pub fn is_fatal(self) -> bool {
        self != Self::CgroupHigh
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupMax => "memory.max",
            Self::CgroupHigh => "memory.high",
            Self::CgroupV1 => "memory.limit_in_bytes",
            Self::AddressSpace => "RLIMIT_AS",
            Self::Data => "RLIMIT_DATA",
            Self::Machine => "the machine's memory and swap",
        }
    }
}

/// A limit of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// What limits.
    pub kind: LimitKind,
    /// Bytes that it allows.
    pub bytes: u64,
    /// Bytes in use, as it counts.
    pub used: u64,
    /// Path of the cgroup; empty for others. Untrusted text.
    pub cgroup: String,
}

impl MemoryLimit {
    /// Bytes that are left.
    pub fn room(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }

    /// How much of it is in use.
    pub fn pressure(&self) -> Pressure {
        Pressure { used: self.used, limit: self.bytes }
    }
}

/// All limits of a process's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The one with the least room first.
    pub memory: Vec<MemoryLimit>,
    /// Descriptors that may be open: `RLIMIT_NOFILE`, the soft one. `None` when it is not known, or there is none.
    pub descriptors: Option<u64>,
    /// What could not be read, and why.
    pub missing: Vec<String>,
}

impl Limits {
    /// The one that will end the process first.
    pub fn tightest(&self) -> Option<&MemoryLimit> {
        self.memory.iter().find(|limit| limit.kind.is_fatal())
    }
}

/// Reads the limits of a process. `root` is the file system's root, `/` but in tests.
pub fn limits(root: &Path, pid: u32) -> Limits {
    let mut limits = Limits::default();
    let sources: [(&str, Source); 3] =
        [("cgroup", cgroup::limits), ("resource limits", resource_limits), ("machine", |root, _| machine(root))];
    for (name, read) in sources {
        match read(root, pid) {
            Ok(found) => limits.memory.extend(found),
            Err(reason) => limits.missing.push(format!("{name}: {reason}")),
        }
    }
    limits.memory.sort_by_key(MemoryLimit::room);
    limits.descriptors = open_files(root, pid);
    limits
}

fn open_files(root: &Path, pid: u32) -> Option<u64> {
    let text = read(root, &format!("proc/{pid}/limits")).ok()?;
    match ResourceLimits::from_buf_read(text.as_bytes()).ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    }
}

/// Reads limits, or says why it cannot.
type Source = fn(&Path, u32) -> Result<Vec<MemoryLimit>, String>;

fn resource_limits(root: &Path, pid: u32) -> Result<Vec<MemoryLimit>, String> {
    let text = read(root, &format!("proc/{pid}/limits"))?;
    let limits = ResourceLimits::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?;
    let status = read(root, &format!("proc/{pid}/status"))?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let kinds = [
        (LimitKind::AddressSpace, limits.max_address_space, "VmSize:"),
        (LimitKind::Data, limits.max_data_size, "VmData:"),
    ];
    let found = kinds.into_iter().filter_map(|(kind, limit, field_name)| match limit.soft_limit {
        LimitValue::Value(bytes) => Some(MemoryLimit { kind, bytes, used: field(field_name)?, cgroup: String::new() }),
        LimitValue::Unlimited => None,
    });
    Ok(found.collect())
}

fn machine(root: &Path) -> Result<Vec<MemoryLimit>, String> {
    let text = read(root, "proc/meminfo")?;
    let memory = Meminfo::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?;
    let available = memory.mem_available.unwrap_or(memory.mem_free).saturating_add(memory.swap_free);
    let bytes = memory.mem_total.saturating_add(memory.swap_total);
    let used = bytes.saturating_sub(available);
    Ok(vec![MemoryLimit { kind: LimitKind::Machine, bytes, used, cgroup: String::new() }])
}

/// A small file's text. Names in it need not be UTF-8.
fn read(root: &Path, path: &str) -> Result<String, String> {
    let bytes = fs::read(root.join(path)).map_err(|error| format!("cannot read /{path}: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
