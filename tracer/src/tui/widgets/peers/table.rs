//! The table of peers: who, which way, and how many.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use crate::{
    aggregate::{Descriptors, Direction, Peer},
    report::{
        fd_words::endpoint_words,
        units::{UNKNOWN, duration, latency, rate, short_count},
        untrusted::{clean, columns as columns_of},
    },
    tui::{
        state::{Focus, PeerSort, Peers, is_about},
        theme::Theme,
        widgets::table::{MARK, choose, draw_table, heading_cell, mark, rows_below_heading, say},
    },
};

/// The least share that is left for the peer, in percent.
const PEER_PERCENT: usize = 32;
/// The most columns that a peer takes, so that its numbers are not far from it.
const PEER_MOST: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Direction,
    Open,
    Idle,
    CloseWait,
    Oldest,
    OpenedPerMin,
    ClosedPerMin,
    Connect,
}

impl Column {
    const ALL: [Self; 8] = [
        Self::Direction,
        Self::Open,
        Self::Idle,
        Self::CloseWait,
        Self::Oldest,
        Self::OpenedPerMin,
        Self::ClosedPerMin,
        Self::Connect,
    ];
    const BY_IMPORTANCE: [Self; 8] = [
        Self::Open,
        Self::CloseWait,
        Self::OpenedPerMin,
        Self::ClosedPerMin,
        Self::Direction,
        Self::Idle,
        Self::Oldest,
        Self::Connect,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Direction => "DIR",
            Self::Open => "OPEN",
            Self::Idle => "IDLE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Oldest => "OLDEST",
            Self::OpenedPerMin => "OPENED/MIN",
            Self::ClosedPerMin => "CLOSED/MIN",
            Self::Connect => "CONNECT",
        }
    }

    /// The mark of the order takes a column more.
    fn width(self, sort: PeerSort) -> usize {
        let width = match self {
            Self::Direction => 3,
            Self::Open | Self::Idle => 6,
            Self::CloseWait | Self::OpenedPerMin | Self::ClosedPerMin => 10,
            Self::Oldest => 8,
            Self::Connect => 7,
        };
        if self.sorts(sort) { width.max(self.heading().len() + 1) } else { width }
    }

    fn sorts(self, sort: PeerSort) -> bool {
        self == match sort {
            PeerSort::Open => Self::Open,
            PeerSort::CloseWait => Self::CloseWait,
            PeerSort::OpenedPerMin => Self::OpenedPerMin,
            PeerSort::Oldest => Self::Oldest,
        }
    }

    fn cell(self, peer: &Peer, theme: Theme) -> (String, Style) {
        let plain = Style::new();
        let unknown = || (UNKNOWN.to_owned(), theme.dim());
        match self {
            Self::Direction => match peer.direction {
                Direction::Outbound => ("out".to_owned(), plain),
                Direction::Inbound => ("in".to_owned(), plain),
            },
            Self::Open => (short_count(peer.open), theme.bold()),
            Self::Idle => (short_count(peer.idle), plain),
            Self::CloseWait => {
                (short_count(peer.close_wait), if peer.close_wait > 0 { theme.warning() } else { theme.dim() })
            }
            Self::Oldest => peer.oldest.map_or_else(unknown, |age| (duration(age), plain)),
            Self::OpenedPerMin => (rate(peer.opened_per_min), plain),
            Self::ClosedPerMin => (rate(peer.closed_per_min), plain),
            Self::Connect => peer.connect_latency.map_or_else(unknown, |span| (latency(span), plain)),
        }
    }
}

/// The columns and what they mean, for the help.
pub(in crate::tui) const COLUMNS: &[(&str, &str)] = &[
    ("!", "something is wrong, the pane says what"),
    ("PEER", "the service, or our address for clients"),
    ("DIR", "out: we connected; in: we accepted"),
    ("OPEN", "connections open"),
    ("IDLE", "without traffic for the stale time"),
    ("CLOSE_WAIT", "the other end hung up, we did not close"),
    ("OLDEST", "age of the oldest opened since attach"),
    ("OPENED/MIN", "connections opened per minute"),
    ("CLOSED/MIN", "connections closed per minute"),
    ("CONNECT", "median time to connect"),
];

pub(in crate::tui) fn draw(
    descriptors: &Descriptors,
    peers: &mut Peers,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let width = usize::from(area.width);
    let sort = peers.sort;
    let room = width.saturating_sub(MARK.len() + (width * PEER_PERCENT / 100).max(16));
    let sorted = Column::ALL.into_iter().filter(|column| column.sorts(sort));
    let columns = choose(&Column::ALL, sorted.chain(Column::BY_IMPORTANCE), |column| column.width(sort), room);
    let taken: usize = columns.iter().map(|column| column.width(sort) + 1).sum();
    let room = width.saturating_sub(MARK.len() + taken).min(PEER_MOST);
    peers.browser.fit(rows_below_heading(area));
    let mut heading =
        vec![Span::styled(format!("{MARK:width$}{:<room$}", "PEER", MARK = "", width = MARK.len()), theme.heading())];
    heading.extend(
        columns
            .iter()
            .map(|&column| before(&heading_cell(column.heading(), column.width(sort), column.sorts(sort), theme))),
    );
    let rows = peers.browser.visible().map(|(row, (_, index))| {
        let selected = row == peers.browser.row();
        let peer = &descriptors.peers[index];
        let signalled = descriptors.signals.iter().any(|signal| is_about(signal, peer));
        let mut spans = vec![marks(selected, signalled, theme)];
        spans.extend(name(peer, room, theme));
        spans.extend(columns.iter().map(|column| {
            let (cell, style) = column.cell(peer, theme);
            Span::styled(format!(" {cell:>width$}", width = column.width(sort)), style)
        }));
        (selected, Line::from(spans))
    });
    draw_table(Line::from(heading), rows, peers.browser.focus == Focus::List, theme, frame, area);
    if peers.browser.len() == 0 {
        say("no connection is known yet", frame, area);
    }
}

/// Whether the row is selected, and whether a signal is about it.
fn marks(selected: bool, signalled: bool, theme: Theme) -> Span<'static> {
    match (selected, signalled) {
        (_, false) => mark(selected),
        (true, true) => Span::styled(">!", theme.warning()),
        (false, true) => Span::styled(" !", theme.warning()),
    }
}

/// With the space before the heading, not behind it: here the text comes first.
fn before(heading: &Span<'_>) -> Span<'static> {
    let words = format!(" {}", heading.content.strip_suffix(' ').unwrap_or(&heading.content));
    Span::styled(words, heading.style)
}

/// The address, then the service as far as there is room, in exactly `room` columns.
fn name(peer: &Peer, room: usize, theme: Theme) -> [Span<'static>; 3] {
    let address = clean(&endpoint_words(&peer.endpoint, room), room).into_owned();
    let service = peer.service.map(|service| format!(" {service}")).unwrap_or_default();
    let left = room - columns_of(&address);
    let service = if columns_of(&service) <= left { service } else { String::new() };
    let padding = " ".repeat(left - columns_of(&service));
    [Span::raw(address), Span::styled(service, theme.dim()), Span::raw(padding)]
}
