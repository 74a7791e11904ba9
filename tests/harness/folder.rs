//! Folders of a test's own, gone with their handles: for files that are moved and deleted, and for roots of processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::process::run_tool;

/// A folder below the system's for temporary files, which every user may enter.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leaktrace-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Copies a program or a library to `name` in it, whatever is there, as a file of its own with this mode.
    pub fn install(&self, file: &Path, name: &str, mode: u32) -> Result<PathBuf> {
        let path = self.0.join(name.trim_start_matches('/'));
        // By another process: a file that this one has open for writing, a child of another test's could still have open,
        // and then it cannot be run.
        run_tool(Command::new("install").arg("-D").arg(format!("--mode={mode:o}")).args([file, &path]))?;
        Ok(path)
    }

    /// Makes a root of it for `program`, which is to be `name` there: with every library that it is linked to, at its path.
    pub fn install_with_libraries(&self, program: &Path, name: &str) -> Result<()> {
        self.install(program, name, 0o755)?;
        let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
        ensure!(output.status.success(), "ldd: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
            self.install(Path::new(path), path, 0o755)?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}
