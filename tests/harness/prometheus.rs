//! A Prometheus server of a test's own, and its promtool.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    DEADLINE,
    folder::Folder,
    process::{Guarded, Lines},
    wait_for,
};

/// It scrapes one target, every second.
#[derive(Debug)]
pub struct Prometheus {
    // Ends before its folder goes.
    _process: Guarded,
    _log: Lines,
    address: SocketAddr,
    _folder: Folder,
}

/// A series, as its labels and its newest number.
#[derive(Clone, Debug)]
pub struct Series {
    labels: Value,
    /// The number.
    pub value: f64,
}

impl Series {
    /// A label's value; empty when it has none of this name.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

impl Prometheus {
    /// Starts one that scrapes this address by these rules.
    pub fn scraping(target: &str, rules: &Path) -> Result<Self> {
        let folder = Folder::new("prometheus")?;
        let config = folder.path().join("prometheus.yml");
        let rules = fs::canonicalize(rules).with_context(|| format!("no {}", rules.display()))?;
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  \
                 - job_name: leaktrace\n    static_configs: [{{targets: ['{target}']}}]\n",
                rules.display()
            ),
        )?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0");
        let mut process = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let mut log = Lines::read(process.child().stderr.take().context("no stderr")?);
        let is_ready = |line: &str| line.contains("msg=\"Listening on\"");
        let line = log.find("Prometheus to listen", is_ready)?.with_context(|| log.seen.join("\n"))?;
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next()).context("no address")?;
        let address: SocketAddr = address.parse().with_context(|| format!("not an address: {address}"))?;
        // It listens before it answers queries.
        wait_for("Prometheus to be ready", || Ok((get(address, "/-/ready")?.0 == 200).then_some(())))?;
        Ok(Self { _process: process, _log: log, address, _folder: folder })
    }

    /// The newest numbers of a query.
    pub fn query(&self, query: &str) -> Result<Vec<Series>> {
        let answer = self.api(&format!("/api/v1/query?query={}", escaped(query)))?;
        let series = answer["data"]["result"].as_array().with_context(|| format!("{query}: {answer}"))?;
        let read = |one: &Value| {
            let value = one["value"][1].as_str().context("no value")?.parse()?;
            Ok(Series { labels: one["metric"].clone(), value })
        };
        series.iter().map(read).collect()
    }

    /// The only number of a query; `None` when there is none.
    pub fn number(&self, query: &str) -> Result<Option<f64>> {
        let series = self.query(query)?;
        ensure!(series.len() <= 1, "{query} has several: {series:?}");
        Ok(series.first().map(|one| one.value))
    }

    /// What its API answers.
    pub fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = get(self.address, path)?;
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// The status and the body of what an HTTP server answers.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

/// The same for a whole request.
pub fn ask(address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Runs promtool with this on its standard input; it must find nothing wrong.
pub fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool: is Debian's prometheus installed?")?;
    tool.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = tool.wait_with_output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {arguments:?}: {}\n{said}", output.status);
    Ok(said)
}
