//! A process whose growth is followed by page faults.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tracer_common::event::SiteKind;

use super::{counters, judged, normal};
use crate::aggregate::{
    BlockCounters, Faulted, Mode, ModeSince, Modes, Note, Overhead, PageFaults, ProcessFaults, Resident, SiteSnapshot,
    Snapshot, Tgid,
};

/// The stacks of [`judged`], by what they faulted in, and one mapping of what was.
pub(crate) fn growth() -> Snapshot {
    let mut snapshot = judged();
    let mut sum = Faulted { samples: 0, period: 97 };
    let share = [2_003, 487, 61, 5, 1];
    snapshot.sites.truncate(share.len());
    for (site, samples) in snapshot.sites.iter_mut().zip(share) {
        let faulted = Faulted { samples, period: 97 };
        sum += faulted;
        site.kind = SiteKind::PageFault;
        site.counters = faulted.counters();
        site.faulted = Some(faulted);
        (site.oldest, site.ages, site.sizes) = (None, None, None);
        if let Some(verdict) = &mut site.verdict {
            let mut judged = (**verdict).clone();
            if judged.label == crate::analyze::verdict::Label::Leaking {
                judged.label = crate::analyze::verdict::Label::Growing;
            }
            judged.reason = format!("from page faults: {}", super::super::growth_words::faulted_words(faulted));
            *verdict = Arc::new(judged);
        }
    }
    let mapped = SiteSnapshot {
        id: crate::aggregate::SiteId(17),
        kind: SiteKind::Mmap,
        counters: counters(786_432_000, 59, 8_388_608, 1),
        oldest: Some(Duration::from_secs(239)),
        faulted: None,
        verdict: None,
        ..normal().sites[1].clone()
    };
    snapshot.sites.push(mapped);
    snapshot.sites.sort_by_key(SiteSnapshot::order);
    snapshot.heap_traced = false;
    snapshot.totals = BlockCounters::default();
    snapshot.probes.clear();
    for (_, analysis) in &mut snapshot.analysis {
        analysis.explanation = None;
    }
    let resident = Some(Resident { at_attach: 198 << 20, now: 398 << 20 });
    let process = ProcessFaults { tgid: Tgid(4_242), faulted: sum, resident };
    snapshot.growth = Some(PageFaults { period: 97, since: Duration::ZERO, processes: vec![process] });
    snapshot.features = [("page faults", Cow::from("1 in 97"))]
        .map(|(name, used)| crate::aggregate::Feature { name: name.into(), used, best: true })
        .to_vec();
    snapshot
}

/// The same, as the last resort of a limit to the overhead, after the blocks of [`normal`].
pub(crate) fn growth_for_the_budget() -> Snapshot {
    let mut snapshot = growth();
    let since = |seconds: f64, mode| ModeSince { since: Duration::from_secs_f64(seconds), mode };
    let latest = vec![
        since(0.0, Mode::Hits),
        since(0.26, Mode::All),
        since(3.26, Mode::Windows(1.0 / 64.0)),
        since(131.0, Mode::PageFaults),
    ];
    snapshot.modes = Modes { latest, earlier: 0, calls: Some(0.125) };
    if let Some(faults) = &mut snapshot.growth {
        faults.since = Duration::from_secs(131);
    }
    snapshot.overhead = Some(Overhead { probes: Duration::ZERO, cpu: Duration::from_millis(930), limit: Some(0.05) });
    snapshot.probes = normal().probes;
    let what = "blocks are not tracked since 2m 11s, as there is too little room for that in --max-overhead";
    snapshot.notes.push(Note { what: what.into(), pids: Vec::new() });
    snapshot
}
