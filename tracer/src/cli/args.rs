//! The arguments.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use tracer_common::{
    config::DEFAULT_MAX_LIVE,
    sampling::{MAX_BYTES, MAX_RATE},
};

use super::offline::{DiffArguments, ReportArguments, ViewArguments};
use crate::{
    aggregate::SampleRate,
    analyze::{
        Rule,
        threshold::{self, Unit},
    },
    bpf::{AttachMode, WalkBy},
    metrics,
    probe::NamedAllocator,
    report::{Sort, export::By},
};

/// Find what leaks memory and descriptors in a running process, by call stack. No restart, no recompiling, nothing injected.
#[derive(Debug, Parser)]
#[command(
    name = "leaktrace",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Examples:\n  \
        sudo leaktrace -p 4127                          live dashboard\n  \
        sudo leaktrace -p 4127 --duration 30s | less    a report after 30 seconds\n  \
        sudo leaktrace -p 4127 --duration 5m --format json -o leaks.json\n  \
        sudo leaktrace -- ./server --port 8080          start a program and trace all of it\n  \
        sudo leaktrace record -p 4127 -o leaks.ltrec    for later: see report, view and diff\n  \
        sudo leaktrace doctor -p 4127                   what would be probed, and what not\n  \
        leaktrace demo                                  a leaky server to look at"
)]
pub struct Arguments {
    /// What to do instead of tracing.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to trace, and how.
    #[command(flatten)]
    pub live: LiveArguments,
    /// Log what leaktrace does to standard error; with it the BPF programs log too, which slows them down.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a small server with known leaks and trace it.
    Demo(DemoArguments),
    /// Say what works on this kernel, and with -p what would be probed in a process, and why not the rest.
    Doctor(DoctorArguments),
    /// Trace, and write all that is seen to a file, a window each second, for report, view and diff.
    Record(Box<RecordArguments>),
    /// Write a report of a recording.
    Report(ReportArguments),
    /// Look at a recording in the dashboard, at any time of it.
    View(ViewArguments),
    /// Compare two recordings or JSON reports by call site, across restarts and rebuilds.
    Diff(DiffArguments),
    /// The server that `demo` traces.
    #[command(hide = true)]
    DemoServer,
    /// The clients of that server, at this address.
    #[command(hide = true)]
    DemoSurroundings {
        /// Where the server listens.
        server: std::net::SocketAddr,
    },
}

/// What to record, and how.
#[derive(Debug, Args)]
#[command(
    mut_arg("output", |arg| {
        let help = "Write the recording here. It holds paths and addresses of the process, so only its owner may read it";
        arg.required(true).help(help)
    }),
    mut_arg("format", |arg| arg.help("Print a report at the end, too")),
    mut_arg("interval", |arg| arg.help("Time between windows [default: 1s]")),
    mut_arg("record", |arg| arg.hide(true).conflicts_with("output"))
)]
pub struct RecordArguments {
    /// What to trace, and how.
    #[command(flatten)]
    live: LiveArguments,
}

impl RecordArguments {
    /// The run that records.
    pub(super) fn into_live(self) -> LiveArguments {
        let Self { live } = self;
        LiveArguments { record: live.output, output: None, only_record: true, ..live }
    }
}

/// How the demo is shown.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// End by itself after this long [default without a terminal: 5s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// What to print without the dashboard.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// What to examine.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Process to examine; without it the kernel alone.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// An allocator that is not recognised by itself, as in tracing.
    #[arg(long, value_name = "PATH[:PREFIX]", value_parser = allocator)]
    pub allocator: Vec<NamedAllocator>,
    /// What to print.
    #[arg(long, value_enum, default_value = "text")]
    pub format: DoctorFormat,
}

/// What to trace, and how.
#[derive(Debug, Args)]
pub struct LiveArguments {
    /// Process to trace; may be given more than once.
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..), required_unless_present = "program")]
    pub pids: Vec<u32>,
    /// Start this program and trace it from its first allocation to its end, instead of a process that runs.
    #[arg(last = true, value_name = "CMD", conflicts_with = "pids")]
    pub program: Vec<OsString>,
    /// Trace memory only; with --fds, both [default: both].
    #[arg(long)]
    pub heap: bool,
    /// Trace file descriptors and connections only; with --heap, both [default: both].
    #[arg(long)]
    pub fds: bool,
    /// Follow page faults instead of allocators: what makes the process grow, at no cost that can be measured, as an estimate
    /// by call site of the memory that it touches first. No probe is put into the process. With --fds, descriptors as well.
    #[arg(long, conflicts_with_all = ["heap", "empty_probes", "allocator", "attach"])]
    pub growth: bool,
    /// Trace the children of the processes too, those that are there and those that come, and the programs they become.
    #[arg(long)]
    pub follow_forks: bool,
    /// Stop after this long, for example 30s, 5m or 1h30m; otherwise when the process exits (of several, the last one) or on Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Time between updates [default: 1s in the dashboard, 10s in text without --duration].
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Write a report instead of showing the dashboard [default: the dashboard on a terminal, else text].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// What the formats folded, svg, pprof and html show of each call stack [default: inuse].
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Write the final report here instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Record the run to this file as well, as the record command does.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Replace a recording that is there already; without it that is an error.
    #[arg(long)]
    pub overwrite: bool,
    /// Nothing is shown meanwhile.
    #[arg(skip)]
    pub only_record: bool,
    /// Call sites shown in a text report.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Order of the call sites [default: inuse; on the dashboard, the most urgent verdicts].
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// Show only call sites whose oldest block is at least this old.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub min_age: Duration,
    /// Track one block in N, or one for so many bytes (512KiB: large blocks always, small ones seldom), and estimate the rest:
    /// costs less, and what is shown has an error, which is shown too. Descriptors are not sampled.
    #[arg(long, value_name = "N|SIZE", default_value = "1", value_parser = sample)]
    pub sample: SampleRate,
    /// Keep what tracing costs below this percentage of the target's CPU time: where all of the time is too much, sample
    /// blocks, or track them for some of the time and estimate the rest; where even little of it is too much, follow page
    /// faults as --growth does, until the load has fallen. System calls are looked at for some of the time likewise.
    /// 100 is no limit [default: 10 in the dashboard, with --growth 0.5, else none].
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_overhead: Option<f64>,
    /// Outstanding blocks that can be kept track of: when most of the room is taken, one block in two is sampled, then one
    /// in four, and so on. A block takes about 100 bytes.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_LIVE, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub max_live: u32,
    /// An allocator that is not recognised by itself: the file that holds it, by its path or name, and what stands before
    /// the names of its functions, if anything; for example libpool.so:pool_ for pool_malloc and pool_free.
    #[arg(long, value_name = "PATH[:PREFIX]", value_parser = allocator)]
    pub allocator: Vec<NamedAllocator>,
    /// End with exit code 1 when this is so at the end, for example 'leaking>0', 'growth>50MB/h', 'fds>80%' or 'oom<2h'; may
    /// be given more than once.
    #[arg(long, value_name = "RULE")]
    pub fail_on: Vec<Rule>,
    /// Run this by the shell when a rule of --fail-on is broken (without any: leaking>0), with the JSON report on its
    /// standard input and the rules in LEAKTRACE_RULES; at most every 10 s, and for the same rule every 10 min.
    #[arg(long, value_name = "CMD")]
    pub on_alert: Option<String>,
    /// Call sites that are no leaks, in LeakSanitizer's format: lines of leak:PATTERN.
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
    /// Serve metrics for Prometheus there while tracing, at /metrics: a port of this machine alone, or an address and a port.
    #[arg(long, value_name = "ADDR", value_parser = metrics::address)]
    pub metrics: Option<SocketAddr>,
    /// Trace although the kernel may end the target for it.
    #[arg(long)]
    pub force: bool,
    /// Attach programs that do nothing, to measure what the probes cost by themselves.
    #[arg(long, hide = true)]
    pub empty_probes: bool,
    /// A connection without traffic for this long is idle; one whose other end hung up this long ago is a leak.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub stale: Duration,
    /// Panic after this long, to see what that leaves behind.
    #[arg(long, hide = true, value_name = "TIME", value_parser = duration)]
    pub provoke_panic: Option<Duration>,
    /// Force a way of attaching probes.
    #[arg(long, value_enum, hide = true)]
    pub attach: Option<AttachMode>,
    /// How stacks are walked.
    #[arg(long, value_enum, default_value_t, hide = true)]
    pub unwind: WalkBy,
}

impl LiveArguments {
    /// Whether memory is traced.
    pub fn traces_heap(&self) -> bool {
        !self.growth && (self.heap || !self.fds)
    }

    /// Whether what tracing memory costs has a limit that was asked for.
    pub fn limits_overhead(&self) -> bool {
        self.max_overhead.is_some_and(|percent| percent < 100.0) && !self.empty_probes
    }

    /// Whether descriptors are traced.
    pub fn traces_fds(&self) -> bool {
        (self.fds || !self.heap && !self.growth) && !self.empty_probes
    }

    /// Whether the options go together.
    ///
    /// # Errors
    /// Says which do not, and what to do.
    pub fn check(&self) -> Result<(), clap::Error> {
        let format = self.format.unwrap_or(Format::Text);
        if format.is_of_memory() && !self.traces_heap() && !self.growth {
            return conflict(
                "this format shows memory, which --fds alone does not trace; use --format html, or add --heap",
            );
        }
        format.check(self.by)
    }
}

fn conflict(words: &str) -> Result<(), clap::Error> {
    Err(Arguments::command().error(ErrorKind::ArgumentConflict, words))
}

/// What doctor prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people.
    Text,
    /// For programs: one object, schema "leaktrace-doctor/1".
    Json,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one object, schema "leaktrace/1".
    Json,
    /// Folded stacks: a line for each call stack, for flame graph tools.
    Folded,
    /// A flame graph, to be opened in a browser.
    Svg,
    /// A heap profile for go tool pprof, speedscope, Pyroscope or Grafana.
    Pprof,
    /// A page with everything, to be sent to somebody.
    Html,
}

impl Format {
    /// Whether it is written once, at the end.
    pub fn is_final(self) -> bool {
        self != Self::Text
    }

    /// Whether there is nothing else in it.
    pub fn is_of_memory(self) -> bool {
        matches!(self, Self::Folded | Self::Svg | Self::Pprof)
    }

    /// Whether it can show this of the call stacks.
    ///
    /// # Errors
    /// Says what to do instead.
    pub fn check(self, by: Option<By>) -> Result<(), clap::Error> {
        match self {
            Self::Text | Self::Json if by.is_some() => {
                conflict("--by is for the formats folded, svg, pprof and html; --sort orders the call sites of others")
            }
            Self::Pprof if by == Some(By::Growth) => {
                conflict("a profile has no growth; take two, and compare them with go tool pprof -base OLD NEW")
            }
            _ => Ok(()),
        }
    }
}

fn allocator(text: &str) -> Result<NamedAllocator, String> {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let (path, prefix) = match text.rsplit_once(':') {
        Some((path, prefix)) if is_word(prefix) => (path, prefix),
        _ => (text, ""),
    };
    if path.is_empty() {
        return Err(format!("\"{text}\" names no file; write PATH or PATH:PREFIX, for example libpool.so:pool_"));
    }
    Ok(NamedAllocator { path: path.to_owned(), prefix: prefix.to_owned() })
}

/// A positive length of time such as `5s`, `500ms`, `2m` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let say = || format!("\"{text}\" is no length of time; write for example 500ms, 5s, 2m or 1h30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| say())?;
    Duration::try_from(span).map_err(|_| say())
}

/// A number of blocks, or of bytes with their unit; bytes are made a power of two.
fn sample(text: &str) -> Result<SampleRate, String> {
    match threshold::number(text) {
        Some((blocks, Unit::Count)) if (1.0..=f64::from(MAX_RATE)).contains(&blocks) && blocks.fract() == 0.0 => {
            Ok(SampleRate::Blocks(blocks as u32))
        }
        Some((_, Unit::Count)) => Err(format!("not a whole number between 1 and {MAX_RATE}")),
        Some((bytes, Unit::Bytes)) if (1.0..=f64::from(MAX_BYTES)).contains(&bytes) => {
            Ok(SampleRate::Bytes(bytes.log2().round().exp2() as u32))
        }
        Some((_, Unit::Bytes)) => Err(format!("not between 1B and {}MiB", MAX_BYTES >> 20)),
        _ => Err("neither a number of blocks such as 64 nor a size such as 512KiB".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.01..=100.0).contains(&percent) => Ok(percent),
        Ok(_) => Err("not between 0.01 and 100, which is no limit".to_owned()),
        Err(_) => Err("not a percentage, for example 5".to_owned()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let span = duration(text)?;
    if span < Duration::from_millis(50) {
        return Err("shorter than 50ms: updates that often cost more than they show".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "5", "-5s", "five", "5 parsecs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("1ms").is_err());
    }

    #[test]
    fn samples_are_numbers_of_blocks_or_of_bytes() {
        for (text, blocks) in [("1", 1), ("64", 64), ("1048576", 1 << 20)] {
            assert_eq!(sample(text), Ok(SampleRate::Blocks(blocks)));
        }
        for (text, bytes) in [("512KiB", 1 << 19), ("512kB", 1 << 19), ("1MiB", 1 << 20), ("90B", 64), ("91B", 128)] {
            assert_eq!(sample(text), Ok(SampleRate::Bytes(bytes)));
        }
        for bad in ["", "0", "1.5", "-1", "1048577", "0B", "1GiB", "5s", "64 elephants"] {
            assert!(sample(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn allocators_are_named_by_path_and_prefix() {
        let named = |path: &str, prefix: &str| Ok(NamedAllocator { path: path.to_owned(), prefix: prefix.to_owned() });
        assert_eq!(allocator("libpool.so"), named("libpool.so", ""));
        assert_eq!(allocator("/opt/libpool.so:pool_"), named("/opt/libpool.so", "pool_"));
        assert_eq!(allocator("/opt/a:b/libpool.so"), named("/opt/a:b/libpool.so", ""));
        assert!(allocator(":pool_").is_err());
    }

    #[test]
    fn a_pid_is_needed_unless_there_is_a_subcommand() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("leaktrace --duration 5s").is_err());
        assert!(parse("leaktrace -p 0").is_err());
        assert!(parse("leaktrace -p x").is_err());
        assert!(parse("leaktrace -p 1 --max-live 0").is_err());
        assert_eq!(parse("leaktrace -p 41").expect("a pid").live.pids, [41]);
        assert_eq!(parse("leaktrace -p 41,43 --pid 47").expect("pids").live.pids, [41, 43, 47]);
        assert!(parse("leaktrace demo").is_ok());
        let traced = |line| parse(line).map(|a| (a.live.traces_heap(), a.live.traces_fds())).expect("valid");
        assert_eq!(traced("leaktrace -p 41"), (true, true));
        assert_eq!(traced("leaktrace -p 41 --heap"), (true, false));
        assert_eq!(traced("leaktrace -p 41 --fds"), (false, true));
        assert_eq!(traced("leaktrace -p 41 --fds --heap"), (true, true));
        assert_eq!(traced("leaktrace -p 41 --growth"), (false, false));
        assert_eq!(traced("leaktrace -p 41 --growth --fds"), (false, true));
        assert!(parse("leaktrace -p 41 --growth --heap").is_err());
        assert!(parse("leaktrace demo -p 41").is_err());
    }

    #[test]
    fn options_that_do_not_go_together_are_refused_in_words() {
        let check = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect("each is valid");
            arguments.live.check().map_err(|error| error.to_string())
        };
        let refused = |line: &str, word: &str| {
            let error = check(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        };
        refused("leaktrace -p 41 --by alloc", "--sort");
        refused("leaktrace -p 41 --format json --by alloc", "--sort");
        refused("leaktrace -p 41 --format svg --fds", "--heap");
        refused("leaktrace -p 41 --format pprof --by growth", "-base");
        for fine in [
            "--format svg --by growth",
            "--format pprof --fds --heap",
            "--format html --fds",
            "--format text",
            "--format svg --growth",
        ] {
            check(&format!("leaktrace -p 41 {fine}")).expect(fine);
        }
    }
}
