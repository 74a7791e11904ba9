//! What the dashboard shows and where the user is in it; no drawing.
//!
//! Each tab has its own order, selection and scrolling. What a frame needs of a Snapshot beyond its lists is worked
//! out once for each Snapshot, not for each frame.

mod browser;
mod fds;
mod flame;
mod health;
mod leaks;
mod peers;
mod prompt;
mod timeline;
mod trails;

use std::{collections::HashSet, sync::Arc, time::Duration};

pub(super) use self::{
    browser::{Focus, Scroll},
    fds::{FdSort, Fds, Group, Notice, site as fd_site},
    flame::{Cell, Flame, FlameMeasure, NodeId},
    health::Health,
    leaks::{Change, Leaks},
    peers::{PeerSort, Peers, is_about},
    prompt::{Edit, Prompt},
    timeline::{Timeline, growth},
    trails::{Mark, Quantity, Trail, Trails},
};
use crossterm::event::KeyEvent;

use super::input::{Action, Flow, Seek};
use crate::{
    aggregate::{Descriptors, SiteId, Snapshot},
    report::Sort,
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
    /// `None` when what is shown is live.
    pub(super) recorded: Option<Recorded>,
    pub(super) tab: Tab,
    pub(super) leaks: Leaks,
    pub(super) fds: Fds,
    pub(super) peers: Peers,
    pub(super) timeline: Timeline,
    pub(super) flame: Flame,
    pub(super) health: Health,
    pub(super) trails: Trails,
    /// Scroll position of the help, when it is open.
    pub(super) help: Option<Scroll>,
    pub(super) status: Option<String>,
    /// What the user types, for the tab that is shown. While it is open it has all keys.
    pub(super) prompt: Option<Prompt>,
}

impl State {
    pub(super) fn new(sort: Sort, min_age: Duration) -> Self {
        Self {
            snapshot: None,
            recorded: None,
            tab: Tab::Leaks,
            leaks: Leaks::new(sort, min_age),
            fds: Fds::new(sort.into()),
            peers: Peers::default(),
            timeline: Timeline::default(),
            flame: Flame::default(),
            health: Health::default(),
            trails: Trails::default(),
            help: None,
            status: None,
            prompt: None,
        }
    }

    /// Shows a window of a recording, and what changed since the one before.
    pub(super) fn jump(&mut self, before: Option<&Snapshot>, next: Arc<Snapshot>, recorded: Recorded) {
        self.recorded = Some(recorded);
        self.leaks.forget_changes();
        self.show(before, next);
    }

    pub(super) fn update(&mut self, next: Arc<Snapshot>) {
        let before = self.snapshot.clone();
        self.show(before.as_deref(), next);
    }

    fn show(&mut self, before: Option<&Snapshot>, next: Arc<Snapshot>) {
        if self.snapshot.is_none() && !next.heap_traced {
            self.tab = Tab::Descriptors;
        }
        self.trails.push(&next);
        self.leaks.update(before, &next);
        self.flame.update();
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
            (Action::Search, None) => self.open_prompt(),
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
            Tab::Leaks | Tab::Descriptors | Tab::Peers | Tab::Timeline | Tab::Health => None,
        };
    }

    /// Passes on what is in the prompt now.
    fn typed(&mut self, text: &str) {
        match self.tab {
            Tab::Flame => self.flame.search(text),
            Tab::Leaks | Tab::Descriptors | Tab::Peers | Tab::Timeline | Tab::Health => {}
        }
    }

    fn next_sort(&mut self) {
        let snapshot = self.snapshot.as_deref();
        let descriptors = snapshot.and_then(|snapshot| snapshot.descriptors.as_ref());
        match self.tab {
            Tab::Leaks => self.leaks.next_sort(snapshot),
            Tab::Descriptors => self.fds.next_sort(descriptors),
            Tab::Peers => self.peers.next_sort(descriptors),
            Tab::Flame => self.flame.next_measure(),
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
            (Tab::Leaks, _) => return self.leaks.visible_sites(),
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
