//! What was shown before: the course of each process-wide quantity and of each site, for charts and changes over minutes.
//!
//! In: Snapshots, in any order of time. Out: [`Trail`]s, fine for the last minutes and coarser the longer it is ago.

use std::{collections::HashMap, time::Duration};

use crate::aggregate::{SiteId, SiteMap, Snapshot};

/// Points of a trail of the whole; with one each second, two minutes are as fine as they came.
const MOST: usize = 360;
/// Points of a site's trail.
const MOST_OF_SITE: usize = 96;
/// Points are not closer than this, or a short interval would leave no room for minutes.
const CLOSEST: f64 = 0.95;

/// A first Snapshot within these seconds has all that happened since the attach.
const BEGINNING: f64 = 5.0;

/// A value at a moment, in seconds since the attach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Mark {
    pub(in crate::tui) at: f64,
    pub(in crate::tui) value: f64,
}

/// The course of one quantity.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::tui) struct Trail {
    marks: Vec<Mark>,
    most: usize,
}

impl Trail {
    fn new(most: usize) -> Self {
        Self { marks: Vec::new(), most }
    }

    /// Takes a value. One of an earlier moment than the last belongs to another course: what was later is forgotten. Of the
    /// same moment, the last one holds.
    fn push(&mut self, at: f64, value: f64) {
        while self.marks.last().is_some_and(|last| last.at >= at) {
            self.marks.pop();
        }
        let mark = Mark { at, value };
        match self.marks[..] {
            // The newest is always there, and moves on until it is far enough from the one before.
            [.., before, _] if at - before.at < CLOSEST => *self.marks.last_mut().expect("two marks") = mark,
            // What does not change takes two marks.
            [.., before, last] if before.value == value && last.value == value => {
                *self.marks.last_mut().expect("two marks") = mark;
            }
            _ => self.marks.push(mark),
        }
        if self.marks.len() > self.most {
            self.thin();
        }
    }

    /// Leaves out every other one of the older half.
    fn thin(&mut self) {
        let half = self.marks.len() / 2;
        let mut index = 0;
        self.marks.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }

    /// In order of time.
    pub(in crate::tui) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The value then, on the line between its neighbours; `None` before the first.
    pub(in crate::tui) fn at(&self, at: f64) -> Option<f64> {
        let after = self.marks.partition_point(|mark| mark.at <= at);
        let before = self.marks[..after].last()?;
        Some(match self.marks.get(after) {
            Some(next) => before.value + (next.value - before.value) * (at - before.at) / (next.at - before.at),
            None => before.value,
        })
    }

    /// By how much it has changed in that time; since its first value when that is not so long ago, if it began at all then.
    pub(in crate::tui) fn change(&self, span: Duration) -> Option<f64> {
        let (first, last) = (self.marks.first()?, self.marks.last()?);
        let then = last.at - span.as_secs_f64();
        (last.at > first.at).then(|| last.value - self.at(then).unwrap_or(first.value))
    }
}

/// What is charted of all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::tui) enum Quantity {
    Resident,
    Outstanding,
    Descriptors,
}

impl Quantity {
    pub(in crate::tui) const ALL: [Self; 3] = [Self::Resident, Self::Outstanding, Self::Descriptors];

    /// As it is in a Snapshot.
    pub(in crate::tui) fn of(self, snapshot: &Snapshot) -> Option<u64> {
        let readings = || snapshot.analysis.iter().map(|(_, analysis)| &analysis.reading);
        match self {
            Self::Resident => readings().filter_map(|reading| reading.rss).reduce(u64::saturating_add),
            Self::Outstanding => snapshot.heap_traced.then(|| snapshot.totals.inuse_bytes()),
            Self::Descriptors => snapshot.descriptors.as_ref().map(|descriptors| descriptors.open.len() as u64),
        }
    }
}

/// All trails.
#[derive(Debug, Default)]
pub(in crate::tui) struct Trails {
    whole: HashMap<Quantity, Trail>,
    /// Of a recording, wherever in it one is.
    course: HashMap<Quantity, Trail>,
    sites: SiteMap<Trail>,
    /// When the last Snapshot was taken.
    last: Option<f64>,
}

impl Trails {
    pub(in crate::tui) fn push(&mut self, snapshot: &Snapshot) {
        let at = snapshot.elapsed.as_secs_f64();
        for quantity in Quantity::ALL {
            if let Some(value) = quantity.of(snapshot) {
                self.whole.entry(quantity).or_insert_with(|| Trail::new(MOST)).push(at, value as f64);
            }
        }
        for site in &snapshot.sites {
            let trail = self.sites.entry(site.id).or_insert_with(|| {
                let mut new = Trail::new(MOST_OF_SITE);
                // A site that was not there a moment ago held nothing; at the attach, none did.
                if let Some(before) = self.last.or((at <= BEGINNING).then_some(0.0)) {
                    new.push(before, 0.0);
                }
                new
            });
            trail.push(at, site.counters.inuse_bytes() as f64);
        }
        self.last = Some(at);
    }

    /// Takes a window of a recording, in the order of their times.
    pub(in crate::tui) fn remember(&mut self, snapshot: &Snapshot) {
        for quantity in Quantity::ALL {
            if let Some(value) = quantity.of(snapshot) {
                let trail = self.course.entry(quantity).or_insert_with(|| Trail::new(MOST));
                trail.push(snapshot.elapsed.as_secs_f64(), value as f64);
            }
        }
    }

    /// What a chart is of: the whole of a recording, or what was shown.
    pub(in crate::tui) fn charted(&self, quantity: Quantity) -> Option<&Trail> {
        self.course.get(&quantity).or_else(|| self.whole.get(&quantity))
    }

    /// There is more than what was shown.
    pub(in crate::tui) fn is_recorded(&self) -> bool {
        !self.course.is_empty()
    }

    pub(in crate::tui) fn whole(&self, quantity: Quantity) -> Option<&Trail> {
        self.whole.get(&quantity)
    }

    pub(in crate::tui) fn site(&self, site: SiteId) -> Option<&Trail> {
        self.sites.get(&site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minutes_are_fine_and_a_day_fits() {
        let mut trail = Trail::new(96);
        for second in 0..86_400 {
            trail.push(f64::from(second), f64::from(second) * 3.0);
        }
        assert!(trail.marks().len() <= 96);
        assert_eq!((trail.marks()[0].at, trail.at(86_399.0)), (0.0, Some(259_197.0)));
        let change = |seconds| trail.change(Duration::from_secs(seconds));
        assert_eq!([change(30), change(60), change(600)], [Some(90.0), Some(180.0), Some(1_800.0)]);
    }

    #[test]
    fn what_stands_still_takes_two_marks_and_going_back_forgets() {
        let mut trail = Trail::new(8);
        for second in 0..50 {
            trail.push(f64::from(second), 7.0);
        }
        assert_eq!(trail.marks().len(), 2);
        trail.push(50.0, 9.0);
        assert_eq!((trail.at(49.5), trail.change(Duration::from_secs(60))), (Some(8.0), Some(2.0)));
        trail.push(20.0, 7.0);
        assert_eq!((trail.marks().last().map(|mark| mark.at), trail.at(-1.0)), (Some(20.0), None));
    }
}
