//! Targets whose files are elsewhere than their paths say: in another root and other namespaces, replaced, deleted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::{
    folder::Folder,
    leaker::{Build, Frames, Leaker, compile, leakers_dir},
    ledger::{
        Match::Innermost,
        Scope::{Everything, ListedSites},
    },
    process::children,
    programs,
    report::Report,
    tracer::Tracer,
};

/// What is another program in the host's root.
const PROGRAM: &str = "/usr/bin/env";

/// A leaker alone in namespaces and a root of its own, where it has pid 1.
struct Contained {
    leaker: Leaker,
    /// As it is seen from outside.
    pid: u32,
}

impl Contained {
    fn start(root: &Folder, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--kill-child"]);
        command.arg(compile("enter_root.c")?).arg(root.path()).arg(PROGRAM).args(arguments);
        let leaker = Leaker::start_program(&mut command)?;
        let children = children(leaker.pid())?;
        let [pid] = children[..] else { bail!("the children of unshare are {children:?}") };
        Ok(Self { leaker, pid })
    }
}

#[test]
fn in_other_namespaces() -> Result<()> {
    let root = Folder::new("root")?;
    root.install_with_libraries(&compile("late_library.c")?, PROGRAM)?;
    root.install(&programs::late_library().compile()?, "/late.so", 0o644)?;
    let Contained { mut leaker, pid } = Contained::start(&root, &["/late.so"])?;
    let tracer = Tracer::attach(pid)?;
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    ledger.check(&report, Innermost, ListedSites)?;
    ensure!(report.target.pid == pid && report.target.exe == PROGRAM, "{:?}", report.target);
    expect_modules(&report, "main", PROGRAM)?;
    expect_modules(&report, "site_in_library", "/late.so")?;
    leaker.finish()
}

#[test]
fn children_in_other_namespaces() -> Result<()> {
    let root = Folder::new("root")?;
    root.install_with_libraries(&compile("prefork.c")?, PROGRAM)?;
    let Contained { mut leaker, pid } = Contained::start(&root, &[])?;
    let mut tracer = Tracer::attach_with(pid, &["--follow-forks", "-v", "--duration", "600s"])?;
    leaker.say("go")?;
    leaker.expect("forked")?;
    for _ in 0..3 {
        tracer.wait_for_line("has its probes")?;
    }
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    ledger.check(&report, Innermost, Everything)?;
    let workers = report.processes.iter().filter(|process| process.parent == Some(pid));
    ensure!(workers.count() == 3, "{:?}", report.processes);
    leaker.finish()
}

/// Every frame of that function must be in that file.
fn expect_modules(report: &Report, function: &str, module: &str) -> Result<()> {
    let frames = report.sites.iter().flat_map(|site| &site.frames);
    let mut found = 0;
    for frame in frames.filter(|frame| frame.function.as_deref() == Some(function)) {
        ensure!(frame.module.as_deref() == Some(module) && frame.line.is_some(), "{frame:?}");
        found += 1;
    }
    ensure!(found > 0, "no frame is in {function}:\n{report}");
    Ok(())
}

/// What happens to the files of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// As by an upgrade: others have their names now.
    Replaced,
    Deleted,
}

/// `two_files.c` and its library, in a folder where they can be replaced.
struct TwoFiles {
    folder: Folder,
    program: PathBuf,
    library: PathBuf,
}

impl TwoFiles {
    fn new() -> Result<Self> {
        let folder = Folder::new("files")?;
        let program = folder.install(&compile("two_files.c")?, "program", 0o755)?;
        let library = folder.install(&programs::second_file().compile()?, "library.so", 0o644)?;
        Ok(Self { folder, program, library })
    }

    fn meet(&self, fate: Fate) -> Result<()> {
        match fate {
            Fate::Replaced => {
                let other = |file: &Path, path: &Path| -> Result<()> {
                    Ok(fs::rename(self.folder.install(file, "other", 0o755)?, path)?)
                };
                other(&compile("many_live.c")?, &self.program)?;
                other(&programs::late_library().compile()?, &self.library)
            }
            Fate::Deleted => {
                fs::remove_file(&self.program)?;
                Ok(fs::remove_file(&self.library)?)
            }
        }
    }
}

#[test]
fn files_that_are_replaced_or_deleted() -> Result<()> {
    for (fate, before) in
        [(Fate::Replaced, true), (Fate::Deleted, true), (Fate::Replaced, false), (Fate::Deleted, false)]
    {
        let files = TwoFiles::new()?;
        let mut leaker = Leaker::start_program(Command::new(&files.program).arg(&files.library))?;
        if before {
            files.meet(fate)?;
        }
        let tracer = Tracer::attach(leaker.pid())?;
        if !before {
            files.meet(fate)?;
        }
        let ledger = leaker.release()?;
        let report = tracer.stop()?;
        let context = || format!("{fate:?} {} the attach", if before { "before" } else { "after" });
        ledger.check(&report, Innermost, Everything).with_context(context)?;
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not text");
        expect_modules(&report, "site_in_program", &path(&files.program)?).with_context(context)?;
        expect_modules(&report, "site_in_library", &path(&files.library)?).with_context(context)?;
        leaker.finish()?;
    }
    Ok(())
}

/// The allocator is in the file that is gone.
#[test]
fn a_static_program_that_is_deleted() -> Result<()> {
    let folder = Folder::new("static")?;
    let program = Build::c(leakers_dir().join("simple.c"), Frames::Pointers).arg("-static").compile()?;
    let program = folder.install(&program, "program", 0o755)?;
    let mut leaker = Leaker::start_program(&mut Command::new(&program))?;
    fs::remove_file(&program)?;
    let tracer = Tracer::attach(leaker.pid())?;
    let ledger = leaker.release()?;
    ledger.check(&tracer.stop()?, Innermost, Everything)?;
    leaker.finish()
}
