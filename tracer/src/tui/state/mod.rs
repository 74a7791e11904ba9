//! What the dashboard shows and where the user is in it; no drawing.
//!
//! Each tab has its own order, selection and scrolling. What a frame needs of a Snapshot beyond its lists is worked
//! out once for each Snapshot, not for each frame.

mod browser;
mod fds;
mod flame;
mod health;
mod leaks;
mod mouse;
mod peers;
mod prompt;
mod related;
mod sources;
mod timeline;
mod trails;

use std::{collections::HashSet, sync::Arc, time::Duration};

pub use self::sources::SourceLine;
pub(super) use self::{
    browser::{Focus, Scroll},
    fds::{FdSort, Fds, Group, Notice, site as fd_site},
    flame::{Cell, Flame, FlameMeasure, NodeId},
    health::Health,
    leaks::{Column, Grouping, Leaks, Row, RowKey},
    mouse::Places,
    peers::{PeerSort, Peers, is_about},
    prompt::{Edit, Prompt},
    related::{Related, RelatedTo},
    sources::Sources,
    timeline::{Timeline, growth},
    trails::{Mark, Quantity, Trail, Trails},
};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::input::{Action, EXPORTS, Flow, Seek};
use crate::{
    aggregate::{Descriptors, SiteId, Snapshot},
    report::{Sort, site_text, units::duration},
};

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Leaks,
    Descriptors,
    Peers,
    Timeline,
    Flame,
    Health,
}

impl Tab {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 6] =
        [Self::Leaks, Self::Descriptors, Self::Peers, Self::Timeline, Self::Flame, Self::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Leaks => "Leaks",
            Self::Descriptors => "Descriptors",
            Self::Peers => "Peers",
            Self::Timeline => "Timeline",
            Self::Flame => "Flame graph",
            Self::Health => "Health",
        }
    }

    /// For a bar that has no room for the whole name.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::Leaks => "Leaks",
            Self::Descriptors => "Fds",
            Self::Peers => "Peers",
            Self::Timeline => "Time",
            Self::Flame => "Flame",
            Self::Health => "Health",
        }
    }

    /// The one `steps` to the right; the last is followed by the first.
    fn beside(self, steps: usize) -> Self {
        Self::ALL[(self as usize + steps) % Self::ALL.len()]
    }
}

/// What is shown of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Which window, from 1.
    pub window: usize,
    /// How many there are.
    pub windows: usize,
    /// When it was taken.
    pub time: jiff::Timestamp,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// The newest Snapshot, while an older one is shown.
    pub(super) paused: Option<Arc<Snapshot>>,
    /// `None` when what is shown is live.
    pub(super) recorded: Option<Recorded>,
    pub(super) tab: Tab,
    pub(super) leaks: Leaks,
    pub(super) fds: Fds,
    pub(super) peers: Peers,
    /// Descriptors that have to do with the selected site of memory.
    pub(super) related: RelatedTo,
    pub(super) timeline: Timeline,
    pub(super) flame: Flame,
    pub(super) health: Health,
    pub(super) trails: Trails,
    /// Scroll position of the help, when it is open.
    pub(super) help: Option<Scroll>,
    pub(super) status: Option<String>,
    /// What is going on, untrusted.
    pub(super) progress: Option<String>,
    /// What the user types, for the tab that is shown. While it is open it has all keys.
    pub(super) prompt: Option<Prompt>,
    /// The menu of exports is open.
    pub(super) exporting: bool,
    /// Where things are on the screen.
    pub(super) places: Places,
    pub(super) sources: Sources,
}

impl State {
    pub(super) fn new(sort: Option<Sort>, min_age: Duration) -> Self {
        Self {
            snapshot: None,
            paused: None,
            recorded: None,
            tab: Tab::Leaks,
            leaks: Leaks::new(sort.map_or(Column::Verdict, Column::from), min_age),
            fds: Fds::new(sort.unwrap_or_default().into()),
            peers: Peers::default(),
            related: RelatedTo::default(),
            timeline: Timeline::default(),
            flame: Flame::default(),
            health: Health::default(),
            trails: Trails::default(),
            help: None,
            status: None,
            progress: None,
            prompt: None,
            exporting: false,
            places: Places::default(),
            sources: Sources::default(),
        }
    }

    /// Shows a window of a recording, and what changed since the one before.
    pub(super) fn jump(&mut self, before: Option<&Snapshot>, next: Arc<Snapshot>, recorded: Recorded) {
        self.recorded = Some(recorded);
        self.leaks.forget_changes();
        self.show(before, next);
    }

    /// Shows this Snapshot, or keeps it for later while the view is paused.
    pub(super) fn update(&mut self, next: Arc<Snapshot>) {
        if let Some(paused) = &mut self.paused {
            // What it held is remembered all the same.
            self.trails.push(&next);
            *paused = next;
            return;
        }
        let before = self.snapshot.clone();
        self.show(before.as_deref(), next);
    }

    fn show(&mut self, before: Option<&Snapshot>, next: Arc<Snapshot>) {
        if self.snapshot.is_none() && !next.has_memory() {
            self.tab = Tab::Descriptors;
        }
        // In a recording, the window before need not have been shown.
        if let Some(before) = before.filter(|_| self.recorded.is_some()) {
            self.trails.push(before);
        }
        self.trails.push(&next);
        self.leaks.update(before, &next, &self.trails);
        self.flame.update();
        self.related.forget();
        self.fds.update(next.descriptors.as_ref());
        self.peers.update(next.descriptors.as_ref());
        self.snapshot = Some(next);
    }

    pub(super) fn apply(&mut self, action: Action) -> Flow {
        self.status = None;
        let action = match (action, self.help) {
            (Action::Seek(seek), None) if self.recorded.is_some() => return Flow::Seek(seek),
            (Action::Seek(Seek::First), _) => Action::Home,
            (Action::Seek(Seek::Last), _) => Action::End,
            (action, _) => action,
        };
        match (action, &mut self.help) {
            (Action::Escape, None) if self.tab == Tab::Flame && self.flame.escape() => {}
            (Action::Quit, _) | (Action::Back | Action::Escape, None) => return Flow::Quit,
            (Action::Back | Action::Escape | Action::Help, help @ Some(_)) => *help = None,
            (Action::Help, help @ None) => *help = Some(Scroll::default()),
            (action, Some(scroll)) => scroll.apply(action),
            (Action::Show(tab), None) => self.tab = tab,
            (Action::NextTab, None) => self.tab = self.tab.beside(1),
            (Action::PreviousTab, None) => self.tab = self.tab.beside(Tab::ALL.len() - 1),
            (Action::NextSort, None) => self.next_sort(),
            (Action::PreviousSort, None) if self.tab == Tab::Flame => self.flame.measure_beside(false),
            (Action::Search, None) => self.open_prompt(),
            (Action::Pause, None) => self.pause(),
            (Action::Fold, None) if self.tab == Tab::Flame => self.leaks.innermost = !self.leaks.innermost,
            (Action::Copy, None) => return self.copy(),
            (Action::Export, None) => self.exporting = true,
            (
                Action::PreviousSort
                | Action::Reverse
                | Action::Group
                | Action::Fold
                | Action::Fastest
                | Action::MarkBaseline
                | Action::ClearBaseline,
                None,
            ) => self.arrange(action),
            (action, None) => match self.tab {
                Tab::Leaks => self.leaks.browser.apply(action),
                Tab::Descriptors => self.fds.browser.apply(action),
                Tab::Peers => self.peers.browser.apply(action),
                Tab::Timeline => self.timeline.apply(action),
                Tab::Flame => self.flame.apply(action),
                Tab::Health => self.health.scroll.apply(action),
            },
        }
        Flow::Continue
    }

    /// Stops the picture, or lets it go on with the newest one. Tracing goes on in any case.
    fn pause(&mut self) {
        match self.paused.take() {
            Some(newest) => self.update(newest),
            None if self.recorded.is_none() => self.paused = self.snapshot.clone(),
            None => {}
        }
    }

    /// Arranges the sites in another way.
    fn arrange(&mut self, action: Action) {
        let Some(snapshot) = self.snapshot.clone().filter(|_| self.tab == Tab::Leaks) else { return };
        match action {
            Action::NextSort => self.leaks.sort_beside(true),
            Action::PreviousSort => self.leaks.sort_beside(false),
            Action::Reverse => self.leaks.reversed = !self.leaks.reversed,
            Action::Group => self.leaks.group_next(),
            Action::Fold => self.leaks.innermost = !self.leaks.innermost,
            Action::MarkBaseline => {
                self.leaks.mark_baseline(&snapshot);
                self.status = Some(format!("baseline at {}: B forgets it", duration(snapshot.elapsed)));
            }
            Action::ClearBaseline if !self.leaks.clear_baseline() => {
                self.status = Some("there is no baseline: b marks one".to_owned());
            }
            Action::Fastest => {
                if !self.leaks.select_fastest(&snapshot, &self.trails) {
                    self.status = Some("nothing grows".to_owned());
                }
                return;
            }
            _ => {}
        }
        self.leaks.reorder(&snapshot, &self.trails);
    }

    /// The selected site as text, for the clipboard.
    fn copy(&mut self) -> Flow {
        let site = self.snapshot.as_ref().filter(|_| self.tab == Tab::Leaks);
        let site = site.and_then(|snapshot| self.leaks.selected_site(snapshot));
        let Some(site) = site else {
            self.status = Some("there is no site to copy here".to_owned());
            return Flow::Continue;
        };
        self.status = Some(format!("site {} copied, if the terminal allows it (OSC 52)", site.id.0));
        Flow::Copy(site_text(site))
    }

    /// Gives a key to the menu of exports, when it is open.
    pub(super) fn export_key(&mut self, key: KeyEvent) -> Option<Flow> {
        if !self.exporting || key.kind == KeyEventKind::Release {
            return None;
        }
        self.exporting = false;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(if key.code == KeyCode::Char('c') { Flow::Quit } else { Flow::Continue });
        }
        let chosen = EXPORTS.iter().find(|(letter, _, _)| key.code == KeyCode::Char(*letter));
        Some(chosen.map_or(Flow::Continue, |(_, export, _)| Flow::Export(*export)))
    }

    /// Gives a key to the prompt, when one is open.
    pub(super) fn type_key(&mut self, key: KeyEvent) -> Option<Flow> {
        let prompt = self.prompt.as_mut()?;
        self.status = None;
        match prompt.apply(key) {
            Edit::Same => {}
            Edit::Changed => {
                let text = prompt.text.clone();
                self.typed(&text);
            }
            Edit::Accepted => self.prompt = None,
            Edit::Cancelled => {
                self.prompt = None;
                self.typed("");
            }
            Edit::Quit => return Some(Flow::Quit),
        }
        Some(Flow::Continue)
    }

    /// Begins to ask for what the tab searches, on those that do.
    fn open_prompt(&mut self) {
        self.prompt = match self.tab {
            Tab::Flame => Some(Prompt::new("search", self.flame.searched())),
            Tab::Leaks => Some(Prompt::new("show only sites with", &self.leaks.filter)),
            Tab::Descriptors | Tab::Peers | Tab::Timeline | Tab::Health => None,
        };
    }

    /// Passes on what is in the prompt now.
    fn typed(&mut self, text: &str) {
        match self.tab {
            Tab::Flame => self.flame.search(text),
            Tab::Leaks => {
                self.leaks.filter = text.to_lowercase();
                self.arrange(Action::Search);
            }
            Tab::Descriptors | Tab::Peers | Tab::Timeline | Tab::Health => {}
        }
    }

    fn next_sort(&mut self) {
        let snapshot = self.snapshot.clone();
        let snapshot = snapshot.as_deref();
        let descriptors = snapshot.and_then(|snapshot| snapshot.descriptors.as_ref());
        match self.tab {
            Tab::Leaks => self.arrange(Action::NextSort),
            Tab::Descriptors => self.fds.next_sort(descriptors),
            Tab::Peers => self.peers.next_sort(descriptors),
            Tab::Flame => self.flame.measure_beside(true),
            Tab::Timeline | Tab::Health => {}
        }
    }

    /// `None` when they are not traced.
    pub(super) fn descriptors(&self) -> Option<&Descriptors> {
        self.snapshot.as_ref()?.descriptors.as_ref()
    }

    /// The pane that has the keys.
    pub(super) fn focus(&self) -> Focus {
        match self.tab {
            Tab::Leaks => self.leaks.browser.focus,
            Tab::Descriptors => self.fds.browser.focus,
            Tab::Peers => self.peers.browser.focus,
            Tab::Timeline | Tab::Flame | Tab::Health => Focus::List,
        }
    }

    pub(super) fn visible_sites(&self) -> Vec<SiteId> {
        let mut sites = match (self.tab, self.descriptors()) {
            (Tab::Leaks, descriptors) => {
                let sites = self.snapshot.as_ref().map(|snapshot| self.leaks.visible_sites(snapshot));
                sites.into_iter().flatten().chain(related::to_name(descriptors)).collect()
            }
            (Tab::Flame, _) => return self.flame.visible_sites(),
            (Tab::Timeline | Tab::Health, _) => return Vec::new(),
            (_, None) => return Vec::new(),
            (Tab::Descriptors, Some(descriptors)) => self.fds.visible_sites(descriptors),
            (Tab::Peers, Some(descriptors)) => self.peers.visible_sites(descriptors),
        };
        let mut seen = HashSet::new();
        sites.retain(|&site| seen.insert(site));
        sites
    }
}

#[cfg(test)]
mod tests;
