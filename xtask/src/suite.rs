//! The integration suite: leaktrace on real processes, as root.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{apt, shell};

/// What the suite's target programs are made with, run on and compared against: Debian's package, and the program or
/// file by which it is known to be there.
const NEEDS: [(&str, &str); 24] = [
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("libc6-dev", "/usr/include/stdlib.h"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-benchmark"),
    ("python3", "python3"),
    ("nodejs", "node"),
    ("gdb", "gdb"),
    ("binutils", "readelf"),
    ("procps", "ps"),
    ("musl-tools", "musl-gcc"),
    ("npm", "npm"),
    // Its programs are in a folder by its version; this is the one in the path that only a server brings.
    ("postgresql", "pg_ctlcluster"),
    ("nginx", "nginx"),
    ("memcached", "memcached"),
    ("util-linux", "setpriv"),
    ("tmux", "tmux"),
    ("libjemalloc-dev", "/usr/include/jemalloc/jemalloc.h"),
    ("libgoogle-perftools-dev", "/usr/include/gperftools/tcmalloc.h"),
    ("libmimalloc-dev", "/usr/include/mimalloc.h"),
    // A program in Go.
    ("fzf", "fzf"),
    // It brings pprof.
    ("golang-go", "go"),
    ("chromium", "chromium"),
    // It brings promtool.
    ("prometheus", "prometheus"),
];

/// Fails, with the command to run, unless this is root: the suite never skips.
pub(crate) fn require_root() -> Result<()> {
    if !shell::is_root() {
        bail!(
            "the integration suite loads BPF programs and needs root. Run: \
             sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test --only integration"
        );
    }
    Ok(())
}

/// Installs what the suite needs.
pub(crate) fn install_needs() -> Result<()> {
    install_missing(&NEEDS, "the integration suite")
}

/// Installs those packages whose program or file is not there.
pub(crate) fn install_missing(needs: &[(&str, &str)], purpose: &str) -> Result<()> {
    let is_there =
        |probe: &str| if probe.starts_with('/') { Path::new(probe).exists() } else { shell::which(probe).is_some() };
    let missing: Vec<&str> = needs.iter().filter(|(_, probe)| !is_there(probe)).map(|(package, _)| *package).collect();
    apt::install(&missing, purpose)
}

/// Builds the `leaktrace` that the suite runs. With one of its tests, so that it is the one which the unit tests have built.
pub(crate) fn build_command(workspace: &Workspace) -> Command {
    let mut command = shell::cargo();
    command.current_dir(&workspace.root);
    command.args(["build", "--locked", "--package=leaktrace", "--bin=leaktrace", "--test=unwind"]);
    command
}

/// Runs the suite on the built `leaktrace`; `args` go to its test binaries.
pub(crate) fn test_command(workspace: &Workspace, args: &[OsString]) -> Command {
    let mut command = shell::cargo();
    command.current_dir(&workspace.root).args(["test", "--locked", "--package=leaktrace-tests"]);
    if !args.is_empty() {
        command.arg("--").args(args);
    }
    command
}

/// Runs the suite with `object` in the place of the committed object, in a `leaktrace` built to allow that.
pub(crate) fn run_with_object(workspace: &Workspace, object: &Path) -> Result<()> {
    require_root()?;
    install_needs()?;
    shell::run_shown(build_command(workspace).args(["--features", "object-override"]))
        .context("cannot build leaktrace to run another object")?;
    shell::run_shown(test_command(workspace, &[]).env("LEAKTRACE_BPF_OBJECT", object))
        .context("the suite fails with the rebuilt object")
}
