//! Leakers: programs whose leaks are known. Compiles one, starts it, and drives it by its protocol:
//!
//! it prints `ready` and blocks on a line from stdin; does its work; prints its ledger and `done`; blocks on stdin again,
//! so that it can be inspected alive; then exits with 0.

use std::{
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    ledger::Ledger,
    process::{Guarded, Lines},
    wait_for, work_dir,
};

/// Frame pointers everywhere, sites that stay functions of their own, and no allocator call that the compiler knows
/// better than to make.
const WITH_FRAME_POINTERS: &[&str] =
    &["-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-builtin", "-pthread", "-Wall"];
/// As distributions build: no frame pointers. Sibling calls stay, so that a site is still found under its caller.
const WITHOUT_FRAME_POINTERS: &[&str] =
    &["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-builtin", "-pthread", "-Wall"];

/// The options a C or C++ leaker is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frames {
    /// `-O1 -fno-omit-frame-pointer`.
    Pointers,
    /// `-O2 -fomit-frame-pointer`.
    NoPointers,
}

impl Frames {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Pointers => WITH_FRAME_POINTERS,
            Self::NoPointers => WITHOUT_FRAME_POINTERS,
        }
    }
}

/// How to compile one file into one program or library.
#[derive(Clone, Debug)]
pub struct Build {
    source: PathBuf,
    arguments: Vec<String>,
    extension: &'static str,
}

impl Build {
    /// A C program from `source`.
    pub fn c(source: impl Into<PathBuf>, frames: Frames) -> Self {
        Self::gcc("gcc", source.into(), frames)
    }

    /// A C++ program from `source`.
    pub fn cpp(source: impl Into<PathBuf>, frames: Frames) -> Self {
        Self::gcc("g++", source.into(), frames)
    }

    /// A program from `source`, by this compiler with these options and no others.
    pub fn with(compiler: &str, source: impl Into<PathBuf>, options: &[&str]) -> Self {
        let arguments = [compiler].iter().chain(options).map(|&argument| argument.to_owned()).collect();
        Self { source: source.into(), arguments, extension: "exe" }
    }

    /// A Rust program from `source`: optimized, with frame pointers.
    pub fn rust(source: impl Into<PathBuf>) -> Self {
        let arguments = ["rustc", "--edition=2024", "-Copt-level=2", "-g", "-Cforce-frame-pointers=yes"]
            .map(str::to_owned)
            .to_vec();
        Self { source: source.into(), arguments, extension: "exe" }
    }

    fn gcc(compiler: &str, source: PathBuf, frames: Frames) -> Self {
        let include = format!("-I{}", leakers_dir().display());
        let arguments = [compiler].into_iter().chain(frames.flags().iter().copied()).map(str::to_owned);
        Self { source, arguments: arguments.chain([include]).collect(), extension: "exe" }
    }

    /// Makes a shared library instead of a program.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.extension = "so";
        self.arg("-shared").arg("-fPIC")
    }

    /// Adds a compiler option or a further input.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Compiles, unless exactly this was compiled before.
    pub fn compile(&self) -> Result<PathBuf> {
        static TEMPORARY: AtomicU32 = AtomicU32::new(0);

        let Self { source, arguments, extension } = self;
        let mut hasher = DefaultHasher::new();
        arguments.hash(&mut hasher);
        source.hash(&mut hasher);
        let headers =
            ["leaker.h", "descriptors/fd.h", "../labelled/labelled.h"].map(|header| leakers_dir().join(header));
        for input in [source.clone()].into_iter().chain(headers) {
            fs::read(&input).with_context(|| format!("cannot read {}", input.display()))?.hash(&mut hasher);
        }
        let stem = source.file_stem().and_then(OsStr::to_str).context("a source without a name")?;
        let program = work_dir()?.join(format!("{stem}-{:016x}.{extension}", hasher.finish()));
        if program.exists() {
            return Ok(program);
        }
        // Two tests may compile the same program at once: each makes its own, and the last one stays.
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = program.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let output = Command::new(&arguments[0])
            .args(&arguments[1..])
            .arg("-o")
            .arg(&temporary)
            .arg(source)
            .output()
            .with_context(|| format!("cannot run {}: is it installed?", arguments[0]))?;
        ensure!(
            output.status.success(),
            "{} cannot compile {}:\n{}",
            arguments[0],
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&temporary, &program)?;
        Ok(program)
    }
}

/// The folder of the leakers' sources.
pub fn leakers_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("leakers")
}

/// Compiles the leaker of that file name, by its extension's language, with frame pointers.
pub fn compile(file: &str) -> Result<PathBuf> {
    let source = leakers_dir().join(file);
    match source.extension().and_then(OsStr::to_str) {
        Some("c") => Build::c(source, Frames::Pointers).compile(),
        Some("cpp") => Build::cpp(source, Frames::Pointers).compile(),
        Some("rs") => Build::rust(source).compile(),
        _ => bail!("{file}: not a language of leakers"),
    }
}

/// The Rust program with that allocator linked in, by cargo, in a folder of its own beside the other leakers.
pub fn rust_with_allocator(feature: &str) -> Result<PathBuf> {
    let folder = work_dir()?.join(format!("rust-{feature}"));
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--locked", "--release", "--features", feature, "--target-dir"]).arg(&folder);
    let output = command.current_dir(leakers_dir().join("rust-allocators")).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join("release/rust-allocators"))
}

/// A running leaker.
#[derive(Debug)]
pub struct Leaker {
    process: Guarded,
    stdin: ChildStdin,
    lines: Lines,
}

impl Leaker {
    /// Compiles and starts the leaker of that file name, and waits until it is ready.
    pub fn start(file: &str) -> Result<Self> {
        Self::start_program(&mut Command::new(compile(file)?))
    }

    /// Starts a program that follows the protocol, and waits until it is ready.
    pub fn start_program(command: &mut Command) -> Result<Self> {
        let mut process = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = process.child().stdin.take().context("no stdin")?;
        let stdout = process.child().stdout.take().context("no stdout")?;
        let mut leaker = Self { process, stdin, lines: Lines::read(stdout) };
        leaker.expect("ready")?;
        Ok(leaker)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.process
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        // In one write: a reader that sees half a line first would make other calls.
        self.stdin.write_all(format!("{line}\n").as_bytes()).context("the leaker does not listen any more")
    }

    /// The next line of its output.
    pub fn answer(&mut self) -> Result<String> {
        match self.lines.next_line("the leaker's answer")? {
            Some(line) => Ok(line),
            None => bail!("the leaker ended early: {}", self.process.wait()?),
        }
    }

    /// Lets it do its work, and returns its ledger once it is done. It is still alive then.
    pub fn release(&mut self) -> Result<Ledger> {
        self.say("go")?;
        self.ledger()
    }

    /// The same, for a ledger of another sort: its lines.
    pub fn release_lines(&mut self) -> Result<Vec<String>> {
        self.say("go")?;
        self.lines_to_done()
    }

    /// Waits for its answers for so long, when what it is asked for takes its time.
    pub fn patient(mut self, deadline: Duration) -> Self {
        self.lines.deadline = deadline;
        self
    }

    /// Reads its ledger, to `done`.
    pub fn ledger(&mut self) -> Result<Ledger> {
        Ledger::parse(&self.lines_to_done()?)
    }

    /// What it says until it is done, having been released.
    pub fn rest(&mut self) -> Result<Vec<String>> {
        self.lines_to_done()
    }

    fn lines_to_done(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match self.answer()? {
                line if line == "done" => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    /// Lets it exit, which it must do with 0.
    pub fn finish(mut self) -> Result<()> {
        self.say("exit")?;
        let status = self.wait()?;
        ensure!(status.success(), "the leaker failed: {status}");
        Ok(())
    }

    /// Lets it do its work to the end, without anyone looking.
    pub fn finish_untraced(mut self) -> Result<()> {
        self.release()?;
        self.finish()
    }

    /// Waits until `steady.c` has done more rounds than it had when asked first.
    pub fn wait_for_progress(&mut self) -> Result<()> {
        let before = self.rounds()?;
        wait_for("the leaker to go on", || Ok((self.rounds()? > before).then_some(())))
    }

    fn rounds(&mut self) -> Result<u64> {
        self.say("count")?;
        let answer = self.answer()?;
        answer.parse().with_context(|| format!("the leaker answered {answer:?}"))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait()
    }

    /// Reads its next line, which must be this one.
    pub fn expect(&mut self, wanted: &str) -> Result<()> {
        let line = self.answer()?;
        ensure!(line == wanted, "the leaker said {line:?} instead of {wanted:?}");
        Ok(())
    }
}
