//! Signals of trouble with descriptors: computed from states, counts and limits.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use tracer_common::fd::FdKey;

use crate::{
    aggregate::{Descriptors, Endpoint, FdSignal, OpenFd, Origin, SiteId, Socket, TcpState, counted_by},
    event::SurveyedFd,
};

/// What is called growth or unreleased is so over this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Before this time has passed, nothing is called growth.
const SHORTEST: Duration = Duration::from_secs(8);
/// Parts of the time that must all have grown.
const PARTS: usize = 4;
/// Fewer descriptors more than this, from the first part to the last, are no growth.
const LEAST_GROWTH: u64 = 6;
/// Fewer unreleased connections than this are nothing to speak of.
const LEAST_UNRELEASED: u64 = 5;
/// Traffic that grew by less than this share did not grow.
const STEADY: f64 = 1.1;
/// A TCP handshake is over by then, or was repeated: the first SYN is sent again after a second, and after two more.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Marks of the share of the limit, in percent.
const MARKS: [u8; 2] = [95, 80];

/// How things stood at a survey.
#[derive(Clone, Copy, Debug)]
struct Moment {
    time_ns: u64,
    open: u64,
    /// Bytes sent and received since the first survey, by whatever connections there were.
    traffic: u64,
}

/// What surveys said over the last minute.
#[derive(Clone, Debug, Default)]
pub struct FdHistory {
    moments: VecDeque<Moment>,
    bytes: HashMap<FdKey, (u64, u64)>,
    traffic: u64,
    /// Connects under way, with their files, and the first survey that saw them: a socket may be older.
    connecting: HashMap<FdKey, (u64, u64)>,
    /// Open descriptors of each site, at the moments.
    sites: VecDeque<HashMap<SiteId, u64>>,
}

impl FdHistory {
    /// Takes a survey.
    pub fn push(&mut self, time_ns: u64, fds: &[SurveyedFd]) {
        let before = std::mem::take(&mut self.bytes);
        let connecting = std::mem::take(&mut self.connecting);
        let mut sites: HashMap<SiteId, u64> = HashMap::new();
        for fd in fds {
            if let Origin::Site(site) = fd.origin {
                *sites.entry(site).or_default() += 1;
            }
            let Some(socket) = &fd.socket else { continue };
            if socket.state == Some(TcpState::SynSent) {
                let known = connecting.get(&fd.key).filter(|(file, _)| *file == fd.file);
                self.connecting.insert(fd.key, known.copied().unwrap_or((fd.file, time_ns)));
            }
            let bytes = socket.rx_bytes.unwrap_or(0).saturating_add(socket.tx_bytes.unwrap_or(0));
            let earlier = before.get(&fd.key).filter(|(file, _)| *file == fd.file).map(|(_, bytes)| *bytes);
            // What a connection carried before the first survey is not of this time.
            let earlier = earlier.or(self.moments.is_empty().then_some(bytes)).unwrap_or(0);
            self.traffic = self.traffic.saturating_add(bytes.saturating_sub(earlier));
            self.bytes.insert(fd.key, (fd.file, bytes));
        }
        self.moments.push_back(Moment { time_ns, open: fds.len() as u64, traffic: self.traffic });
        self.sites.push_back(sites);
        let begin = time_ns.saturating_sub(WINDOW.as_nanos() as u64);
        while self.moments.get(1).is_some_and(|moment| moment.time_ns <= begin) {
            self.moments.pop_front();
            self.sites.pop_front();
        }
    }

    /// All signals, the most urgent first.
    pub fn signals(&self, descriptors: &Descriptors) -> Vec<FdSignal> {
        let mut signals = Vec::new();
        signals.extend(near_limit(descriptors));
        signals.extend(close_wait(descriptors));
        signals.extend(unreleased(descriptors));
        signals.extend(self.growth());
        signals.extend(self.half_open(descriptors));
        signals
    }

    /// Connects that nobody answers.
    fn half_open(&self, descriptors: &Descriptors) -> Vec<FdSignal> {
        let Some(last) = self.moments.back() else { return Vec::new() };
        let mut groups: Groups<Option<&Endpoint>> = BTreeMap::new();
        for (fd, socket) in sockets(descriptors) {
            let key = FdKey { tgid: fd.tgid.0, fd: fd.fd.0 };
            let Some((_, since)) = self.connecting.get(&key) else { continue };
            let age = Duration::from_nanos(last.time_ns.saturating_sub(*since));
            if age >= HANDSHAKE && socket.state == Some(TcpState::SynSent) {
                let group = groups.entry(socket.peer.as_ref()).or_default();
                *group = (group.0 + 1, group.1.max(age));
            }
        }
        by_count(groups)
            .map(|(endpoint, (count, oldest))| FdSignal::HalfOpen { count, oldest, endpoint: endpoint.cloned() })
            .collect()
    }

    /// Descriptors grew in every part of the time, and traffic did not. What a part has open is the least that it had:
    /// ups and downs within it are none.
    fn growth(&self) -> Option<FdSignal> {
        let (first, last) = (self.moments.front()?, self.moments.back()?);
        let over = Duration::from_nanos(last.time_ns.saturating_sub(first.time_ns));
        if over < SHORTEST {
            return None;
        }
        let part_ns = over.as_nanos() as u64 / PARTS as u64 + 1;
        let part_of = |moment: &&Moment| moment.time_ns.saturating_sub(first.time_ns) / part_ns;
        let least = |part: u64| self.moments.iter().filter(|moment| part_of(moment) == part).min_by_key(|m| m.open);
        let parts: Option<Vec<&Moment>> = (0..PARTS as u64).map(least).collect();
        let parts = parts?;
        let (low, high) = (parts[0], parts[PARTS - 1]);
        let grew = parts.windows(2).all(|pair| pair[1].open > pair[0].open) && last.open > high.open;
        let grown = high.open.saturating_sub(low.open);
        let took = Duration::from_nanos(high.time_ns.saturating_sub(low.time_ns));
        if !grew || grown < LEAST_GROWTH || took.is_zero() {
            return None;
        }
        let half = first.time_ns + over.as_nanos() as u64 / 2;
        let middle = self.moments.iter().rev().find(|moment| moment.time_ns <= half)?;
        let (earlier, later) = (middle.traffic - first.traffic, last.traffic - middle.traffic);
        if later as f64 > earlier as f64 * STEADY {
            return None;
        }
        let (begin, end) = (self.sites.front()?, self.sites.back()?);
        let more = |site: &SiteId, now: u64| now.saturating_sub(begin.get(site).copied().unwrap_or(0));
        let site = end.iter().map(|(site, now)| (more(site, *now), Reverse(*site))).max().filter(|(more, _)| *more > 0);
        Some(FdSignal::Growth {
            per_min: grown as f64 / took.as_secs_f64() * 60.0,
            over,
            site: site.map(|(_, Reverse(site))| site),
        })
    }
}

fn near_limit(descriptors: &Descriptors) -> Option<FdSignal> {
    let limits = descriptors.limits?;
    let mark = MARKS.into_iter().find(|mark| limits.share() * 100.0 >= f64::from(*mark))?;
    Some(FdSignal::NearLimit { mark, limits })
}

fn sockets(descriptors: &Descriptors) -> impl Iterator<Item = (&OpenFd, &Socket)> {
    descriptors.open.iter().filter_map(|fd| Some((fd, fd.socket.as_deref()?)))
}

/// The site that opened a descriptor.
fn opener(fd: &OpenFd) -> Option<SiteId> {
    if let Origin::Site(site) = fd.origin { Some(site) } else { None }
}

/// How many connections, and the longest time.
type Groups<K> = BTreeMap<K, (u64, Duration)>;

/// The largest group first.
fn by_count<K>(groups: Groups<K>) -> impl Iterator<Item = (K, (u64, Duration))> {
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, oldest))| (Reverse(*count), Reverse(*oldest)));
    groups.into_iter()
}

fn close_wait(descriptors: &Descriptors) -> Vec<FdSignal> {
    let mut groups: Groups<(Option<SiteId>, Option<&Endpoint>)> = BTreeMap::new();
    for (fd, socket) in sockets(descriptors) {
        let Some(age) = socket.close_wait.filter(|age| *age >= descriptors.stale) else { continue };
        let group = groups.entry((opener(fd), counted_by(socket))).or_default();
        *group = (group.0 + 1, group.1.max(age));
    }
    by_count(groups)
        .map(|((site, endpoint), (count, oldest))| FdSignal::CloseWait {
            count,
            oldest,
            site,
            endpoint: endpoint.cloned(),
        })
        .collect()
}

/// Connections that go on being opened and not closed.
fn unreleased(descriptors: &Descriptors) -> Vec<FdSignal> {
    let peers = descriptors.peers.iter().filter(|peer| {
        let more = peer.opened.saturating_sub(peer.closed);
        peer.growing && more >= LEAST_UNRELEASED && peer.open >= LEAST_UNRELEASED
    });
    let signal = |peer: &crate::aggregate::Peer| FdSignal::Unreleased {
        direction: peer.direction,
        endpoint: peer.endpoint.clone(),
        opened_per_min: peer.opened_per_min,
        closed_per_min: peer.closed_per_min,
    };
    peers.map(signal).collect()
}

#[cfg(test)]
#[path = "fd_signals_tests.rs"]
mod tests;
