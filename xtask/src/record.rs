//! The record beside the committed object: what it was built from, and with what.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::source::Inputs;

/// `tracer/object/leaktrace.bpf.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`Inputs::hash`] of `inputs`.
    pub(crate) source_hash: String,
    /// SHA-256 of the object.
    pub(crate) object_hash: String,
    /// Bytes of the object.
    pub(crate) size: usize,
    #[serde(flatten)]
    pub(crate) versions: Versions,
    /// Version of the aya-ebpf crate.
    pub(crate) aya_ebpf: String,
    /// What `source_hash` is made of, so that a mismatch can be named.
    pub(crate) inputs: Inputs,
}

/// The programs whose version decides the bytes of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) rustc: String,
    pub(crate) bpf_linker: String,
    pub(crate) llvm: String,
}

impl Versions {
    /// One line for each program whose version is not the recorded one; empty if the toolchains are the same.
    pub(crate) fn differences(&self, recorded: &Self) -> Vec<String> {
        let Self { rustc, bpf_linker, llvm } = self;
        [
            ("rustc", rustc, &recorded.rustc),
            ("bpf-linker", bpf_linker, &recorded.bpf_linker),
            ("llvm", llvm, &recorded.llvm),
        ]
        .into_iter()
        .filter(|(_, here, recorded)| here != recorded)
        .map(|(program, here, recorded)| format!("{program}: recorded {recorded}, here {here}"))
        .collect()
    }
}

impl Record {
    pub(crate) fn new(inputs: Inputs, versions: Versions, object: &[u8]) -> Result<Self> {
        let aya_ebpf = inputs.crate_version("aya-ebpf").context("tracer-ebpf does not depend on aya-ebpf")?.to_owned();
        let (source_hash, object_hash) = (inputs.hash(), sha256(object));
        Ok(Self { source_hash, object_hash, size: object.len(), versions, aya_ebpf, inputs })
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        let hint = || format!("cannot read {}. Run `cargo xtask bpf` and commit tracer/object", file.display());
        let json = fs::read(file).with_context(hint)?;
        serde_json::from_slice(&json).with_context(hint)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self).context("cannot encode the record")?;
        json.push('\n');
        fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Lower-case hexadecimal SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions() -> Versions {
        Versions { rustc: "1.96.0".into(), bpf_linker: "0.13.0".into(), llvm: "22.1.8".into() }
    }

    #[test]
    fn a_record_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("leaktrace.bpf.json");
        let inputs = Inputs::from_iter([("crate aya-ebpf v0.2.1", ""), ("flags", "-O"), ("src/main.rs", "ab12")]);
        let record = Record::new(inputs, versions(), b"object").unwrap();
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
        assert_eq!(record.aya_ebpf, "0.2.1");
        assert_eq!(record.size, 6);
        assert_eq!(record.object_hash, "2958d416d08aa5a472d7b509036cb7eafd542add84527e66a145ea64cb4cdc75");
    }

    #[test]
    fn a_missing_record_says_what_to_run() {
        let error = Record::read(Path::new("no/such/leaktrace.bpf.json")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no/such/leaktrace.bpf.json") && text.contains("cargo xtask bpf"), "{text}");
    }

    #[test]
    fn the_same_toolchain_has_no_differences() {
        assert_eq!(versions().differences(&versions()), Vec::<String>::new());
    }

    #[test]
    fn every_program_counts_in_the_comparison() {
        let here = Versions { rustc: "1.97.0".into(), bpf_linker: "0.14.0".into(), llvm: "23.1.0".into() };
        assert_eq!(
            here.differences(&versions()),
            [
                "rustc: recorded 1.96.0, here 1.97.0",
                "bpf-linker: recorded 0.13.0, here 0.14.0",
                "llvm: recorded 22.1.8, here 23.1.0"
            ]
        );
    }
}
