//! Running other programs: a failure names the command in a form that can be pasted into a shell.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `command` with this process's stdout and stderr, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = render(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Like [`run`], after printing the command.
pub(crate) fn run_shown(command: &mut Command) -> Result<()> {
    println!("    {}", render(command));
    run(command)
}

/// Runs `command` and returns its trimmed stdout; its stderr becomes part of the error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = render(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, stderr.trim());
    }
    let stdout = String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed invalid UTF-8"))?;
    Ok(stdout.trim().to_owned())
}

/// The command line, with the environment it adds, quoted for a shell.
pub(crate) fn render(command: &Command) -> String {
    let env = command.get_envs().filter_map(|(name, value)| {
        let (name, value) = (name.to_string_lossy(), quote(value?));
        Some(format!("{name}={value}"))
    });
    let program = if command.get_program() == cargo_path() { "cargo".to_owned() } else { quote(command.get_program()) };
    env.chain([program]).chain(command.get_args().map(quote)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy().into_owned();
    if word.contains('\x1f') {
        // Cargo's separator between encoded flags.
        return format!("$'{}'", word.replace('\\', r"\\").replace('\'', r"\'").replace('\x1f', r"\x1f"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The first executable called `name` in `PATH`.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_path());
    // What `cargo run` sets for xtask is not for the crates that the inner cargo builds.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_command_can_be_pasted() {
        let mut command = Command::new("cargo");
        command.env("RUSTFLAGS", r#"--cfg=a="b""#).env_remove("RUSTC").args(["test", "", "it's"]);
        assert_eq!(render(&command), r#"RUSTFLAGS='--cfg=a="b"' cargo test '' 'it'\''s'"#);
    }

    #[test]
    fn a_separator_of_encoded_flags_survives_the_paste() {
        let mut command = Command::new("printf");
        command.args(["%s", "-Da=\"b\"\x1f-De='f'"]);
        let pasted = Command::new("bash").arg("-c").arg(render(&command)).output().unwrap();
        assert_eq!(String::from_utf8(pasted.stdout).unwrap(), "-Da=\"b\"\x1f-De='f'");
    }

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed (exit status: 3)");
    }

    #[test]
    fn which_finds_only_executables_in_path() {
        assert!(which("sh").is_some());
        assert_eq!(which("leaktrace-no-such-program"), None);
    }
}
