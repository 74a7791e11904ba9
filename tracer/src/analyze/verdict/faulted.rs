//! What a site of page faults is doing, and what mappings say by themselves.
//!
//! Nobody sees pages being given back, so nothing here is ever called leaking: growing at most, and only while resident
//! memory really grows. Of two things a sum is known: what was faulted in at all sites, and what of it stayed. So the
//! growth of one site has bounds: not more than it faulted in, nor than resident memory grew; and not less than what is left
//! when all that was given back was its own.

use std::{collections::VecDeque, time::Duration};

use super::{Estimate, Judgement, LEAST_AGE, Label, Rate, SILENCE, START, START_UP, seconds};
use crate::{
    aggregate::Faulted,
    analyze::history::SitePoint,
    report::{
        growth_words::faulted_words,
        units::{bytes, duration, signed_bytes},
    },
};

/// Samples in the recent past below which a site says nothing.
const LEAST_SAMPLES: f64 = 5.0;
/// A site whose faults are a smaller share of those of its process does not make it grow.
const LEAST_SHARE: f64 = 0.01;
/// How long the faults of a process are remembered.
const RECENT: Duration = Duration::from_secs(120);

/// Faults of a process that were looked at, over the recent past.
#[derive(Clone, Debug, Default)]
pub struct FaultCourse(VecDeque<(Duration, Faulted)>);

impl FaultCourse {
    /// Takes the sum as of now.
    pub fn push(&mut self, at: Duration, faulted: Faulted) {
        self.0.push_back((at, faulted));
        while self.0.front().is_some_and(|(first, _)| at.saturating_sub(*first) > RECENT) {
            self.0.pop_front();
        }
    }

    /// Bytes faulted in per second; `None` when that is not known yet.
    fn bytes_per_s(&self) -> Option<f64> {
        let ((from, before), (to, now)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_sub(*from).as_secs_f64();
        (seconds > 0.0).then(|| now.bytes().saturating_sub(before.bytes()) as f64 / seconds)
    }
}

/// What is known of a site of page faults.
#[derive(Clone, Copy, Debug)]
pub struct FaultEvidence<'a> {
    /// Its last two minutes, a point each interval.
    pub recent: &'a [SitePoint],
    /// All since the attach.
    pub whole: &'a [SitePoint],
    /// What it faulted in.
    pub faulted: Faulted,
    /// What its process did.
    pub process: &'a FaultCourse,
    /// Growth of resident memory, bytes per second; `None` when it does not grow for sure.
    pub resident: Option<Estimate>,
    /// How long the process had been running at the attach.
    pub ran_before: Option<Duration>,
}

/// Judges it. `None` while too little is known.
pub fn judge_faulted(evidence: &FaultEvidence<'_>) -> Option<Judgement> {
    let FaultEvidence { recent, whole, faulted, process, resident, ran_before } = *evidence;
    let (newest, oldest) = (recent.last()?, recent.first()?);
    let now = seconds(newest);
    let rises = |points: &[SitePoint]| -> Vec<f64> {
        let rise = |pair: &&[SitePoint]| pair[1].counters.alloc_objects > pair[0].counters.alloc_objects;
        points.windows(2).filter(rise).map(|pair| seconds(&pair[1])).collect()
    };
    let (first, last) = (rises(whole).first().copied().unwrap_or(0.0), rises(recent).last().copied());
    if now - first < LEAST_AGE {
        return None;
    }
    let amount = faulted_words(faulted);
    let judged = |label, confidence: f64, reason: String| {
        Some(Judgement { label, confidence, reason: format!("from page faults: {reason}"), rate: None })
    };
    let span = now - seconds(oldest);
    let new = newest.counters.alloc_bytes.saturating_sub(oldest.counters.alloc_bytes) as f64;
    let samples = new / (Faulted { samples: 1, ..faulted }.bytes().max(1) as f64);
    if last.is_none_or(|last| now - last >= 3.0 * SILENCE) || span <= 0.0 {
        let quiet = duration(Duration::from_secs_f64(now - last.unwrap_or(first)));
        let early = rises(whole).last().is_none_or(|last| *last <= START_UP);
        let begins = early && ran_before.is_none_or(|before| before.as_secs_f64() < 60.0);
        let label = if begins { Label::StartUp } else { Label::Steady };
        return judged(
            label,
            1.0 - START / (now - first + START),
            format!("{amount} faulted in, nothing in the last {quiet}"),
        );
    }
    if samples < LEAST_SAMPLES {
        return judged(Label::Steady, 0.3, format!("{amount} faulted in, too little to tell more"));
    }
    let rate = new / span;
    let all = process.bytes_per_s().unwrap_or(rate).max(rate);
    let share = rate / all;
    let Some(grown) = resident.filter(|_| share >= LEAST_SHARE) else {
        let why = match resident {
            Some(_) => "a small share of what makes resident memory grow".to_owned(),
            None => "but resident memory does not grow: it is given back and touched again".to_owned(),
        };
        return judged(Label::Churn, 0.7, format!("{amount} faulted in, {}/s of late, {why}", bytes(rate as u64)));
    };
    let growth = bounded_growth(rate, all, grown);
    let certainty = if rate > 0.0 { (growth.low / rate).clamp(0.0, 1.0) } else { 0.0 };
    let reason = format!(
        "from page faults: {amount} faulted in, {}/s of late, {:.0} % of all, while resident memory grows by {} an hour; what \
         of it is given back is not seen",
        bytes(rate as u64),
        100.0 * share,
        signed_bytes(grown.value * 3_600.0)
    );
    let objects = growth.scaled(1.0 / Faulted { samples: 1, period: 1 }.bytes() as f64);
    Some(Judgement {
        label: Label::Growing,
        confidence: 0.4 + 0.4 * certainty,
        reason,
        rate: Some(Rate { bytes: growth, objects }),
    })
}

/// How fast a site can make resident memory grow that faults in `rate` of `all`, while it grows by `grown`.
fn bounded_growth(rate: f64, all: f64, grown: Estimate) -> Estimate {
    let given_back = (all - grown.value).max(0.0);
    let value = (grown.value * rate / all).min(rate);
    Estimate { value, low: (rate - given_back).clamp(0.0, value), high: rate.min(grown.high).max(value) }
}

/// A judgement of what is mapped, where allocators are not seen: they keep what they have mapped, and use it again.
pub fn of_mappings_alone(judgement: Judgement, resident: Option<Estimate>) -> Judgement {
    let Judgement { label, confidence, reason, rate } = judgement;
    let judgement = match label {
        Label::Leaking | Label::Growing if resident.is_none() => Judgement {
            label: Label::Steady,
            confidence: 0.5,
            reason: format!(
                "resident memory does not grow with it: it is not touched, or replaces other memory; {reason}"
            ),
            rate: None,
        },
        Label::Leaking => Judgement { label: Label::Growing, confidence: confidence.min(0.7), reason, rate },
        _ => Judgement { label, confidence, reason, rate },
    };
    Judgement { reason: format!("from mappings alone: {}", judgement.reason), ..judgement }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::BlockCounters;

    /// A site that takes a sample so often each second until `until`, in a process that takes `others` besides.
    fn judged(per_s: u64, until: u64, others: u64, resident: Option<Estimate>) -> Option<Judgement> {
        let at = Duration::from_secs;
        let faulted = |samples| Faulted { samples, period: 97 };
        let mut process = FaultCourse::default();
        let mut points = Vec::new();
        for second in 0..=100 {
            let own = faulted(per_s * second.min(until));
            process.push(at(second), faulted(own.samples + others * second));
            let counters: BlockCounters = own.counters();
            let extremes = |number| (number, number);
            points.push(SitePoint {
                at: at(second),
                counters,
                bytes: extremes(counters.alloc_bytes),
                objects: extremes(counters.alloc_objects),
            });
        }
        judge_faulted(&FaultEvidence {
            recent: &points,
            whole: &points,
            faulted: faulted(per_s * until.min(100)),
            process: &process,
            resident,
            ran_before: Some(Duration::from_secs(3_600)),
        })
    }

    const SAMPLE: f64 = 97.0 * 4096.0;

    #[test]
    fn what_makes_resident_memory_grow_is_growing_and_never_more() {
        let found = judged(7, 1_000, 0, Some(Estimate::exact(7.0 * SAMPLE))).expect("is judged");
        assert_eq!(found.label, Label::Growing);
        assert!(found.reason.starts_with("from page faults: ~265.2 MiB"), "{}", found.reason);
        let rate = found.rate.expect("has one").bytes;
        assert!((rate.value - 7.0 * SAMPLE).abs() < 1.0 && rate.low > 6.9 * SAMPLE, "{rate:?}");
    }

    #[test]
    fn a_share_of_the_growth_is_bounded_by_what_was_given_back() {
        // Of 10 a second, 3 stay. The site's 8 gave back 7 at most; the other's 2 may all have stayed, or none.
        let grown = Some(Estimate::exact(3.0 * SAMPLE));
        let large = judged(8, 1_000, 2, grown).and_then(|found| found.rate).expect("grows").bytes;
        assert!((large.low - SAMPLE).abs() < 1.0 && (large.high - 3.0 * SAMPLE).abs() < 1.0, "{large:?}");
        let small = judged(2, 1_000, 8, grown).and_then(|found| found.rate).expect("grows").bytes;
        assert!(small.low == 0.0 && (small.high - 2.0 * SAMPLE).abs() < 1.0, "{small:?}");
    }

    #[test]
    fn without_growth_of_resident_memory_it_is_churn() {
        let found = judged(50, 1_000, 3, None).expect("is judged");
        assert_eq!(found.label, Label::Churn);
        assert!(found.reason.contains("does not grow"), "{}", found.reason);
        let small = judged(1, 1_000, 500, Some(Estimate::exact(SAMPLE))).expect("is judged");
        assert_eq!(small.label, Label::Churn, "{}", small.reason);
    }

    #[test]
    fn what_has_stopped_is_steady() {
        let found = judged(7, 20, 0, Some(Estimate::exact(SAMPLE))).expect("is judged");
        assert_eq!(found.label, Label::Steady);
        assert!(found.reason.contains("nothing in the last"), "{}", found.reason);
    }

    #[test]
    fn mappings_alone_are_no_leak() {
        let of = |label| Judgement { label, confidence: 0.9, reason: "why".to_owned(), rate: None };
        let grows = Some(Estimate::exact(1.0));
        assert_eq!(of_mappings_alone(of(Label::Leaking), grows).label, Label::Growing);
        assert_eq!(of_mappings_alone(of(Label::Leaking), None).label, Label::Steady);
        assert_eq!(of_mappings_alone(of(Label::Bounded), None).label, Label::Bounded);
        assert!(of_mappings_alone(of(Label::Churn), grows).reason.starts_with("from mappings alone: why"));
    }
}
