//! Descriptors: counters of their sites, surveys of what is open, and peers, made into the Snapshot's [`Descriptors`].

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use tracer_common::fd::FdKey;

use super::{
    BlockCounters, Descriptors, Direction, Fd, FdKind, FdSite, OpenFd, Origin, SiteId, Socket, Tgid, peers::Peers,
};
use crate::{
    analyze::{FdHistory, survival::LiveAges},
    event::{Connection, FdSurvey, SiteStack, SurveyedFd, SurveyedSocket},
    symbolize::Stack,
};

/// Everything known of descriptors.
#[derive(Debug)]
pub(super) struct OpenFds {
    stale: Duration,
    peers: Peers,
    survey: Option<FdSurvey>,
    /// What the survey said, in the form in which it is shown.
    open: Arc<Vec<OpenFd>>,
    /// Open descriptors of each site by kind, and when the oldest was opened; as of the survey.
    by_site: HashMap<SiteId, OfSite>,
    /// Since when the other end has hung up, as far as we saw.
    hung_up_ns: HashMap<FdKey, (u64, u64)>,
    history: FdHistory,
}

#[derive(Debug, Default)]
struct OfSite {
    kinds: HashMap<FdKind, u64>,
    oldest_ns: Option<u64>,
}

/// A site that opened descriptors, with its counters.
pub(super) struct FdCounters<'a> {
    pub(super) raw: &'a SiteStack,
    pub(super) stack: &'a Arc<Stack>,
    pub(super) counters: BlockCounters,
}

impl OpenFds {
    pub(super) fn new(started_ns: u64, stale: Duration) -> Self {
        Self {
            stale,
            peers: Peers::new(started_ns),
            survey: None,
            open: Arc::default(),
            by_site: HashMap::new(),
            hung_up_ns: HashMap::new(),
            history: FdHistory::default(),
        }
    }

    pub(super) fn apply(&mut self, connection: Connection) {
        self.peers.apply(connection);
    }

    pub(super) fn established(&mut self, sock: u64, latency: Duration) {
        self.peers.established(sock, latency);
    }

    /// Takes a survey.
    pub(super) fn survey(&mut self, survey: FdSurvey) {
        self.peers.survey(&survey, self.stale);
        self.remember_hung_up(&survey);
        self.by_site.clear();
        for fd in &survey.fds {
            if let Origin::Site(site) = fd.origin {
                let of_site = self.by_site.entry(site).or_default();
                *of_site.kinds.entry(fd.kind).or_default() += 1;
                of_site.oldest_ns = [of_site.oldest_ns, fd.born_ns].into_iter().flatten().min();
            }
        }
        self.open = Arc::new(survey.fds.iter().map(|fd| self.shown(fd, survey.time_ns)).collect());
        self.history.push(survey.time_ns, &survey.fds);
        self.survey = Some(survey);
    }

    /// The ages of each site's open descriptors, as of the survey.
    pub(super) fn ages(&self) -> HashMap<SiteId, LiveAges> {
        let mut ages: HashMap<SiteId, LiveAges> = HashMap::new();
        let Some(survey) = &self.survey else { return ages };
        for fd in &survey.fds {
            if let (Origin::Site(site), Some(born_ns)) = (fd.origin, fd.born_ns) {
                ages.entry(site).or_default().add(survey.time_ns.saturating_sub(born_ns), 0);
            }
        }
        ages
    }

    fn remember_hung_up(&mut self, survey: &FdSurvey) {
        let before = std::mem::take(&mut self.hung_up_ns);
        let hung_up = survey.fds.iter().filter(|fd| fd.socket.as_ref().is_some_and(|socket| socket.hung_up));
        self.hung_up_ns = hung_up
            .map(|fd| {
                let known = before.get(&fd.key).filter(|(file, _)| *file == fd.file);
                (fd.key, known.copied().unwrap_or((fd.file, survey.time_ns)))
            })
            .collect();
    }

    fn shown(&self, fd: &SurveyedFd, time_ns: u64) -> OpenFd {
        let SurveyedFd { key, file: _, kind, detail, origin, born_ns, connected_by, socket } = fd;
        let since = |then: u64| Duration::from_nanos(time_ns.saturating_sub(then));
        OpenFd {
            tgid: Tgid(key.tgid),
            fd: Fd(key.fd),
            kind: *kind,
            detail: Arc::clone(detail),
            origin: *origin,
            age: born_ns.map(since),
            socket: socket.as_ref().map(|socket| Box::new(self.socket(fd, socket, *connected_by, since))),
        }
    }

    fn socket(
        &self,
        fd: &SurveyedFd,
        socket: &SurveyedSocket,
        connected_by: Option<SiteId>,
        since: impl Fn(u64) -> Duration,
    ) -> Socket {
        let known = self.peers.known(fd);
        let SurveyedSocket { local, peer, state, hung_up, idle, last_ack, rx_bytes, tx_bytes, recv_queue, send_queue } =
            socket.clone();
        // The last thing that the other end acknowledged with was its FIN, unless we sent something since.
        let seen = self.hung_up_ns.get(&fd.key).map(|(_, then)| since(*then));
        Socket {
            direction: known.direction.or_else(|| self.peers.direction_of(fd, socket)),
            local,
            peer: peer.or(known.peer),
            state,
            idle,
            rx_bytes,
            tx_bytes,
            recv_queue,
            send_queue,
            connect_latency: known.connect_latency,
            close_wait: if hung_up { seen.max(last_ack) } else { None },
            connected_by,
        }
    }

    /// Makes the Snapshot's part of the counters of now and the last survey.
    pub(super) fn snapshot(&mut self, sites: Vec<FdCounters<'_>>, now_ns: u64) -> Descriptors {
        let mut sites: Vec<FdSite> = sites.into_iter().map(|site| self.site(&site, now_ns)).collect();
        sites.sort_by_key(FdSite::order);
        let survey = self.survey.as_ref();
        let limits = survey.and_then(|survey| survey.limits);
        let mut descriptors = Descriptors {
            sites,
            open: Arc::clone(&self.open),
            looked: survey.map(|survey| Duration::from_nanos(now_ns.saturating_sub(survey.time_ns))),
            peers: self.peers.snapshot(now_ns),
            limits,
            signals: Vec::new(),
            corrections: survey.map(|survey| survey.corrections).unwrap_or_default(),
            limitations: survey.map(|survey| survey.limitations.clone()).unwrap_or_default(),
            stale: self.stale,
        };
        descriptors.signals = self.history.signals(&descriptors);
        descriptors
    }

    fn site(&self, site: &FdCounters<'_>, now_ns: u64) -> FdSite {
        let FdCounters { raw, stack, counters } = site;
        let (mut kinds, mut oldest) = (Vec::new(), None);
        if let Some(of_site) = self.by_site.get(&raw.id) {
            kinds = of_site.kinds.iter().map(|(kind, count)| (*kind, *count)).collect();
            kinds.sort_by_key(|(kind, count)| (Reverse(*count), *kind));
            oldest = of_site.oldest_ns.map(|born| Duration::from_nanos(now_ns.saturating_sub(born)));
        }
        let BlockCounters { alloc_bytes: _, alloc_objects, free_bytes: _, free_objects } = *counters;
        FdSite {
            id: raw.id,
            tgid: raw.tgid,
            opened: alloc_objects,
            closed: free_objects,
            oldest,
            kinds,
            stack: Arc::clone(stack),
            verdict: None,
        }
    }
}

/// The endpoint by which a connection is counted: the service, or our own address for clients.
pub fn counted_by(socket: &Socket) -> Option<&super::Endpoint> {
    match socket.direction {
        Some(Direction::Inbound) => socket.local.as_ref(),
        _ => socket.peer.as_ref(),
    }
}
