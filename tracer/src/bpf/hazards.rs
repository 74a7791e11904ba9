//! Kernels on which tracing harms its target, or the machine.

use super::BpfError;

/// Linux 6.11 to 6.12.13 and 6.13.0 to 6.13.2 end a process with a seccomp filter at its first return probe: that makes a
/// system call of its own, which the filter does not know (CVE-2025-21834).
pub(super) fn kills_filtered_targets(release: &str) -> bool {
    version(release).is_some_and(|version| {
        ((6, 11, 0)..=(6, 12, 13)).contains(&version) || ((6, 13, 0)..=(6, 13, 2)).contains(&version)
    })
}

/// Before Linux 6.1 the kernel warns, once until the next boot, of a program that traces and whose maps grow as they are
/// filled: a probe inside the kernel's allocator could come back to it. Ours are at system calls and in user space, and maps
/// that are as large as they may become from the start would take hundreds of megabytes.
pub(super) fn warns_of_maps(release: &str) -> bool {
    version(release).is_some_and(|version| version < (6, 1, 0))
}

/// Whether programs may be loaded into the running kernel.
///
/// # Errors
/// When it would warn of them, and ends at a warning.
pub(super) fn may_load() -> Result<(), BpfError> {
    let panics = std::fs::read_to_string("/proc/sys/kernel/panic_on_warn").unwrap_or_default();
    may_load_on(&release(), &panics)
}

/// `panics` is the file's text: 0, or what makes the kernel end at a warning.
fn may_load_on(release: &str, panics: &str) -> Result<(), BpfError> {
    if warns_of_maps(release) && !matches!(panics.trim(), "" | "0") {
        return Err(BpfError::PanicsOnWarning { release: release.to_owned() });
    }
    Ok(())
}

/// The first three numbers of a release; the third is 0 where there is none.
fn version(release: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
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
    fn a_kernel_that_would_end_at_its_warning_is_left_alone() {
        for (release, panics) in [("5.10.0-46-cloud-amd64", "0\n"), ("6.1.0", "1\n"), ("6.18.5", "1\n"), ("5.15.0", "")]
        {
            assert!(may_load_on(release, panics).is_ok(), "{release} {panics}");
        }
        let error = may_load_on("5.15.0-91-generic", "1\n").expect_err("the kernel would end").to_string();
        for word in ["5.15.0-91-generic", "panic_on_warn", "sysctl", "6.1"] {
            assert!(error.contains(word), "{word}: {error}");
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
