//! Descriptors in words, for the report and the dashboard alike. Text of the target in them is displayable.

use std::{borrow::Cow, time::Duration};

use super::{
    FrameText, basename, call_site, no_symbol_words, place, short_name, stack_end_words,
    units::{UNKNOWN, count, counted, duration, rate},
    untrusted::{LONGEST, clean, displayable},
};
use crate::{
    aggregate::{
        Corrections, Descriptors, Direction, Endpoint, FdKind, FdLimits, FdSignal, OpenFd, Origin, SiteId, Socket,
        TcpState,
    },
    symbolize::Stack,
};

/// Columns of a name within a sentence.
const NAME: usize = 64;

/// `41 tcp, 3 file`.
pub(crate) fn kinds_words(kinds: &[(FdKind, u64)]) -> String {
    let words: Vec<_> = kinds.iter().map(|&(kind, number)| format!("{} {}", count(number), kind.name())).collect();
    words.join(", ")
}

/// An address, or a path in at most `columns`.
pub(crate) fn endpoint_words(endpoint: &Endpoint, columns: usize) -> Cow<'_, str> {
    match endpoint {
        Endpoint::Inet(address) => Cow::Owned(address.to_string()),
        Endpoint::Unix(path) => clean(path, columns),
    }
}

/// `127.0.0.1:5432 (postgresql)`, when the service has a name.
pub(crate) fn peer_words(endpoint: &Endpoint, service: Option<&str>, columns: usize) -> String {
    let name = endpoint_words(endpoint, columns);
    service.map_or_else(|| name.to_string(), |service| format!("{name} ({service})"))
}

/// Where a call stack is in the program: `orders::load orders.cc:57`.
pub(crate) fn call_site_words(stack: &Stack) -> String {
    let Some(frame) = call_site(stack) else {
        return format!("[no stack: {}]", stack_end_words(stack.end).unwrap_or("no frames"));
    };
    let (name, place) = match &frame.function {
        Ok(function) => (clean(short_name(function), NAME), place(frame, basename).unwrap_or_default()),
        Err(reason) => {
            let FrameText { name, place, note: _ } = FrameText::new(frame, NAME);
            let known = if place.is_empty() { name } else { Cow::Owned(place) };
            (known, format!("[{}]", no_symbol_words(*reason)))
        }
    };
    if place.is_empty() { name.into_owned() } else { format!("{name} {}", clean(&place, NAME)) }
}

/// [`call_site_words`] of a site by its id.
pub(crate) fn site_words(descriptors: &Descriptors, id: SiteId) -> String {
    match descriptors.sites.iter().find(|site| site.id == id) {
        Some(site) => call_site_words(&site.stack),
        None => format!("site {}", id.0),
    }
}

/// Those of the connecting call sites that are another function than all that opened: `socket` and `connect` one line
/// apart are one place to a reader.
pub(crate) fn connecting_elsewhere(
    descriptors: &Descriptors,
    opened: impl IntoIterator<Item = SiteId>,
    connected: &[(SiteId, u64)],
) -> Vec<(SiteId, u64)> {
    if connected.is_empty() {
        return Vec::new();
    }
    let function = |id: SiteId| {
        let site = descriptors.sites.iter().find(|site| site.id == id)?;
        call_site(&site.stack)?.function.as_deref().ok()
    };
    let opened: Vec<&str> = opened.into_iter().filter_map(function).collect();
    let elsewhere = |id: SiteId| function(id).is_none_or(|function| !opened.contains(&function));
    connected.iter().copied().filter(|&(id, _)| elsewhere(id)).collect()
}

/// [`site_words`] of these sites and their numbers; sites that differ in who called them only are one place.
pub(crate) fn places_words(descriptors: &Descriptors, sites: &[(SiteId, u64)]) -> Vec<(String, u64)> {
    let mut places: Vec<(String, u64)> = Vec::new();
    for &(id, number) in sites {
        let words = site_words(descriptors, id);
        match places.iter_mut().find(|(known, _)| *known == words) {
            Some((_, sum)) => *sum += number,
            None => places.push((words, number)),
        }
    }
    places
}

/// `connected by pg::handshake conn.cc:31 (13), redis::connect redis.cc:7 (2)`; nothing for nobody.
pub(crate) fn connected_by_words(descriptors: &Descriptors, connecting: &[(SiteId, u64)]) -> Option<String> {
    let all = match &places_words(descriptors, connecting)[..] {
        [] => return None,
        [(words, _)] => words.clone(),
        several => {
            several.iter().map(|(words, number)| format!("{words} ({})", count(*number))).collect::<Vec<_>>().join(", ")
        }
    };
    Some(format!("connected by {all}"))
}

/// Share of the limit in whole percent, not rounded up: 80 % is said when it is reached.
pub(crate) fn share_words(limits: &FdLimits) -> String {
    format!("{} %", (limits.share() * 100.0).floor())
}

/// What is wrong, in one sentence that begins with what matters most.
pub(crate) fn signal_words(signal: &FdSignal, descriptors: &Descriptors) -> String {
    let service = |endpoint: &Endpoint| {
        let peer = descriptors.peers.iter().find(|peer| peer.endpoint == *endpoint);
        peer_words(endpoint, peer.and_then(|peer| peer.service), NAME)
    };
    match signal {
        FdSignal::CloseWait { count, oldest, site, endpoint } => {
            let site = site.map_or_else(|| "from before attach".to_owned(), |id| site_words(descriptors, id));
            let at = endpoint.as_ref().map_or_else(String::new, |endpoint| format!(", {}", service(endpoint)));
            // Younger ones may be on their way.
            let (least, most) = (duration(descriptors.stale), duration(*oldest));
            format!("{} in CLOSE_WAIT for {least} to {most}: {site}{at}", self::count(*count))
        }
        FdSignal::Growth { per_min, over, site } => {
            let most = site.map_or_else(String::new, |id| format!(", most from {}", site_words(descriptors, id)));
            format!("+{} descriptors/min over {}{most}", rate(*per_min), duration(*over))
        }
        FdSignal::Unreleased { direction, endpoint, opened_per_min, closed_per_min } => format!(
            "connections {} {}: {}/min opened, {}/min closed",
            match direction {
                Direction::Outbound => "to",
                Direction::Inbound => "of clients at",
            },
            service(endpoint),
            rate(*opened_per_min),
            rate(*closed_per_min),
        ),
        FdSignal::HalfOpen { count, oldest, endpoint } => {
            let to = endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" to {}", service(endpoint)));
            let connects = counted(*count, "connect", "connects");
            format!("{connects}{to} without an answer, up to {}", duration(*oldest))
        }
        FdSignal::NearLimit { mark: _, limits } => format!(
            "{} of {} descriptors open, {} of the limit",
            count(limits.open),
            count(limits.nofile_soft),
            share_words(limits)
        ),
    }
}

/// Why that is wrong.
pub(crate) fn signal_meaning(signal: &FdSignal) -> &'static str {
    match signal {
        FdSignal::CloseWait { .. } => "the other end hung up, and they were not closed here",
        FdSignal::Growth { .. } => "open descriptors grow while traffic does not",
        FdSignal::Unreleased { .. } => "more are opened than closed",
        FdSignal::HalfOpen { .. } => "nobody listens there, or packets are dropped",
        FdSignal::NearLimit { .. } => "at the limit, calls that open descriptors fail with EMFILE",
    }
}

/// Whether a signal is about this descriptor in particular. `stale` is the time after which it would be.
pub(crate) fn concerns(signal: &FdSignal, fd: &OpenFd, stale: Duration) -> bool {
    let Some(socket) = &fd.socket else { return false };
    let leads_to = |endpoint: &Option<Endpoint>| endpoint.as_ref().is_none_or(|endpoint| leads_to(socket, endpoint));
    match signal {
        FdSignal::CloseWait { site, endpoint, .. } => {
            let opened_there = match fd.origin {
                Origin::Site(id) => *site == Some(id),
                Origin::BeforeAttach | Origin::Unseen => site.is_none(),
            };
            socket.close_wait.is_some_and(|span| span >= stale) && opened_there && leads_to(endpoint)
        }
        FdSignal::HalfOpen { endpoint, .. } => socket.state == Some(TcpState::SynSent) && leads_to(endpoint),
        FdSignal::Growth { .. } | FdSignal::Unreleased { .. } | FdSignal::NearLimit { .. } => false,
    }
}

/// Whether a connection is with this service, or of a client of this listening address.
fn leads_to(socket: &Socket, endpoint: &Endpoint) -> bool {
    if socket.direction != Some(Direction::Inbound) {
        return socket.peer.as_ref() == Some(endpoint);
    }
    match (&socket.local, endpoint) {
        (Some(Endpoint::Inet(local)), Endpoint::Inet(listening)) => {
            local.port() == listening.port() && (listening.ip().is_unspecified() || listening.ip() == local.ip())
        }
        (local, _) => local.as_ref() == Some(endpoint),
    }
}

/// What a descriptor refers to: a path, or the ends of a connection. `brief` leaves out our own address, not its port.
pub(crate) fn fd_words(fd: &OpenFd, brief: bool) -> String {
    let Some(socket) = &fd.socket else { return displayable(&fd.detail).into_owned() };
    let Socket { direction, local, peer, .. } = &**socket;
    let words = |endpoint| endpoint_words(endpoint, LONGEST / 2);
    let local = match local {
        Some(Endpoint::Inet(address)) if brief && peer.is_some() => Some(Cow::Owned(format!(":{}", address.port()))),
        local => local.as_ref().map(words),
    };
    let arrow = if *direction == Some(Direction::Inbound) { "<-" } else { "->" };
    match (local, peer.as_ref().map(words)) {
        (Some(local), Some(peer)) => format!("{local} {arrow} {peer}"),
        (None, Some(peer)) => format!("{arrow} {peer}"),
        (Some(local), None) if direction.is_some() => format!("{local} {arrow} unnamed"),
        (Some(local), None) => local.into_owned(),
        (None, None) if fd.detail.is_empty() => UNKNOWN.to_owned(),
        (None, None) => displayable(&fd.detail).into_owned(),
    }
}

/// What was put right, one clause for each cause; none is the rule.
pub(crate) fn correction_words(corrections: Corrections) -> Vec<String> {
    let Corrections { unseen_closes, unseen_opens, replaced } = corrections;
    [
        (unseen_closes, "close that was not seen when it happened", "closes that were not seen when they happened"),
        (unseen_opens, "descriptor opened in a way not seen", "descriptors opened in ways not seen"),
        (replaced, "number that had come to mean another file", "numbers that had come to mean other files"),
    ]
    .into_iter()
    .filter(|&(number, ..)| number > 0)
    .map(|(number, one, many)| counted(number, one, many))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn normal() -> Descriptors {
        testing::normal_fds().descriptors.expect("traced")
    }

    #[test]
    fn a_signal_is_about_as_many_descriptors_as_it_counts() {
        let descriptors = normal();
        for signal in &descriptors.signals {
            let concerned = descriptors.open.iter().filter(|fd| concerns(signal, fd, descriptors.stale)).count() as u64;
            match signal {
                FdSignal::CloseWait { count, .. } | FdSignal::HalfOpen { count, .. } => assert_eq!(concerned, *count),
                _ => assert_eq!(concerned, 0),
            }
        }
    }

    #[test]
    fn signals_name_the_call_site_and_the_service() {
        let descriptors = normal();
        let words: Vec<_> = descriptors.signals.iter().map(|signal| signal_words(signal, &descriptors)).collect();
        assert_eq!(
            words,
            [
                "112 of 128 descriptors open, 87 % of the limit",
                "13 in CLOSE_WAIT for 1m 00s to 3m 02s: http_accept server.c:41, 0.0.0.0:8080 (http-alt)",
                "connections to 127.0.0.1:5432 (postgresql): 52.5/min opened, 41.0/min closed",
                "+17.5 descriptors/min over 3m 00s, most from pg::Connection::open connection.cc:88",
                "3 connects to [2001:db8::17]:9200 without an answer, up to 13s",
            ]
        );
    }

    #[test]
    fn descriptors_say_what_they_lead_to() {
        let open = normal().open;
        for (fd, full, brief) in [
            (3, "0.0.0.0:8080", "0.0.0.0:8080"),
            (4, "/var/log/imgserver.log", "/var/log/imgserver.log"),
            (8, "127.0.0.1:50021 -> 127.0.0.1:5432", ":50021 -> 127.0.0.1:5432"),
            (49, "192.0.2.1:8080 <- 198.51.100.7:61001", ":8080 <- 198.51.100.7:61001"),
            (95, "-> /run/systemd/journal/dev-log", "-> /run/systemd/journal/dev-log"),
            (111, "-", "-"),
        ] {
            assert_eq!((fd_words(&open[fd], false).as_str(), fd_words(&open[fd], true).as_str()), (full, brief));
        }
    }

    #[test]
    fn nothing_of_the_target_is_passed_on_as_it_is() {
        let descriptors = testing::hostile_fds().descriptors.expect("traced");
        let fds = descriptors.open.iter().map(|fd| fd_words(fd, false));
        let signals = descriptors.signals.iter().map(|signal| signal_words(signal, &descriptors));
        for words in fds.chain(signals) {
            assert_eq!(clean(&words, 2 * LONGEST), words);
        }
    }

    #[test]
    fn a_share_is_not_rounded_up_to_a_mark() {
        assert_eq!(share_words(&FdLimits { nofile_soft: 1_000, nofile_hard: 1_000, open: 799 }), "79 %");
    }
}
