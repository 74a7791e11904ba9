//! What the virtual machine has: a shell, leaktrace, the suite, and the programs that it traces, at the paths that they
//! have here, because the suite looks for them there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use leaktrace_tests::{labelled, leaker, programs};
use serde::Deserialize;

use super::{cpio::Archive, packages::Unpacked};
use crate::{shell, suite, workspace::Workspace};

const INIT: &str = include_str!("init.sh");
const SUITE: &str = "/suite";
/// Modules that tell the state of sockets, each after those that it needs.
const MODULES: [&str; 4] = ["net/ipv4/inet_diag", "net/ipv4/tcp_diag", "net/ipv4/udp_diag", "net/unix/unix_diag"];

/// What is the same for every kernel.
#[derive(Debug)]
pub(crate) struct Base {
    archive: Archive,
    /// Where cargo builds, in the machine as here.
    target: PathBuf,
}

impl Base {
    /// Builds leaktrace, the suite and its programs, and packs them.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        shell::run_shown(&mut suite::build_command(workspace)).context("leaktrace does not build")?;
        let suite = build_suite(workspace)?;
        println!("    compiling the suite's programs");
        let compiled = programs::compile_core()?;

        let mut archive = Archive::default();
        for folder in ["proc", "sys", "dev", "tmp", "etc"] {
            archive.folder(folder);
        }
        archive.device("/dev/console", (5, 1));
        archive.file("/init", 0o755, INIT.as_bytes());
        archive.copy("/bin/busybox", &found("busybox")?)?;
        let mut dynamic = vec![suite.clone()];
        archive.copy(SUITE, &suite)?;
        let setpriv = found("setpriv")?;
        archive.copy("/usr/bin/setpriv", &setpriv)?;
        dynamic.push(setpriv);
        let leaktrace = workspace.target.join("debug/leaktrace");
        archive.copy(text(&leaktrace)?, &leaktrace)?;
        dynamic.push(leaktrace);
        for program in compiled {
            let name = program.file_name().context("a program without a name")?;
            let there = workspace.target.join("tmp/leaktrace-tests").join(name);
            archive.copy(text(&there)?, &program)?;
            dynamic.push(program);
        }
        sources(&mut archive, &leaker::leakers_dir())?;
        // It is part of what every program may include.
        let header = labelled::labelled_dir().join("labelled.h");
        archive.copy(text(&header)?, &header)?;
        for library in libraries(&dynamic)? {
            archive.copy(text(&library)?, &library)?;
        }
        Ok(Self { archive, target: workspace.target.clone() })
    }

    /// The archive for a kernel, in which the suite runs with these arguments.
    pub(crate) fn for_kernel(&self, kernel: &Unpacked, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut archive = self.archive.clone();
        for (number, module) in MODULES.iter().enumerate() {
            archive.file(&format!("/modules/{number}.ko"), 0o644, &kernel.module(module)?);
        }
        let mut command = Command::new(SUITE);
        command.env("CARGO_TARGET_DIR", &self.target).env("RUST_BACKTRACE", "0").args(arguments);
        archive.file("/suite.sh", 0o644, format!("{}\n", shell::render(&command)).as_bytes());
        Ok(archive.finish())
    }
}

fn found(program: &str) -> Result<PathBuf> {
    shell::which(program).with_context(|| format!("there is no {program} in PATH"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}

#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// The suite's test binary.
fn build_suite(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = shell::cargo();
    command.current_dir(&workspace.root);
    command.args([
        "test",
        "--locked",
        "--package=leaktrace-tests",
        "--test=suite",
        "--no-run",
        "--message-format=json",
    ]);
    println!("    {}", shell::render(&command));
    let messages = shell::capture(&mut command).context("the suite does not build")?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let is_suite =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("suite-"));
    artifacts.filter_map(|artifact| artifact.executable).find(is_suite).context("cargo names no binary of the suite")
}

/// The leakers' sources, whose content is part of the names of their programs.
fn sources(archive: &mut Archive, folder: &Path) -> Result<()> {
    // As the suite spells it.
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if path.is_dir() && path.file_name() == Some(OsStr::new("descriptors")) {
            sources(archive, &path)?;
        } else if matches!(extension, Some("c" | "h" | "cpp" | "rs")) {
            archive.copy(text(&path)?, &path)?;
        }
    }
    Ok(())
}

/// The shared libraries of these programs, with the dynamic linker.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
        // It fails for static programs.
        let listed = String::from_utf8_lossy(&output.stdout);
        if listed.contains("not found") {
            bail!("{} lacks a library: {listed}", program.display());
        }
        libraries.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    Ok(libraries)
}
