//! Every allocator that is known: preloaded, linked, static, under a prefix; each with exact bytes and counts. And what
//! `leaktrace doctor` says of them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    doctor::{Process, examine},
    leaker::{Build, Frames, Leaker, leakers_dir, rust_with_allocator},
    ledger::{
        Match::{AnyFrame, Innermost},
        Scope::{Everything, ListedSites},
    },
    process::run_tool,
    report::Report,
    tracer::{Tracer, trace_with},
    work_dir,
};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// Debian's libraries, and what jemalloc and tcmalloc lack of the C library's functions.
const JEMALLOC: &str = "libjemalloc.so.2";
const TCMALLOC: &str = "libtcmalloc_minimal.so.4";
const MIMALLOC: &str = "libmimalloc.so.2";

fn source(name: &str) -> PathBuf {
    leakers_dir().join(name)
}

fn heap_functions() -> Build {
    Build::c(source("heap_functions.c"), Frames::Pointers)
}

fn operators() -> Build {
    Build::cpp(source("allocators/operators.cpp"), Frames::Pointers).arg("-std=c++17")
}

fn with_musl(options: &[&str]) -> Build {
    let flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-builtin", "-Wall"];
    let include = format!("-I{}", leakers_dir().display());
    let options = [&flags[..], &[&include, "-DNO_VALLOC", "-DNO_PVALLOC"], options].concat();
    Build::with("musl-gcc", source("heap_functions.c"), &options)
}

/// Links a library whether its symbols are asked for yet or not: the source comes last.
fn linked(library: &str) -> String {
    format!("-Wl,--push-state,--no-as-needed,{library},--pop-state")
}

fn preloaded(program: &Path, library: &str) -> Result<Command> {
    let library = Path::new(LIBRARIES).join(library);
    ensure!(library.is_file(), "no {}: install the package that cargo xtask test names", library.display());
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library);
    Ok(command)
}

/// Traces a program, compares everything, and returns what `doctor` said of it before. Functions of an allocator that call
/// another are frames of their own, so a site may have some before it.
fn check(command: &mut Command, options: &[&str]) -> Result<(Process, Report)> {
    let leaker = Leaker::start_program(command)?;
    let process = examine(leaker.pid(), options)?.process.context("nothing of the process")?;
    let (ledger, report) = trace_with(leaker, options)?;
    ledger.check(&report, AnyFrame, Everything).with_context(|| format!("{:?}", process.allocators()))?;
    Ok((process, report))
}

fn expect_allocators(process: &Process, expected: &[(&str, &str)]) -> Result<()> {
    ensure!(process.allocators() == expected, "{:?} instead of {expected:?}", process.allocators());
    Ok(())
}

#[test]
fn the_c_functions_of_preloaded_allocators() -> Result<()> {
    let all = heap_functions().compile()?;
    let without = heap_functions().arg("-DNO_PVALLOC").compile()?;
    for (library, family, program) in
        [(JEMALLOC, "jemalloc", &without), (TCMALLOC, "tcmalloc", &all), (MIMALLOC, "mimalloc", &all)]
    {
        let (process, report) = check(&mut preloaded(program, library)?, &[]).context(library)?;
        // The C library's own is mapped as well, and probed: whoever still calls it is counted too.
        expect_allocators(&process, &[("glibc", ""), (family, "")])?;
        let hits = |symbol: &str, module: &str| -> u64 {
            let probes = report.probes.iter().filter(|probe| probe.symbol == symbol && probe.module.contains(module));
            probes.map(|probe| probe.hits).sum()
        };
        ensure!(hits("malloc", family) > 20_000 && hits("malloc", "libc.so") == 0, "{library}: {:?}", report.probes);
    }
    Ok(())
}

#[test]
fn every_operator_new_and_delete_of_every_allocator() -> Result<()> {
    let program = operators().compile()?;
    check(&mut Command::new(&program), &[]).context("the C++ runtime's")?;
    for library in [JEMALLOC, TCMALLOC] {
        let (process, _) = check(&mut preloaded(&program, library)?, &[]).context(library)?;
        let family = if library == JEMALLOC { "jemalloc" } else { "tcmalloc" };
        let new = process.function(family, "_Znwm")?;
        ensure!(
            new.result.as_deref() == Some("exits"),
            "a return probe would turn an exception into an abort: {new:?}"
        );
        ensure!(new.exits_complete == Some(true), "{new:?}");
    }
    // mimalloc, compiled as C, ends the process instead of throwing.
    check(preloaded(&program, MIMALLOC)?.arg("quiet"), &[]).context(MIMALLOC)?;
    Ok(())
}

#[test]
fn exceptions_survive_the_programs_for_old_kernels_too() -> Result<()> {
    let leaker = Leaker::start_program(&mut preloaded(&operators().compile()?, TCMALLOC)?)?;
    let (ledger, report) = trace_with(leaker, &["--attach", "perf-event-old"])?;
    ledger.check(&report, Innermost, Everything)
}

#[test]
fn allocators_linked_into_programs() -> Result<()> {
    for (library, family) in [("-ltcmalloc_minimal", "tcmalloc"), ("-ljemalloc", "jemalloc")] {
        let program = operators().arg(linked(library)).compile()?;
        let (process, _) = check(&mut Command::new(program), &[]).context(library)?;
        expect_allocators(&process, &[("glibc", ""), (family, "")])?;
    }
    // From the archive, into the program itself.
    let archive = "-Wl,--push-state,--whole-archive,-l:libjemalloc.a,--pop-state";
    let program = operators().arg(archive).compile()?;
    let (process, _) = check(&mut Command::new(&program), &[]).context(archive)?;
    expect_allocators(&process, &[("glibc", ""), ("jemalloc", "")])?;
    let program = program.canonicalize()?;
    ensure!(process.modules.iter().any(|m| Path::new(&m.path) == program && !m.allocators.is_empty()), "{process:?}");
    Ok(())
}

#[test]
fn jemalloc_s_own_functions() -> Result<()> {
    let build = Build::c(source("allocators/jemalloc.c"), Frames::Pointers).arg(linked("-ljemalloc"));
    let (process, _) = check(&mut Command::new(build.compile()?), &[])?;
    for symbol in ["mallocx", "rallocx", "xallocx", "dallocx", "sdallocx"] {
        ensure!(process.function("jemalloc", symbol)?.outcome == "probed", "{symbol}: {process:?}");
    }
    Ok(())
}

#[test]
fn tcmalloc_s_own_functions() -> Result<()> {
    let build = Build::c(source("allocators/tcmalloc.c"), Frames::Pointers).arg(linked("-ltcmalloc_minimal"));
    let (process, _) = check(&mut Command::new(build.compile()?), &[])?;
    ensure!(process.function("tcmalloc", "tc_malloc")?.by.as_deref() == Some("malloc"), "an alias: {process:?}");
    Ok(())
}

#[test]
fn mimalloc_s_own_functions() -> Result<()> {
    let build = Build::c(source("allocators/mimalloc.c"), Frames::Pointers).arg(linked("-lmimalloc"));
    let (process, _) = check(&mut Command::new(build.compile()?), &[])?;
    let strdup = process.function("mimalloc", "mi_strdup")?;
    ensure!(strdup.outcome == "not_probed" && strdup.reason.is_some(), "{strdup:?}");
    Ok(())
}

#[test]
fn rust_programs_with_an_allocator_of_their_own() -> Result<()> {
    for (feature, family, prefix) in [("jemalloc", "jemalloc", "_rjem_"), ("mimalloc", "mimalloc", "")] {
        let mut command = Command::new(rust_with_allocator(feature)?);
        let leaker = Leaker::start_program(&mut command)?;
        let process = examine(leaker.pid(), &[])?.process.context("nothing of the process")?;
        expect_allocators(&process, &[("glibc", ""), (family, prefix)])?;
        let (ledger, report) = trace_with(leaker, &[])?;
        ledger.check(&report, AnyFrame, Everything).context(feature)?;
    }
    Ok(())
}

#[test]
fn musl_and_static_programs() -> Result<()> {
    let (process, _) = check(&mut Command::new(with_musl(&[]).compile()?), &[]).context("musl")?;
    expect_allocators(&process, &[("musl", "")])?;
    let musl = with_musl(&["-static"]).compile()?;
    let (process, _) = check(&mut Command::new(&musl), &[]).context("static musl")?;
    expect_allocators(&process, &[("musl", "")])?;
    let (process, _) =
        check(&mut Command::new(heap_functions().arg("-static").compile()?), &[]).context("static glibc")?;
    expect_allocators(&process, &[("glibc", "")])
}

/// A static program's symbols may be elsewhere; where they are nowhere, the message says what to do.
#[test]
fn stripped_static_programs() -> Result<()> {
    let whole = with_musl(&["-static"]).compile()?;
    let folder = work_dir()?.join(format!("stripped-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (bare, debug) = (folder.join("bare"), folder.join("bare.debug"));
    run_tool(Command::new("objcopy").arg("--only-keep-debug").arg(&whole).arg(&debug))?;
    run_tool(Command::new("objcopy").arg("--strip-all").arg(&whole).arg(&bare))?;

    let leaker = Leaker::start_program(&mut Command::new(&bare))?;
    let doctor = examine(leaker.pid(), &[])?;
    let problem = doctor.process.and_then(|process| process.problem).context("no problem")?;
    ensure!(problem.contains("static") && problem.contains("no symbols"), "{problem}");
    Tracer::start(leaker.pid(), &[])?.wait()?.expect_cannot_trace(&["static", "no symbols", "debug", "--fds"])?;
    leaker.finish_untraced()?;

    let linked = folder.join("linked");
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run_tool(Command::new("objcopy").arg(link).arg(&bare).arg(&linked))?;
    let (process, _) = check(&mut Command::new(&linked), &[])?;
    expect_allocators(&process, &[("musl", "")])?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn an_allocator_that_the_user_names() -> Result<()> {
    let pool = || Build::c(source("allocators/pool.c"), Frames::Pointers);
    let program = pool().arg("-DPROGRAM").arg("-DLIBRARY").compile()?;
    let name = program.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
    let named = format!("{name}:pool_");
    let (process, _) = check(&mut Command::new(&program), &["--allocator", &named])?;
    expect_allocators(&process, &[("glibc", ""), ("named", "pool_")])?;

    let library = pool().shared().arg("-DLIBRARY").compile()?;
    let path = library.to_str().context("a path that is not text")?;
    let program = pool().arg("-DPROGRAM").arg(linked(path)).compile()?;
    check(&mut Command::new(&program), &["--allocator", &format!("{path}:pool_")])?;

    let leaker = Leaker::start_program(&mut Command::new(&program))?;
    let refused = |option: &str| Tracer::start(leaker.pid(), &["--allocator", option])?.wait();
    refused("libnone.so:x_")?.expect_cannot_trace(&["libnone.so", "no such file mapped"])?;
    refused(&format!("{path}:other_"))?.expect_cannot_trace(&["other_malloc", "nm -D"])?;
    leaker.finish_untraced()
}

/// With `late.cpp`, which opens the library once it is traced and works once that has its probes.
fn check_late(library: &str, prefix: &str, arguments: &[&str], options: &[&str]) -> Result<()> {
    let program = Build::cpp(source("allocators/late.cpp"), Frames::Pointers).compile()?;
    let mut command = Command::new(program);
    // Debian's jemalloc is not made to be loaded late: its variables of threads need room that is given out at the start.
    command.env("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=65536").args([library, prefix]).args(arguments);
    let mut leaker = Leaker::start_program(&mut command)?;
    let mut tracer = Tracer::attach_with(leaker.pid(), &[&["-v", "--duration", "600s"], options].concat())?;
    leaker.say("go")?;
    leaker.expect("loaded")?;
    tracer.wait_for_line(&format!("process {} has its probes", leaker.pid()))?;
    let ledger = leaker.release()?;
    let report = tracer.stop()?;
    // The loader allocates as well.
    ledger.check(&report, AnyFrame, ListedSites)?;
    leaker.finish()
}

#[test]
fn allocators_that_are_loaded_late() -> Result<()> {
    // mimalloc, compiled as C, ends the process instead of throwing.
    for (library, prefix, arguments) in [(JEMALLOC, "", &[][..]), (TCMALLOC, "", &[]), (MIMALLOC, "mi_", &["quiet"])] {
        check_late(library, prefix, arguments, &[]).context(library)?;
    }
    // The programs for older kernels as well.
    check_late(TCMALLOC, "", &[], &["--attach", "perf-event-old"])
}

#[test]
fn an_allocator_that_the_user_names_and_that_is_loaded_late() -> Result<()> {
    let library = Build::c(source("allocators/pool.c"), Frames::Pointers).shared().arg("-DLIBRARY").compile()?;
    let path = library.to_str().context("a path that is not text")?;
    check_late(path, "pool_", &[], &["--allocator", &format!("{path}:pool_")])
}

#[test]
fn doctor_says_where_each_function_of_the_c_library_is_probed() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let doctor = examine(leaker.pid(), &[])?;
    ensure!(doctor.kernel.checks.iter().all(|check| check.state != "fails"), "{:?}", doctor.kernel);
    let process = doctor.process.context("nothing of the process")?;
    for symbol in ["malloc", "calloc", "realloc", "free"] {
        let function = process.function("glibc", symbol)?;
        ensure!(function.outcome == "probed" && function.offset.is_some(), "{function:?}");
        ensure!(function.instruction.as_deref().is_some_and(|name| !name.is_empty()), "{function:?}");
        ensure!((function.result.as_deref() == Some("return")) == (symbol != "free"), "{function:?}");
    }
    leaker.finish_untraced()
}
