//! What can be known before anything is loaded.

use super::{BpfError, hazards};

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Checks privileges and the kernel's build.
///
/// # Errors
/// Names what is missing and what to do.
pub fn preflight() -> Result<(), BpfError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    check_capabilities(&status)?;
    if !std::path::Path::new("/sys/bus/event_source/devices/uprobe").exists() {
        return Err(BpfError::NoUprobes);
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    check_lockdown(&lockdown)?;
    hazards::may_load()
}

fn check_capabilities(status: &str) -> Result<(), BpfError> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective & 1 << capability != 0;
    // CAP_SYS_ADMIN includes BPF and PERFMON; reading another user's maps needs PTRACE besides.
    let needed = [
        ("CAP_BPF", has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_PERFMON", has(CAP_PERFMON) || has(CAP_SYS_ADMIN)),
        ("CAP_SYS_PTRACE", has(CAP_SYS_PTRACE)),
    ];
    let missing: Vec<_> = needed.iter().filter(|(_, present)| !present).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(BpfError::Capabilities { missing: missing.join(", ") }) }
}

/// The file reads `none [integrity] confidentiality`, the mode in force in brackets.
fn check_lockdown(file: &str) -> Result<(), BpfError> {
    let mode = file.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("none");
    if mode == "confidentiality" { Err(BpfError::LockedDown { mode: mode.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let none = check_capabilities("Name:\tx\nCapEff:\t0000000000000000\n").expect_err("no capabilities");
        assert!(none.to_string().contains("CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE"), "{none}");
        assert!(none.to_string().contains("sudo"), "{none}");
        let admin = format!("CapEff:\t{:016x}\n", 1u64 << CAP_SYS_ADMIN);
        let ptrace = check_capabilities(&admin).expect_err("no ptrace").to_string();
        assert!(ptrace.starts_with("missing CAP_SYS_PTRACE:"), "{ptrace}");
        let enough = format!("CapEff:\t{:016x}\n", 1u64 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_SYS_PTRACE);
        assert!(check_capabilities(&enough).is_ok());
    }

    #[test]
    fn only_confidentiality_is_too_locked_down() {
        assert!(check_lockdown("none [integrity] confidentiality\n").is_ok());
        assert!(check_lockdown("").is_ok());
        assert!(check_lockdown("none integrity [confidentiality]\n").is_err());
    }
}
