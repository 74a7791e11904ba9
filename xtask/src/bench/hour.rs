//! `cargo xtask bench hour`: a long run with a limit to its cost, on a target that allocates 200,000 times a second and leaks
//! one block in 10,000. Whether leaktrace stays as large as it was, loses nothing, keeps to the limit, and finds the leak.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use leaktrace_tests::{
    leaker::{Build, Frames, Leaker},
    ledger::Ledger,
    prometheus,
    tracer::Tracer,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Machine, footprint, leaktrace,
    programs::{Bench, install_needs},
    promise::{self, Bound::AtMost},
    table::{Spread, Table, median, number},
    write_json,
};
use crate::workspace::Workspace;

/// Parts of the run that are looked at by themselves: each has a sample of leaktrace's memory at its end.
const SAMPLES: u32 = 60;
const QUARTERS: usize = 4;
/// Between two readings of what leaktrace says that it costs: as often as it says so.
const SECOND: Duration = Duration::from_secs(1);
/// What leaktrace says is taken for this share at most: a second that is nothing but probes would be worth any number of
/// others.
const MOST: f64 = 0.99;
/// The last quarter's memory is above the second one's by this share of it and this much at most.
const GROWTH: f64 = 0.05;
const GROWTH_MIB: f64 = 4.0;
const PLANTED: &str = "planted";

/// How it is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long it runs
    #[arg(long, value_name = "M", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Pairs of malloc and free per second
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pairs: u32,
    /// Percent of the target's CPU time that tracing may take
    #[arg(long, value_name = "PCT", default_value_t = 5.0)]
    limit: f64,
    /// Write the raw figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A sixtieth of the run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    resident_mib: f64,
    anonymous_mib: f64,
    /// CPU time of the target.
    cpu_s: f64,
    /// Time in probes for each second of the target's own work, by what leaktrace says each second.
    probes: f64,
}

/// Percent of the target's CPU time in probes. Its own work is the same in each second.
fn percent(samples: &[Sample]) -> f64 {
    let probes = mean(samples.iter().map(|sample| sample.probes));
    probes / (1.0 + probes) * 100.0
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    minutes: u32,
    pairs: u32,
    samples: Vec<Sample>,
    report: Value,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc")])?;
    let machine = Machine::read()?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    let program = Build::c(bench.sources.join("hour.c"), Frames::Pointers).compile()?;
    println!("{}", machine.line());
    let Options { minutes, pairs, limit, .. } = options;
    println!("\n{minutes} min at {} pairs a second, --max-overhead {limit}\n", number(f64::from(*pairs)));

    let seconds = minutes * 60;
    let mut leaker = bench.on_target_cpu(|| {
        Leaker::start_program(Command::new(program).args([pairs.to_string(), seconds.to_string()]))
    })?;
    // The duration is for the case that nobody is left to end it.
    let duration = format!("{}s", seconds + 600);
    let limit = limit.to_string();
    let arguments = ["--duration", &duration, "--heap", "--max-overhead", &limit, "--metrics", "0"];
    let tracer = Tracer::attach_command(&mut Command::new(&bench.leaktrace), leaker.pid(), &arguments)?;
    leaker.say("go")?;
    let samples = watch(&tracer, leaker.pid(), Duration::from_secs(seconds.into()))?;
    let ledger = leaker.ledger()?;
    let report = tracer.interrupt()?.json()?;
    leaker.finish()?;

    println!("{}", show(&samples)?);
    println!("{}", promises(&samples, &ledger, &report, options)?);
    let figures = Figures { machine, minutes: options.minutes, pairs: options.pairs, samples, report };
    write_json(options.json.as_deref(), &figures)
}

/// Follows both processes for so long.
fn watch(tracer: &Tracer, target: u32, time: Duration) -> Result<Vec<Sample>> {
    let url = tracer.said("metrics at http://").context("leaktrace does not say where its metrics are")?;
    let address: SocketAddr = url.strip_suffix("/metrics").context("metrics at another page")?.parse()?;
    let begun = Instant::now();
    let mut cpu_before = footprint::cpu_seconds(target)?;
    let (mut samples, mut probes) = (Vec::new(), Vec::new());
    while samples.len() < SAMPLES as usize {
        thread::sleep(SECOND);
        // Not times the CPU time of a second that begins and ends elsewhere than leaktrace's own.
        let share = said_share(address)?.min(MOST);
        probes.push(share / (1.0 - share));
        if begun.elapsed() >= time * (samples.len() as u32 + 1) / SAMPLES {
            let cpu = footprint::cpu_seconds(target)?;
            let memory = footprint::Memory::of(tracer.pid())?;
            samples.push(Sample {
                resident_mib: memory.resident_kib as f64 / 1024.0,
                anonymous_mib: memory.anonymous_kib as f64 / 1024.0,
                cpu_s: cpu - cpu_before,
                probes: mean(probes.drain(..)),
            });
            cpu_before = cpu;
        }
    }
    Ok(samples)
}

/// The share of the target's CPU time that leaktrace says it takes now. It says nothing before it knows.
fn said_share(address: SocketAddr) -> Result<f64> {
    let (status, text) = prometheus::get(address, "/metrics")?;
    ensure!(status == 200, "leaktrace's metrics: {status} {text}");
    Ok(gauge(&text, "leaktrace_overhead_ratio").unwrap_or(0.0))
}

/// The number of a series without labels.
fn gauge(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The samples, by quarters of the run.
fn show(samples: &[Sample]) -> Result<String> {
    let mut table = Table::new(&["quarter", "anonymous MiB", "resident MiB", "target's CPU s", "in probes %"]);
    for (index, samples) in quarters(samples).enumerate() {
        let memory = |of: fn(&Sample) -> f64| {
            let Spread { median, min, max } =
                Spread::of(&samples.iter().map(of).collect::<Vec<_>>()).context("no samples")?;
            Ok::<_, anyhow::Error>(format!("{median:.1} ({min:.1}–{max:.1})"))
        };
        let (anonymous, resident) = (memory(|sample| sample.anonymous_mib)?, memory(|sample| sample.resident_mib)?);
        let cpu = number(samples.iter().map(|sample| sample.cpu_s).sum());
        let in_probes = format!("{:.1}", percent(samples));
        table.row([(index + 1).to_string(), anonymous, resident, cpu, in_probes]);
    }
    Ok(table.render())
}

fn quarters(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    samples.chunks(samples.len().div_ceil(QUARTERS).max(1))
}

fn promises(samples: &[Sample], ledger: &Ledger, report: &Value, options: &Options) -> Result<String> {
    Ok([
        pace(ledger, options)?,
        flat(samples)?,
        promise::no_loss(report),
        cost(samples, report, options)?,
        found(ledger, report)?,
    ]
    .join("\n"))
}

/// What the target did; with another pace it is another promise.
fn pace(ledger: &Ledger, options: &Options) -> Result<String> {
    let pairs = |name: &str| ledger.entry(name)?.free_objects.with_context(|| format!("{name} does not count"));
    let pairs = ["parsed", "looked_up", "rendered", "logged"].into_iter().map(pairs).sum::<Result<u64>>()?;
    let rate = pairs as f64 / f64::from(options.minutes * 60);
    let (is, asked) = (number(rate), number(f64::from(options.pairs)));
    Ok(promise::judge(rate >= f64::from(options.pairs) * 0.99, &format!("pairs a second: {is} (of {asked})")))
}

fn flat(samples: &[Sample]) -> Result<String> {
    let medians: Vec<f64> = quarters(samples)
        .filter_map(|samples| median(&samples.iter().map(|sample| sample.anonymous_mib).collect::<Vec<_>>()))
        .collect();
    let &[_, second, _, last] = &medians[..] else { anyhow::bail!("{} samples are not four quarters", samples.len()) };
    let bound = AtMost(second * (1.0 + GROWTH) + GROWTH_MIB);
    let what = format!("leaktrace's anonymous memory in the last quarter, after {second:.1} MiB in the second");
    Ok(promise::show(&what, last, " MiB", bound))
}

/// The limit is one of the whole run: a minute with long windows is followed by one with few.
fn cost(samples: &[Sample], report: &Value, options: &Options) -> Result<String> {
    let overhead = |field: &str| {
        report["overhead"][field].as_f64().with_context(|| format!("the report has no {field} of the overhead"))
    };
    let mean = overhead("probes_s")? / overhead("cpu_s")? * 100.0;
    let most = samples.chunks(1).map(percent).fold(0.0, f64::max);
    let seconds = options.minutes * 60 / SAMPLES;
    let line =
        promise::show("share of the target's CPU time in probes, as leaktrace says", mean, " %", AtMost(options.limit));
    Ok(format!("{line}; {most:.1} % in the dearest {seconds} s"))
}

/// What leaktrace says of the planted site, and whether it says it first.
fn found(ledger: &Ledger, report: &Value) -> Result<String> {
    let sites = report["sites"].as_array().context("the report has no sites")?;
    let mut ranked: Vec<&Value> = sites.iter().filter(|site| is_leaking(site)).collect();
    ranked.sort_by(|a, b| growth(b).total_cmp(&growth(a)));
    let names: Vec<&str> = ranked.iter().map(|site| function(site)).collect();
    let is_first = names.first() == Some(&PLANTED);
    let mut lines = vec![promise::judge(is_first, &format!("sites that leak, the fastest first: {}", listed(&names)))];
    let Some(site) = sites.iter().find(|site| function(site) == PLANTED) else {
        lines.push(promise::judge(false, &format!("{PLANTED} is no site of the report")));
        return Ok(lines.join("\n"));
    };
    if let Some(reason) = site["verdict"]["reason"].as_str() {
        lines.push(format!("      {PLANTED} is {}: {reason}", site["verdict"]["label"].as_str().unwrap_or_default()));
    }
    let entry = ledger.entry(PLANTED)?;
    let (followed, how) = followed(report)?;
    lines.push(how);
    for (number, truth) in [("inuse_objects", entry.inuse_objects), ("inuse_bytes", entry.inuse_bytes)] {
        let all = truth.with_context(|| format!("{PLANTED} does not know its {number}"))? as f64;
        let line = promise::estimate(PLANTED, number, all * followed, site)?;
        lines.push(format!("{line} ({} in the whole run)", super::table::number(all)));
    }
    Ok(lines.join("\n"))
}

/// The share of the run in which outstanding blocks are followed, and how they are. The target leaks evenly.
fn followed(report: &Value) -> Result<(f64, String)> {
    let elapsed = report["elapsed_s"].as_f64().context("the report has no elapsed_s")?;
    let turns = &report["sample"]["turns"];
    let (Some(since), Some(share)) = (turns["since_s"].as_f64(), turns["share"].as_f64()) else {
        return Ok((1.0, "      blocks are tracked all of the time".to_owned()));
    };
    let how = format!(
        "      blocks are tracked {:.1} % of the time, in {} windows since {since:.0} s",
        share * 100.0,
        turns["windows"]
    );
    Ok(((elapsed - since) / elapsed, how))
}

fn is_leaking(site: &Value) -> bool {
    site["verdict"]["label"] == "leaking"
}

/// Bytes a second, which is what the dashboard puts leaks in order by.
fn growth(site: &Value) -> f64 {
    site["verdict"]["inuse_bytes_per_s"]["value"].as_f64().unwrap_or(0.0)
}

fn function(site: &Value) -> &str {
    site["frames"][0]["function"].as_str().unwrap_or("?")
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn samples(anonymous_mib: impl Fn(usize) -> f64) -> Vec<Sample> {
        let sample =
            |index| Sample { resident_mib: 53.0, anonymous_mib: anonymous_mib(index), cpu_s: 10.0, probes: 0.25 };
        (0..SAMPLES as usize).map(sample).collect()
    }

    #[test]
    fn memory_is_flat_from_the_second_quarter_on() {
        let warming_up = samples(|index| if index < 15 { 10.0 } else { 40.0 });
        let line = flat(&warming_up).unwrap();
        assert!(line.starts_with("PASS") && line.contains("at most 46 MiB"), "{line}");
        assert!(flat(&samples(|index| 40.0 + index as f64)).unwrap().starts_with("over"));
        assert!(flat(&warming_up[..2]).is_err());
        let table = show(&warming_up).unwrap();
        assert!(table.lines().count() == 5 && table.lines().skip(1).all(|line| line.ends_with("  20.0")), "{table}");
    }

    #[test]
    fn the_planted_site_is_to_be_the_fastest_leak() {
        let site = |name: &str, label: &str, growth: f64| {
            json!({
                "frames": [{"function": name}],
                "verdict": {"label": label, "reason": "why", "inuse_bytes_per_s": {"value": growth}},
                "sample": {"inuse_bytes": {"value": 90.0, "low": 80.0, "high": 99.0},
                           "inuse_objects": {"value": 9.0, "low": 8.0, "high": 10.0}},
            })
        };
        let line = r#"{"site":"planted","inuse_bytes":100,"inuse_objects":10}"#.to_owned();
        let ledger = Ledger::parse(&[line]).unwrap();
        let turns = json!({"since_s": 10.0, "share": 0.125, "windows": 7});
        let report = |sites: Vec<Value>| json!({"elapsed_s": 100.0, "sample": {"turns": turns}, "sites": sites});
        let good =
            report(vec![site("cached", "growing", 900.0), site("planted", "leaking", 7.0), site("x", "leaking", 1.0)]);
        let text = found(&ledger, &good).unwrap();
        assert!(text.contains("PASS  sites that leak, the fastest first: planted, x"), "{text}");
        assert!(
            text.contains("PASS  planted, inuse_bytes: 90 (80 to 99, 95 %), is 90 (100 in the whole run)"),
            "{text}"
        );
        let bad = found(&ledger, &report(vec![site("x", "leaking", 8.0), site("planted", "leaking", 7.0)])).unwrap();
        assert!(bad.contains("over  sites that leak, the fastest first: x, planted"), "{bad}");
        let none = found(&ledger, &report(vec![])).unwrap();
        assert!(none.contains("fastest first: none") && none.contains("over  planted is no site"), "{none}");
    }

    #[test]
    fn a_gauge_is_taken_by_its_whole_name() {
        let text =
            "# HELP leaktrace_overhead_ratio Share.\nleaktrace_overhead_ratio_x 3\nleaktrace_overhead_ratio 0.043\n";
        assert_eq!(gauge(text, "leaktrace_overhead_ratio"), Some(0.043));
        assert_eq!(gauge("", "leaktrace_overhead_ratio"), None);
    }
}
