//! The programs that the tests compare with.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Runs a program that must be there and print something; its output. Its status is not asked for: readelf fails when it
/// misses a debug file that it can do without.
pub(crate) fn run(program: &str, configure: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(program);
    configure(command.env("LC_ALL", "C"));
    let output =
        command.output().unwrap_or_else(|error| panic!("these tests need {program}; please install it ({error})"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() || !text.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Compiles a fixture; the path of the result.
pub(crate) fn compile(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/fixtures").join(source);
    // Compiled under another name and moved, so that tests may run at once.
    let own = path.with_extension(format!("{:?}", std::thread::current().id()));
    run("gcc", |gcc| {
        gcc.args(flags).arg("-o").arg(&own).arg(source);
    });
    std::fs::rename(own, &path).expect("the compiled fixture can be moved");
    path
}

/// An address in hexadecimal, with or without `0x`.
pub(crate) fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{text:?} is no address"))
}
