//! What the BPF object is built from, as digests: the source files, the flags and the crates. Two checkouts with the same
//! inputs build the same object with the same toolchain; a changed input means that the object has to be rebuilt.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::record::sha256;
use crate::shell;

const SOURCES: [&str; 2] = ["tracer-ebpf/src", "tracer-common/src"];
const MANIFESTS: [&str; 2] = ["tracer-ebpf/Cargo.toml", "tracer-common/Cargo.toml"];

/// Name and digest (or text, where that is short) of every input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs(BTreeMap<String, String>);

impl<'a> FromIterator<(&'a str, &'a str)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(inputs: I) -> Self {
        Self(inputs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Inputs {
    /// Reads the inputs of the checkout at `root`; `flags` are the compiler's, without paths of this machine.
    pub(crate) fn collect(root: &Path, flags: &[String]) -> Result<Self> {
        let mut inputs = Self::default();
        for folder in SOURCES {
            inputs.add_folder(root, folder)?;
        }
        for manifest in MANIFESTS {
            inputs.add_file(root, manifest)?;
        }
        inputs.0.insert("flags".to_owned(), flags.join(" "));
        let manifest = fs::read_to_string(root.join("Cargo.toml"))
            .with_context(|| format!("cannot read {}", root.join("Cargo.toml").display()))?;
        inputs.0.insert("profile".to_owned(), profile_settings(&manifest));
        inputs.add_crates(&dependency_tree(root)?)?;
        Ok(inputs)
    }

    /// SHA-256 over all names and digests, in the order of the names.
    pub(crate) fn hash(&self) -> String {
        let text: String = self.0.iter().map(|(name, value)| format!("{name}\0{value}\n")).collect();
        sha256(text.as_bytes())
    }

    /// The names of the inputs that are not as in `recorded`, each with what happened to it.
    pub(crate) fn changes(&self, recorded: &Self) -> Vec<String> {
        let here = self.0.iter().filter_map(|(name, value)| match recorded.0.get(name) {
            None => Some(format!("new: {name}")),
            Some(old) if old != value => Some(format!("changed: {name}")),
            Some(_) => None,
        });
        let gone = recorded.0.keys().filter(|&name| !self.0.contains_key(name)).map(|name| format!("gone: {name}"));
        here.chain(gone).collect()
    }

    /// The version of crate `name`, without the `v`.
    pub(crate) fn crate_version(&self, name: &str) -> Option<&str> {
        let prefix = format!("crate {name} v");
        self.0.keys().find_map(|key| key.strip_prefix(&prefix))
    }

    fn add_folder(&mut self, root: &Path, folder: &str) -> Result<()> {
        let path = root.join(folder);
        let context = || format!("cannot list {}", path.display());
        for entry in fs::read_dir(&path).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { bail!("{} is not UTF-8: rename it", entry.path().display()) };
            let relative = format!("{folder}/{name}");
            if entry.path().is_dir() {
                self.add_folder(root, &relative)?;
            } else if !name.starts_with('.') && !name.ends_with('~') {
                // The others are an editor's.
                self.add_file(root, &relative)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, root: &Path, relative: &str) -> Result<()> {
        let path = root.join(relative);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.0.insert(relative.to_owned(), sha256(&content));
        Ok(())
    }

    /// Adds the lines of [`dependency_tree`]: `NAME vVERSION [(WHERE)]|FEATURES`. WHERE may be a path and stays out.
    fn add_crates(&mut self, tree: &str) -> Result<()> {
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let (package, features) = line.rsplit_once('|').unwrap_or((line, ""));
            let mut words = package.split(' ');
            let (Some(name), Some(version)) = (words.next(), words.next()) else {
                bail!("`cargo tree` printed a line without name and version: {line}");
            };
            let known = self.0.entry(format!("crate {name} {version}")).or_default();
            // A crate can be built twice: for the target, and for a macro that runs on the host.
            if !known.split(' ').any(|set| set == features) {
                *known = format!("{known} {features}").trim().to_owned();
            }
        }
        Ok(())
    }
}

/// The crates that tracer-ebpf is compiled from, with the features it selects. Not build scripts' own crates, which the
/// tracer shares and bumps: with the recorded toolchain, a change of theirs shows in the object itself.
fn dependency_tree(root: &Path) -> Result<String> {
    let mut command = shell::cargo();
    command.current_dir(root).args(["tree", "--locked", "--package=tracer-ebpf", "--target=bpfel-unknown-none"]);
    command.args(["--edges=normal", "--prefix=none", "--no-dedupe", "--format={p}|{f}"]);
    shell::capture(&mut command).context("cannot list the crates of tracer-ebpf")
}

/// The settings under `[profile.bpf…]` and `[profile.release…]`, which it inherits.
fn profile_settings(manifest: &str) -> String {
    let mut inside = false;
    let mut settings = Vec::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line.starts_with("[profile.bpf") || line.starts_with("[profile.release");
        }
        if inside {
            settings.push(line);
        }
    }
    settings.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(main: &str) -> (tempfile::TempDir, Inputs) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("src/unwind")).unwrap();
        for (file, text) in [("main.rs", main), ("unwind/mod.rs", "//! Unwind."), (".main.rs.swp", main), ("a~", main)]
        {
            fs::write(root.path().join("src").join(file), text).unwrap();
        }
        let mut inputs = Inputs::default();
        inputs.add_folder(root.path(), "src").unwrap();
        (root, inputs)
    }

    #[test]
    fn the_hash_depends_on_content_and_not_on_the_place() {
        let ((one, a), (two, b)) = (tree_of("fn main() {}"), tree_of("fn main() {}"));
        assert_ne!(one.path(), two.path());
        assert_eq!(a.hash(), b.hash());
        assert_eq!(a.0.keys().collect::<Vec<_>>(), ["src/main.rs", "src/unwind/mod.rs"]);
    }

    #[test]
    fn a_changed_a_new_and_a_missing_file_are_named() {
        let ((_one, recorded), (two, _)) = (tree_of("fn main() {}"), tree_of("fn main() { }"));
        fs::remove_dir_all(two.path().join("src/unwind")).unwrap();
        fs::write(two.path().join("src/fd.rs"), "").unwrap();
        let mut here = Inputs::default();
        here.add_folder(two.path(), "src").unwrap();
        assert_ne!(here.hash(), recorded.hash());
        assert_eq!(here.changes(&recorded), ["new: src/fd.rs", "changed: src/main.rs", "gone: src/unwind/mod.rs"]);
        assert_eq!(recorded.changes(&recorded), Vec::<String>::new());
    }

    #[test]
    fn crates_are_named_without_their_place() {
        let mut inputs = Inputs::default();
        inputs
            .add_crates(
                "tracer-ebpf v0.1.0 (/home/me/leaktrace/tracer-ebpf)|\naya-ebpf v0.2.1|\n\
                 quote v1.0.47|default,proc-macro\nquote v1.0.47|default\nquote v1.0.47|default\n\
                 aya-ebpf-macros v0.2.0 (proc-macro)|\n",
            )
            .unwrap();
        let expected = [
            ("crate aya-ebpf v0.2.1", ""),
            ("crate aya-ebpf-macros v0.2.0", ""),
            ("crate quote v1.0.47", "default,proc-macro default"),
            ("crate tracer-ebpf v0.1.0", ""),
        ];
        assert_eq!(inputs, Inputs::from_iter(expected));
        assert_eq!(inputs.crate_version("aya-ebpf"), Some("0.2.1"));
        assert_eq!(inputs.crate_version("aya"), None);
        assert!(inputs.add_crates("nonsense").is_err());
    }

    #[test]
    fn only_the_profiles_of_the_object_count() {
        let manifest = "[workspace]\nx = 1\n[profile.bpf]\n# why\nlto = true\n\n[profile.bpf.package.a]\nopt-level = 3\n\
                        [profile.dev]\ndebug = 1\n[profile.release]\ndebug = 2\n";
        let settings = "[profile.bpf] lto = true [profile.bpf.package.a] opt-level = 3 [profile.release] debug = 2";
        assert_eq!(profile_settings(manifest), settings);
    }
}
