//! The selected peer: what is wrong with it, and the call sites that connect to it.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    aggregate::{Descriptors, Direction, Peer, SiteId},
    report::{
        fd_words::{connecting_elsewhere, endpoint_words, signal_meaning, signal_words},
        units::{count, short_count},
        untrusted::columns as columns_of,
    },
    tui::{
        state::{Peers, is_about},
        theme::Theme,
        widgets::{
            call_site::label,
            fitting,
            pane::{self, Pane},
        },
    },
};

/// Columns before the call site.
const NUMBERS: usize = 7 + 1 + 7 + 1;
/// Columns of the peer in the title.
const TITLE: usize = 48;

/// `beside`: the pane is to the right of the table, not below it.
pub(in crate::tui) fn draw(
    descriptors: &Descriptors,
    peers: &mut Peers,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    beside: bool,
) {
    let peer = peers.browser.selected().map(|(_, index)| &descriptors.peers[index]);
    let title = match peer {
        Some(peer) => format!(" connections {} ", with_whom(peer)),
        None => " connections ".to_owned(),
    };
    let focused = peers.browser.focus == pane::FOCUS;
    let inner = Pane { title, focused, beside }.draw(theme, frame, area);
    let Some(peer) = peer else { return };
    let below = pane::numbers(numbers(peer, inner.width), frame, inner);
    let signals: Vec<Line<'_>> = descriptors
        .signals
        .iter()
        .filter(|signal| is_about(signal, peer))
        .map(|signal| {
            let words = signal_words(signal, descriptors);
            let full = format!("! {words}: {}", signal_meaning(signal));
            let fits = columns_of(&full) <= usize::from(below.width);
            Line::styled(if fits { full } else { format!("! {words}") }, theme.warning())
        })
        .collect();
    let width = usize::from(below.width).max(NUMBERS + 8);
    let connecting = connecting_elsewhere(descriptors, peer.sites.iter().map(|(id, _)| *id), &peer.connected_by);
    let heading = |words: &str| Line::styled(format!("{:>7} {:>7} {words}", "SITE", "OPEN"), theme.heading());
    // After the signals come the sites that opened, and then those that connected, each under a heading.
    let opening = signals.len() + 1;
    let connected = opening + peer.sites.len() + 1;
    let total = if connecting.is_empty() { connected - 1 } else { connected + connecting.len() };
    let line = |index: usize| match index {
        index if index < signals.len() => signals[index].clone(),
        index if index + 1 == opening && peer.sites.is_empty() => {
            Line::styled("opened by no call site that was seen", theme.dim())
        }
        index if index + 1 == opening => heading("OPENED BY"),
        index if index + 1 < connected => site_line(descriptors, peers, peer.sites[index - opening], width, theme),
        index if index + 1 == connected => heading("CONNECTED BY"),
        index => site_line(descriptors, peers, connecting[index - connected], width, theme),
    };
    let mut scroll = peers.browser.detail;
    pane::scrolled(&mut scroll, total, line, frame, below);
    peers.browser.detail = scroll;
}

fn with_whom(peer: &Peer) -> String {
    let name = endpoint_words(&peer.endpoint, TITLE);
    match (peer.direction, peer.service) {
        (Direction::Outbound, Some(service)) => format!("to {service} at {name}"),
        (Direction::Outbound, None) => format!("to {name}"),
        (Direction::Inbound, Some(service)) => format!("of clients of {service} at {name}"),
        (Direction::Inbound, None) => format!("of clients at {name}"),
    }
}

fn numbers(peer: &Peer, width: u16) -> Vec<Line<'static>> {
    vec![fitting(
        vec![
            format!("{} open", count(peer.open)).into(),
            format!("{} opened since attach", count(peer.opened)).into(),
            format!("{} closed", count(peer.closed)).into(),
        ],
        width,
    )]
}

fn site_line(
    descriptors: &Descriptors,
    peers: &Peers,
    (id, open): (SiteId, u64),
    width: usize,
    theme: Theme,
) -> Line<'static> {
    let Some(site) = peers.site(id).map(|index| &descriptors.sites[index]) else {
        return Line::styled(format!("{:>7} {:>7} [not known]", id.0, short_count(open)), theme.dim());
    };
    let (name, place) = label(&site.stack, false, width.saturating_sub(NUMBERS));
    Line::from(vec![
        Span::raw(format!("{:>7} {:>7} ", id.0, short_count(open))),
        Span::raw(name),
        Span::styled(place, theme.dim()),
    ])
}
