//! Verdicts that last: a new judgement must hold for a while before it changes one.

use std::{sync::Arc, time::Duration};

use super::{Judgement, Label, Rate, words};
use crate::aggregate::{SiteId, SiteMap};

/// How long a new judgement must hold.
const HOLD: Duration = Duration::from_secs(4);
/// How long another one must hold until a site is no longer called leaking.
const HOLD_LEAK: Duration = Duration::from_secs(20);
/// Growth that had been found is believed for this share of the time that it took at most, when blocks are followed anew:
/// twice what must be watched to find it again.
const AS_LONG: f64 = 0.2;
/// But for so many seconds at least, and no more than these.
const LEAST_BELIEF: f64 = 60.0;
const MOST_BELIEF: f64 = 600.0;
/// And until as many blocks as these should have been seen born: where none was, it has ended, but for one time in twenty
/// (Hanley & Lippman-Hand 1983, JAMA 249:1743).
const BIRTHS: f64 = 3.0;
/// No belief is for longer than a day.
const DAY: f64 = 86_400.0;

/// What a site is doing, and since when that is so.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// In one word.
    pub label: Label,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// Why, in a sentence with figures.
    pub reason: String,
    /// How fast it grows, if it is leaking or growing.
    pub rate: Option<Rate>,
    /// When the label changed, since attach.
    pub since: Duration,
}

#[derive(Debug)]
struct Standing {
    /// Snapshots share it.
    verdict: Arc<Verdict>,
    /// Another label, when it was first found, and when the standing one was found last.
    other: Option<(Label, Duration)>,
    confirmed: Duration,
    /// It was found before blocks began to be followed anew, and is believed until then.
    believed: Option<Duration>,
}

/// The verdicts of all sites.
#[derive(Debug, Default)]
pub struct Verdicts {
    sites: SiteMap<Standing>,
    /// The next judgements are the last ones.
    last: bool,
}

impl Verdicts {
    /// What is found from now on is found at the end: it holds at once. But one look is not enough to take back a leak.
    pub fn conclude(&mut self) {
        self.last = true;
    }

    /// Whether another label has been found than the one that stands.
    pub fn is_pending(&self, id: SiteId) -> bool {
        self.sites.get(&id).is_some_and(|standing| standing.other.is_some())
    }

    /// Takes the judgement of a site at a time since attach, and gives the verdict that stands.
    pub fn update(&mut self, id: SiteId, now: Duration, judgement: Judgement) -> &Verdict {
        let Judgement { label, confidence, reason, rate } = judgement;
        let new = |since| Arc::new(Verdict { label, confidence, reason, rate, since });
        match self.sites.entry(id) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                &entry.insert(Standing { verdict: new(now), other: None, confirmed: now, believed: None }).verdict
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let standing = entry.into_mut();
                let hold = match standing.verdict.label {
                    Label::Leaking => HOLD_LEAK,
                    // A moment's growth is no news, at the end either.
                    _ if self.last && label != Label::Growing => Duration::ZERO,
                    _ => HOLD,
                };
                if label == standing.verdict.label {
                    (standing.other, standing.confirmed, standing.believed) = (None, now, None);
                    standing.verdict = new(standing.verdict.since);
                } else if label != Label::Leaking && standing.believed.is_some_and(|until| now < until) {
                    (standing.other, standing.confirmed) = (None, now);
                } else {
                    let since = standing.other.filter(|(other, _)| *other == label).map_or(now, |(_, since)| since);
                    standing.other = Some((label, since));
                    // Others in turn are no reason to stay.
                    if now.saturating_sub(since) >= hold || now.saturating_sub(standing.confirmed) >= 3 * hold {
                        (standing.other, standing.confirmed, standing.believed) = (None, now, None);
                        standing.verdict = new(since);
                    }
                }
                &standing.verdict
            }
        }
    }

    /// What was outstanding at a site is followed no longer, which says nothing of it: its verdict stands until there is
    /// another. Growth is taken back when it should have been seen again by then: a block that is seen from `since` on stands
    /// for `weighs` blocks.
    pub fn begin_anew(&mut self, id: SiteId, since: Duration, weighs: f64) {
        let Some(standing) = self.sites.get_mut(&id) else { return };
        let was_believed = standing.believed.is_some();
        let until = match (standing.verdict.label, standing.verdict.rate) {
            (Label::Leaking | Label::Growing, Some(rate)) => {
                let again = (AS_LONG * since.as_secs_f64()).clamp(LEAST_BELIEF, MOST_BELIEF);
                let seen = BIRTHS * weighs / rate.objects.value.max(f64::MIN_POSITIVE);
                since + Duration::from_secs_f64(again.max(seen).min(DAY))
            }
            _ => since,
        };
        (standing.other, standing.confirmed, standing.believed) = (None, since, Some(until));
        if !was_believed {
            let reason = words::of_before(&standing.verdict.reason, since);
            standing.verdict = Arc::new(Verdict { reason, ..(*standing.verdict).clone() });
        }
    }

    /// The verdict that stands.
    pub fn get(&self, id: SiteId) -> Option<&Arc<Verdict>> {
        self.sites.get(&id).map(|standing| &standing.verdict)
    }

    /// Forgets a site.
    pub fn forget(&mut self, id: SiteId) {
        self.sites.remove(&id);
    }
}
