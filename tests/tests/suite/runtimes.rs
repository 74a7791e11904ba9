//! Programs whose own heap is none that can be probed: said, with the tool for it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{process::Guarded, tracer::Tracer, wait_for};

fn notes(command: &mut Command, module: &str) -> Result<Vec<String>> {
    let process = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let pid = process.pid();
    wait_for("its libraries", || {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(maps.contains(module).then_some(()))
    })?;
    let ended = Tracer::attach_with(pid, &["--duration", "100ms"])?.wait()?;
    let notes = ended.json()?["notes"].clone();
    serde_json::from_value(notes).context("notes")
}

#[test]
fn a_program_in_go() -> Result<()> {
    let notes = notes(Command::new("fzf").args(["--filter", "x"]), "libc.so")?;
    ensure!(notes.iter().any(|note| note.starts_with("Go code") && note.contains("pprof")), "{notes:?}");
    Ok(())
}

#[test]
fn a_program_in_javascript() -> Result<()> {
    let notes = notes(Command::new("node").args(["-e", "setInterval(() => {}, 1000)"]), "libc.so")?;
    ensure!(notes.iter().any(|note| note.contains("V8") && note.contains("heap snapshots")), "{notes:?}");
    Ok(())
}

#[test]
fn a_program_in_c_needs_no_note() -> Result<()> {
    let notes = notes(&mut Command::new("cat"), "libc.so")?;
    ensure!(notes.is_empty(), "{notes:?}");
    Ok(())
}
