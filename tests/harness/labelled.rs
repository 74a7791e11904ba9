//! Labelled programs: what real services do with memory, each with what its sites should be called.
//!
//! In: the sources in `labelled/`, whose first comment says what is right (see `labelled.h`). Out: [`Labelled`]s that can be
//! started, and what is expected of each site of a report.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{
    leaker::{Build, Frames, Leaker},
    report::{Frame, is_named},
    work_dir,
};

/// The words of verdicts, the order of tables.
pub const LABELS: [&str; 6] = ["leaking", "growing", "bounded", "steady", "churn", "start-up"];

/// A program with what is true of it.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Its source.
    pub source: PathBuf,
    /// The labels that are right, by function.
    pub expected: Vec<Expected>,
    /// Seconds that it runs before it is traced.
    pub before: f64,
}

/// What is true of the sites below a function.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The function.
    pub function: String,
    /// The labels that are right; with `any`, all.
    pub labels: Vec<String>,
    /// Bytes per second, where that is known exactly.
    pub rate: Option<f64>,
}

impl Expected {
    /// Whether a label is right.
    pub fn allows(&self, label: &str) -> bool {
        self.labels.iter().any(|allowed| allowed == label || allowed == "any")
    }
}

/// The folder of their sources.
pub fn labelled_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("labelled")
}

/// All of them, by name.
pub fn all() -> Result<Vec<Labelled>> {
    let folder = labelled_dir();
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut sources = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    sources.retain(|source| source.extension() != Some(OsStr::new("h")));
    sources.sort();
    sources.into_iter().map(Labelled::read).collect()
}

impl Labelled {
    /// The program of that file name.
    pub fn named(file: &str) -> Result<Self> {
        Self::read(labelled_dir().join(file))
    }

    fn read(source: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let mut program = Self { source, expected: Vec::new(), before: 0.0 };
        program.parse(&text).with_context(|| program.name())?;
        Ok(program)
    }

    fn parse(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            let line = line.trim_start_matches(['*', '/', ' ']);
            let Some((word, rest)) = line.split_once(": ") else { continue };
            match (word, rest.split_once(" = ")) {
                ("expect", Some((function, labels))) => {
                    let labels: Vec<String> = labels.split('|').map(str::to_owned).collect();
                    let unknown = labels.iter().find(|label| *label != "any" && !LABELS.contains(&label.as_str()));
                    ensure!(unknown.is_none(), "no such label: {unknown:?}");
                    self.expected.push(Expected { function: function.to_owned(), labels, rate: None });
                }
                ("rate", Some((function, rate))) => {
                    let known = self.expected.iter_mut().find(|expected| expected.function == function);
                    known.with_context(|| format!("nothing is expected of {function}"))?.rate = Some(rate.parse()?);
                }
                ("before", None) => self.before = rest.parse()?,
                _ => {}
            }
        }
        ensure!(!self.expected.is_empty(), "nothing is expected of it");
        Ok(())
    }

    /// Its file's name.
    pub fn name(&self) -> String {
        self.source.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Starts it with that seed, and waits until it is ready. `python` is one that names its functions for perf.
    pub fn start(&self, seed: u64, python: &Path) -> Result<Leaker> {
        Leaker::start_program(self.command(python)?.arg(seed.to_string())).with_context(|| self.name())
    }

    fn command(&self, python: &Path) -> Result<Command> {
        let build =
            |build: Build| build.arg(format!("-I{}", labelled_dir().display())).arg("-Wl,--no-as-needed").arg("-lm");
        let source = &self.source;
        let command = match source.extension().and_then(OsStr::to_str) {
            Some("c") => Command::new(build(Build::c(source, Frames::Pointers)).compile()?),
            Some("cpp") => Command::new(build(Build::cpp(source, Frames::Pointers)).compile()?),
            Some("py") => with_arguments(python, &["-X", "perf"], source),
            Some("js") => {
                // A function that is compiled again changes the stacks below it; in a service that has been up for hours, all
                // have been.
                let named = ["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-opt", "--expose-gc"];
                // V8 writes a log into the folder that it is started in.
                let mut command = with_arguments(Path::new("node"), &named, source);
                command.current_dir(work_dir()?);
                command
            }
            _ => bail!("not a language of labelled programs"),
        };
        Ok(command)
    }

    /// What is expected of one of its sites: the first function that is in its stack. A runtime allocates for itself below any
    /// function, as when it compiles one: sites with a tenth of the blocks of the function's busiest are not meant.
    pub fn expectation(&self, site: &JudgedSite, all: &[&JudgedSite]) -> Option<&Expected> {
        let expected = self.expected.iter().find(|expected| site.is_below(&expected.function))?;
        let below = all.iter().filter(|site| site.is_below(&expected.function));
        let busiest = below.map(|site| site.alloc_objects).max()?;
        (site.alloc_objects * 10 > busiest).then_some(expected)
    }
}

fn with_arguments(program: &Path, arguments: &[&str], source: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(source);
    command
}

/// A report's sites with their verdicts, and what is known of processes, as a consumer outside of the project would read it.
#[derive(Clone, Debug, Deserialize)]
pub struct Judged {
    /// Seconds traced.
    pub elapsed_s: f64,
    /// Events lost, by cause.
    pub loss: std::collections::BTreeMap<String, u64>,
    /// Of all kinds.
    pub sites: Vec<JudgedSite>,
    /// A process each.
    pub analysis: Vec<Analysis>,
}

/// A site with its verdict.
#[derive(Clone, Debug, Deserialize)]
pub struct JudgedSite {
    /// `heap`, `mmap`, `fd`, …
    pub kind: String,
    /// The process.
    pub tgid: u32,
    /// Outstanding blocks; of sites that opened descriptors, none.
    #[serde(default)]
    pub inuse_objects: u64,
    /// Outstanding bytes.
    #[serde(default)]
    pub inuse_bytes: u64,
    /// Blocks allocated.
    #[serde(default)]
    pub alloc_objects: u64,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// What it is doing; absent while it is too young.
    pub verdict: Option<Verdict>,
}

impl JudgedSite {
    /// Whether any frame is in `function`, also when it is a script's.
    pub fn is_below(&self, function: &str) -> bool {
        let script = |name: &str| {
            let name = name.strip_prefix("JS:").map(|name| name.trim_start_matches(['~', '^', '+', '*']));
            name == Some(function)
        };
        let names = self.frames.iter().filter_map(|frame| frame.function.as_deref());
        // GCC's mark of functions that return a string.
        names.into_iter().any(|name| is_named(&name.replace("[abi:cxx11]", ""), function) || script(name))
    }

    /// Its stack in a line.
    pub fn stack(&self) -> String {
        let names: Vec<&str> =
            self.frames.iter().take(6).map(|frame| frame.function.as_deref().unwrap_or("?")).collect();
        names.join(" < ")
    }
}

/// What a site is doing.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub label: String,
    /// How sure that is.
    pub confidence: f64,
    /// Why.
    pub reason: String,
    /// Seconds since the attach.
    pub since_s: f64,
    /// How fast it grows, when it does.
    pub inuse_bytes_per_s: Option<Estimate>,
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Estimate {
    /// The best guess.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// What is known of a process as a whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Analysis {
    /// The process.
    pub pid: u32,
    /// What is wrong with it.
    pub signals: Vec<Signal>,
}

/// Something that is wrong with a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Signal {
    /// What: `out_of_memory`, `out_of_descriptors`, …
    pub signal: String,
    /// When.
    pub eta: Option<Eta>,
}

/// Seconds from the report on.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Eta {
    /// The best guess.
    pub expected_s: f64,
    /// No sooner than this.
    pub earliest_s: f64,
    /// No later than this.
    pub latest_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::{Labelled, all};

    #[test]
    fn the_first_comment_says_what_is_expected() -> anyhow::Result<()> {
        let mut program = Labelled { source: "x.c".into(), expected: Vec::new(), before: 0.0 };
        program.parse(
            "/*\n * A thing.\n *\n * expect: f = leaking|growing\n * rate: f = 12.5\n * before: 8\n */\nint x;",
        )?;
        let [f] = &program.expected[..] else { panic!("{program:?}") };
        assert_eq!((f.function.as_str(), f.rate, program.before), ("f", Some(12.5), 8.0));
        assert!(f.allows("growing") && !f.allows("steady"));
        assert!(program.parse("// expect: g = grown").is_err() && program.parse("// rate: h = 1").is_err());
        assert!(all()?.len() >= 28);
        Ok(())
    }
}
