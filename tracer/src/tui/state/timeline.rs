//! The tab of charts: which part of the time they show.

use super::{Action, Mark, Quantity, Trail, Trails};

/// A chart is not of less than this, in seconds.
const SHORTEST: f64 = 10.0;
/// Growth at a moment is the change over this time before it, or since the reading before when that is longer ago.
const SLOPE_OVER: f64 = 60.0;
/// A slope over less is noise.
const SLOPE_OVER_LEAST: f64 = 5.0;

#[derive(Debug, Default)]
pub(in crate::tui) struct Timeline {
    /// How many seconds are shown; `None` for all.
    span: Option<f64>,
    /// Where that ends; `None` stays with the newest.
    end: Option<f64>,
    /// The first chart on screen, when there is not room for all.
    pub(in crate::tui) top: usize,
    /// From the first to the last reading, as of the latest frame.
    all: (f64, f64),
}

impl Timeline {
    /// From when to when the charts are, with these trails; not beyond `now`, to which a paused picture
    /// keeps; all of a recording.
    pub(in crate::tui) fn range(&mut self, trails: &Trails, now: f64) -> (f64, f64) {
        let marks = Quantity::ALL.into_iter().filter_map(|quantity| trails.charted(quantity)).map(Trail::marks);
        let ends = marks.filter_map(|marks| Some((marks.first()?.at, marks.last()?.at)));
        let all = ends.reduce(|(first, last), (begin, end)| (first.min(begin), last.max(end)));
        self.all = all.map_or((0.0, 0.0), |(first, last)| {
            (first, if trails.is_recorded() { last } else { last.min(now).max(first) })
        });
        self.shown()
    }

    fn shown(&self) -> (f64, f64) {
        let (first, last) = self.all;
        let Some(span) = self.span.filter(|span| *span < last - first) else { return (first, last) };
        let end = self.end.unwrap_or(last).clamp(first + span, last);
        (end - span, end)
    }

    /// Whether the charts show all of it.
    pub(in crate::tui) fn is_whole(&self) -> bool {
        self.shown() == self.all
    }

    /// Whether they end with the newest reading.
    pub(in crate::tui) fn follows(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn apply(&mut self, action: Action) {
        let (first, last) = self.all;
        let (begin, end) = self.shown();
        let span = end - begin;
        match action {
            // Who looks at the newest still wants the newest.
            Action::Closer if self.follows() => self.show(span / 2.0, last),
            Action::Farther if self.follows() => self.show(span * 2.0, last),
            Action::Closer => self.show(span / 2.0, f64::midpoint(begin, end) + span / 4.0),
            Action::Farther => self.show(span * 2.0, f64::midpoint(begin, end) + span),
            Action::Whole => (self.span, self.end) = (None, None),
            Action::Left => self.show(span, end - span / 4.0),
            Action::Right => self.show(span, end + span / 4.0),
            Action::Home => self.show(span, first),
            Action::End => self.show(span, last),
            Action::Up => self.top = self.top.saturating_sub(1),
            Action::Down => self.top += 1,
            _ => {}
        }
    }

    /// Shows so many seconds until `end`, as far as there are.
    fn show(&mut self, span: f64, end: f64) {
        let (first, last) = self.all;
        if span >= last - first {
            (self.span, self.end) = (None, None);
            return;
        }
        let span = span.max(SHORTEST.min(last - first));
        self.span = Some(span);
        let end = end.max(first + span);
        self.end = (end < last).then_some(end);
    }
}

/// How fast a quantity changed, per hour, at each of its marks.
pub(in crate::tui) fn growth(trail: &Trail) -> Vec<Mark> {
    let marks = trail.marks();
    let Some(first) = marks.first() else { return Vec::new() };
    let pairs = marks.iter().zip(marks.iter().skip(1));
    let slopes = pairs.filter_map(|(before, mark)| {
        let then = (mark.at - SLOPE_OVER).min(before.at).max(first.at);
        let seconds = mark.at - then;
        let changed = mark.value - trail.at(then)?;
        (seconds >= SLOPE_OVER_LEAST).then(|| Mark { at: mark.at, value: changed / seconds * 3_600.0 })
    });
    slopes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn an_hour() -> Timeline {
        Timeline { all: (0.0, 3_600.0), ..Timeline::default() }
    }

    #[test]
    fn closer_stays_with_the_newest_and_farther_ends_with_all() {
        let mut timeline = an_hour();
        timeline.apply(Action::Closer);
        timeline.apply(Action::Closer);
        assert_eq!((timeline.shown(), timeline.follows()), ((2_700.0, 3_600.0), true));
        timeline.all.1 = 4_000.0;
        assert_eq!(timeline.shown(), (3_100.0, 4_000.0));
        for _ in 0..9 {
            timeline.apply(Action::Closer);
        }
        assert_eq!(timeline.shown(), (3_990.0, 4_000.0));
        for _ in 0..9 {
            timeline.apply(Action::Farther);
        }
        assert!(timeline.is_whole() && timeline.follows());
    }

    #[test]
    fn it_moves_in_time_and_follows_again_at_the_end() {
        let mut timeline = an_hour();
        timeline.apply(Action::Left);
        assert!(timeline.is_whole(), "there is nowhere to go");
        timeline.apply(Action::Closer);
        timeline.apply(Action::Left);
        assert_eq!((timeline.shown(), timeline.follows()), ((1_350.0, 3_150.0), false));
        timeline.apply(Action::Closer);
        assert_eq!(timeline.shown(), (1_800.0, 2_700.0), "its middle stays");
        timeline.apply(Action::Farther);
        assert_eq!(timeline.shown(), (1_350.0, 3_150.0));
        timeline.apply(Action::Home);
        assert_eq!(timeline.shown(), (0.0, 1_800.0));
        timeline.apply(Action::End);
        assert_eq!((timeline.shown(), timeline.follows()), ((1_800.0, 3_600.0), true));
        timeline.apply(Action::Whole);
        assert_eq!(timeline.shown(), (0.0, 3_600.0));
    }

    #[test]
    fn growth_is_per_hour() {
        let mut trails = Trails::default();
        for second in 0..90 {
            let mut snapshot = crate::report::testing::normal();
            snapshot.elapsed = std::time::Duration::from_secs(second);
            snapshot.totals.alloc_bytes = snapshot.totals.free_bytes + 1_009 + second * 13;
            trails.push(&snapshot);
        }
        let growth = growth(trails.whole(Quantity::Outstanding).expect("is charted"));
        assert_eq!((growth[0].at, growth.len()), (5.0, 85));
        assert!(growth.iter().all(|mark| (mark.value - 13.0 * 3_600.0).abs() < 1e-6), "{growth:?}");
    }
}
