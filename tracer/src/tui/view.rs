//! Where everything goes on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Paragraph,
};

use super::{
    state::{Focus, Places, State, Tab},
    theme::Theme,
    widgets::{
        exports, fds, flame, footer, header, health, help, leaks, notices, peers, prompt, sites, stack, table::say,
        tabs, timeline,
    },
};
use crate::{
    aggregate::{Descriptors, Snapshot},
    report::untrusted::clean,
};

/// Below this there is no room for a number and the place it belongs to.
const SMALLEST: (u16, u16) = (40, 8);
/// From this width on, the pane is beside the table.
const WIDE: u16 = 160;
/// From this height on, the pane is below the table; under it, the focused one has all the room.
const TALL: u16 = 14;
/// The least that a pane below the table gets.
const PANE_HEIGHT: u16 = 8;
/// From this height of a tab on, there is room for a line about the whole of it.
const SUMMARY: u16 = 10;
/// From this height of the screen on, there is room for the bar of tabs; the keys work without.
const TAB_BAR: u16 = 12;

/// On the tabs that have nothing to show for it.
const NO_DESCRIPTORS: &str = "descriptors are not traced: started with --heap";
const NO_HEAP: &str = "memory is not traced: started with --fds";

pub(super) fn draw(state: &mut State, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        let message = format!("too small: {}x{}, needs {width}x{height}", area.width, area.height);
        frame.render_widget(Paragraph::new(message), area);
        return;
    }
    let bar = u16::from(area.height >= TAB_BAR);
    let [top, tab_bar, body, bottom] = Layout::vertical([
        Constraint::Length(header::HEIGHT),
        Constraint::Length(bar),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(state, theme, frame, top);
    state.places = Places { tabs: tabs::draw(state, theme, frame, tab_bar), ..Places::default() };
    draw_tab(state, theme, frame, body);
    match &state.prompt {
        Some(prompt) => prompt::draw(prompt, theme, frame, bottom),
        None => footer::draw(state, theme, frame, bottom),
    }
    help::draw(state, theme, frame, area);
    exports::draw(state, theme, frame, area);
}

fn draw_tab(state: &mut State, theme: Theme, frame: &mut Frame<'_>, body: Rect) {
    let Some(snapshot) = state.snapshot.clone() else {
        let words = state.progress.as_deref().map(|words| clean(words, usize::from(body.width)));
        return say(words.as_deref().unwrap_or(sites::WAITING), frame, body);
    };
    match (state.tab, &snapshot.descriptors) {
        (Tab::Leaks | Tab::Flame, _) if !snapshot.has_memory() => say(NO_HEAP, frame, body),
        (Tab::Leaks, _) => draw_leaks(state, &snapshot, theme, frame, body),
        (Tab::Descriptors | Tab::Peers, None) => say(NO_DESCRIPTORS, frame, body),
        (Tab::Descriptors, Some(descriptors)) => draw_descriptors(state, descriptors, theme, frame, body),
        (Tab::Peers, Some(descriptors)) => draw_peers(state, descriptors, theme, frame, body),
        (Tab::Timeline, _) => timeline::draw(state, &snapshot, theme, frame, body),
        (Tab::Flame, _) => flame::draw(state, &snapshot, theme, frame, body),
        (Tab::Health, _) => health::draw(state, &snapshot, theme, frame, body),
    }
}

/// Draws a line about the whole of a tab, and returns the rest. A low screen has no room for it.
fn draw_summary(line: Line<'_>, frame: &mut Frame<'_>, body: Rect) -> Rect {
    let height = u16::from(body.height >= SUMMARY);
    let [above, rest] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(body);
    frame.render_widget(line, above);
    rest
}

fn draw_leaks(state: &mut State, snapshot: &Snapshot, theme: Theme, frame: &mut Frame<'_>, body: Rect) {
    let body = draw_summary(leaks::summary(snapshot, &state.leaks, theme, body.width), frame, body);
    let panes = Panes::new(body, state.focus());
    (state.places.table, state.places.pane) = (panes.table, panes.pane);
    if let Some(area) = panes.table {
        sites::draw(snapshot, &mut state.leaks, &state.trails, theme, frame, area);
    }
    if let Some(area) = panes.pane {
        stack::draw(snapshot, state, theme, frame, area, panes.beside);
    }
}

fn draw_peers(state: &mut State, descriptors: &Descriptors, theme: Theme, frame: &mut Frame<'_>, body: Rect) {
    let body = draw_summary(fds::summary::peers(descriptors, theme, body.width), frame, body);
    let panes = Panes::new(body, state.focus());
    (state.places.table, state.places.pane) = (panes.table, panes.pane);
    if let Some(area) = panes.table {
        peers::table::draw(descriptors, &mut state.peers, theme, frame, area);
    }
    if let Some(area) = panes.pane {
        peers::pane::draw(descriptors, &mut state.peers, theme, frame, area, panes.beside);
    }
}

fn draw_descriptors(state: &mut State, descriptors: &Descriptors, theme: Theme, frame: &mut Frame<'_>, body: Rect) {
    let body = draw_summary(fds::summary::descriptors(descriptors, &state.fds, theme, body.width), frame, body);
    let height = notices::height(&state.fds.notices, body.height);
    let [above, rest] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(body);
    notices::draw(&state.fds.notices, theme, frame, above);
    let panes = Panes::new(rest, state.focus());
    (state.places.table, state.places.pane) = (panes.table, panes.pane);
    if let Some(area) = panes.table {
        fds::table::draw(descriptors, &mut state.fds, theme, frame, area);
    }
    if let Some(area) = panes.pane {
        fds::pane::draw(descriptors, &mut state.fds, theme, frame, area, panes.beside);
    }
}

struct Panes {
    table: Option<Rect>,
    pane: Option<Rect>,
    /// The pane is to the right of the table.
    beside: bool,
}

impl Panes {
    fn new(body: Rect, focus: Focus) -> Self {
        if body.width >= WIDE {
            let [table, pane] =
                Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(body);
            return Self { table: Some(table), pane: Some(pane), beside: true };
        }
        if body.height >= TALL {
            let height = (body.height * 2 / 5).max(PANE_HEIGHT);
            let [table, pane] = Layout::vertical([Constraint::Min(0), Constraint::Length(height)]).areas(body);
            return Self { table: Some(table), pane: Some(pane), beside: false };
        }
        match focus {
            Focus::List => Self { table: Some(body), pane: None, beside: false },
            Focus::Detail => Self { table: None, pane: Some(body), beside: false },
        }
    }
}
