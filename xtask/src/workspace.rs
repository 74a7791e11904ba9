//! What cargo knows about this checkout: where it is, where it builds, and where the sources of its crates are.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::shell;

/// Folders of this checkout and of the crates it uses.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The folders that hold unpacked dependencies: usually one, in cargo's home.
    pub(crate) crate_sources: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    source: Option<String>,
}

/// The root of the checkout, without asking cargo.
pub(crate) fn root() -> PathBuf {
    // At run time, so that a moved checkout does not use the binary's old path.
    let xtask = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

impl Workspace {
    /// Asks cargo, which downloads the dependencies that are missing.
    pub(crate) fn load() -> Result<Self> {
        let root = root();
        let mut command = shell::cargo();
        command.current_dir(&root).args(["metadata", "--format-version=1", "--locked"]);
        let json = shell::capture(&mut command).context("cannot list the workspace's crates")?;
        let metadata: Metadata = serde_json::from_str(&json).context("cannot read what `cargo metadata` printed")?;
        let crate_sources: BTreeSet<PathBuf> = metadata
            .packages
            .iter()
            .filter(|package| package.source.is_some())
            .filter_map(|package| package.manifest_path.ancestors().nth(2).map(Path::to_path_buf))
            .collect();
        Ok(Self { root, target: metadata.target_directory, crate_sources: crate_sources.into_iter().collect() })
    }

    /// Builds leaktrace as it is released, and says where it is.
    pub(crate) fn build_released(&self) -> Result<PathBuf> {
        let mut command = shell::cargo();
        command.current_dir(&self.root).args(["build", "--locked", "--release", "--package=leaktrace"]);
        shell::run_shown(&mut command).context("the release build fails")?;
        Ok(self.target.join("release/leaktrace"))
    }
}

/// Cargo's home, where `cargo install` puts programs.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}
