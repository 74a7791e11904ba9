//! The descriptors' part of the JSON report, as a consumer outside of the project would read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, ensure};
use serde::{Deserialize, Deserializer, de::Error};

use crate::report::{Frame, Process, Target, is_named};

/// One JSON report, without its heap. Fields that it must have are not optional.
#[derive(Clone, Debug, Deserialize)]
pub struct FdReport {
    /// `leaktrace/1`.
    pub schema: String,
    /// The traced process.
    pub target: Target,
    /// All traced processes.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// `detached`, `exited`, …
    pub state: String,
    /// Events lost, by cause.
    pub loss: BTreeMap<String, u64>,
    /// Sites that opened descriptors, most open first.
    #[serde(deserialize_with = "fd_sites")]
    pub sites: Vec<FdSite>,
    /// What is open.
    pub fds: Vec<OpenFd>,
    /// Services and clients.
    pub peers: Vec<Peer>,
    /// The limit of descriptors, where it can be read.
    pub limits: Option<Limits>,
    /// What looks wrong.
    #[serde(rename = "fd_signals")]
    pub signals: Vec<FdSignal>,
    /// What was put right at a look.
    #[serde(rename = "fd_corrections")]
    pub corrections: Corrections,
    /// What cannot be known here, in words.
    #[serde(rename = "fd_limitations")]
    pub limitations: Vec<String>,
    /// Time since the look at what is open.
    pub fds_looked_s: Option<f64>,
}

/// The sites of kind `fd`; those of the heap have other fields.
fn fd_sites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FdSite>, D::Error> {
    let sites = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let fd_sites = sites.into_iter().filter(|site| site["kind"] == "fd");
    fd_sites.map(|site| serde_json::from_value(site).map_err(D::Error::custom)).collect()
}

/// One call stack that opened descriptors.
#[derive(Clone, Debug, Deserialize)]
pub struct FdSite {
    /// Stable for the session.
    pub id: u64,
    /// The process.
    pub tgid: u32,
    /// Descriptors open now.
    pub open: u64,
    /// Opened since attach.
    pub opened: u64,
    /// Those of them that were closed.
    pub closed: u64,
    /// Age of the oldest open one.
    pub oldest_age_s: Option<f64>,
    /// The open ones by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Why the walk up its stack ended.
    pub stack: String,
    /// Innermost first; frame 0 is in the function that makes the system call.
    pub frames: Vec<Frame>,
}

impl FdSite {
    /// Whether any frame is in `function`.
    pub fn has(&self, function: &str) -> bool {
        self.frames.iter().filter_map(|frame| frame.function.as_deref()).any(|name| is_named(name, function))
    }
}

/// A descriptor that is open.
#[derive(Clone, Debug, Deserialize)]
pub struct OpenFd {
    /// The process.
    pub tgid: u32,
    /// Its number.
    pub fd: u32,
    /// `file`, `tcp`, …
    pub kind: String,
    /// A path or name; empty for sockets.
    #[serde(default)]
    pub detail: Option<String>,
    /// `site`, `before_attach` or `unseen`.
    pub origin: String,
    /// The site, with that origin.
    pub site: Option<u64>,
    /// Time since it was opened.
    pub age_s: Option<f64>,
    /// `outbound` or `inbound`.
    pub direction: Option<String>,
    /// Our end.
    pub local: Option<String>,
    /// The other end.
    pub peer: Option<String>,
    /// `ESTABLISHED`, …
    pub state: Option<String>,
    /// Time without traffic.
    pub idle_s: Option<f64>,
    /// Bytes received.
    pub rx_bytes: Option<u64>,
    /// Bytes sent and acknowledged.
    pub tx_bytes: Option<u64>,
    /// Bytes that were not read yet.
    pub recv_queue: Option<u64>,
    /// Bytes that were not acknowledged yet.
    pub send_queue: Option<u64>,
    /// How long connecting took.
    pub connect_latency_s: Option<f64>,
    /// Since when the other end has hung up.
    pub close_wait_s: Option<f64>,
    /// The site that connected, where another one opened the socket.
    pub connected_by: Option<u64>,
}

/// The connections with one service, or of the clients of one listening address.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// `outbound` or `inbound`.
    pub direction: String,
    /// The remote address, or our listening one.
    pub endpoint: String,
    /// The usual name of the service.
    pub service: Option<String>,
    /// Connections open.
    pub open: u64,
    /// Those without traffic.
    pub idle: u64,
    /// Those whose other end has hung up.
    pub close_wait: u64,
    /// Age of the oldest.
    pub oldest_age_s: Option<f64>,
    /// Opened since attach.
    pub opened: u64,
    /// Closed since attach.
    pub closed: u64,
    /// Opened per minute.
    pub opened_per_min: f64,
    /// Closed per minute.
    pub closed_per_min: f64,
    /// Median time to connect.
    pub connect_latency_s: Option<f64>,
    /// Sites that opened the open ones.
    pub sites: Vec<u64>,
}

/// The limit of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Limits {
    /// In force.
    pub nofile_soft: u64,
    /// What it may be raised to.
    pub nofile_hard: u64,
    /// Open descriptors.
    pub open: u64,
}

/// Something wrong; which fields there are depends on what it is.
#[derive(Clone, Debug, Deserialize)]
pub struct FdSignal {
    /// `close_wait`, `growth`, `unreleased`, `half_open` or `near_limit`.
    pub signal: String,
    /// Connections.
    pub count: Option<u64>,
    /// For how long the first of them.
    pub oldest_s: Option<f64>,
    /// The site.
    pub site: Option<u64>,
    /// The service, or our listening address.
    pub endpoint: Option<String>,
    /// The mark that was passed, in percent.
    pub mark: Option<u64>,
}

/// What was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrections {
    /// Closed in a way that was not seen.
    pub unseen_closes: u64,
    /// Opened in a way that was not seen.
    pub unseen_opens: u64,
    /// Numbers that had come to mean another file.
    pub replaced: u64,
}

impl FdReport {
    /// The site of that id.
    pub fn site(&self, id: Option<u64>) -> Option<&FdSite> {
        self.sites.iter().find(|site| Some(site.id) == id)
    }

    /// The peer of that direction whose endpoint ends so (`:5432`, a socket's path).
    pub fn peer(&self, direction: &str, endpoint: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.direction == direction && peer.endpoint.ends_with(endpoint))
    }

    /// The signals of that name.
    pub fn signals(&self, name: &str) -> Vec<&FdSignal> {
        self.signals.iter().filter(|signal| signal.signal == name).collect()
    }

    /// What must hold in every report: nothing lost, every number the sum that it says it is.
    pub fn check_arithmetic(&self) -> Result<()> {
        ensure!(self.schema == "leaktrace/1", "schema is {:?}", self.schema);
        ensure!(self.loss.is_empty(), "events were lost: {:?}", self.loss);
        let known: BTreeSet<u64> = self.sites.iter().map(|site| site.id).collect();
        ensure!(known.len() == self.sites.len(), "a site is there twice");
        let mut numbers = BTreeSet::new();
        for fd in &self.fds {
            ensure!(numbers.insert((fd.tgid, fd.fd)), "descriptor {} is there twice", fd.fd);
            ensure!((fd.origin == "site") == fd.site.is_some(), "descriptor {}: {} {:?}", fd.fd, fd.origin, fd.site);
            ensure!(fd.site.is_none_or(|site| known.contains(&site)), "descriptor {} has no such site", fd.fd);
        }
        for site in &self.sites {
            let FdSite { id, tgid, open, opened, closed, kinds, .. } = site;
            ensure!(opened.checked_sub(*closed) == Some(*open), "site {id}: {opened} - {closed} is not {open}");
            let known = self.processes.iter().any(|process| process.pid == *tgid);
            ensure!(*tgid == self.target.pid || known, "site {id} belongs to process {tgid}");
            let listed = self.fds.iter().filter(|fd| fd.site == Some(*id)).count();
            ensure!(u64::try_from(listed)? == *open, "site {id} has {open} open, and {listed} are listed");
            let by_kind: u64 = kinds.values().sum();
            ensure!(by_kind == *open, "site {id}: its kinds {kinds:?} are not {open}");
        }
        // Of several processes it is that of the one which is nearest to its limit.
        if let Some(limits) = self.limits.filter(|_| self.processes.len() < 2) {
            ensure!(limits.open == u64::try_from(self.fds.len())?, "{limits:?}, and {} are listed", self.fds.len());
        }
        ensure!(self.sites.is_sorted_by(|a, b| a.open >= b.open), "sites are not sorted by open descriptors");
        Ok(())
    }
}

/// For failure messages.
impl fmt::Display for FdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 60;

        writeln!(f, "state {}, loss {:?}, {:?}, {:?}", self.state, self.loss, self.corrections, self.limits)?;
        for site in self.sites.iter().take(LINES) {
            let FdSite { id, open, opened, closed, kinds, .. } = site;
            let names = site.frames.iter().take(8).map(|frame| frame.function.as_deref().unwrap_or("?"));
            let names: Vec<&str> = names.collect();
            writeln!(f, "  site {id}: open {open} of {opened}, closed {closed} {kinds:?}  {}", names.join(" < "))?;
        }
        for fd in self.fds.iter().take(LINES) {
            let OpenFd { fd: number, kind, origin, site, state, local, peer, .. } = fd;
            writeln!(f, "  fd {number}: {kind} {origin} {site:?} {state:?} {local:?} {peer:?}")?;
        }
        for peer in self.peers.iter().take(LINES) {
            writeln!(f, "  {peer:?}")?;
        }
        for signal in &self.signals {
            writeln!(f, "  {signal:?}")?;
        }
        let shown = |count: usize| count.saturating_sub(LINES);
        writeln!(f, "  not shown: {} sites, {} descriptors", shown(self.sites.len()), shown(self.fds.len()))?;
        writeln!(f, "  limitations: {:?}", self.limitations)
    }
}
