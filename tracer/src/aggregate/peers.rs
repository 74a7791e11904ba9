//! Who is at the other end: connections counted by remote service, and clients by our listening address.
//!
//! In: the turns of connections, as they happen, and surveys of what is open. A connection that comes and goes between
//! two surveys is counted like any other.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tracer_common::fd::FdKey;

use super::{Direction, Endpoint, Origin, Peer, SiteId, TcpState};
use crate::event::{Connection, FdSurvey, SurveyedFd, SurveyedSocket, Turn};

/// Rates are over this time.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// A rate is over no less than this: of a moment, it would say nothing.
const SHORTEST: Duration = Duration::from_secs(1);
/// Parts of the time in all of which a peer must have grown to be called growing.
const PARTS: u64 = 3;
/// Services and clients that are kept count of; those with nothing open give way.
const MOST_PEERS: usize = 16_384;
/// Latencies that wait for their connection.
const MOST_LATENCIES: usize = 16_384;

/// A connection that was announced and not closed.
#[derive(Clone, Debug)]
struct Open {
    file: u64,
    sock: u64,
    peer: PeerKey,
    site: SiteId,
    opened_ns: u64,
    latency: Option<Duration>,
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PeerKey {
    Known(Direction, Endpoint),
    /// A client of a listening socket whose address is not known yet.
    Listener(FdKey),
}

#[derive(Clone, Debug, Default)]
struct Counts {
    opened: u64,
    closed: u64,
    /// Time, opened and closed, at moments within the window when they had changed, and at one before it.
    history: VecDeque<(u64, u64, u64)>,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { opened, closed, history: _ } = other;
        self.opened += opened;
        self.closed += closed;
    }
}

/// What is known of an open connection besides what the kernel says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) direction: Option<Direction>,
    pub(super) peer: Option<Endpoint>,
    pub(super) connect_latency: Option<Duration>,
    pub(super) opened_ns: Option<u64>,
}

/// Everything known of peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    started_ns: u64,
    open: HashMap<FdKey, Open>,
    counts: HashMap<PeerKey, Counts>,
    by_sock: HashMap<u64, FdKey>,
    /// Of handshakes that were over before the call that began them.
    latencies: HashMap<u64, Duration>,
    listeners: HashMap<FdKey, Endpoint>,
    /// The open part, as of the last survey.
    surveyed: Vec<(Direction, Endpoint, SurveyedPeer)>,
}

#[derive(Clone, Debug, Default)]
struct SurveyedPeer {
    open: u64,
    idle: u64,
    close_wait: u64,
    oldest_ns: Option<u64>,
    latencies: Vec<Duration>,
    sites: HashMap<SiteId, u64>,
    connected_by: HashMap<SiteId, u64>,
}

impl Peers {
    pub(super) fn new(started_ns: u64) -> Self {
        Self { started_ns, ..Self::default() }
    }

    /// Takes a turn of a connection.
    pub(super) fn apply(&mut self, connection: Connection) {
        let Connection { tgid, fd, file, time_ns, turn } = connection;
        let key = FdKey { tgid: tgid.0, fd: fd.0 };
        let (peer, site, sock) = match turn {
            Turn::Connected { site, sock, to: Some(to) } => (PeerKey::Known(Direction::Outbound, to), site, sock),
            // Another family, or the end of a connection that stays a socket.
            Turn::Connected { to: None, .. } | Turn::Closed => return self.close(key, file),
            Turn::Accepted { site, listener } => {
                let listener = FdKey { tgid: tgid.0, fd: listener.0 };
                let peer = match self.listeners.get(&listener) {
                    Some(endpoint) => PeerKey::Known(Direction::Inbound, endpoint.clone()),
                    None => PeerKey::Listener(listener),
                };
                (peer, site, 0)
            }
        };
        // A connect that was under way is asked for again: it is the same connection.
        if self.open.get(&key).is_some_and(|open| open.file == file && open.sock == sock && open.peer == peer) {
            return;
        }
        self.close(key, 0);
        self.make_room();
        self.counts.entry(peer.clone()).or_default().opened += 1;
        let latency = self.latencies.remove(&sock);
        if sock != 0 {
            self.by_sock.insert(sock, key);
        }
        self.open.insert(key, Open { file, sock, peer, site, opened_ns: time_ns, latency });
    }

    /// A handshake took this long.
    pub(super) fn established(&mut self, sock: u64, latency: Duration) {
        let open = self.by_sock.get(&sock).and_then(|key| self.open.get_mut(key));
        // One that has its time already is a connection whose end was not seen: its socket is used again.
        if let Some(open) = open.filter(|open| open.sock == sock && open.latency.is_none()) {
            open.latency = Some(latency);
            return;
        }
        // Sockets whose connection never became known leave theirs behind.
        if self.latencies.len() >= MOST_LATENCIES {
            self.latencies.clear();
        }
        self.latencies.insert(sock, latency);
    }

    /// `file` is 0 when it is not known.
    fn close(&mut self, key: FdKey, file: u64) {
        let Some(open) = self.open.get(&key) else { return };
        if file != 0 && open.file != 0 && file != open.file {
            return;
        }
        if let Some(open) = self.open.remove(&key) {
            if self.by_sock.get(&open.sock) == Some(&key) {
                self.by_sock.remove(&open.sock);
            }
            self.counts.entry(open.peer).or_default().closed += 1;
        }
    }

    fn make_room(&mut self) {
        if self.counts.len() >= MOST_PEERS {
            self.counts.retain(|_, counts| counts.opened > counts.closed);
        }
    }

    /// What is known of a descriptor's connection.
    pub(super) fn known(&self, fd: &SurveyedFd) -> Known {
        let none = Known { direction: None, peer: None, connect_latency: None, opened_ns: None };
        let Some(open) = self.open.get(&fd.key).filter(|open| open.file == fd.file || open.file == 0) else {
            return none;
        };
        let (direction, peer) = match &open.peer {
            PeerKey::Known(Direction::Outbound, endpoint) => (Direction::Outbound, Some(endpoint.clone())),
            PeerKey::Known(Direction::Inbound, _) | PeerKey::Listener(_) => (Direction::Inbound, None),
        };
        Known { direction: Some(direction), peer, connect_latency: open.latency, opened_ns: Some(open.opened_ns) }
    }

    /// Takes a survey. Connections that ended unseen are closed.
    pub(super) fn survey(&mut self, survey: &FdSurvey, stale: Duration) {
        let alive: HashMap<FdKey, u64> = survey.fds.iter().map(|fd| (fd.key, fd.file)).collect();
        let gone: Vec<FdKey> = self
            .open
            .iter()
            .filter(|(key, open)| {
                let same = alive.get(key).is_some_and(|file| *file == open.file || *file == 0 || open.file == 0);
                open.opened_ns < survey.time_ns && !same
            })
            .map(|(key, _)| *key)
            .collect();
        gone.into_iter().for_each(|key| self.close(key, 0));
        self.learn_listeners(survey);
        let nothing = SurveyedSocket::default();
        let mut peers: HashMap<(Direction, Endpoint), SurveyedPeer> = HashMap::new();
        for fd in &survey.fds {
            // One that was announced is a connection, also where nobody could ask the kernel about it in time.
            let announced = self.open.contains_key(&fd.key).then_some(&nothing);
            let Some(socket) = fd.socket.as_ref().or(announced) else { continue };
            let Some(key) = self.peer_of(fd, socket) else { continue };
            let opened_ns = self.open.get(&fd.key).map(|open| open.opened_ns).or(fd.born_ns);
            let peer = peers.entry(key).or_default();
            peer.open += 1;
            peer.idle += u64::from(socket.idle.is_some_and(|idle| idle >= stale));
            peer.close_wait += u64::from(socket.hung_up);
            peer.oldest_ns = [peer.oldest_ns, opened_ns].into_iter().flatten().min();
            peer.latencies.extend(self.known(fd).connect_latency);
            let site = self.open.get(&fd.key).map(|open| open.site);
            let opener = if let Origin::Site(site) = fd.origin { Some(site) } else { None };
            if let Some(site) = opener.or(site) {
                *peer.sites.entry(site).or_default() += 1;
            }
            // Of one from before the attach, the connecting call stack is the first that is known.
            if let Some(site) = fd.connected_by.filter(|_| opener.is_some()) {
                *peer.connected_by.entry(site).or_default() += 1;
            }
        }
        self.surveyed = peers.into_iter().map(|((direction, endpoint), peer)| (direction, endpoint, peer)).collect();
    }

    /// Addresses that are listened on: who was accepted there is known by them.
    fn learn_listeners(&mut self, survey: &FdSurvey) {
        self.listeners = survey
            .fds
            .iter()
            .filter_map(|fd| {
                let socket = fd.socket.as_ref()?;
                let listens = socket.state == Some(TcpState::Listen);
                listens.then(|| Some((fd.key, socket.local.clone()?)))?
            })
            .collect();
        for (key, endpoint) in &self.listeners {
            let known = PeerKey::Known(Direction::Inbound, endpoint.clone());
            if let Some(waiting) = self.counts.remove(&PeerKey::Listener(*key)) {
                *self.counts.entry(known.clone()).or_default() += waiting;
            }
        }
        for open in self.open.values_mut() {
            if let PeerKey::Listener(key) = &open.peer
                && let Some(endpoint) = self.listeners.get(key)
            {
                open.peer = PeerKey::Known(Direction::Inbound, endpoint.clone());
            }
        }
    }

    /// Whose connection a descriptor is, by what was announced of it, or else by its addresses.
    fn peer_of(&self, fd: &SurveyedFd, socket: &SurveyedSocket) -> Option<(Direction, Endpoint)> {
        if let Some(open) = self.open.get(&fd.key)
            && let PeerKey::Known(direction, endpoint) = &open.peer
        {
            return Some((*direction, endpoint.clone()));
        }
        if socket.state == Some(TcpState::Listen) {
            return None;
        }
        if let Some(listener) = socket.local.as_ref().and_then(|local| self.listener_of(local)) {
            return Some((Direction::Inbound, listener));
        }
        socket.peer.clone().map(|peer| (Direction::Outbound, peer))
    }

    /// The listening address that a local address belongs to.
    fn listener_of(&self, local: &Endpoint) -> Option<Endpoint> {
        let serves = |listener: &&Endpoint| match (listener, local) {
            (Endpoint::Inet(listener), Endpoint::Inet(local)) => {
                listener.port() == local.port() && (listener.ip().is_unspecified() || listener.ip() == local.ip())
            }
            (Endpoint::Unix(listener), Endpoint::Unix(local)) => listener == local,
            _ => false,
        };
        self.listeners.values().filter(serves).min().cloned()
    }

    /// The direction of a connection that was not announced.
    pub(super) fn direction_of(&self, fd: &SurveyedFd, socket: &SurveyedSocket) -> Option<Direction> {
        self.peer_of(fd, socket).map(|(direction, _)| direction)
    }

    /// All peers, most open first.
    pub(super) fn snapshot(&mut self, now_ns: u64) -> Vec<Peer> {
        let mut peers: HashMap<(Direction, Endpoint), Peer> = HashMap::new();
        let empty = |direction, endpoint: Endpoint| Peer {
            direction,
            service: crate::target::sockets::service_of(&endpoint),
            endpoint,
            open: 0,
            idle: 0,
            close_wait: 0,
            oldest: None,
            opened: 0,
            closed: 0,
            opened_per_min: 0.0,
            closed_per_min: 0.0,
            growing: false,
            connect_latency: None,
            sites: Vec::new(),
            connected_by: Vec::new(),
        };
        for (direction, endpoint, surveyed) in &self.surveyed {
            let key = (*direction, endpoint.clone());
            let peer = peers.entry(key).or_insert_with(|| empty(*direction, endpoint.clone()));
            let SurveyedPeer { open, idle, close_wait, oldest_ns, latencies, sites, connected_by } = surveyed;
            (peer.open, peer.idle, peer.close_wait) = (*open, *idle, *close_wait);
            peer.oldest = oldest_ns.map(|born| Duration::from_nanos(now_ns.saturating_sub(born)));
            peer.connect_latency = median(latencies);
            (peer.sites, peer.connected_by) = (commonest(sites), commonest(connected_by));
        }
        for (key, counts) in &mut self.counts {
            let PeerKey::Known(direction, endpoint) = key else { continue };
            let peer =
                peers.entry((*direction, endpoint.clone())).or_insert_with(|| empty(*direction, endpoint.clone()));
            (peer.opened, peer.closed) = (counts.opened, counts.closed);
            let recent = counts.recent(now_ns, self.started_ns);
            (peer.opened_per_min, peer.closed_per_min, peer.growing) =
                (recent.opened_per_min, recent.closed_per_min, recent.growing);
        }
        let mut peers: Vec<Peer> = peers.into_values().collect();
        peers.sort_by(|a, b| {
            (b.open, b.opened)
                .cmp(&(a.open, a.opened))
                .then_with(|| (a.direction, &a.endpoint).cmp(&(b.direction, &b.endpoint)))
        });
        peers
    }
}

impl Counts {
    /// What happened within the last minute.
    fn recent(&mut self, now_ns: u64, started_ns: u64) -> Recent {
        let window = RATE_WINDOW.as_nanos() as u64;
        let begin = now_ns.saturating_sub(window).max(started_ns);
        if self.history.back().is_none_or(|(_, opened, closed)| (*opened, *closed) != (self.opened, self.closed)) {
            self.history.push_back((now_ns, self.opened, self.closed));
        }
        // The last moment before the window says how things stood when it began.
        while self.history.get(1).is_some_and(|(time, ..)| *time <= begin) {
            self.history.pop_front();
        }
        let at = |time: u64| {
            let last = self.history.iter().rev().find(|(then, ..)| *then <= time);
            last.map_or((0, 0), |(_, opened, closed)| (*opened, *closed))
        };
        let (opened, closed) = at(begin);
        let span = now_ns.saturating_sub(begin);
        let part = |part: u64| at(begin + span / PARTS * part);
        let unreleased = |(opened, closed): (u64, u64)| opened.saturating_sub(closed);
        let growing = (1..=PARTS).all(|i| {
            unreleased(if i == PARTS { (self.opened, self.closed) } else { part(i) }) > unreleased(part(i - 1))
        });
        let minutes = Duration::from_nanos(span).max(SHORTEST).as_secs_f64() / 60.0;
        Recent {
            opened_per_min: (self.opened - opened) as f64 / minutes,
            closed_per_min: (self.closed - closed) as f64 / minutes,
            growing,
        }
    }
}

/// What happened within the last minute.
struct Recent {
    opened_per_min: f64,
    closed_per_min: f64,
    growing: bool,
}

/// The commonest first.
fn commonest(counts: &HashMap<SiteId, u64>) -> Vec<(SiteId, u64)> {
    let mut counts: Vec<_> = counts.iter().map(|(site, count)| (*site, *count)).collect();
    counts.sort_by_key(|(site, count)| (std::cmp::Reverse(*count), *site));
    counts
}

fn median(values: &[Duration]) -> Option<Duration> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
