//! A live run: probes on, Snapshots at an interval, until the target or the user ends it.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Format, LiveArguments,
    alerts::{self, Alerts},
    follow::{Sources, Watch, follow},
    interrupts::Interrupts,
    launch::{self, Launched},
    limits::{call_limits, overhead_limit},
    metrics,
    output::Output,
    prepare::prepare,
    privileges,
    progress::{Left, Progress, Screen},
    raise_file_limit,
    recording::{RecordFile, Recording},
    show::{Shown, View},
    source::source_line,
    tracing::Tracing,
};
use crate::{
    aggregate::{Ending, TargetState},
    metrics::Publisher,
    report::{ReportOptions, Suppressions, untrusted::displayable},
    tui::{self, AppOptions},
};

/// Time between text reports when nothing says how long.
const TEXT_INTERVAL: Duration = Duration::from_secs(10);

/// Traces the processes of the arguments.
pub(super) fn run(arguments: &LiveArguments, verbose: u8) -> anyhow::Result<ExitCode> {
    let options =
        ReportOptions { top: arguments.top, sort: arguments.sort.unwrap_or_default(), min_age: arguments.min_age };
    let output = Output::open(arguments.output.as_deref(), arguments.format.unwrap_or(Format::Text), options)?
        .beside_program(!arguments.program.is_empty())
        .measuring(arguments.by.unwrap_or_default());
    output.check_terminal()?;
    let suppressions =
        arguments.suppressions.as_deref().map(alerts::read_suppressions).transpose()?.unwrap_or_default();
    let metrics = arguments.metrics.map(metrics::listen).transpose()?;
    let record = arguments.record.as_deref().map(|path| RecordFile::create(path, arguments.overwrite)).transpose()?;
    let start = || Launched::start(&arguments.program, launch::file_limit());
    let launched = (!arguments.program.is_empty()).then(start).transpose()?;
    raise_file_limit();
    // Before there are other threads of ours.
    privileges::give_up(launched.is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let publisher = metrics.map(metrics::serve).transpose()?;
    let watched = Watched { suppressions, record, publisher };
    match runtime.block_on(trace(arguments, launched, output, watched, verbose)) {
        Err(error) if error.is::<Left>() => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

/// What is done with what was seen besides showing it.
struct Watched {
    suppressions: Suppressions,
    record: Option<RecordFile>,
    publisher: Option<Publisher>,
}

async fn trace(
    arguments: &LiveArguments,
    mut launched: Option<Launched>,
    mut output: Output,
    Watched { suppressions, record, publisher }: Watched,
    verbose: u8,
) -> anyhow::Result<ExitCode> {
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let asks_for_dashboard = arguments.format.is_none() && arguments.output.is_none() && !arguments.only_record;
    let dashboard = asks_for_dashboard && on_terminal && launched.is_none();
    let options = AppOptions {
        sort: arguments.sort,
        min_age: arguments.min_age,
        source: Some(source_line),
        color: tui::color_from_env(),
        braille: tui::braille_from_env(),
    };
    let mut progress = Progress::new(dashboard.then_some(options));
    // What would end us must not leave a terminal behind that is taken over.
    let early = dashboard.then(Interrupts::listen).transpose()?;
    let limit = overhead_limit(arguments, dashboard);
    let started = launched.as_ref().map(Launched::pid);
    let prepared = prepare(arguments, started, limit.is_some(), verbose, &mut progress)?;
    // Before anyone is told that tracing has begun: from then on an interrupt asks for the report.
    let interrupts = early.map_or_else(Interrupts::listen, Ok)?;
    let mut summary = match &launched {
        Some(launched) => format!("tracing {} from its beginning", launched.program().to_string_lossy()),
        None => prepared.summary.clone(),
    };
    let mut tracing = Tracing::new(prepared)?;
    if launched.is_some() {
        tracing.aggregator.begins_with_nothing();
    }
    if arguments.follow_forks {
        let children = tracing.follow_children()?;
        summary.push_str(&format!("; following children, {children} so far"));
    }
    if let Some(limits) = call_limits(arguments, limit) {
        tracing.limit_calls(limits);
    }
    if let Some(limit) = limit.filter(|_| arguments.traces_heap())
        && tracing.limit_overhead(limit / 100.0, arguments.sample)
    {
        summary.push_str(&format!("; it costs the target {limit} % of its CPU time at most"));
    }
    // SAFETY: an owned descriptor, which stays open and the same for as long as it is registered.
    let gone = unsafe { AsyncFd::register_with_interest(tracing.exits()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;
    // SAFETY: as above.
    let woken = unsafe { AsyncFd::register_with_interest(tracing.wakeups()?, Interest::READABLE) }
        .map_err(std::io::Error::from)?;

    let mut recording = record.map(Recording::start).transpose()?;
    let mut view = if let Some(Screen { terminal, app, events }) = progress.end() {
        View::Dashboard { terminal, app, events }
    } else {
        eprintln!("leaktrace: {}", displayable(&summary));
        if let Some(recording) = &recording {
            eprintln!("leaktrace: recording to {}", displayable(&recording.path().to_string_lossy()));
        }
        View::Reports { every: reports_every(arguments), last: Instant::now() }
    };
    let alerts = arguments.on_alert.as_deref().map(|command| Alerts::new(command, &arguments.fail_on));
    let watch = Watch { suppressions: suppressions.clone(), alerts, publisher };
    let sources = Sources { gone, woken, interrupts, launched: &mut launched, watch };
    let shown = Shown { view: &mut view, output: &mut output, recording: &mut recording, suppressions: &suppressions };
    let state = follow(&mut tracing, shown, sources, arguments).await?;
    drop(view);
    let mut ending = None;
    if let Some(launched) = &mut launched
        && state == TargetState::Exited
    {
        let how = launched.ending().await?;
        tracing.ended_with(how);
        ending = Some(how);
    }
    // Nobody reads the names of what is neither written nor compared with rules.
    let is_read = !dashboard || recording.is_some() || !arguments.fail_on.is_empty();
    let (mut last, history) = tracing.finish(state, is_read).await?;
    suppressions.apply(&mut last);
    let last = Arc::new(last);
    let broken = alerts::check(&arguments.fail_on, &last);
    if !dashboard && (!arguments.only_record || arguments.format.is_some()) {
        output.write(&last, Some(&history))?;
    }
    let recorded = recording.map_or(Ok(()), |recording| recording.finish(Arc::clone(&last)));
    if let Some(launched) = &mut launched
        && ending.is_none()
    {
        eprintln!("leaktrace: the program goes on, untraced");
        ending = Some(launched.ending().await?);
    }
    let broken = alerts::exit_code(&broken, &last);
    // The exit code is the rules', or the program's, whatever became of the recording.
    match recorded {
        Err(error) if ending.is_some() || broken.is_some() => {
            eprintln!("leaktrace: error: {}", displayable(&format!("{error:#}")));
        }
        recorded => recorded?,
    }
    Ok(broken.or(ending.map(exit_code)).unwrap_or(ExitCode::SUCCESS))
}

/// What leaktrace ends with after a program that it started: the same, or as a shell says that a signal ended it.
fn exit_code(ending: Ending) -> ExitCode {
    ExitCode::from(match ending {
        Ending::Code(code) => code as u8,
        Ending::Signal(signal) => 128_u8.wrapping_add(signal as u8),
    })
}

/// When reports come before the last one.
fn reports_every(arguments: &LiveArguments) -> Option<Duration> {
    let is_final = arguments.format.is_some_and(Format::is_final);
    if !arguments.program.is_empty() {
        return arguments.interval.filter(|_| !is_final || arguments.format == Some(Format::Json));
    }
    if arguments.output.is_some() || is_final || arguments.only_record {
        return None;
    }
    arguments.interval.or(if arguments.duration.is_some() { None } else { Some(TEXT_INTERVAL) })
}
