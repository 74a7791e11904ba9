//! The selected origin of descriptors: its stack, and what it has open.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::table::origin_words;
use crate::{
    aggregate::{Descriptors, FdSite, OpenFd, Origin, SiteId, Socket, TcpState},
    report::{
        fd_words::{connected_by_words, connecting_elsewhere, fd_words, kinds_words, site_words},
        units::{UNKNOWN, bytes, count, duration},
        untrusted::{clean, columns as columns_of},
    },
    tui::{
        state::{Fds, Group, fd_site},
        theme::Theme,
        widgets::{
            fitting,
            frames::{Frames, LONGEST},
            pane::{self, Pane},
            table::choose,
        },
    },
};

/// The least share that is left for what a descriptor refers to, in percent.
const REFERENT_PERCENT: usize = 45;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Process,
    Fd,
    Kind,
    State,
    Age,
    Idle,
    RecvQueue,
    SendQueue,
}

impl Column {
    const ALL: [Self; 8] =
        [Self::Process, Self::Fd, Self::Kind, Self::State, Self::Age, Self::Idle, Self::RecvQueue, Self::SendQueue];
    const BY_IMPORTANCE: [Self; 8] =
        [Self::Fd, Self::State, Self::Age, Self::Kind, Self::Idle, Self::Process, Self::RecvQueue, Self::SendQueue];

    fn heading(self) -> &'static str {
        match self {
            Self::Process => "PID",
            Self::Fd => "FD",
            Self::Kind => "KIND",
            Self::State => "STATE",
            Self::Age => "AGE",
            Self::Idle => "IDLE",
            Self::RecvQueue => "RECV-Q",
            Self::SendQueue => "SEND-Q",
        }
    }

    /// `None` when no descriptor of the group has anything to say here.
    fn width(self, group: &Group, origin: Origin) -> Option<usize> {
        match self {
            Self::Process => group.processes.then_some(7),
            Self::Fd => Some(6),
            Self::Kind => Some(group.kind_columns.max(4)),
            Self::State => (group.state_columns > 0).then_some(group.state_columns.max(5)),
            Self::Age => matches!(origin, Origin::Site(_)).then_some(7),
            Self::Idle => group.idle.then_some(7),
            Self::RecvQueue | Self::SendQueue => group.queues.then_some(10),
        }
    }

    fn to_the_left(self) -> bool {
        matches!(self, Self::Kind | Self::State)
    }

    fn cell(self, fd: &OpenFd, theme: Theme) -> (String, Style) {
        let plain = Style::new();
        let socket = fd.socket.as_deref();
        let unknown = || (UNKNOWN.to_owned(), theme.dim());
        let span = |span: Option<_>| span.map_or_else(unknown, |span| (duration(span), plain));
        let queue = |of: fn(&Socket) -> Option<u32>| {
            // What a listening socket queues are connections.
            let size = socket.filter(|socket| socket.state != Some(TcpState::Listen)).and_then(of);
            size.map_or_else(unknown, |size| (bytes(u64::from(size)), plain))
        };
        match self {
            Self::Process => (fd.tgid.0.to_string(), plain),
            Self::Fd => (fd.fd.0.to_string(), theme.bold()),
            Self::Kind => (fd.kind.name().to_owned(), plain),
            Self::State => socket.and_then(|socket| socket.state).map_or_else(unknown, |state| {
                let style = match state {
                    TcpState::CloseWait | TcpState::SynSent => theme.warning(),
                    _ => plain,
                };
                (state.name().to_owned(), style)
            }),
            Self::Age => span(fd.age),
            Self::Idle => span(socket.and_then(|socket| socket.idle)),
            Self::RecvQueue => queue(|socket| socket.recv_queue),
            Self::SendQueue => queue(|socket| socket.send_queue),
        }
    }
}

/// The table of a group's descriptors.
pub(in crate::tui::widgets) struct Table<'a> {
    descriptors: &'a Descriptors,
    group: &'a Group,
    /// The call sites that connected, where they are not those that opened.
    connecting: Vec<(SiteId, u64)>,
    /// With their widths.
    columns: Vec<(Column, usize)>,
    /// Columns left for what a descriptor refers to.
    room: usize,
    /// That may be longer than the room: it is scrolled to.
    focused: bool,
}

impl<'a> Table<'a> {
    pub(in crate::tui::widgets) fn new(
        descriptors: &'a Descriptors,
        group: &'a Group,
        origin: Origin,
        width: usize,
        focused: bool,
    ) -> Self {
        let of = |column: Column| column.width(group, origin);
        let there = Column::BY_IMPORTANCE.into_iter().filter(|&column| of(column).is_some());
        let room = width * (100 - REFERENT_PERCENT) / 100;
        let columns: Vec<_> = choose(&Column::ALL, there, |column| of(column).unwrap_or(0), room)
            .into_iter()
            .filter_map(|column| Some((column, of(column)?)))
            .collect();
        let taken: usize = columns.iter().map(|(_, width)| width + 1).sum();
        let opened = if let Origin::Site(id) = origin { Some(id) } else { None };
        let connecting = connecting_elsewhere(descriptors, opened, &group.connected_by);
        Self { descriptors, group, connecting, columns, room: width.saturating_sub(taken), focused }
    }

    /// How many rows it has.
    pub(in crate::tui::widgets) fn len(&self) -> usize {
        self.group.fds.len()
    }

    pub(in crate::tui::widgets) fn heading(&self, theme: Theme) -> Line<'static> {
        let cells = self.columns.iter().map(|&(column, width)| pad(column, column.heading(), width));
        let heading = cells.chain(["REFERS TO".to_owned()]).collect::<String>();
        Line::styled(heading, theme.heading())
    }

    pub(in crate::tui::widgets) fn line(&self, index: usize, theme: Theme) -> Line<'static> {
        let fd = &self.descriptors.open[self.group.fds[index]];
        let cells = self.columns.iter().map(|&(column, width)| {
            let (cell, style) = column.cell(fd, theme);
            Span::styled(pad(column, &cell, width), style)
        });
        let full = fd_words(fd, false);
        let words = if columns_of(&full) <= self.room { full } else { fd_words(fd, true) };
        let words = clean(&words, if self.focused { LONGEST } else { self.room }).into_owned();
        let notes = self.notes(fd);
        let notes = if self.focused || columns_of(&words) + notes.len() <= self.room { notes } else { String::new() };
        Line::from_iter(cells.chain([Span::raw(words), Span::styled(notes, theme.dim())]))
    }

    fn notes(&self, fd: &OpenFd) -> String {
        let Some(socket) = &fd.socket else { return String::new() };
        let mut notes = String::new();
        if let Some(span) = socket.close_wait {
            notes += &format!("  hung up {} ago", duration(span));
        }
        // One call site that connected them all is named above the table.
        if let Some(id) = socket.connected_by.filter(|id| self.connecting.iter().any(|(known, _)| known == id))
            && self.connecting.len() > 1
        {
            notes += &format!("  connected by {}", site_words(self.descriptors, id));
        }
        notes
    }
}

fn pad(column: Column, cell: &str, width: usize) -> String {
    if column.to_the_left() { format!("{cell:<width$} ") } else { format!("{cell:>width$} ") }
}

/// `beside`: the pane is to the right of the table, not below it.
pub(in crate::tui) fn draw(
    descriptors: &Descriptors,
    fds: &mut Fds,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    beside: bool,
) {
    let row = fds.browser.selected().map(|(origin, index)| (*origin, index));
    let site = row.and_then(|(origin, index)| fd_site(descriptors, (&origin, index)));
    let title = match row.map(|(origin, _)| origin) {
        Some(Origin::Site(id)) => format!(" site {} and what it has open ", id.0),
        Some(origin) => format!(" {} ", origin_words(origin).trim_matches(['[', ']'])),
        None => " open descriptors ".to_owned(),
    };
    let focused = fds.browser.focus == pane::FOCUS;
    let inner = Pane { title, focused, beside }.draw(theme, frame, area);
    let Some((origin, _)) = row else { return };
    let nothing = Group::default();
    let group = fds.group(origin).unwrap_or(&nothing);
    let table = Table::new(descriptors, group, origin, usize::from(inner.width), focused);
    let kinds = site.map_or(&group.kinds, |site| &site.kinds);
    let exact = vec![fitting(
        vec![
            Span::styled(format!("{} open", count(site.map_or(group.fds.len() as u64, FdSite::open))), theme.bold()),
            Span::raw(kinds_words(kinds)),
        ],
        inner.width,
    )];
    let below = pane::numbers(exact, frame, inner);
    // Without the keys, the stack leaves most of the room to what is open.
    let most = (usize::from(below.height) / 3).max(2);
    let frames =
        site.map(|site| if focused { Frames::new(&site.stack, true) } else { Frames::brief(&site.stack, most) });
    let stack = frames.as_ref().map_or(0, Frames::len);
    let connected = connected_by_words(descriptors, &table.connecting);
    let above = stack + usize::from(connected.is_some());
    let total = above + if group.fds.is_empty() { 0 } else { 1 + group.fds.len() };
    let line = |index: usize| match (&frames, index.checked_sub(above)) {
        (Some(frames), None) if index < stack => frames.line(index, theme),
        (_, None) => Line::raw(connected.clone().unwrap_or_default()),
        (_, Some(0)) => table.heading(theme),
        (_, Some(row)) => table.line(row - 1, theme),
    };
    let mut scroll = fds.browser.detail;
    pane::scrolled(&mut scroll, total, line, frame, below);
    fds.browser.detail = scroll;
}
