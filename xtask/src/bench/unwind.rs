//! `cargo xtask bench unwind`: what a walk up the stack costs at several depths, and what the tables for it cost.
//!
//! The kernel's own account of a program's run time is read, so that only what runs at a probe is in the figures, and
//! not the probe. A walk's cost is what a deeper stack adds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde::Serialize;

use super::{
    Machine, Options, leaktrace,
    programs::{Bench, CHANGING_STACKS, FramePointers, SAME_STACK, Work, install_needs, stacks_name},
    table::{Spread, Table, number},
    tracers::{Started, start_leaktrace},
    write_json,
};
use crate::{shell, workspace::Workspace};

/// The shortest stack that there is: the function that allocates, and its caller.
const BASE_FRAMES: usize = 2;
const FRAMES: [usize; 4] = [BASE_FRAMES, 10, 40, 120];
/// The programs of an allocation, whichever of them walks.
const PROGRAMS: [&str; 3] = ["alloc_enter", "malloc_enter", "alloc_return"];
/// Files from this size on are large.
const LARGE: u64 = 100 << 20;

/// A way to walk, on code compiled in a way.
#[derive(Clone, Copy, Debug)]
struct Method {
    name: &'static str,
    code: FramePointers,
    options: &'static [&'static str],
}

const METHODS: [Method; 3] = [
    Method { name: "tables, code without frame pointers", code: FramePointers::Omitted, options: &[] },
    Method { name: "tables, code with frame pointers", code: FramePointers::Kept, options: &[] },
    Method { name: "frame pointers", code: FramePointers::Kept, options: &["--unwind", "fp"] },
];

/// Run time and runs of the programs of one leaktrace, by name.
type RunTimes = BTreeMap<String, (f64, u64)>;

/// The programs' nanoseconds per run in one measurement.
type Sample = BTreeMap<String, f64>;

/// One line of the table.
#[derive(Debug, Serialize)]
struct Measured {
    method: &'static str,
    work: Work,
    /// By round; none where leaktrace cannot walk that way.
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seconds: f64,
    walks: Vec<Measured>,
    tables: String,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc"), ("python3", "python3")])?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let tables = tables(&workspace)?;
    let machine = Machine::read()?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    println!("{}", machine.line());
    println!("Building unwind tables\n\n{tables}\n");
    println!(
        "ns of the BPF programs per allocation; rounds: {} of {:?} per line, in turns; median of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    let mut walks = Vec::new();
    for stacks in [SAME_STACK, CHANGING_STACKS] {
        let measured = measure(&bench, stacks, options)?;
        print!("\n{}\n\n{}", capitalized(stacks_name(stacks)), show(&measured));
        walks.extend(measured);
    }
    let seconds = options.seconds.as_secs_f64();
    write_json(options.json.as_deref(), &Figures { machine, seconds, walks, tables })
}

fn measure(bench: &Bench, stacks: usize, options: &Options) -> Result<Vec<Measured>> {
    // Off again when the descriptor is closed, however this process ends.
    let _counting: OwnedFd = enable_stats(Stats::RunTime).context("the kernel does not count run times")?;
    let mut lines = Vec::new();
    for method in METHODS {
        let program = bench.compile(method.code)?;
        for frames in FRAMES {
            let work = Work { frames, stacks, rate: 0 };
            lines.push((method, program.clone(), Measured { method: method.name, work, samples: Vec::new() }));
        }
    }
    for _ in 0..options.rounds {
        for (method, program, measured) in &mut lines {
            let sample = sample(bench, program, method.options, measured.work, options)
                .with_context(|| format!("measuring: {}, {} frames", method.name, measured.work.frames))?;
            measured.samples.extend(sample);
        }
    }
    Ok(lines.into_iter().map(|(_, _, measured)| measured).collect())
}

/// One measurement; `None` where leaktrace does not know its arguments.
fn sample(bench: &Bench, program: &Path, arguments: &[&str], work: Work, options: &Options) -> Result<Option<Sample>> {
    let mut target = bench.start_target(program, work)?;
    let mut command = bench.leaktrace(target.pid(), &bench.report(), arguments);
    let tracer = match start_leaktrace(&mut command)? {
        Started::Tracing(tracer) => tracer,
        Started::Refused if !arguments.is_empty() => return Ok(None),
        Started::Refused => bail!("{} does not know its arguments", bench.leaktrace.display()),
    };
    let before = run_times(tracer.pid())?;
    target.measure(options.seconds)?;
    let after = run_times(tracer.pid())?;
    tracer.stop()?;
    bench.check_report(work)?;
    Ok(Some(per_run(&before, &after)))
}

/// What the programs that a process holds have used so far.
fn run_times(pid: u32) -> Result<RunTimes> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        held.extend(program_id(&text));
    }
    let mut times = RunTimes::new();
    for program in loaded_programs() {
        // Another process's program may be gone by the time it is asked about.
        let Ok(program) = program else { continue };
        if let (true, Some(name)) = (held.contains(&program.id()), program.name_as_str()) {
            let (ns, runs) = times.entry(name.to_owned()).or_default();
            *ns += program.run_time().as_nanos() as f64;
            *runs += program.run_count();
        }
    }
    Ok(times)
}

fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
}

/// Nanoseconds per run, of the programs that ran between two readings and belong to an allocation.
fn per_run(before: &RunTimes, after: &RunTimes) -> Sample {
    let of = |name: &&str| {
        let (ns, runs) = *after.get(*name)?;
        let (ns_before, runs_before) = before.get(*name).copied().unwrap_or_default();
        (runs > runs_before).then(|| ((*name).to_owned(), (ns - ns_before) / (runs - runs_before) as f64))
    };
    PROGRAMS.iter().filter_map(of).collect()
}

fn show(lines: &[Measured]) -> String {
    let mut table = Table::new(&["walk by", "frames", "ns/event", "added", "per frame"]);
    for line in lines {
        let base = lines
            .iter()
            .find(|base| base.method == line.method && base.work.frames == BASE_FRAMES)
            .and_then(|base| line_spread(&base.samples));
        let cells = match (line_spread(&line.samples), base) {
            (None, _) | (_, None) => ["n/a".to_owned(), String::new(), String::new()],
            (Some(spread), _) if line.work.frames == BASE_FRAMES => [spread.show(), "base".to_owned(), String::new()],
            (Some(spread), Some(base)) => {
                let added = spread.median - base.median;
                let frames = (line.work.frames - BASE_FRAMES) as f64;
                [spread.show(), number(added), number(added / frames)]
            }
        };
        table.row([line.method.to_owned(), line.work.frames.to_string()].into_iter().chain(cells));
    }
    table.render()
}

/// Over the rounds: an allocation's nanoseconds in all its programs.
fn line_spread(samples: &[Sample]) -> Option<Spread> {
    let sums: Vec<f64> = samples.iter().map(|sample| sample.values().sum()).collect();
    Spread::of(&sums)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// What building the tables of some files costs.
fn tables(workspace: &Workspace) -> Result<String> {
    let mut command = shell::cargo();
    command.current_dir(&workspace.root);
    command.args(["run", "--quiet", "--locked", "--release", "--package=leaktrace", "--example=unwind_stats", "--"]);
    command.args([libc()?, python()?]);
    match large_library()? {
        Some(library) => {
            command.arg(library);
        }
        None => println!("note: rustc has no library of more than 100 MB here"),
    }
    shell::capture(&mut command)
}

/// The C library that this process uses.
fn libc() -> Result<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.ends_with("/libc.so.6"));
    path.map(PathBuf::from).context("this xtask is not linked with a libc.so.6")
}

/// Where Python's interpreter is: a library of its own, or the program. `python3` in PATH may be a script that starts it.
fn python() -> Result<PathBuf> {
    const SCRIPT: &str = "import re, sys\n\
        library = re.search(r'\\S*/libpython3\\S*', open('/proc/self/maps').read())\n\
        print(library[0] if library else sys.executable)";
    let path = shell::capture(Command::new("python3").args(["-c", SCRIPT]))?;
    fs::canonicalize(&path).with_context(|| format!("cannot find {path}"))
}

/// The compiler's library, if it is large.
fn large_library() -> Result<Option<PathBuf>> {
    let sysroot = shell::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let folder = Path::new(&sysroot).join("lib");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("librustc_driver-") && entry.metadata()?.len() > LARGE {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(method: &'static str, frames: usize, ns: &[f64]) -> Measured {
        let samples = ns.iter().map(|&ns| Sample::from([("alloc_enter".to_owned(), ns)])).collect();
        Measured { method, work: Work { frames, stacks: SAME_STACK, rate: 0 }, samples }
    }

    #[test]
    fn a_depth_costs_what_it_adds_to_the_base() {
        let text = show(&[line("tables", 2, &[100.0, 104.0, 90.0]), line("tables", 10, &[500.0, 508.0, 492.0])]);
        let cells: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(cells, ["tables", "10", "500", "(492–508)", "400", "50"]);
    }

    #[test]
    fn a_way_that_leaktrace_lacks_is_shown_as_not_available() {
        let text =
            show(&[line("tables", 2, &[100.0]), line("frame pointers", 2, &[]), line("frame pointers", 10, &[])]);
        assert_eq!(text.matches("n/a").count(), 2, "{text}");
    }

    #[test]
    fn run_times_are_those_between_two_readings() {
        let times =
            |ns, runs| RunTimes::from([("alloc_enter".to_owned(), (ns, runs)), ("free_enter".to_owned(), (ns, runs))]);
        let sample = per_run(&times(1_000.0, 10), &times(3_000.0, 14));
        assert_eq!(sample, Sample::from([("alloc_enter".to_owned(), 500.0)]));
        assert!(per_run(&times(1_000.0, 10), &times(1_000.0, 10)).is_empty());
    }

    #[test]
    fn the_program_of_a_descriptor_is_known_by_its_id() {
        assert_eq!(program_id("pos:\t0\nprog_type:\t2\nprog_id:\t41\nrun_cnt:\t7\n"), Some(41));
        assert_eq!(program_id("pos:\t0\nmap_id:\t41\n"), None);
    }
}
