//! The dashboard as the program sees it.

use std::{sync::Arc, time::Duration};

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::Frame;

use super::{
    input::{self, Flow},
    state::{Recorded, SourceLine, Sources, State},
    theme::Theme,
    view,
};
use crate::{
    aggregate::{SiteId, Snapshot},
    report::Sort,
};

/// How the dashboard starts.
#[derive(Clone, Copy, Debug)]
pub struct AppOptions {
    /// Order of the sites, the most urgent verdicts first when there is none; a key changes it.
    pub sort: Option<Sort>,
    /// Only sites with a block that has been outstanding at least this long; zero for all.
    pub min_age: Duration,
    /// What reads source files; `None` for nothing.
    pub source: Option<SourceLine>,
    /// Whether to use colours; see [`super::color_from_env`].
    pub color: bool,
    /// Whether to draw with braille patterns; see [`super::braille_from_env`].
    pub braille: bool,
}

impl Default for AppOptions {
    fn default() -> Self {
        Self { sort: None, min_age: Duration::ZERO, source: None, color: true, braille: true }
    }
}

/// The dashboard: what it shows, and what the user did to it.
#[derive(Debug)]
pub struct App {
    state: State,
    theme: Theme,
}

impl App {
    /// An empty dashboard, which waits for its first Snapshot.
    pub fn new(options: AppOptions) -> Self {
        let AppOptions { sort, min_age, source, color, braille } = options;
        let mut state = State::new(sort, min_age);
        state.sources = Sources::new(source);
        Self { state, theme: Theme::new(color).with_braille(braille) }
    }

    /// Shows `snapshot` from now on. Changes per second are taken against the last one with an earlier
    /// [`Snapshot::elapsed`]; one with the same is a better symbolized version of what is shown.
    pub fn update(&mut self, snapshot: Arc<Snapshot>) {
        self.state.update(snapshot);
    }

    /// Shows a window of a recording from now on. Changes per second are taken against `before`.
    pub fn jump(&mut self, before: Option<&Snapshot>, snapshot: Arc<Snapshot>, recorded: Recorded) {
        self.state.jump(before, snapshot, recorded);
    }

    /// Takes a window of a recording for the charts. In the order of their times, before the first [`App::jump`].
    pub fn remember(&mut self, snapshot: &Snapshot) {
        self.state.trails.remember(snapshot);
    }

    /// Obeys a key.
    pub fn on_key(&mut self, key: KeyEvent) -> Flow {
        if let Some(flow) = self.state.export_key(key) {
            return flow;
        }
        if let Some(flow) = self.state.type_key(key) {
            return flow;
        }
        match input::action(key) {
            Some(action) => self.state.apply(action),
            None => Flow::Continue,
        }
    }

    /// Obeys the mouse.
    pub fn on_mouse(&mut self, event: MouseEvent) {
        self.state.on_mouse(event);
    }

    /// Draws into the whole frame. Costs what is visible, not what there is.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        view::draw(&mut self.state, self.theme, frame);
    }

    /// The sites on screen, the selected one first: what to symbolize next. Before the first frame, the first page.
    pub fn visible_sites(&self) -> Vec<SiteId> {
        self.state.visible_sites()
    }

    /// What is on the screen.
    pub fn shown(&self) -> Option<Arc<Snapshot>> {
        self.state.snapshot.clone()
    }

    /// Says what is going on, until it is over.
    pub fn progress(&mut self, words: Option<String>) {
        self.state.progress = words;
    }

    /// Shows a message in the last line until the next key.
    pub fn status(&mut self, message: impl Into<String>) {
        self.state.status = Some(message.into());
    }
}
