//! The compiler, the linker and the strip that make the BPF object.
//!
//! Debian's own compiler comes first: it is a stable release with a ready-made `core` for BPF, so that everyone gets the
//! same bytes. Where there is none, a nightly with rust-src builds `core` itself.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::record::Versions;
use crate::workspace::{Workspace, cargo_home};
use crate::{apt, shell};

pub(crate) const TARGET: &str = "bpfel-unknown-none";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";
const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22"];
/// What bpf-linker is built against.
const DEBIAN_LLVM_LIBRARIES: [&str; 5] = ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev"];
const LINKER_VERSION: &str = "0.13.0";

#[derive(Debug)]
pub(crate) struct Toolchain {
    kind: Kind,
    linker: PathBuf,
    strip: PathBuf,
    pub(crate) versions: Versions,
}

#[derive(Debug)]
enum Kind {
    Debian,
    /// Builds `core` from the sources in this folder.
    Nightly {
        rust_src: PathBuf,
    },
}

impl Toolchain {
    /// The toolchain of this machine; on Debian as root, what is missing is installed.
    pub(crate) fn find_or_install() -> Result<Self> {
        if is_debian() && (debian_compiles_bpf() || (shell::is_root() && Self::nightly().is_err())) {
            return Self::debian();
        }
        Self::nightly().map_err(|error| {
            let debian = DEBIAN_COMPILER.iter().chain(&DEBIAN_LLVM_LIBRARIES).copied().collect::<Vec<_>>();
            anyhow!(
                "no compiler for BPF here: {error:#}\n  \
                 on Debian, run: sudo {} && {}\n  \
                 elsewhere, run: rustup toolchain install nightly --component rust-src && cargo install bpf-linker, \
                 and have llvm-strip in PATH",
                apt::install_command(&debian),
                shell::render(&install_linker_command())
            )
        })
    }

    fn debian() -> Result<Self> {
        apt::install(&DEBIAN_COMPILER, "the BPF compiler")?;
        let linker = match find_linker() {
            Some(linker) => linker,
            None => {
                apt::install(&DEBIAN_LLVM_LIBRARIES, "bpf-linker")?;
                shell::run_shown(&mut install_linker_command()).context("cannot install bpf-linker")?;
                find_linker().context("bpf-linker was installed but is neither in PATH nor in cargo's home")?
            }
        };
        let strip = Path::new(DEBIAN_LLVM).join("bin/llvm-strip");
        // The package's version too: Debian patches a compiler without a change to what it says of itself.
        let package = |name| apt::installed_version(name).unwrap_or_else(|| "unpackaged".to_owned());
        let rustc = rustc_version(&mut Command::new(DEBIAN_RUSTC))?;
        let versions = Versions {
            rustc: format!("{}, Debian {}", rustc.release, package("rustc-web")),
            bpf_linker: linker_version(&linker).unwrap_or_default(),
            llvm: format!("{}, Debian {}", rustc.llvm, package("llvm-22")),
        };
        Ok(Self { kind: Kind::Debian, linker, strip, versions })
    }

    fn nightly() -> Result<Self> {
        let rustc = rustc_version(&mut nightly("rustc")).context("no nightly toolchain")?;
        let sysroot = shell::capture(nightly("rustc").args(["--print", "sysroot"]))?;
        let rust_src = Path::new(&sysroot).join("lib/rustlib/src/rust");
        if !rust_src.join("library/core").is_dir() {
            bail!("the nightly toolchain in {sysroot} has no rust-src");
        }
        let linker = find_linker().with_context(|| format!("no bpf-linker {LINKER_VERSION} or newer in PATH"))?;
        let strip = ["llvm-strip", "llvm-strip-22"].into_iter().find_map(shell::which);
        let strip = strip.context("no llvm-strip in PATH")?;
        let versions = Versions {
            rustc: rustc.release,
            bpf_linker: linker_version(&linker).unwrap_or_default(),
            llvm: format!("{}, strip {}", rustc.llvm, strip_version(&strip)?),
        };
        Ok(Self { kind: Kind::Nightly { rust_src }, linker, strip, versions })
    }

    /// `cargo SUBCOMMAND` for the BPF target, with nothing from the environment that could change what is built.
    pub(crate) fn cargo(&self, subcommand: &str, workspace: &Workspace) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Debian if subcommand == "clippy" => debian_clippy()?,
            Kind::Debian => shell::cargo(),
            Kind::Nightly { .. } => nightly("cargo"),
        };
        for (name, _) in env::vars_os() {
            if !is_harmless(&name) {
                command.env_remove(name);
            }
        }
        command.current_dir(&workspace.root).arg(subcommand);
        let mut flags = flags();
        flags.extend(remap_flags(workspace)?);
        match &self.kind {
            Kind::Debian => {
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                // For clippy, which runs cargo in its turn.
                command.env("CARGO", shell::cargo().get_program());
            }
            Kind::Nightly { rust_src } => {
                command.arg("-Zbuild-std=core");
                flags.push(remap(rust_src, "/rustc")?);
            }
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        command.arg("--target").arg(TARGET).arg("--target-dir").arg(workspace.target.join("bpf"));
        Ok(command)
    }

    /// Removes the DWARF of `object`, and keeps the BTF.
    pub(crate) fn strip(&self, object: &Path, stripped: &Path) -> Result<()> {
        shell::run(Command::new(&self.strip).arg("-g").arg("-o").arg(stripped).arg(object))
    }
}

/// The flags that decide the object's bytes, without those that name this machine's folders.
pub(crate) fn flags() -> Vec<String> {
    [r#"--cfg=bpf_target_arch="x86_64""#, "-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf"]
        .map(str::to_owned)
        .to_vec()
}

/// Renames this machine's folders in BTF line information and panic messages.
fn remap_flags(workspace: &Workspace) -> Result<Vec<String>> {
    let root = remap(&workspace.root, "/leaktrace");
    std::iter::once(root).chain(workspace.crate_sources.iter().map(|folder| remap(folder, "/crates"))).collect()
}

fn remap(from: &Path, to: &str) -> Result<String> {
    let from = from.to_str().with_context(|| format!("{} is not UTF-8: build elsewhere", from.display()))?;
    Ok(format!("--remap-path-prefix={from}={to}"))
}

/// Whether a variable cannot change what cargo builds, only how it gets there.
fn is_harmless(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let reserved = ["CARGO", "RUST", "CC", "CFLAGS", "LLVM", "AYA"].iter().any(|prefix| name.starts_with(prefix));
    let needed = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUST_BACKTRACE"].contains(&&*name)
        || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    !reserved || needed
}

/// Clippy for [`DEBIAN_RUSTC`]: the one beside cargo is of another version.
fn debian_clippy() -> Result<Command> {
    apt::install(&["rust-web-clippy"], "clippy of the BPF programs")?;
    Ok(Command::new(DEBIAN_CLIPPY))
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"))
}

fn debian_compiles_bpf() -> bool {
    Path::new(DEBIAN_RUSTC).exists() && Path::new("/usr/lib/rustlib").join(TARGET).is_dir()
}

fn nightly(program: &str) -> Command {
    if shell::which("rustup").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    command
}

struct RustcVersion {
    release: String,
    llvm: String,
}

fn rustc_version(rustc: &mut Command) -> Result<RustcVersion> {
    let text = shell::capture(rustc.arg("-vV"))?;
    parse_rustc_version(&text).with_context(|| format!("cannot read the compiler's version: {text}"))
}

fn parse_rustc_version(text: &str) -> Option<RustcVersion> {
    let release = text.lines().next()?.strip_prefix("rustc ")?;
    let release = release.strip_suffix(" (built from a source tarball)").unwrap_or(release).to_owned();
    let llvm = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.to_owned();
    Some(RustcVersion { release, llvm })
}

fn strip_version(strip: &Path) -> Result<String> {
    let text = shell::capture(Command::new(strip).arg("--version"))?;
    let version = text.lines().find_map(|line| line.split_once("LLVM version ")).map(|(_, version)| version);
    Ok(version.unwrap_or("of unknown version").to_owned())
}

/// A bpf-linker that is new enough, in `PATH` or in cargo's home.
fn find_linker() -> Option<PathBuf> {
    let installed = || cargo_home().map(|home| home.join("bin/bpf-linker"));
    [shell::which("bpf-linker"), installed()]
        .into_iter()
        .flatten()
        .find(|linker| linker_version(linker).is_some_and(|version| at_least(&version, LINKER_VERSION)))
}

fn linker_version(linker: &Path) -> Option<String> {
    let text = shell::capture(Command::new(linker).arg("--version")).ok()?;
    text.strip_prefix("bpf-linker ").map(str::to_owned)
}

/// Whether version `found` is `wanted` or newer.
fn at_least(found: &str, wanted: &str) -> bool {
    let parts = |version: &str| version.split(['.', '-']).map_while(|part| part.parse().ok()).collect::<Vec<u32>>();
    parts(found) >= parts(wanted)
}

fn install_linker_command() -> Command {
    let mut command = shell::cargo();
    command.env("LLVM_PREFIX", DEBIAN_LLVM).env("RUSTFLAGS", format!("-L{DEBIAN_LLVM}/lib"));
    command.args(["install", "bpf-linker", "--version", &format!("={LINKER_VERSION}"), "--locked", "--force"]);
    command.args(["--no-default-features", "--features", "llvm-22"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_versions_are_read() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\nhost: x\n\
                    release: 1.96.0\nLLVM version: 22.1.8";
        let version = parse_rustc_version(text).unwrap();
        assert_eq!((&*version.release, &*version.llvm), ("1.96.0 (ac68faa20 2026-05-25)", "22.1.8"));
        assert!(parse_rustc_version("gcc 12").is_none());
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("0.13.0", "0.13.0") && at_least("0.13.10", "0.13.9") && at_least("1.0.0-beta", "0.13.0"));
        assert!(!at_least("0.9.15", "0.13.0") && !at_least("unknown", "0.13.0"));
    }

    #[test]
    fn the_environment_cannot_change_the_build() {
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_RUSTFLAGS", "CARGO_PROFILE_BPF_LTO", "CC"] {
            assert!(!is_harmless(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_HTTP_PROXY", "RUSTUP_HOME"] {
            assert!(is_harmless(OsStr::new(name)), "{name}");
        }
    }
}
