//! Kernels on which tracing harms its target.

use super::BpfError;

/// Linux 6.11 to 6.12.13 and 6.13.0 to 6.13.2 end a process with a seccomp filter at its first return probe: that makes a
/// system call of its own, which the filter does not know (CVE-2025-21834).
pub(super) fn kills_filtered_targets(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return false };
    let version = (major, minor, numbers.next().unwrap_or(0));
    ((6, 11, 0)..=(6, 12, 13)).contains(&version) || ((6, 13, 0)..=(6, 13, 2)).contains(&version)
}

/// Whether a process may get return probes on the running kernel.
///
/// # Errors
/// When they would end it.
pub fn may_probe_returns(pid: u32, is_filtered: bool) -> Result<(), BpfError> {
    may_probe_returns_on(&release(), pid, is_filtered)
}

fn may_probe_returns_on(release: &str, pid: u32, is_filtered: bool) -> Result<(), BpfError> {
    if is_filtered && kills_filtered_targets(release) {
        return Err(BpfError::KillsFiltered { pid, release: release.to_owned() });
    }
    Ok(())
}

/// The running kernel's.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_with_the_seccomp_bug_are_known() {
        for affected in ["6.11.0", "6.12.13-generic", "6.13.2", "6.12-rc1", "6.13"] {
            assert!(kills_filtered_targets(affected), "{affected}");
        }
        for fine in ["6.10.14", "6.12.14", "6.13.3", "6.14.0-rc1", "6.18", "5.10.0-30-amd64", "", "x.y"] {
            assert!(!kills_filtered_targets(fine), "{fine}");
        }
    }

    #[test]
    fn only_a_filtered_target_on_such_a_kernel_is_refused() {
        assert!(may_probe_returns_on("6.12.5", 41, false).is_ok());
        assert!(may_probe_returns_on("6.18.5", 41, true).is_ok());
        let error = may_probe_returns_on("6.12.5", 41, true).expect_err("it would end the target").to_string();
        for word in ["41", "6.12.5", "CVE-2025-21834", "--force", "--fds", "6.12.14"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
