//! The kernel's walks up the stack are gdb's, return address by return address.
//!
//! Every program runs twice, at the same addresses: once traced by leaktrace, once under a gdb that stops it at each call
//! of an allocator. What is not compared, and why, is said in `harness/compare.rs`, and how much that is, in the table.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    compare::{Agreement, Comparison, Runs, Undescribed},
    gdb::{Gdb, Seen, Watch},
    leaker::{Build, Leaker, leakers_dir},
    modules::Modules,
    process::without_randomized_addresses,
    report::Report,
    tracer::Tracer,
    work_dir,
};

/// Calls that are to be compared at least, over all programs.
const CALLS: u64 = 1000;
/// Calls that are to be compared at least, of every program.
const CALLS_EACH: u64 = 100;
/// Differences that are shown in full.
const SHOWN: usize = 3;

const ALLOCATORS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
];

/// A copy of the C library for the programs alone. Whoever traces the system's one with probes in all processes takes
/// gdb's breakpoints out with his own.
struct OwnLibc(PathBuf);

impl OwnLibc {
    fn new() -> Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        let libc =
            maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
        let folder = Self(work_dir()?.join(format!("libc-{}", std::process::id())));
        fs::create_dir_all(&folder.0)?;
        fs::copy(libc.context("this process has no libc")?, folder.0.join("libc.so.6"))?;
        Ok(folder)
    }
}

impl Drop for OwnLibc {
    fn drop(&mut self) {
        // A folder left behind is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program, and how its two runs are compared.
struct Fixture {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
    agreement: Agreement,
    undescribed: Undescribed,
    most_calls: u64,
}

impl Fixture {
    fn compiled(name: &'static str, compiler: &str, source: &str, options: &str) -> Result<Self> {
        let include = format!("-I{}", leakers_dir().display());
        let mut options: Vec<&str> = options.split_whitespace().collect();
        if compiler != "rustc" {
            options.extend(["-g", "-fno-builtin", "-pthread", "-Wall", "-Wextra", "-Werror", &include]);
        }
        let program = Build::with(compiler, leakers_dir().join("stacks").join(source), &options).compile()?;
        Ok(Self {
            name,
            program,
            arguments: Vec::new(),
            agreement: Agreement::Same,
            undescribed: Undescribed::Ends,
            most_calls: u64::MAX,
        })
    }

    /// A program that others made. Its calls depend on time, so that gdb sees no more than a part of them.
    fn installed(name: &'static str, program: &str, arguments: &[&str], script: &str) -> Self {
        let script = leakers_dir().join("stacks").join(script);
        let arguments = arguments.iter().map(PathBuf::from).chain([script]).collect();
        let (agreement, undescribed) = (Agreement::Part, Undescribed::HasFramePointers);
        Self { name, program: program.into(), arguments, agreement, undescribed, most_calls: 200 }
    }

    fn start(&self, libc: &OwnLibc) -> Result<Leaker> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env("LD_LIBRARY_PATH", &libc.0);
        command.env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0");
        without_randomized_addresses(&mut command);
        Leaker::start_program(command.stderr(Stdio::null()))
    }

    /// The run that leaktrace sees.
    fn traced(&self, libc: &OwnLibc) -> Result<(Modules, Report)> {
        let mut leaker = self.start(libc)?;
        let modules = Modules::of(leaker.pid())?;
        let tracer = Tracer::attach(leaker.pid())?;
        leaker.say("go")?;
        leaker.expect("done")?;
        let report = tracer.stop()?;
        leaker.finish()?;
        report.check_arithmetic()?;
        Ok((modules, report))
    }

    /// The run that gdb sees.
    fn watched(&self, libc: &OwnLibc, modules: &Modules, watch: &Watch) -> Result<Seen> {
        let mut leaker = self.start(libc)?;
        ensure!(*modules == Modules::of(leaker.pid())?, "the two runs have different files, or at different addresses");
        let gdb = Gdb::attach(leaker.pid(), watch)?;
        leaker.say("go")?;
        leaker.expect("done")?;
        gdb.stop()?;
        leaker.finish()?;
        gdb.finish()
    }

    fn compare(&self, libc: &OwnLibc) -> Result<(Comparison, Seen)> {
        let (modules, report) = self.traced(libc)?;
        let described = modules.described()?;
        let mut entries = Vec::new();
        for module in report.probed_modules() {
            entries.extend(modules.functions(module, ALLOCATORS)?);
        }
        let taught = self.undescribed == Undescribed::HasFramePointers;
        let watch = Watch {
            entries,
            most_calls: self.most_calls,
            main_thread_only: self.agreement == Agreement::Part,
            frame_pointers_outside_of: taught.then(|| described.clone()),
        };
        let seen = self.watched(libc, &modules, &watch)?;
        let Self { agreement, undescribed, .. } = *self;
        let runs =
            Runs { modules: &modules, described: &described, report: &report, seen: &seen, agreement, undescribed };
        Ok((runs.compare(), seen))
    }
}

fn fixtures() -> Result<Vec<Fixture>> {
    let c = |name, options| Fixture::compiled(name, "gcc", "shapes.c", options);
    let cpp = |name, options| Fixture::compiled(name, "g++", "shapes.cpp", options);
    let musl = |name, options| Fixture::compiled(name, "musl-gcc", "shapes.c", options);
    Ok(vec![
        c("C -O0", "-O0")?,
        c("C -O2", "-O2 -fomit-frame-pointer -fno-optimize-sibling-calls")?,
        c("C -O2, tail calls", "-O2 -fomit-frame-pointer")?,
        c("C -O3", "-O3 -fomit-frame-pointer -fno-optimize-sibling-calls")?,
        c("C -O3, tail calls", "-O3 -fomit-frame-pointer")?,
        c("C -O2, frame pointers, no PIE", "-O2 -fno-omit-frame-pointer -no-pie")?,
        c("C -O2, stripped", "-O2 -fomit-frame-pointer -s")?,
        c("C -O2, static", "-O2 -fomit-frame-pointer -static")?,
        Fixture::compiled("C in libc", "gcc", "libc.c", "-O2 -fomit-frame-pointer")?,
        Fixture::compiled("C in libc, static", "gcc", "libc.c", "-O2 -fomit-frame-pointer -static")?,
        cpp("C++ -O0", "-O0")?,
        cpp("C++ -O2", "-O2 -fomit-frame-pointer")?,
        cpp("C++ -O3, static", "-O3 -fomit-frame-pointer -static")?,
        Fixture::compiled("Rust, release", "rustc", "rust_stacks.rs", "--edition=2024 -Copt-level=3 -g")?,
        Fixture::compiled("Rust, debug", "rustc", "rust_stacks.rs", "--edition=2024 -g")?,
        musl("musl -O2, static", "-O2 -fomit-frame-pointer -static")?,
        musl("musl -O0, static", "-O0 -static")?,
        // gdb takes the stripped library's signal trampoline for a part of setjmp, the last symbol before it.
        musl("musl -O2, dynamic", "-O2 -fomit-frame-pointer")?,
        Fixture::compiled("musl in libc", "musl-gcc", "libc.c", "-O2 -fomit-frame-pointer")?,
        // By its path: what a PATH finds first may be a wrapper.
        Fixture::installed("CPython", "/usr/bin/python3", &[], "interpreter.py"),
        Fixture::installed("node --jitless", "node", &["--jitless", "--single-threaded"], "engine.js"),
        Fixture::installed("node", "node", &["--single-threaded"], "engine.js"),
    ])
}

const NOTES: &str = "\
deep:        more than 127 frames, compared to there
undescribed: with frames in code that has no call-frame information: compared up to the first of them where gdb can only
             guess; in full in CPython and node, where gdb is told that such code keeps frame pointers (of code made at
             run time only the number of frames is compared)
pseudo:      frames that gdb makes up for inlined functions and tail calls: they have no return address
";

#[test]
fn stacks_are_gdb_s() -> Result<()> {
    let mut table = format!(
        "{:32} {:>6} {:>6} {:>7} {:>6} {:>9} {:>5} {:>11} {:>7} {:>5}\n",
        "program", "calls", "stacks", "frames", "equal", "different", "deep", "undescribed", "pseudo", "s"
    );
    let (mut calls, mut stacks, mut equal, mut different) = (0, 0, 0, 0);
    let mut details = String::new();
    let libc = OwnLibc::new()?;
    for fixture in fixtures()? {
        let start = Instant::now();
        let (result, seen) =
            fixture.compare(&libc).with_context(|| format!("{}, after\n{table}{details}", fixture.name))?;
        writeln!(
            table,
            "{:32} {:6} {:6} {:7} {:6} {:9} {:5} {:11} {:7} {:5.1}",
            fixture.name,
            result.calls,
            result.stacks,
            result.frames,
            result.equal,
            result.different,
            result.deep,
            result.undescribed,
            seen.inlined + seen.tail_calls,
            start.elapsed().as_secs_f64()
        )?;
        let enough = result.calls >= CALLS_EACH;
        ensure!(enough, "gdb saw only {} calls of {}, after\n{table}{details}", result.calls, fixture.name);
        calls += result.calls;
        stacks += result.stacks;
        equal += result.equal;
        different += result.different;
        let names: Vec<&str> = result.undescribed_functions.iter().map(String::as_str).take(20).collect();
        if !names.is_empty() {
            writeln!(details, "undescribed in {}: {}", fixture.name, names.join(", "))?;
        }
        for difference in result.differences.iter().take(SHOWN) {
            writeln!(details, "{}: {difference}", fixture.name)?;
        }
    }
    writeln!(table, "{:32} {calls:6} {stacks:6} {:7} {equal:6} {different:9}", "all", "")?;
    // Past the capture of a test's output: the table is for those who run it, not only for those for whom it fails.
    write!(std::io::stderr().lock(), "\n{table}{NOTES}{details}")?;
    ensure!(different == 0, "{different} stacks differ:\n{table}{NOTES}{details}");
    ensure!(calls >= CALLS, "only {calls} calls were compared:\n{table}");
    Ok(())
}
