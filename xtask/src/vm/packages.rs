//! Debian's kernels, by an apt that has its own sources and state below the target folder: the machine's stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use crate::shell;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org";
/// Between them they have every kernel of the matrix; security updates have the latest of each series.
const SUITES: [(&str, &str); 4] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
];

/// A kernel's files.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Its release, as `uname -r` has it.
    pub(crate) release: String,
    root: PathBuf,
}

impl Unpacked {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// A module's bytes, by its path without extension below `kernel/`.
    pub(crate) fn module(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.root.join("lib/modules").join(&self.release).join(format!("kernel/{path}.ko"));
        if file.exists() {
            return fs::read(&file).with_context(|| format!("cannot read {}", file.display()));
        }
        let packed = file.with_extension("ko.xz");
        let mut command = Command::new("xz");
        let output = command.args(["--decompress", "--stdout"]).arg(&packed).output().context("cannot run xz")?;
        if !output.status.success() {
            bail!("cannot unpack {}: {}", packed.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }
}

/// Downloads and unpacks a kernel below `folder`, unless that was done before.
pub(crate) fn unpacked(folder: &Path, kernel: &Kernel) -> Result<Unpacked> {
    let done = folder.join(kernel.version);
    let release_file = done.join("release");
    if let Ok(release) = fs::read_to_string(&release_file) {
        return Ok(Unpacked { release, root: done });
    }
    let apt = Apt::new(&folder.join("apt"))?;
    let package = apt.newest(kernel.version)?;
    println!("    downloading {package}");
    let file = apt.download(&package)?;
    // One that was interrupted is not taken for whole.
    if done.exists() {
        fs::remove_dir_all(&done).with_context(|| format!("cannot remove {}", done.display()))?;
    }
    fs::create_dir_all(&done).with_context(|| format!("cannot make {}", done.display()))?;
    shell::run(Command::new("dpkg-deb").arg("--extract").args([&file, &done]))?;
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    fs::write(&release_file, &release).with_context(|| format!("cannot write {}", release_file.display()))?;
    Ok(Unpacked { release, root: done })
}

struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// An apt with lists of its own.
    fn new(folder: &Path) -> Result<Self> {
        for inner in ["lists/partial", "archives/partial"] {
            let path = folder.join(inner);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let sources = folder.join("sources.list");
        let lines = SUITES
            .map(|(archive, suite)| format!("deb [arch=amd64 signed-by={KEYRING}] {MIRROR}/{archive} {suite} main\n"));
        fs::write(&sources, lines.concat()).with_context(|| format!("cannot write {}", sources.display()))?;
        let shown = folder.display();
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={shown}/lists"),
            format!("Dir::Cache={shown}"),
            // Its own user may not enter a target folder in somebody's home.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        Ok(Self { folder: folder.to_owned(), options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).current_dir(&self.folder);
        command
    }

    /// The name of the newest package of a kernel series.
    fn newest(&self, series: &str) -> Result<String> {
        shell::run(self.command("apt-get").args(["-qq", "update"])).with_context(|| {
            format!("Debian's kernels cannot be had from {MIRROR} (a proxy is named in apt's own configuration)")
        })?;
        let prefix = format!("linux-image-{series}.");
        let names = shell::capture(self.command("apt-cache").args(["pkgnames", &prefix]))?;
        let newest = names.lines().filter(|name| name.ends_with("-cloud-amd64")).max_by_key(|name| numbers(name));
        newest.map(str::to_owned).with_context(|| format!("{MIRROR} has no package {prefix}*-cloud-amd64"))
    }

    fn download(&self, package: &str) -> Result<PathBuf> {
        shell::run(self.command("apt-get").args(["-qq", "download", package]))?;
        let files = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        let is_it = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&format!("{package}_")))
        };
        files.into_iter().find(is_it).with_context(|| format!("apt-get download left no file of {package}"))
    }
}

/// The numbers in a name, by which versions are ordered.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(numbers("linux-image-5.10.0-100-cloud-amd64") > numbers("linux-image-5.10.0-46-cloud-amd64"));
        assert!(numbers("linux-image-6.12.117+deb12-cloud-amd64") > numbers("linux-image-6.12.94+deb13-cloud-amd64"));
    }
}
