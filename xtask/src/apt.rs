//! Debian packages: installs the missing ones as root, and otherwise says how.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Asked by maintainer scripts before they start a service; see `invoke-rc.d(8)`.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The version of an installed package.
pub(crate) fn installed_version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status} ${Version}", package]);
    let answer = shell::capture(&mut query).ok()?;
    answer.strip_prefix("installed ").map(str::to_owned)
}

/// Installs those of `packages` that are missing; `purpose` says what for, in the error.
pub(crate) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| installed_version(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if shell::which("apt-get").is_none() {
        bail!("{purpose} needs what Debian packages as: {}. Install the equivalents and run again", missing.join(" "));
    }
    let command = install_command(&missing);
    if !shell::is_root() {
        bail!("{purpose} needs packages that are not installed. Run: sudo {command}");
    }
    println!("    installing for {purpose}: {}", missing.join(" "));
    let _quiet = KeepServicesStopped::new()?;
    if apt_get(&install_args(&missing)).is_ok() {
        return Ok(());
    }
    // A fresh image has no package lists, and stale lists name files that are gone.
    apt_get(&["update"]).context("the package lists cannot be updated")?;
    apt_get(&install_args(&missing)).with_context(|| format!("{purpose} needs: {command}"))
}

/// The command that installs `packages`, to show.
pub(crate) fn install_command(packages: &[&str]) -> String {
    format!("apt-get {}", install_args(packages).join(" "))
}

fn install_args<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    [&["install", "-y", "--no-install-recommends"], packages].concat()
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]).args(args);
    shell::run(&mut command)
}

/// While this lives, a package that brings a service (redis) does not start it, so that no port is taken. A policy that
/// the machine already has is left alone.
struct KeepServicesStopped {
    created: bool,
}

impl KeepServicesStopped {
    fn new() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { created: false });
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(POLICY)
            .with_context(|| format!("cannot write {POLICY}, which keeps installed services from starting"))?;
        let guard = Self { created: true };
        file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        file.set_permissions(Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {POLICY} executable"))?;
        Ok(guard)
    }
}

impl Drop for KeepServicesStopped {
    fn drop(&mut self) {
        if self.created
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: cannot remove {POLICY} ({error}): services will not start until you do");
        }
    }
}
