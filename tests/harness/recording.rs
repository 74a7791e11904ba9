//! Recordings of a test's own, and the commands that read them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{folder::Folder, report::Report, tracer::binary};

/// The path of a recording, which any user may reach; what is there goes with this.
#[derive(Debug)]
pub struct RecordingFile {
    _folder: Folder,
    path: PathBuf,
}

impl RecordingFile {
    /// A path where nothing is yet.
    pub fn new() -> Result<Self> {
        let folder = Folder::new("recording")?;
        Ok(Self { path: folder.path().join("run.ltrec"), _folder: folder })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, as an argument.
    pub fn argument(&self) -> Result<&str> {
        self.path.to_str().context("a path that is no text")
    }

    /// What `leaktrace report --format json` says of it, with these options.
    pub fn json(&self, options: &[&str]) -> Result<Value> {
        let arguments = [&["report", self.argument()?, "--format", "json"], options].concat();
        Ok(serde_json::from_str(&offline(&arguments)?)?)
    }

    /// The same, as the harness reads reports.
    pub fn report(&self) -> Result<Report> {
        Report::parse(&offline(&["report", self.argument()?, "--format", "json"])?)
    }
}

/// Where each frame of a recording begins and where it ends, as docs/recording.md describes the file.
pub fn frames(bytes: &[u8]) -> Result<Vec<(usize, usize)>> {
    let word = |at: usize| -> Result<usize> {
        let word = bytes.get(at..at + 4).context("the file is too short")?;
        Ok(u32::from_le_bytes(word.try_into()?).try_into()?)
    };
    ensure!(bytes.starts_with(b"\x8fLTREC\r\n"), "it begins with other bytes");
    ensure!(word(8)? == 1, "it is of format {}", word(8)?);
    let mut at = 16 + word(12)? + 4;
    let mut frames = Vec::new();
    while at < bytes.len() {
        let end = at + 28 + word(at + 4)?;
        frames.push((at, end));
        at = end;
    }
    ensure!(at == bytes.len(), "the last frame ends behind the file");
    Ok(frames)
}

/// Runs leaktrace with these arguments, to its end.
pub fn run_offline(arguments: &[impl AsRef<OsStr>]) -> Result<Output> {
    Ok(Command::new(binary()?).args(arguments).output()?)
}

/// The same; it must end well. Returns what it wrote to standard output.
pub fn offline(arguments: &[&str]) -> Result<String> {
    let output = run_offline(arguments)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "leaktrace {}: {}\n{stderr}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Where two JSON values differ, if they do.
pub fn expect_equal(left: &Value, right: &Value) -> Result<()> {
    expect_equal_at("", left, right)
}

fn expect_equal_at(path: &str, left: &Value, right: &Value) -> Result<()> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            ensure!(left.keys().eq(right.keys()), "{path} has other fields: {:?} and {:?}", left.keys(), right.keys());
            left.iter().try_for_each(|(key, value)| expect_equal_at(&format!("{path}.{key}"), value, &right[key]))
        }
        (Value::Array(left), Value::Array(right)) => {
            ensure!(left.len() == right.len(), "{path} has {} and {} entries", left.len(), right.len());
            let pairs = left.iter().zip(right).enumerate();
            pairs.into_iter().try_for_each(|(at, (left, right))| expect_equal_at(&format!("{path}[{at}]"), left, right))
        }
        _ if left == right => Ok(()),
        _ => bail!("{path} is {left} and {right}"),
    }
}

/// Makes a file that user's, who is nobody special.
pub fn give_to_nobody(path: &Path) -> Result<()> {
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).with_context(|| path.display().to_string())
}

const NOBODY: u32 = 65_534;

/// Runs leaktrace as that user, without any privilege. Its own file is copied to where that user may read it.
pub fn as_nobody(arguments: &[&str]) -> Result<Output> {
    let folder = Folder::new("nobody")?;
    let own = folder.install(&binary()?, "leaktrace", 0o755)?;
    let nobody = NOBODY.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--bounding-set", "-all", "--no-new-privs"])
        .arg(own)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .context("setpriv: is it installed?")?;
    Ok(output)
}

/// The bytes of a file, cut off or changed, as another file in the same folder.
pub fn variant(of: &RecordingFile, bytes: &[u8]) -> Result<PathBuf> {
    let path = of.path().with_file_name("variant.ltrec");
    fs::write(&path, bytes)?;
    Ok(path)
}
