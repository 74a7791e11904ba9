//! Where everything goes on the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    widgets::Paragraph,
};

use super::{
    state::{Focus, State},
    theme::Theme,
    widgets::{footer, header, help, sites, stack},
};

/// Below this there is no room for a number and the place it belongs to.
const SMALLEST: (u16, u16) = (40, 8);
/// From this width on, the stack is beside the sites.
const WIDE: u16 = 160;
/// From this height on, the stack is below the sites; under it, the focused pane has all the room.
const TALL: u16 = 14;
/// The least that a stack below the sites gets.
const STACK_HEIGHT: u16 = 8;

pub(super) fn draw(state: &mut State, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = SMALLEST;
    if area.width < width || area.height < height {
        let message = format!("too small: {}x{}, needs {width}x{height}", area.width, area.height);
        frame.render_widget(Paragraph::new(message), area);
        return;
    }
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(header::HEIGHT), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    header::draw(state, theme, frame, top);
    let panes = Panes::new(body, state.focus);
    if let Some(area) = panes.sites {
        sites::draw(state, theme, frame, area);
    }
    if let Some(area) = panes.stack {
        stack::draw(state, theme, frame, area, panes.beside);
    }
    footer::draw(state, theme, frame, bottom);
    help::draw(state, theme, frame, area);
}

struct Panes {
    sites: Option<Rect>,
    stack: Option<Rect>,
    /// The stack is to the right of the sites.
    beside: bool,
}

impl Panes {
    fn new(body: Rect, focus: Focus) -> Self {
        if body.width >= WIDE {
            let [sites, stack] =
                Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(body);
            return Self { sites: Some(sites), stack: Some(stack), beside: true };
        }
        if body.height >= TALL {
            let height = (body.height * 2 / 5).max(STACK_HEIGHT);
            let [sites, stack] = Layout::vertical([Constraint::Min(0), Constraint::Length(height)]).areas(body);
            return Self { sites: Some(sites), stack: Some(stack), beside: false };
        }
        match focus {
            Focus::Sites => Self { sites: Some(body), stack: None, beside: false },
            Focus::Stack => Self { sites: None, stack: Some(body), beside: false },
        }
    }
}
