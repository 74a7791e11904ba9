//! Metrics, as Prometheus itself scrapes, stores and answers them: they are the numbers of the JSON of the same run.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::{Match, Scope},
    prometheus::{Prometheus, Series, ask, get, promtool},
    tracer::{Tracer, run},
    wait_for,
};

fn docs(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name)
}

/// Traces a process with metrics at a port that is free.
fn attach(pid: u32) -> Result<(Tracer, SocketAddr)> {
    attach_with(pid, &[])
}

/// The same with further options.
pub(crate) fn attach_with(pid: u32, options: &[&str]) -> Result<(Tracer, SocketAddr)> {
    let tracer = Tracer::attach_with(pid, &[&["--duration", "600s", "--metrics", "0"], options].concat())?;
    let url = tracer.said("metrics at http://").context("it does not say where")?;
    let address = url.strip_suffix("/metrics").context("another page")?.parse()?;
    Ok((tracer, address))
}

#[test]
fn prometheus_has_the_numbers_of_the_report() -> Result<()> {
    let mut leaker = Leaker::start("cpp_heap.cpp")?;
    let (tracer, address) = attach(leaker.pid())?;
    let ledger = leaker.release()?;
    // From here on it does nothing.
    let prometheus = Prometheus::scraping(&address.to_string(), &docs("alerts.yml"))?;
    let scraped = || prometheus.number("leaktrace_traced_seconds");
    let first = wait_for("a scrape", scraped)?;
    // What is asked for is named by the next window; the last one of all must have been scraped.
    wait_for("names and newer numbers", || {
        Ok((scraped()? >= Some(first + 3.0) && !prometheus.query("leaktrace_site_inuse_bytes")?.is_empty())
            .then_some(()))
    })?;

    let number = |query: &str| prometheus.number(query)?.with_context(|| format!("no {query}"));
    let queries = [
        "inuse_bytes",
        "inuse_objects",
        "alloc_bytes_total",
        "alloc_objects_total",
        "free_bytes_total",
        "free_objects_total",
    ];
    let totals = queries.iter().map(|name| number(&format!("leaktrace_{name}{{kind=\"heap\"}}")));
    let totals = totals.collect::<Result<Vec<f64>>>()?;
    let sites = prometheus.query("leaktrace_site_inuse_bytes{kind=\"heap\"}")?;
    let objects = prometheus.query("leaktrace_site_inuse_objects{kind=\"heap\"}")?;
    let rest = number("leaktrace_unlisted_sites_inuse_bytes")?;
    let loss = prometheus.query("leaktrace_loss_total")?;
    let fds = prometheus.query("sum by (kind) (leaktrace_open_fds)")?;
    let (opened, closed) = (number("leaktrace_fds_opened_total")?, number("leaktrace_fds_closed_total")?);
    let up = number("leaktrace_up")?;
    let own = (number("process_cpu_seconds_total")?, number("process_resident_memory_bytes")?);
    let hits = number("sum(leaktrace_probe_hits_total)")?;
    let rules = prometheus.api("/api/v1/rules")?;

    let ended = tracer.interrupt()?;
    let (report, descriptors) = (ended.report()?, ended.descriptors()?);
    leaker.finish()?;
    ledger.check(&report, Match::AnyFrame, Scope::ListedSites)?;

    let counters = report.totals;
    let expected = [
        counters.inuse_bytes,
        counters.inuse_objects,
        counters.alloc_bytes,
        counters.alloc_objects,
        counters.free_bytes,
        counters.free_objects,
    ];
    ensure!(totals == expected.map(|number| number as f64), "{totals:?} instead of {expected:?}");
    ensure!(counters.inuse_bytes > 0 && counters.free_bytes > 0, "nothing is compared: {counters:?}");

    let by_site = |series: &[Series]| -> BTreeMap<String, f64> {
        series.iter().map(|one| (one.label("site").to_owned(), one.value)).collect()
    };
    let (bytes, objects) = (by_site(&sites), by_site(&objects));
    let holding = || report.sites.iter().filter(|site| site.counters.inuse_objects > 0);
    for (site, bytes) in &bytes {
        let of = holding().find(|of| of.id.to_string() == *site).with_context(|| format!("no site {site}"))?;
        ensure!(of.counters.inuse_bytes as f64 == *bytes, "site {site}: {bytes} instead of {:?}", of.counters);
        ensure!(objects.get(site) == Some(&(of.counters.inuse_objects as f64)), "site {site}: {objects:?}");
    }
    let own_ranges: u64 = report
        .ranges
        .iter()
        .filter(|site| !["mmap_file", "mmap_reserved"].contains(&site.kind.as_str()))
        .map(|site| site.counters.inuse_bytes)
        .sum();
    ensure!(bytes.len() == holding().count().min(20), "{bytes:?}");
    ensure!(bytes.values().sum::<f64>() + rest >= counters.inuse_bytes as f64, "some is nowhere: {rest}");
    ensure!(
        bytes.values().sum::<f64>() + rest <= (counters.inuse_bytes + own_ranges) as f64,
        "more than there is: {rest}"
    );
    for series in &sites {
        ensure!(!series.label("call_site").is_empty(), "no name: {series:?}");
        ensure!(series.label("pid") == report.target.pid.to_string(), "of another process: {series:?}");
    }

    for series in &loss {
        let cause = series.label("cause");
        let lost = report.loss.get(cause).copied().unwrap_or_default();
        ensure!(series.value == lost as f64, "{cause}: {} instead of {lost}", series.value);
    }
    let mut kinds: BTreeMap<&str, f64> = BTreeMap::new();
    for fd in &descriptors.fds {
        *kinds.entry(&fd.kind).or_default() += 1.0;
    }
    let shown: BTreeMap<&str, f64> = fds.iter().map(|series| (series.label("kind"), series.value)).collect();
    ensure!(shown == kinds, "{shown:?} instead of {kinds:?}");
    let (mut all_opened, mut all_closed) = (0, 0);
    for site in &descriptors.sites {
        all_opened += site.opened;
        all_closed += site.closed;
    }
    ensure!(
        (opened, closed) == (all_opened as f64, all_closed as f64),
        "{opened} and {closed} instead of {all_opened} and {all_closed}"
    );
    ensure!(up == 1.0 && own.0 > 0.0 && own.1 > 1e6 && hits > 0.0, "{up} {own:?} {hits}");
    let groups = rules["data"]["groups"][0]["rules"].as_array().context("it has no rules")?;
    ensure!(groups.iter().all(|rule| rule["health"] != "err") && groups.len() >= 8, "{rules}");
    Ok(())
}

#[test]
fn promtool_finds_nothing_wrong() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let (tracer, address) = attach(leaker.pid())?;
    let text = wait_for("numbers", || {
        let (status, text) = get(address, "/metrics")?;
        ensure!(status == 200, "{status}");
        Ok(text.contains("leaktrace_up 1\n").then_some(text))
    })?;
    let said = promtool(&["check", "metrics"], &text)?;
    ensure!(said.is_empty(), "{said}");
    let said = promtool(&["check", "rules", &docs("alerts.yml").display().to_string()], "")?;
    ensure!(said.contains("SUCCESS: 9 rules found"), "{said}");

    ensure!(get(address, "/")?.1.contains("/metrics"), "no pointer");
    ensure!(get(address, "/other")?.0 == 404, "another page");
    ensure!(ask(address, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?.0 == 405, "it is posted to");
    tracer.interrupt()?;
    ensure!(get(address, "/metrics").is_err(), "it goes on after the run");
    leaker.finish_untraced()
}

#[test]
fn an_address_that_is_taken_ends_it_before_anything_is_probed() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let leaker = Leaker::start("simple.c")?;
    let pid = leaker.pid().to_string();
    let port = address.port().to_string();
    let ended = run(&["-p", &pid, "--duration", "1s", "--metrics", &port])?;
    ended.expect_cannot_trace(&[&address.to_string(), "another program has it", "ss -tlnp"])?;
    run(&["-p", &pid, "--metrics", "nonsense"])?.expect_refusal(2, &["9464"])?;
    leaker.finish_untraced()
}

#[test]
fn other_machines_are_let_in_only_by_an_address_and_with_a_warning() -> Result<()> {
    let leaker = Leaker::start("simple.c")?;
    let tracer = Tracer::attach_with(leaker.pid(), &["--duration", "600s", "--metrics", "0.0.0.0:0"])?;
    ensure!(tracer.said("warning: whoever reaches 0.0.0.0:").is_some(), "no warning");
    tracer.interrupt()?;
    let (tracer, address) = attach(leaker.pid())?;
    ensure!(address.ip().is_loopback() && tracer.said("warning: whoever").is_none(), "{address}");
    tracer.interrupt()?;
    leaker.finish_untraced()
}

#[test]
fn a_program_that_is_started_has_metrics_too() -> Result<()> {
    let ended = run(&["--metrics", "0", "--format", "json", "--", "sleep", "0.3"])?;
    ensure!(ended.status.success(), "{}", ended.stderr);
    ensure!(ended.stderr.contains("leaktrace: metrics at http://127.0.0.1:"), "{}", ended.stderr);
    Ok(())
}
