//! The rows of the table of sites: a site each, or all sites that have something in common.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Change, Changes};
use crate::{
    aggregate::{BlockCounters, SiteId, SiteMap, SiteSnapshot, Snapshot},
    analyze::verdict::{Label, Verdict},
    report::{basename, call_site, short_name},
    symbolize::{Frame, Stack},
    tui::state::Trails,
};

/// What the sites of one row have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum Grouping {
    /// Everything: a row is a site.
    #[default]
    Site,
    /// The function that allocated.
    Function,
    /// The module of that function.
    Module,
    /// The process.
    Process,
}

impl Grouping {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Site => Self::Function,
            Self::Function => Self::Module,
            Self::Module => Self::Process,
            Self::Process => Self::Site,
        }
    }

    /// The heading of the last column.
    pub(in crate::tui) fn heading(self) -> &'static str {
        match self {
            Self::Site => "CALL SITE",
            Self::Function => "FUNCTION",
            Self::Module => "MODULE",
            Self::Process => "PROCESS",
        }
    }
}

/// What a row is known by. A group's name is untrusted text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::tui) enum RowKey {
    Site(SiteId),
    Group(Arc<str>),
}

/// A row.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Row {
    pub(in crate::tui) key: RowKey,
    /// Index into the Snapshot's sites of the one that holds the most, and of the others.
    first: usize,
    others: Vec<usize>,
    pub(in crate::tui) counters: BlockCounters,
    /// Its numbers are estimates.
    pub(in crate::tui) estimated: bool,
    /// The most urgent of its sites'.
    pub(in crate::tui) verdict: Option<Arc<Verdict>>,
    /// All its sites are.
    pub(in crate::tui) suppressed: bool,
    pub(in crate::tui) oldest: Option<Duration>,
    /// Bytes per hour, of what leaks or grows.
    pub(in crate::tui) per_hour: Option<f64>,
    /// What is below is known, which takes several look-ups. Most rows are neither seen nor sorted by it.
    complete: bool,
    pub(in crate::tui) change: Option<Change>,
    /// Bytes outstanding, change over the last minute, the last ten, and since the baseline.
    pub(in crate::tui) minute: Option<f64>,
    pub(in crate::tui) ten_minutes: Option<f64>,
    pub(in crate::tui) since_baseline: Option<f64>,
}

impl Row {
    pub(super) fn inuse(&self) -> u64 {
        self.counters.inuse_bytes()
    }

    /// Indices into the Snapshot's sites, those that hold the most first.
    pub(in crate::tui) fn sites(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// That of the site that holds the most.
    pub(in crate::tui) fn first(&self) -> usize {
        self.first
    }

    /// How many sites.
    pub(in crate::tui) fn len(&self) -> usize {
        1 + self.others.len()
    }
}

/// What rows are made from.
pub(super) struct Sources<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) trails: &'a Trails,
    pub(super) changes: &'a Changes,
    pub(super) baseline: Option<&'a SiteMap<u64>>,
}

impl Sources<'_> {
    fn row(&self, index: usize) -> Row {
        let site = &self.snapshot.sites[index];
        Row {
            key: RowKey::Site(site.id),
            first: index,
            others: Vec::new(),
            counters: site.counters,
            estimated: site.sampled.is_some() || site.faulted.is_some(),
            per_hour: site.verdict.as_ref().and_then(|verdict| verdict.rate).map(|rate| rate.bytes.value * 3_600.0),
            verdict: site.verdict.clone(),
            suppressed: site.suppressed,
            oldest: site.oldest,
            complete: false,
            change: None,
            minute: None,
            ten_minutes: None,
            since_baseline: None,
        }
    }

    /// Finds out the rest of a row of one site.
    pub(super) fn complete(&self, row: &mut Row) {
        if std::mem::replace(&mut row.complete, true) {
            return;
        }
        let site = &self.snapshot.sites[row.first];
        let trail = self.trails.site(site.id);
        let over = |span: u64| trail.and_then(|trail| trail.change(Duration::from_secs(span)));
        let held = site.counters.inuse_bytes() as f64;
        row.change = self.changes.of(site);
        (row.minute, row.ten_minutes) = (over(60), over(600));
        row.since_baseline = self.baseline.map(|baseline| held - baseline.get(&site.id).copied().unwrap_or(0) as f64);
    }

    /// The rows of these sites.
    pub(super) fn rows(&self, sites: impl Iterator<Item = usize>, grouping: Grouping) -> Vec<Row> {
        if grouping == Grouping::Site {
            return sites.map(|index| self.row(index)).collect();
        }
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        let mut rows: Vec<Row> = Vec::new();
        for index in sites {
            let name = self.group(&self.snapshot.sites[index], grouping);
            let mut row = self.row(index);
            self.complete(&mut row);
            match places.get(&name) {
                Some(&place) => rows[place].join(row),
                None => {
                    places.insert(Arc::clone(&name), rows.len());
                    rows.push(Row { key: RowKey::Group(name), ..row });
                }
            }
        }
        rows
    }

    fn group(&self, site: &SiteSnapshot, grouping: Grouping) -> Arc<str> {
        // What was faulted in was mapped before: the two do not add up.
        if site.kind.is_range() && self.snapshot.growth.is_some() {
            return Arc::from(format!("[{}]", site.kind.name()));
        }
        let frame = call_site(&site.stack);
        match grouping {
            Grouping::Site | Grouping::Function => frame.map_or_else(|| Arc::from("[no stack]"), function),
            Grouping::Module => frame.map_or_else(|| Arc::from("[no stack]"), module),
            Grouping::Process => {
                let known = self.snapshot.processes.iter().find(|process| process.info.pid == site.tgid);
                let name = known.map_or("", |process| process.info.comm.as_str());
                Arc::from(format!("{name}[{}]", site.tgid.0))
            }
        }
    }
}

impl Row {
    fn join(&mut self, other: Self) {
        fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
            a.into_iter().chain(b).reduce(|a, b| a + b)
        }
        let Self {
            key: _,
            first,
            others,
            counters,
            estimated,
            verdict,
            suppressed,
            oldest,
            per_hour,
            complete: _,
            change,
            minute,
            ten_minutes,
            since_baseline,
        } = other;
        self.others.push(first);
        self.others.extend(others);
        self.counters += counters;
        self.estimated |= estimated;
        let label = |verdict: &Option<Arc<Verdict>>| verdict.as_ref().map(|verdict| verdict.label);
        let urgent = |a: Option<Label>, b: Option<Label>| a.is_some_and(|a| b.is_none_or(|b| a < b));
        if urgent(label(&verdict), label(&self.verdict)) {
            self.verdict = verdict;
        }
        self.suppressed &= suppressed;
        self.oldest = self.oldest.max(oldest);
        self.change = self.change.into_iter().chain(change).reduce(|a, b| Change {
            inuse_bytes_per_s: a.inuse_bytes_per_s + b.inuse_bytes_per_s,
            allocs_per_s: a.allocs_per_s + b.allocs_per_s,
        });
        self.minute = sum(self.minute, minute);
        self.ten_minutes = sum(self.ten_minutes, ten_minutes);
        self.since_baseline = sum(self.since_baseline, since_baseline);
        self.per_hour = sum(self.per_hour, per_hour);
    }
}

fn function(frame: &Frame) -> Arc<str> {
    match &frame.function {
        Ok(function) => Arc::from(short_name(function)),
        Err(_) => module(frame),
    }
}

fn module(frame: &Frame) -> Arc<str> {
    frame.module.as_deref().map_or_else(|| Arc::from("[no module]"), |module| Arc::from(basename(module)))
}

/// Whether a stack has these words in the name of a function, of a module, or of a source file. `words` in lower case.
pub(super) fn has_words(stack: &Stack, words: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(words);
    stack.frames.iter().any(|frame| {
        frame.function.as_deref().is_ok_and(has)
            || frame.module.as_deref().is_some_and(has)
            || frame.file.as_deref().is_some_and(has)
    })
}
