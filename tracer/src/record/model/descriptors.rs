//! The descriptors' rows. Times of what a look found are told from that look.
//!
//! The kernel counts how long a connection is idle in ticks, so the moment since when it is comes out a little different
//! with each look. Those moments are in two parts: the socket's row has the half seconds, which stay as they are, and
//! what is left is in rows of all sockets together.

use std::{sync::Arc, time::Duration};

use prost::Message;

use super::{
    RowReader, codes,
    endpoint::EndpointRow,
    signals::{self, SignalRow},
    time::Moment,
    verdicts,
};
use crate::{
    aggregate::{Corrections, Descriptors, Fd, FdLimits, FdSite, OpenFd, Origin, Peer, SiteId, Socket, Tgid},
    record::{error::Malformed, format::nanos, limits::LIST, rows::Rows},
    symbolize::Stack,
    target::sockets::service_of,
};

mod kind {
    /// Without it, descriptors are not traced.
    pub(super) const SUMMARY: u32 = 20;
    pub(super) const SITE: u32 = 21;
    pub(super) const OPEN: u32 = 22;
    pub(super) const PEER: u32 = 23;
    pub(super) const SIGNAL: u32 = 24;
    pub(super) const LIMITATION: u32 = 25;
    pub(super) const VERDICT: u32 = 26;
    /// What is left of [`super::SocketRow::idle`], in the order of the descriptors.
    pub(super) const IDLE: u32 = 27;
    /// The same of [`super::SocketRow::close_wait`].
    pub(super) const CLOSE_WAIT: u32 = 28;
}

#[derive(Clone, PartialEq, Message)]
struct SummaryRow {
    #[prost(sint64, optional, tag = "1")]
    looked: Option<i64>,
    #[prost(uint64, tag = "2")]
    stale_ns: u64,
    #[prost(message, optional, tag = "3")]
    limits: Option<LimitsRow>,
    #[prost(uint64, tag = "4")]
    unseen_closes: u64,
    #[prost(uint64, tag = "5")]
    unseen_opens: u64,
    #[prost(uint64, tag = "6")]
    replaced: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LimitsRow {
    #[prost(uint64, tag = "1")]
    nofile_soft: u64,
    #[prost(uint64, tag = "2")]
    nofile_hard: u64,
    #[prost(uint64, tag = "3")]
    open: u64,
}

impl From<FdLimits> for LimitsRow {
    fn from(limits: FdLimits) -> Self {
        let FdLimits { nofile_soft, nofile_hard, open } = limits;
        Self { nofile_soft, nofile_hard, open }
    }
}

impl From<LimitsRow> for FdLimits {
    fn from(limits: LimitsRow) -> Self {
        let LimitsRow { nofile_soft, nofile_hard, open } = limits;
        Self { nofile_soft, nofile_hard, open }
    }
}

/// So many of one kind, or of one site.
#[derive(Clone, PartialEq, Message)]
struct Share {
    #[prost(uint32, tag = "1")]
    of: u32,
    #[prost(uint64, tag = "2")]
    count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct FdSiteRow {
    #[prost(uint32, tag = "1")]
    tgid: u32,
    #[prost(uint64, tag = "2")]
    opened: u64,
    #[prost(uint64, tag = "3")]
    closed: u64,
    #[prost(sint64, optional, tag = "4")]
    oldest: Option<i64>,
    #[prost(message, repeated, tag = "5")]
    kinds: Vec<Share>,
}

/// Keyed by process and number.
#[derive(Clone, PartialEq, Message)]
struct OpenRow {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    detail: String,
    /// Of those without a site: it was not seen being opened.
    #[prost(bool, tag = "3")]
    unseen: bool,
    #[prost(uint32, optional, tag = "4")]
    site: Option<u32>,
    #[prost(sint64, optional, tag = "5")]
    opened: Option<i64>,
    #[prost(message, optional, tag = "6")]
    socket: Option<SocketRow>,
}

/// Bits of a moment that are not in a socket's row: about half a second.
const FINE_BITS: u32 = 29;
/// Moments whose rests are in one row.
const FINE_ROW: usize = 1 << 16;

/// What is left of moments.
#[derive(Clone, PartialEq, Message)]
struct FineRow {
    #[prost(fixed32, repeated, tag = "1")]
    rests: Vec<u32>,
}

/// What is left of the moments of all sockets.
#[derive(Debug, Default)]
struct Fine {
    idle: Vec<u32>,
    close_wait: Vec<u32>,
}

impl Fine {
    fn add(self, rows: &mut Rows) {
        for (kind, rests) in [(kind::IDLE, self.idle), (kind::CLOSE_WAIT, self.close_wait)] {
            for (place, rests) in (0..).zip(rests.chunks(FINE_ROW)) {
                rows.add(kind, place, &FineRow { rests: rests.to_vec() });
            }
        }
    }
}

/// The half seconds of a moment; its rest goes to `rests`.
fn coarse(moment: i64, rests: &mut Vec<u32>) -> i64 {
    rests.push((moment & ((1 << FINE_BITS) - 1)) as u32);
    moment >> FINE_BITS
}

/// The moment of these half seconds, with the next of the rests.
fn moment(coarse: i64, rests: &mut impl Iterator<Item = u32>) -> i64 {
    coarse << FINE_BITS | i64::from(rests.next().unwrap_or_default())
}

#[derive(Clone, PartialEq, Message)]
struct SocketRow {
    #[prost(uint32, tag = "1")]
    direction: u32,
    #[prost(message, optional, tag = "2")]
    local: Option<EndpointRow>,
    #[prost(message, optional, tag = "3")]
    peer: Option<EndpointRow>,
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(sint64, optional, tag = "5")]
    idle: Option<i64>,
    #[prost(uint64, optional, tag = "6")]
    rx_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    tx_bytes: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    recv_queue: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    send_queue: Option<u32>,
    #[prost(uint64, optional, tag = "10")]
    connect_latency_ns: Option<u64>,
    #[prost(sint64, optional, tag = "11")]
    close_wait: Option<i64>,
    #[prost(uint32, optional, tag = "12")]
    connected_by: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct PeerRow {
    #[prost(uint32, tag = "1")]
    direction: u32,
    #[prost(message, optional, tag = "2")]
    endpoint: Option<EndpointRow>,
    #[prost(uint64, tag = "3")]
    open: u64,
    #[prost(uint64, tag = "4")]
    idle: u64,
    #[prost(uint64, tag = "5")]
    close_wait: u64,
    #[prost(sint64, optional, tag = "6")]
    oldest: Option<i64>,
    #[prost(uint64, tag = "7")]
    opened: u64,
    #[prost(uint64, tag = "8")]
    closed: u64,
    #[prost(double, tag = "9")]
    opened_per_min: f64,
    #[prost(double, tag = "10")]
    closed_per_min: f64,
    #[prost(bool, tag = "11")]
    growing: bool,
    #[prost(uint64, optional, tag = "12")]
    connect_latency_ns: Option<u64>,
    #[prost(message, repeated, tag = "13")]
    sites: Vec<Share>,
    #[prost(message, repeated, tag = "14")]
    connected_by: Vec<Share>,
}

#[derive(Clone, PartialEq, Message)]
struct TextRow {
    #[prost(string, tag = "1")]
    text: String,
}

pub(super) fn to_rows(descriptors: &Descriptors, now: Moment, rows: &mut Rows) {
    let Descriptors { sites, open, looked, peers, limits, signals, corrections, limitations, stale } = descriptors;
    let Corrections { unseen_closes, unseen_opens, replaced } = *corrections;
    let looked = looked.map(|ago| now.before(ago));
    let look = looked.map_or(now, Moment::at);
    let summary = SummaryRow {
        looked,
        stale_ns: nanos(*stale),
        limits: limits.map(LimitsRow::from),
        unseen_closes,
        unseen_opens,
        replaced,
    };
    rows.add(kind::SUMMARY, 0, &summary);
    for site in sites {
        let FdSite { id, tgid, opened, closed, oldest, kinds, stack: _, verdict } = site;
        let row = FdSiteRow {
            tgid: tgid.0,
            opened: *opened,
            closed: *closed,
            oldest: oldest.map(|age| now.before(age)),
            kinds: kinds.iter().map(|(kind, count)| Share { of: codes::of_fd_kind(kind), count: *count }).collect(),
        };
        rows.add(kind::SITE, u64::from(id.0), &row);
        verdicts::to_row(kind::VERDICT, *id, verdict.as_deref(), rows);
    }
    let mut fine = Fine::default();
    for fd in open.iter() {
        rows.add(kind::OPEN, u64::from(fd.tgid.0) << 32 | u64::from(fd.fd.0), &open_row(fd, look, &mut fine));
    }
    fine.add(rows);
    for (place, peer) in (0..).zip(peers) {
        rows.add(kind::PEER, place, &peer_row(peer, now));
    }
    for (place, signal) in (0..).zip(signals) {
        rows.add(kind::SIGNAL, place, &SignalRow::from(signal));
    }
    for (place, text) in (0..).zip(limitations) {
        rows.add(kind::LIMITATION, place, &TextRow { text: text.clone() });
    }
}

fn open_row(fd: &OpenFd, look: Moment, fine: &mut Fine) -> OpenRow {
    let OpenFd { tgid: _, fd: _, kind, detail, origin, age, socket } = fd;
    OpenRow {
        kind: codes::of_fd_kind(kind),
        detail: detail.as_ref().to_owned(),
        unseen: *origin == Origin::Unseen,
        site: match origin {
            Origin::Site(id) => Some(id.0),
            Origin::BeforeAttach | Origin::Unseen => None,
        },
        opened: age.map(|age| look.before(age)),
        socket: socket.as_deref().map(|socket| socket_row(socket, look, fine)),
    }
}

fn socket_row(socket: &Socket, look: Moment, fine: &mut Fine) -> SocketRow {
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
    } = socket;
    SocketRow {
        direction: direction.as_ref().map_or(0, codes::of_direction),
        local: local.as_ref().map(EndpointRow::from),
        peer: peer.as_ref().map(EndpointRow::from),
        state: state.as_ref().map_or(0, codes::of_tcp_state),
        idle: idle.map(|idle| coarse(look.before(idle), &mut fine.idle)),
        rx_bytes: *rx_bytes,
        tx_bytes: *tx_bytes,
        recv_queue: *recv_queue,
        send_queue: *send_queue,
        connect_latency_ns: connect_latency.map(nanos),
        close_wait: close_wait.map(|hung_up| coarse(look.before(hung_up), &mut fine.close_wait)),
        connected_by: connected_by.map(|id| id.0),
    }
}

fn shares(sites: &[(SiteId, u64)]) -> Vec<Share> {
    sites.iter().map(|&(SiteId(of), count)| Share { of, count }).collect()
}

fn peer_row(peer: &Peer, now: Moment) -> PeerRow {
    let Peer {
        direction,
        endpoint,
        // Of the endpoint.
        service: _,
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
    PeerRow {
        direction: codes::of_direction(direction),
        endpoint: Some(endpoint.into()),
        open: *open,
        idle: *idle,
        close_wait: *close_wait,
        oldest: oldest.map(|age| now.before(age)),
        opened: *opened,
        closed: *closed,
        opened_per_min: *opened_per_min,
        closed_per_min: *closed_per_min,
        growing: *growing,
        connect_latency_ns: connect_latency.map(nanos),
        sites: shares(sites),
        connected_by: shares(connected_by),
    }
}

pub(super) fn from_rows(
    reader: &mut RowReader<'_>,
    now: Moment,
    stack: impl Fn(SiteId) -> Arc<Stack>,
) -> Result<Option<Descriptors>, Malformed> {
    let Some(summary) = reader.one::<SummaryRow>(kind::SUMMARY)? else { return Ok(None) };
    let SummaryRow { looked, stale_ns, limits, unseen_closes, unseen_opens, replaced } = summary;
    let look = looked.map_or(now, Moment::at);
    let mut verdicts = verdicts::from_rows(reader, kind::VERDICT)?;
    let mut sites = reader.all(kind::SITE, |key, row: FdSiteRow| {
        let FdSiteRow { tgid, opened, closed, oldest, kinds } = row;
        let id = SiteId(u32::try_from(key).ok()?);
        Some(FdSite {
            id,
            tgid: Tgid(tgid),
            opened,
            closed,
            oldest: oldest.map(|born| now.since(born)),
            kinds: kinds.into_iter().take(LIST).map(|Share { of, count }| (codes::fd_kind(of), count)).collect(),
            stack: stack(id),
            verdict: verdicts.remove(&id),
        })
    })?;
    sites.sort_by_key(FdSite::order);
    let mut rests = |kind| reader.all(kind, |_, FineRow { rests }| Some(rests));
    let mut idle = rests(kind::IDLE)?.into_iter().flatten();
    let mut close_wait = rests(kind::CLOSE_WAIT)?.into_iter().flatten();
    let open = reader.all(kind::OPEN, |key, mut row: OpenRow| {
        if let Some(socket) = &mut row.socket {
            socket.idle = socket.idle.map(|coarse| moment(coarse, &mut idle));
            socket.close_wait = socket.close_wait.map(|coarse| moment(coarse, &mut close_wait));
        }
        Some(open_fd(key, row, look))
    })?;
    Ok(Some(Descriptors {
        sites,
        open: Arc::new(open),
        looked: looked.map(|then| now.since(then)),
        peers: reader.all(kind::PEER, |_, row| peer(row, now))?,
        limits: limits.map(FdLimits::from),
        signals: reader.all(kind::SIGNAL, |_, row| signals::signal(row))?,
        corrections: Corrections { unseen_closes, unseen_opens, replaced },
        limitations: reader.all(kind::LIMITATION, |_, TextRow { text }| Some(text))?,
        stale: Duration::from_nanos(stale_ns),
    }))
}

fn open_fd(key: u64, row: OpenRow, look: Moment) -> OpenFd {
    let OpenRow { kind, detail, unseen, site, opened, socket } = row;
    OpenFd {
        tgid: Tgid((key >> 32) as u32),
        fd: Fd(key as u32),
        kind: codes::fd_kind(kind),
        detail: detail.into(),
        origin: match site {
            Some(id) => Origin::Site(SiteId(id)),
            None if unseen => Origin::Unseen,
            None => Origin::BeforeAttach,
        },
        age: opened.map(|then| look.since(then)),
        socket: socket.map(|row| Box::new(socket_of(row, look))),
    }
}

fn socket_of(row: SocketRow, look: Moment) -> Socket {
    let SocketRow {
        direction,
        local,
        peer,
        state,
        idle,
        rx_bytes,
        tx_bytes,
        recv_queue,
        send_queue,
        connect_latency_ns,
        close_wait,
        connected_by,
    } = row;
    Socket {
        direction: codes::direction(direction),
        local: local.and_then(EndpointRow::endpoint),
        peer: peer.and_then(EndpointRow::endpoint),
        state: codes::tcp_state(state),
        idle: idle.map(|then| look.since(then)),
        rx_bytes,
        tx_bytes,
        recv_queue,
        send_queue,
        connect_latency: connect_latency_ns.map(Duration::from_nanos),
        close_wait: close_wait.map(|then| look.since(then)),
        connected_by: connected_by.map(SiteId),
    }
}

fn peer(row: PeerRow, now: Moment) -> Option<Peer> {
    let PeerRow {
        direction,
        endpoint,
        open,
        idle,
        close_wait,
        oldest,
        opened,
        closed,
        opened_per_min,
        closed_per_min,
        growing,
        connect_latency_ns,
        sites,
        connected_by,
    } = row;
    let endpoint = endpoint?.endpoint()?;
    let share = |&Share { of, count }: &Share| (SiteId(of), count);
    let shares = |shares: Vec<Share>| shares.iter().take(LIST).map(share).collect();
    Some(Peer {
        direction: codes::direction(direction)?,
        service: service_of(&endpoint),
        endpoint,
        open,
        idle,
        close_wait,
        oldest: oldest.map(|born| now.since(born)),
        opened,
        closed,
        opened_per_min,
        closed_per_min,
        growing,
        connect_latency: connect_latency_ns.map(Duration::from_nanos),
        sites: shares(sites),
        connected_by: shares(connected_by),
    })
}
