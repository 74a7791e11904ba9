//! Descriptors: those that are open, who opened them, and to whom they lead.

use std::{collections::BTreeMap, fmt};

use super::writer::{Labelled, Writer};
use crate::{
    aggregate::{Descriptors, FdSite, Peer},
    metrics::{LABEL, LISTED, has_its_name, label},
    report::fd_words::{call_site_words, endpoint_words},
};

pub(super) fn write(descriptors: &Descriptors, writer: &mut Writer<'_>) -> fmt::Result {
    open(descriptors, writer)?;
    sites(descriptors, writer)?;
    peers(descriptors, writer)
}

fn open(descriptors: &Descriptors, writer: &mut Writer<'_>) -> fmt::Result {
    let mut kinds: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for fd in descriptors.open.iter() {
        let state = fd.socket.as_deref().and_then(|socket| socket.state).map_or("", |state| state.name());
        *kinds.entry((fd.kind.name(), state)).or_default() += 1;
    }
    let kinds = kinds.into_iter().map(|((kind, state), open)| ([("kind", kind.into()), ("state", state.into())], open));
    writer.gauge("leaktrace_open_fds", "Descriptors open, by kind and state of the connection.", kinds)?;
    if let Some(limits) = descriptors.limits {
        let help = "The limit of descriptors of the process that is nearest to its own.";
        writer.gauge("leaktrace_fds_limit", help, [([], limits.nofile_soft)])?;
        writer.gauge("leaktrace_fds_limit_used", "Descriptors open of that process.", [([], limits.open)])?;
    }
    let (opened, closed) =
        descriptors.sites.iter().fold((0, 0), |(opened, closed), site| (opened + site.opened, closed + site.closed));
    writer.counter("leaktrace_fds_opened", "Descriptors opened since attach.", [([], opened)])?;
    writer.counter("leaktrace_fds_closed", "Descriptors of those that were closed.", [([], closed)])?;
    let signals = ["close_wait", "growth", "unreleased", "half_open", "near_limit"].map(|name| {
        let count = descriptors.signals.iter().filter(|signal| signal.name() == name).count() as u64;
        ([("signal", name.into())], count)
    });
    writer.gauge("leaktrace_fd_signals", "What looks wrong with descriptors now.", signals)
}

fn sites(descriptors: &Descriptors, writer: &mut Writer<'_>) -> fmt::Result {
    let listed: Vec<&FdSite> = descriptors
        .opening_sites()
        .filter(|site| site.open() > 0)
        .take(LISTED)
        .filter(|site| has_its_name(&site.stack))
        .collect();
    fn labels(site: &FdSite) -> [Labelled<'_>; 3] {
        [
            ("site", site.id.0.to_string().into()),
            ("call_site", label(&call_site_words(&site.stack)).into_owned().into()),
            ("pid", site.tgid.0.to_string().into()),
        ]
    }
    let help = "Descriptors open of the call sites that have most.";
    writer.gauge("leaktrace_fd_site_open", help, listed.iter().map(|site| (labels(site), site.open())))?;
    let opened = listed.iter().map(|site| (labels(site), site.opened));
    writer.counter("leaktrace_fd_site_opened", "Descriptors opened by them since attach.", opened)
}

fn peers(descriptors: &Descriptors, writer: &mut Writer<'_>) -> fmt::Result {
    let listed = || descriptors.peers.iter().take(LISTED);
    fn labels(peer: &Peer) -> [Labelled<'_>; 3] {
        [
            ("direction", peer.direction.name().into()),
            ("endpoint", endpoint_words(&peer.endpoint, LABEL)),
            ("service", peer.service.unwrap_or_default().into()),
        ]
    }
    let of = |number: fn(&Peer) -> u64| listed().map(move |peer| (labels(peer), number(peer)));
    writer.gauge("leaktrace_peer_open", "Connections open with a peer.", of(|peer| peer.open))?;
    writer.gauge("leaktrace_peer_idle", "Those without traffic for the stale time.", of(|peer| peer.idle))?;
    writer.gauge("leaktrace_peer_close_wait", "Those whose other end has hung up.", of(|peer| peer.close_wait))?;
    writer.counter("leaktrace_peer_opened", "Connections opened since attach.", of(|peer| peer.opened))?;
    writer.counter("leaktrace_peer_closed", "Connections closed since attach.", of(|peer| peer.closed))?;
    let rest = descriptors.peers.len().saturating_sub(LISTED) as u64;
    writer.gauge("leaktrace_unlisted_peers", "Peers without series.", [([], rest)])?;
    let open: u64 = descriptors.peers.iter().skip(LISTED).map(|peer| peer.open).sum();
    writer.gauge("leaktrace_unlisted_peers_open", "Connections open with them.", [([], open)])
}
