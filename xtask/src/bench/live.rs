//! `cargo xtask bench live`: a target with twenty million live blocks. Allocated while it is traced: how long the report
//! takes, what the tables take, and whether the estimates are what the program itself counted. There before the attach:
//! how long it is from the attach to the report.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use leaktrace_tests::{
    folder::Folder,
    leaker::{Leaker, compile},
    ledger::Ledger,
};

use super::{
    Machine, footprint, leaktrace,
    programs::{Bench, install_needs},
    promise::{self, Bound::AtMost},
    table::number,
    tracers::{Started, start_leaktrace},
};
use crate::{shell, workspace::Workspace};

/// How long the target may take for its work. It has none of the promises to keep.
const WORK_WITHIN: Duration = Duration::from_secs(1800);
/// Seconds to the report.
const REPORT_WITHIN: f64 = 10.0;
/// `--max-live` is two million blocks of about a hundred bytes each; the other maps take what they take anyway.
const TABLES_MIB: f64 = 256.0;
const OWN_MIB: f64 = 128.0;
const MIB: f64 = 1_048_576.0;
const SITES: [&str; 2] = ["kept", "cached"];
const NUMBERS: [&str; 2] = ["inuse_bytes", "inuse_objects"];

/// How it is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Live blocks
    #[arg(long, value_name = "N", default_value_t = 20_000_003)]
    blocks: u32,
}

pub(super) fn run(options: &Options) -> Result<()> {
    install_needs(&[("gcc", "gcc")])?;
    let machine = Machine::read()?;
    let workspace = Workspace::load()?;
    let leaktrace = leaktrace(&workspace)?;
    let bench = Bench::prepare(&workspace, leaktrace)?;
    println!("{}", machine.line());
    println!("\n{} live blocks, allocated while traced\n", number(options.blocks.into()));
    println!("{}", traced(&bench, options.blocks)?);
    println!("\n{} live blocks, there before the attach\n", number(options.blocks.into()));
    println!("{}", before(&bench, options.blocks)?);
    Ok(())
}

fn start(blocks: u32) -> Result<Leaker> {
    let leaker = Leaker::start_program(Command::new(compile("live.c")?).arg(blocks.to_string()))?;
    Ok(leaker.patient(WORK_WITHIN))
}

fn traced(bench: &Bench, blocks: u32) -> Result<String> {
    let folder = Folder::new("bench")?;
    let report = folder.path().join("report.json");
    let mut leaker = bench.on_target_cpu(|| start(blocks))?;
    let tracer = match start_leaktrace(&mut bench.leaktrace(leaker.pid(), &report, &["--heap"]))? {
        Started::Tracing(tracer) => tracer,
        Started::Refused => bail!("leaktrace refused its arguments"),
    };
    let begun = Instant::now();
    let ledger = leaker.release()?;
    let worked = begun.elapsed();
    let maps = footprint::maps_bytes(tracer.pid())? as f64 / MIB;
    let begun = Instant::now();
    let own = footprint::tracer_bytes(tracer.pid())? as f64 / MIB - maps;
    tracer.stop()?;
    let reported = begun.elapsed().as_secs_f64();
    leaker.finish()?;
    let text = fs::read_to_string(&report).with_context(|| format!("no report at {}", report.display()))?;
    let lines = [
        format!("allocated in {:.1} s", worked.as_secs_f64()),
        promise::show("from the signal to the report", reported, " s", AtMost(REPORT_WITHIN)),
        promise::show("kernel memory of the BPF maps", maps, " MiB", AtMost(TABLES_MIB)),
        promise::show("leaktrace's own memory at most", own, " MiB", AtMost(OWN_MIB)),
        estimates(&ledger, &serde_json::from_str(&text)?)?,
    ];
    Ok(lines.join("\n"))
}

/// The report's numbers beside the ledger's. Nothing of it may be lost.
fn estimates(ledger: &Ledger, report: &serde_json::Value) -> Result<String> {
    let rate = report["sample"]["rate"].as_u64().unwrap_or(1);
    let mut lines = vec![format!("tracked in the end: one block in {rate}"), promise::no_loss(report)];
    let sites = report["sites"].as_array().context("the report has no sites")?;
    for name in SITES {
        let site = sites.iter().find(|site| site["frames"][0]["function"] == name);
        let site = site.with_context(|| format!("the report has no site {name}"))?;
        let entry = ledger.entry(name)?;
        for number in NUMBERS {
            let truth = if number == "inuse_bytes" { entry.inuse_bytes } else { entry.inuse_objects };
            let truth = truth.with_context(|| format!("{name} does not know its {number}"))?;
            lines.push(promise::estimate(name, number, truth as f64, site)?);
        }
    }
    Ok(lines.join("\n"))
}

fn before(bench: &Bench, blocks: u32) -> Result<String> {
    let folder = Folder::new("bench")?;
    let report = folder.path().join("report.json");
    let mut leaker = bench.on_target_cpu(|| start(blocks))?;
    leaker.release()?;
    let mut command = Command::new(&bench.leaktrace);
    command.args(["-p", &leaker.pid().to_string(), "--duration", "1s", "--format", "json", "-o"]).arg(&report);
    let begun = Instant::now();
    shell::capture(&mut command)?;
    let elapsed = begun.elapsed().as_secs_f64();
    leaker.finish()?;
    let what = "from the start to the report, a second of tracing included";
    Ok(promise::show(what, elapsed, " s", AtMost(REPORT_WITHIN)))
}
