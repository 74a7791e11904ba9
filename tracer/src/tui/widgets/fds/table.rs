//! The table of descriptors' origins: numbers, kinds, and the program's own frame that they belong to.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use crate::{
    aggregate::{Descriptors, FdSite, Origin},
    report::{
        fd_words::kinds_words,
        units::{UNKNOWN, duration, short_count},
        untrusted::{clean, columns as columns_of},
    },
    tui::{
        state::{FdSort, Fds, Focus, fd_site},
        theme::Theme,
        widgets::{
            call_site::label,
            table::{MARK, choose, draw_table, heading_cell, mark, rows_below_heading, say},
        },
    },
};

/// The least share that is left for the call site, in percent.
const CALL_SITE_PERCENT: usize = 42;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Open,
    Opened,
    Closed,
    Oldest,
    Kinds,
}

impl Column {
    const ALL: [Self; 5] = [Self::Open, Self::Opened, Self::Closed, Self::Oldest, Self::Kinds];
    const BY_IMPORTANCE: [Self; 5] = [Self::Open, Self::Oldest, Self::Kinds, Self::Opened, Self::Closed];

    fn heading(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Opened => "OPENED",
            Self::Closed => "CLOSED",
            Self::Oldest => "OLDEST",
            Self::Kinds => "KINDS",
        }
    }

    /// On a screen of this width.
    fn width(self, screen: usize) -> usize {
        match self {
            Self::Open => 7,
            Self::Opened | Self::Closed => 9,
            Self::Oldest => 8,
            Self::Kinds => (screen / 3).saturating_sub(16).clamp(8, 32),
        }
    }

    fn sorts(self, sort: FdSort) -> bool {
        self == match sort {
            FdSort::Open => Self::Open,
            FdSort::Opened => Self::Opened,
            FdSort::Oldest => Self::Oldest,
        }
    }

    fn cell(self, row: &Row<'_>, theme: Theme) -> (String, Style) {
        let plain = Style::new();
        let unknown = || (UNKNOWN.to_owned(), theme.dim());
        match self {
            Self::Open => (short_count(row.open), theme.bold()),
            Self::Opened => row.site.map_or_else(unknown, |site| (short_count(site.opened), plain)),
            Self::Closed => row.site.map_or_else(unknown, |site| (short_count(site.closed), plain)),
            Self::Oldest => row.site.and_then(|site| site.oldest).map_or_else(unknown, |age| (duration(age), plain)),
            Self::Kinds => (kinds_words(row.kinds), plain),
        }
    }
}

/// The columns and what they mean, for the help.
pub(in crate::tui) const COLUMNS: &[(&str, &str)] = &[
    ("OPEN", "descriptors open"),
    ("OPENED", "descriptors opened since attach"),
    ("CLOSED", "those of them that were closed"),
    ("OLDEST", "age of the oldest open descriptor"),
    ("KINDS", "what the open ones refer to"),
    ("IDLE", "time without traffic"),
    ("RECV-Q", "bytes received, not read by the target"),
    ("SEND-Q", "bytes sent, not acknowledged"),
    ("CLOSE_WAIT", "the other end hung up, we did not close"),
];

/// What is shown of a row.
struct Row<'a> {
    origin: Origin,
    /// `None` for what no call stack is known of.
    site: Option<&'a FdSite>,
    open: u64,
    kinds: &'a [(crate::aggregate::FdKind, u64)],
}

pub(in crate::tui) fn draw(descriptors: &Descriptors, fds: &mut Fds, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let room = width.saturating_sub(MARK.len() + (width * CALL_SITE_PERCENT / 100).max(16));
    let sorted = Column::ALL.into_iter().filter(|column| column.sorts(fds.sort));
    let columns = choose(&Column::ALL, sorted.chain(Column::BY_IMPORTANCE), |column| column.width(width), room);
    fds.browser.fit(rows_below_heading(area));
    let mut heading = vec![Span::raw(" ".repeat(MARK.len()))];
    heading.extend(columns.iter().map(|&column| {
        let (words, width) = (column.heading(), column.width(width));
        match column {
            Column::Kinds => Span::styled(format!("{words:<width$} "), theme.heading()),
            _ => heading_cell(words, width, column.sorts(fds.sort), theme),
        }
    }));
    heading.push(Span::styled("CALL SITE", theme.heading()));
    let rows = fds.browser.visible().map(|(number, row)| {
        let selected = number == fds.browser.row();
        let (site, group) = (fd_site(descriptors, row), fds.group(*row.0));
        let row = Row {
            origin: *row.0,
            site,
            open: site.map_or_else(|| fds.open(*row.0), FdSite::open),
            kinds: match (site, group) {
                (Some(site), _) => &site.kinds,
                (None, Some(group)) => &group.kinds,
                (None, None) => &[],
            },
        };
        (selected, line(&row, &columns, width, selected, theme))
    });
    draw_table(Line::from(heading), rows, fds.browser.focus == Focus::List, theme, frame, area);
    if fds.browser.len() == 0 {
        say("no descriptor was opened yet", frame, area);
    }
}

fn line(row: &Row<'_>, columns: &[Column], screen: usize, selected: bool, theme: Theme) -> Line<'static> {
    let mut spans = vec![mark(selected)];
    let mut room = screen.saturating_sub(MARK.len());
    for column in columns {
        let ((cell, style), width) = (column.cell(row, theme), column.width(screen));
        let cell = match column {
            Column::Kinds => {
                let cell = clean(&cell, width);
                format!("{cell}{} ", " ".repeat(width - columns_of(&cell)))
            }
            _ => format!("{cell:>width$} "),
        };
        spans.push(Span::styled(cell, style));
        room = room.saturating_sub(width + 1);
    }
    match (row.site, row.origin) {
        (Some(site), _) => {
            let (name, place) = label(&site.stack, false, room);
            spans.extend([Span::raw(name), Span::styled(place, theme.dim())]);
        }
        (None, origin) => spans.push(Span::styled(clean(origin_words(origin), room).into_owned(), theme.reason())),
    }
    Line::from(spans)
}

pub(super) fn origin_words(origin: Origin) -> &'static str {
    match origin {
        Origin::Site(_) => "opened by a call stack that is not known",
        Origin::BeforeAttach => "[open since before the attach]",
        Origin::Unseen => "[opened in a way not seen]",
    }
}
