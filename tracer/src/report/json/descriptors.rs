//! The descriptors' part of the document.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use super::{JsonFrame, SITE_FD, analysis::JsonVerdict};
use crate::{
    aggregate::{
        Corrections, Descriptors, Direction, Endpoint, FdLimits, FdSignal, FdSite, OpenFd, Origin, Peer, SiteId,
        Socket, TcpState,
    },
    symbolize::Stack,
};

/// Its fields are fields of the document. Without descriptors, `fds` is null and everything else empty.
#[derive(Serialize)]
pub(super) struct JsonDescriptors<'a> {
    #[serde(serialize_with = "fds")]
    fds: Option<&'a [OpenFd]>,
    peers: Vec<JsonPeer<'a>>,
    limits: Option<JsonLimits>,
    fd_signals: Vec<JsonSignal<'a>>,
    fd_corrections: JsonCorrections,
    fd_limitations: &'a [String],
    fds_looked_s: Option<f64>,
}

impl<'a> From<Option<&'a Descriptors>> for JsonDescriptors<'a> {
    fn from(descriptors: Option<&'a Descriptors>) -> Self {
        let Some(Descriptors { sites: _, open, looked, peers, limits, signals, corrections, limitations, stale: _ }) =
            descriptors
        else {
            return Self {
                fds: None,
                peers: Vec::new(),
                limits: None,
                fd_signals: Vec::new(),
                fd_corrections: Corrections::default().into(),
                fd_limitations: &[],
                fds_looked_s: None,
            };
        };
        Self {
            fds: Some(open),
            peers: peers.iter().map(JsonPeer::from).collect(),
            limits: limits.map(JsonLimits::from),
            fd_signals: signals.iter().map(JsonSignal::from).collect(),
            fd_corrections: (*corrections).into(),
            fd_limitations: limitations,
            fds_looked_s: seconds(*looked),
        }
    }
}

/// Converts one descriptor at a time, as the sites are.
fn fds<S: Serializer>(fds: &Option<&[OpenFd]>, serializer: S) -> Result<S::Ok, S::Error> {
    match fds {
        Some(fds) => serializer.collect_seq(fds.iter().map(JsonFd::from)),
        None => serializer.serialize_none(),
    }
}

fn seconds(span: Option<Duration>) -> Option<f64> {
    span.map(|span| span.as_secs_f64())
}

/// `127.0.0.1:80`, `[::1]:80`, or the path as it is.
struct JsonEndpoint<'a>(&'a Endpoint);

impl Serialize for JsonEndpoint<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Endpoint::Inet(address) => serializer.collect_str(address),
            Endpoint::Unix(path) => serializer.serialize_str(path),
        }
    }
}

#[derive(Serialize)]
pub(super) struct JsonFdSite<'a> {
    id: u32,
    kind: &'static str,
    tgid: u32,
    open: u64,
    opened: u64,
    closed: u64,
    oldest_age_s: Option<f64>,
    kinds: BTreeMap<&'static str, u64>,
    verdict: Option<JsonVerdict<'a>>,
    stack: &'static str,
    frames: Vec<JsonFrame<'a>>,
}

impl<'a> From<&'a FdSite> for JsonFdSite<'a> {
    fn from(site: &'a FdSite) -> Self {
        let open = site.open();
        let FdSite { id, tgid, opened, closed, oldest, kinds, stack, verdict } = site;
        let Stack { frames, end } = &**stack;
        Self {
            id: id.0,
            kind: SITE_FD,
            tgid: tgid.0,
            open,
            opened: *opened,
            closed: *closed,
            oldest_age_s: seconds(*oldest),
            kinds: kinds.iter().map(|&(kind, count)| (kind.name(), count)).collect(),
            verdict: verdict.as_deref().map(JsonVerdict::from),
            stack: end.name(),
            frames: frames.iter().map(JsonFrame::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonFd<'a> {
    tgid: u32,
    fd: u32,
    kind: &'static str,
    detail: &'a str,
    origin: &'static str,
    site: Option<u32>,
    age_s: Option<f64>,
    direction: Option<&'static str>,
    local: Option<JsonEndpoint<'a>>,
    peer: Option<JsonEndpoint<'a>>,
    state: Option<&'static str>,
    idle_s: Option<f64>,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
    recv_queue: Option<u32>,
    send_queue: Option<u32>,
    connect_latency_s: Option<f64>,
    close_wait_s: Option<f64>,
    connected_by: Option<u32>,
}

impl<'a> From<&'a OpenFd> for JsonFd<'a> {
    fn from(open: &'a OpenFd) -> Self {
        const NO_SOCKET: &Socket = &Socket {
            direction: None,
            local: None,
            peer: None,
            state: None,
            idle: None,
            rx_bytes: None,
            tx_bytes: None,
            recv_queue: None,
            send_queue: None,
            connect_latency: None,
            close_wait: None,
            connected_by: None,
        };
        let OpenFd { tgid, fd, kind, detail, origin, age, socket } = open;
        let Socket {
            direction,
            local,
            peer,
            state,
            idle,
            rx_bytes,
            tx_bytes,
            recv_queue,
            send_queue,
            connect_latency,
            close_wait,
            connected_by,
        } = socket.as_deref().unwrap_or(NO_SOCKET);
        Self {
            tgid: tgid.0,
            fd: fd.0,
            kind: kind.name(),
            detail,
            origin: origin.name(),
            site: match origin {
                Origin::Site(id) => Some(id.0),
                Origin::BeforeAttach | Origin::Unseen => None,
            },
            age_s: seconds(*age),
            direction: direction.map(Direction::name),
            local: local.as_ref().map(JsonEndpoint),
            peer: peer.as_ref().map(JsonEndpoint),
            state: state.map(TcpState::name),
            idle_s: seconds(*idle),
            rx_bytes: *rx_bytes,
            tx_bytes: *tx_bytes,
            recv_queue: *recv_queue,
            send_queue: *send_queue,
            connect_latency_s: seconds(*connect_latency),
            close_wait_s: seconds(*close_wait),
            connected_by: connected_by.map(|id| id.0),
        }
    }
}

#[derive(Serialize)]
struct JsonPeer<'a> {
    direction: &'static str,
    endpoint: JsonEndpoint<'a>,
    service: Option<&'static str>,
    open: u64,
    idle: u64,
    close_wait: u64,
    oldest_age_s: Option<f64>,
    opened: u64,
    closed: u64,
    opened_per_min: f64,
    closed_per_min: f64,
    growing: bool,
    connect_latency_s: Option<f64>,
    sites: Vec<u32>,
    connected_by: Vec<u32>,
}

impl<'a> From<&'a Peer> for JsonPeer<'a> {
    fn from(peer: &'a Peer) -> Self {
        let Peer {
            direction,
            endpoint,
            service,
            open,
            idle,
            close_wait,
            oldest,
            opened,
            closed,
            opened_per_min,
            closed_per_min,
            growing,
            connect_latency,
            sites,
            connected_by,
        } = peer;
        let ids = |sites: &[(SiteId, u64)]| sites.iter().map(|(id, _)| id.0).collect();
        Self {
            direction: direction.name(),
            endpoint: JsonEndpoint(endpoint),
            service: *service,
            open: *open,
            idle: *idle,
            close_wait: *close_wait,
            oldest_age_s: seconds(*oldest),
            opened: *opened,
            closed: *closed,
            opened_per_min: *opened_per_min,
            closed_per_min: *closed_per_min,
            growing: *growing,
            connect_latency_s: seconds(*connect_latency),
            sites: ids(sites),
            connected_by: ids(connected_by),
        }
    }
}

#[derive(Serialize)]
struct JsonLimits {
    nofile_soft: u64,
    nofile_hard: u64,
    open: u64,
}

impl From<FdLimits> for JsonLimits {
    fn from(limits: FdLimits) -> Self {
        let FdLimits { nofile_soft, nofile_hard, open } = limits;
        Self { nofile_soft, nofile_hard, open }
    }
}

#[derive(Serialize)]
struct JsonCorrections {
    unseen_closes: u64,
    unseen_opens: u64,
    replaced: u64,
}

impl From<Corrections> for JsonCorrections {
    fn from(corrections: Corrections) -> Self {
        let Corrections { unseen_closes, unseen_opens, replaced } = corrections;
        Self { unseen_closes, unseen_opens, replaced }
    }
}

/// Named as [`FdSignal::name`] has it.
#[derive(Serialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
enum JsonSignal<'a> {
    CloseWait {
        count: u64,
        oldest_s: f64,
        site: Option<u32>,
        endpoint: Option<JsonEndpoint<'a>>,
    },
    Growth {
        per_min: f64,
        over_s: f64,
        site: Option<u32>,
    },
    Unreleased {
        direction: &'static str,
        endpoint: JsonEndpoint<'a>,
        opened_per_min: f64,
        closed_per_min: f64,
    },
    HalfOpen {
        count: u64,
        oldest_s: f64,
        endpoint: Option<JsonEndpoint<'a>>,
    },
    /// Where things stand is in the document's `limits`.
    NearLimit {
        mark: u8,
    },
}

impl<'a> From<&'a FdSignal> for JsonSignal<'a> {
    fn from(signal: &'a FdSignal) -> Self {
        let id = |site: &Option<SiteId>| site.map(|id| id.0);
        match signal {
            FdSignal::CloseWait { count, oldest, site, endpoint } => Self::CloseWait {
                count: *count,
                oldest_s: oldest.as_secs_f64(),
                site: id(site),
                endpoint: endpoint.as_ref().map(JsonEndpoint),
            },
            FdSignal::Growth { per_min, over, site } => {
                Self::Growth { per_min: *per_min, over_s: over.as_secs_f64(), site: id(site) }
            }
            FdSignal::Unreleased { direction, endpoint, opened_per_min, closed_per_min } => Self::Unreleased {
                direction: direction.name(),
                endpoint: JsonEndpoint(endpoint),
                opened_per_min: *opened_per_min,
                closed_per_min: *closed_per_min,
            },
            FdSignal::HalfOpen { count, oldest, endpoint } => Self::HalfOpen {
                count: *count,
                oldest_s: oldest.as_secs_f64(),
                endpoint: endpoint.as_ref().map(JsonEndpoint),
            },
            FdSignal::NearLimit { mark, limits: _ } => Self::NearLimit { mark: *mark },
        }
    }
}

#[cfg(test)]
#[path = "descriptors_tests.rs"]
mod tests;
