//! `cargo xtask bench fds`: what system calls cost, untraced and with their descriptors traced.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use leaktrace_tests::{descriptors::FdReport, process::Guarded, process::Lines};
use serde::Serialize;

use super::{
    Machine, Options, footprint, leaktrace,
    programs::{Batch, Bench, Target, install_needs, start_program},
    table::{Spread, Table, median, number},
    tracers::{Started, Tracer, start_leaktrace},
    write_json,
};
use crate::{shell, workspace::Workspace};

/// A traced call is to take no longer than this many untraced ones.
const LIMIT_OF_UNTRACED: f64 = 1.6;
/// leaktrace is to need no more than this share of a core, in percent, at [`RATE`].
const LIMIT_CPU_PERCENT: f64 = 5.0;
/// Opens, and as many closes, per second, while leaktrace's own CPU time is measured.
const RATE: u32 = 50_000;
/// The CPU time comes in ticks of 10 ms: it takes this long to have a percentage to a tenth.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);

/// What the target does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Loop {
    Getppid,
    Open,
}

impl Loop {
    const ALL: [Self; 2] = [Self::Getppid, Self::Open];

    /// The argument of `fds.c`.
    fn argument(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Open => "open",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Open => "open and close of /dev/null",
        }
    }
}

/// What traces the target, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Variant {
    Untraced,
    Descriptors,
    Everything,
    Strace,
}

impl Variant {
    const ALL: [Self; 4] = [Self::Untraced, Self::Descriptors, Self::Everything, Self::Strace];

    fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Descriptors => "leaktrace --fds",
            Self::Everything => "leaktrace",
            Self::Strace => "strace",
        }
    }

    fn options(self) -> &'static [&'static str] {
        if self == Self::Descriptors { &["--fds"] } else { &[] }
    }

    /// Starts it and waits until it traces.
    fn start(self, bench: &Bench, pid: u32) -> Result<Option<Tracer>> {
        match self {
            Self::Untraced => Ok(None),
            Self::Strace => start_strace(pid).map(Some),
            Self::Descriptors | Self::Everything => {
                start(bench, &mut bench.leaktrace(pid, &bench.report(), self.options())).map(Some)
            }
        }
    }

    /// The nanoseconds of a call while this traces the target.
    fn measure(self, bench: &Bench, target: &mut Target, window: Duration) -> Result<f64> {
        let tracer = self.start(bench, target.pid())?;
        let batches = target.measure(window)?;
        if let Some(tracer) = tracer {
            tracer.stop()?;
        }
        if matches!(self, Self::Descriptors | Self::Everything) {
            check_report(&bench.report())?;
        }
        let calls: Vec<f64> = batches.iter().map(Batch::ns_per_pair).collect();
        median(&calls).context("no batches")
    }
}

fn start(bench: &Bench, command: &mut Command) -> Result<Tracer> {
    match start_leaktrace(command)? {
        Started::Tracing(tracer) => Ok(tracer),
        Started::Refused => bail!("{} does not know its arguments", bench.leaktrace.display()),
    }
}

/// strace of the same calls, which writes nothing.
fn start_strace(pid: u32) -> Result<Tracer> {
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=desc,network", "-o", "/dev/null", "-p", &pid.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Guarded::spawn(&mut command)?;
    let mut output = Lines::read(process.child().stderr.take().context("strace has no stderr")?);
    if output.find("strace to trace", |line| line.ends_with("attached"))?.is_none() {
        bail!("`{}` failed ({}):\n{}", shell::render(&command), process.wait()?, output.rest()?);
    }
    Ok(Tracer::ended_by_its_signal(process, output))
}

/// Warns where leaktrace lost something: then the figures are of less work.
fn check_report(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: FdReport = serde_json::from_str(&text).context("not the JSON that was promised")?;
    if !report.loss.is_empty() {
        println!("warning: events were lost: {:?}", report.loss);
    }
    Ok(())
}

/// The nanoseconds of a call, for each variant by round.
#[derive(Debug, Serialize)]
struct Measured {
    work: Loop,
    rounds: Vec<(Variant, Vec<f64>)>,
}

/// What leaktrace needs while the target opens and closes at [`RATE`].
#[derive(Debug, Serialize)]
struct Share {
    variant: Variant,
    opens_per_second: f64,
    cpu_percent: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seconds: f64,
    calls: Vec<Measured>,
    shares: Vec<Share>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc"), ("strace", "strace")])?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let machine = Machine::read()?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    let program = bench.compile_alone("fds")?;

    println!("{}", machine.line());
    println!(
        "ns per turn of the loop; rounds: {} of {:?} per variant, in turns; median of the rounds (lowest–highest)",
        options.rounds, options.seconds
    );
    println!("strace: -f -e trace=desc,network -o /dev/null");
    let mut calls = Vec::new();
    for work in Loop::ALL {
        let measured = measure(&bench, &program, work, options)?;
        println!("\n{}\n\n{}", work.name(), show(&measured)?);
        calls.push(measured);
    }
    println!("\nleaktrace itself, target at {} opens and as many closes a second", number(RATE.into()));
    let mut shares = Vec::new();
    for variant in [Variant::Descriptors, Variant::Everything] {
        let share = share(&bench, &program, variant, options)?;
        println!("{}", share.show());
        shares.push(share);
    }
    let seconds = options.seconds.as_secs_f64();
    write_json(options.json.as_deref(), &Figures { machine, seconds, calls, shares })
}

fn start_target(bench: &Bench, program: &Path, work: Loop, rate: u32) -> Result<Target> {
    start_program(program, &[work.argument(), &bench.target_cpu().to_string(), &rate.to_string()])
}

fn measure(bench: &Bench, program: &Path, work: Loop, options: &Options) -> Result<Measured> {
    let mut target = start_target(bench, program, work, 0)?;
    let mut rounds: Vec<(Variant, Vec<f64>)> = Variant::ALL.map(|variant| (variant, Vec::new())).into();
    for _ in 0..options.rounds {
        for (variant, values) in &mut rounds {
            let value = variant.measure(bench, &mut target, options.seconds);
            values.push(value.with_context(|| format!("measuring: {}", variant.name()))?);
        }
    }
    Ok(Measured { work, rounds })
}

fn share(bench: &Bench, program: &Path, variant: Variant, options: &Options) -> Result<Share> {
    let mut target = start_target(bench, program, Loop::Open, RATE)?;
    let tracer = start(bench, &mut bench.leaktrace(target.pid(), Path::new("/dev/null"), variant.options()))?;
    let window = (options.seconds * options.rounds).max(SHORTEST_WINDOW);
    let (begun, before) = (Instant::now(), footprint::cpu_seconds(tracer.pid())?);
    let batches = target.measure(window)?;
    let used = footprint::cpu_seconds(tracer.pid())? - before;
    let cpu_percent = used / begun.elapsed().as_secs_f64() * 100.0;
    tracer.stop()?;
    Ok(Share { variant, opens_per_second: footprint::rate(&batches), cpu_percent })
}

impl Share {
    fn show(&self) -> String {
        let Self { variant, opens_per_second, cpu_percent } = self;
        format!(
            "{}: {cpu_percent:.1} % of a core (limit {LIMIT_CPU_PERCENT:.0} %), at {} opens a second",
            variant.name(),
            number(*opens_per_second)
        )
    }
}

/// The table and the verdict.
fn show(measured: &Measured) -> Result<String> {
    let spread = |wanted: Variant| {
        let (_, values) = measured.rounds.iter().find(|(variant, _)| *variant == wanted)?;
        Spread::of(values)
    };
    let untraced = spread(Variant::Untraced).context("the untraced loop was not measured")?.median;
    let mut table = Table::new(&["variant", "ns/turn", "added", "of untraced"]);
    let mut verdicts = String::new();
    for variant in Variant::ALL {
        let spread = spread(variant).with_context(|| format!("{} was not measured", variant.name()))?;
        let ratio = spread.median / untraced;
        let only_traced = |text: String| if variant == Variant::Untraced { String::new() } else { text };
        table.row([
            variant.name().to_owned(),
            spread.show(),
            only_traced(number(spread.median - untraced)),
            only_traced(format!("{ratio:.2} x")),
        ]);
        if matches!(variant, Variant::Descriptors | Variant::Everything) {
            verdicts += &format!("\n{} / untraced: {ratio:.2} (limit {LIMIT_OF_UNTRACED})", variant.name());
        }
    }
    Ok(table.render() + &verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: [&[f64]; 4]) -> Measured {
        let rounds = Variant::ALL.into_iter().zip(values.map(<[f64]>::to_vec)).collect();
        Measured { work: Loop::Open, rounds }
    }

    #[test]
    fn ratios_are_of_the_untraced_loop() {
        let values: [&[f64]; 4] =
            [&[1000.0, 990.0, 1200.0], &[1500.0, 1250.0, 1100.0], &[1300.0, 1400.0, 1600.0], &[30_000.0]];
        let text = show(&measured(values)).unwrap();
        assert!(text.contains("leaktrace --fds / untraced: 1.25 (limit 1.6)"), "{text}");
        assert!(text.contains("leaktrace / untraced: 1.40 (limit 1.6)"), "{text}");
        let line = text.lines().find(|line| line.starts_with("strace")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["strace", "30,000", "(30,000–30,000)", "29,000", "30.00", "x"]);
    }

    #[test]
    fn a_variant_without_rounds_is_an_error() {
        assert!(show(&measured([&[1.0], &[2.0], &[3.0], &[]])).is_err());
    }
}
