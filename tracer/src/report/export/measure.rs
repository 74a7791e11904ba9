//! What of a site is shown: one number for each.

use std::borrow::Cow;

use crate::{
    aggregate::{SiteSnapshot, Snapshot},
    analyze::history::History,
    report::units::duration,
};

/// What a profile or graph shows of each call site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Bytes outstanding.
    #[default]
    Inuse,
    /// Blocks outstanding.
    Objects,
    /// Bytes allocated since attach.
    Alloc,
    /// By how much outstanding bytes grew over the second half of the run: what fills up at first is left out.
    Growth,
}

/// How a site is measured. Growth needs a history of the run; without one it is that since attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure<'a> {
    /// What is shown.
    pub by: By,
    /// What happened until now.
    pub history: Option<&'a History>,
}

impl Measure<'_> {
    /// The site's number. What has shrunk has not grown: growth is never negative.
    pub fn of(&self, snapshot: &Snapshot, site: &SiteSnapshot) -> u64 {
        let SiteSnapshot { id, counters, .. } = site;
        match self.by {
            By::Inuse => counters.inuse_bytes(),
            By::Objects => counters.inuse_objects(),
            By::Alloc => counters.alloc_bytes,
            By::Growth => {
                let points = self.history.map(|history| history.site(*id, snapshot.elapsed / 2)).unwrap_or_default();
                let before = points.first().map_or(0, |point| point.counters.inuse_bytes());
                counters.inuse_bytes().saturating_sub(before)
            }
        }
    }

    /// What it counts.
    pub fn unit(&self) -> &'static str {
        match self.by {
            By::Objects => "objects",
            By::Inuse | By::Alloc | By::Growth => "bytes",
        }
    }

    /// In words.
    pub fn words(&self, snapshot: &Snapshot) -> Cow<'static, str> {
        if let Some(faults) = &snapshot.growth {
            let since = if faults.since.is_zero() { "attach".to_owned() } else { duration(faults.since) };
            return match self.by {
                By::Inuse | By::Alloc => format!("bytes faulted in since {since}, estimated from page faults").into(),
                By::Objects => format!("pages faulted in since {since}, estimated from page faults").into(),
                By::Growth => "bytes faulted in over the second half of the run, estimated from page faults".into(),
            };
        }
        match (self.by, self.history) {
            (By::Inuse, _) => "bytes outstanding".into(),
            (By::Objects, _) => "objects outstanding".into(),
            (By::Alloc, _) => "bytes allocated since attach".into(),
            (By::Growth, None) => "growth of outstanding bytes since attach".into(),
            (By::Growth, Some(_)) => {
                format!("growth of outstanding bytes over the last {}", duration(snapshot.elapsed / 2)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        aggregate::SiteId,
        report::testing::{self, counters},
    };

    #[test]
    fn growth_is_that_of_the_second_half_of_the_run() {
        let mut snapshot = testing::normal();
        snapshot.elapsed = Duration::from_secs(100);
        let site = snapshot.sites.iter().find(|site| site.id == SiteId(2)).expect("is there").clone();
        let mut history = History::new(Duration::from_secs(1));
        for second in 0..=100 {
            // It fills for 50 s, then grows by 101 bytes a second.
            let late = u64::saturating_sub(second, 50) * 101;
            history.push(Duration::from_secs(second), [(site.id, counters(843_778 - 5_050 + late, second, 0, 0))]);
        }
        let measured = |history| Measure { by: By::Growth, history }.of(&snapshot, &site);
        assert_eq!(measured(None), 843_778, "since attach");
        // The point at which the last half begins is within an interval of its middle.
        let late = measured(Some(&history));
        assert!((5_050..=5_151).contains(&late), "{late}");
    }

    #[test]
    fn what_shrinks_has_not_grown() {
        let mut snapshot = testing::normal();
        snapshot.elapsed = Duration::from_secs(10);
        let site = &snapshot.sites[0];
        let mut history = History::new(Duration::from_secs(1));
        history.push(Duration::from_secs(1), [(site.id, counters(site.counters.inuse_bytes() + 7, 1, 0, 0))]);
        history.push(Duration::from_secs(10), []);
        assert_eq!(Measure { by: By::Growth, history: Some(&history) }.of(&snapshot, site), 0);
    }
}
