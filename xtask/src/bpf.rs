//! `cargo xtask bpf`: builds the BPF object, keeps it in the repository, and proves that it is what the source builds to.
//!
//! The object is committed so that building leaktrace needs neither LLVM nor a compiler for BPF.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::object_diff::first_difference;
use crate::record::{Record, sha256};
use crate::source::Inputs;
use crate::toolchain::{self, TARGET, Toolchain};
use crate::workspace::{self, Workspace, cargo_home};
use crate::{shell, suite};

const OBJECT: &str = "tracer/object/leaktrace.bpf.o";
const RECORD: &str = "tracer/object/leaktrace.bpf.json";
const UPDATE: &str = "Run `cargo xtask bpf` and commit tracer/object";

/// Builds the object and writes it with its record.
pub(crate) fn update() -> Result<()> {
    let workspace = Workspace::load()?;
    let toolchain = Toolchain::find_or_install()?;
    let inputs = Inputs::collect(&workspace.root, &toolchain::flags())?;
    let built = build(&workspace, &toolchain)?;
    let object = read(&built)?;
    let record = Record::new(inputs, toolchain.versions.clone(), &object)?;
    let (object_file, record_file) = (workspace.root.join(OBJECT), workspace.root.join(RECORD));
    if let Some(folder) = object_file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(&object_file, &object).with_context(|| format!("cannot write {}", object_file.display()))?;
    record.write(&record_file)?;
    println!("{OBJECT}: {} bytes, sha256 {}", record.size, record.object_hash);
    println!("{RECORD}: source {}", record.source_hash);
    Ok(())
}

/// Fails unless the committed object is what the source builds to; with another toolchain than the recorded one, unless
/// the rebuilt object passes the integration suite.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let record = Record::read(&root.join(RECORD))?;
    let committed = read(&root.join(OBJECT)).context(UPDATE)?;
    let inputs = Inputs::collect(&root, &toolchain::flags())?;
    check_record(&record, &inputs, &committed)?;

    let workspace = Workspace::load()?;
    let toolchain = Toolchain::find_or_install()?;
    let rebuilt_file = build(&workspace, &toolchain)?;
    let rebuilt = read(&rebuilt_file)?;
    let differences = toolchain.versions.differences(&record.versions);
    match first_difference(&committed, &rebuilt) {
        None => {
            println!("    {OBJECT} is byte for byte what the source builds to ({} bytes)", committed.len());
            Ok(())
        }
        Some(difference) if differences.is_empty() => bail!(
            "{OBJECT} is not what the source builds to: {difference}. The rebuilt object is {}. {UPDATE}",
            rebuilt_file.display()
        ),
        Some(difference) => {
            println!("    NOTICE: this is not the toolchain that built {OBJECT}:");
            differences.iter().for_each(|line| println!("      {line}"));
            println!("    The rebuilt object differs ({difference}),");
            println!("    so it has to pass the integration suite in place of the committed one.");
            suite::run_with_object(&workspace, &rebuilt_file)
                .with_context(|| format!("the object rebuilt with this toolchain, {}", rebuilt_file.display()))
        }
    }
}

/// Fails unless `record` was made from `inputs` and for `object`.
fn check_record(record: &Record, inputs: &Inputs, object: &[u8]) -> Result<()> {
    let hash = inputs.hash();
    if record.source_hash != hash || record.inputs != *inputs {
        let changes = inputs.changes(&record.inputs);
        let changes = if changes.is_empty() { format!("{RECORD} itself") } else { changes.join(", ") };
        bail!(
            "{OBJECT} was built from other sources ({changes}); source hash recorded {}, now {hash}. {UPDATE}",
            record.source_hash
        );
    }
    if record.object_hash != sha256(object) {
        bail!("{OBJECT} is not the object that {RECORD} describes: sha256 {}. {UPDATE}", sha256(object));
    }
    Ok(())
}

/// Runs clippy on the BPF programs. With the recorded compiler its warnings are errors; another version may have new
/// ones, which do not make the source wrong.
pub(crate) fn clippy() -> Result<()> {
    let workspace = Workspace::load()?;
    let toolchain = Toolchain::find_or_install()?;
    let recorded = Record::read(&workspace.root.join(RECORD)).ok();
    let mut command = toolchain.cargo("clippy", &workspace)?;
    select_program(&mut command);
    if recorded.is_none_or(|record| record.versions.rustc == toolchain.versions.rustc) {
        command.args(["--", "-D", "warnings"]);
    }
    shell::run(&mut command)
}

/// Builds and strips the object; returns where it is.
fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let mut command = toolchain.cargo("build", workspace)?;
    select_program(&mut command);
    shell::run(&mut command).context("cannot build the BPF object")?;
    let folder = workspace.target.join("bpf");
    let linked = folder.join(TARGET).join("bpf/leaktrace-bpf");
    let stripped = folder.join("leaktrace.bpf.o");
    toolchain.strip(&linked, &stripped)?;
    let object = read(&stripped)?;
    for path in [Some(workspace.root.clone()), cargo_home()].into_iter().flatten() {
        if contains(&object, &path) {
            bail!("the object names {}, a folder of this machine: add a --remap-path-prefix for it", path.display());
        }
    }
    Ok(stripped)
}

fn select_program(command: &mut Command) {
    command.args(["--locked", "--package=tracer-ebpf", "--bin=leaktrace-bpf", "--profile=bpf"]);
}

fn contains(object: &[u8], path: &Path) -> bool {
    let needle = path.as_os_str().as_encoded_bytes();
    object.windows(needle.len()).any(|window| window == needle)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Versions;

    fn record(inputs: &Inputs) -> Record {
        let versions = Versions { rustc: "1".into(), bpf_linker: "2".into(), llvm: "3".into() };
        Record::new(inputs.clone(), versions, b"object").unwrap()
    }

    fn inputs(main: &str) -> Inputs {
        Inputs::from_iter([("crate aya-ebpf v0.2.1", ""), ("tracer-ebpf/src/main.rs", main)])
    }

    #[test]
    fn a_true_record_passes() {
        check_record(&record(&inputs("ab12")), &inputs("ab12"), b"object").unwrap();
    }

    #[test]
    fn a_changed_source_is_named_with_the_way_out() {
        let error = check_record(&record(&inputs("ab12")), &inputs("cd34"), b"object").unwrap_err().to_string();
        assert!(error.contains("changed: tracer-ebpf/src/main.rs"), "{error}");
        assert!(error.contains("Run `cargo xtask bpf` and commit"), "{error}");
    }

    #[test]
    fn an_edited_record_or_object_is_found() {
        let mut edited = record(&inputs("ab12"));
        edited.source_hash = "0".into();
        let error = check_record(&edited, &inputs("ab12"), b"object").unwrap_err().to_string();
        assert!(error.contains("leaktrace.bpf.json itself"), "{error}");
        let error = check_record(&record(&inputs("ab12")), &inputs("ab12"), b"other").unwrap_err().to_string();
        assert!(error.contains("is not the object that"), "{error}");
    }
}
