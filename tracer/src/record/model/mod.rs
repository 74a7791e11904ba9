//! What a window's rows mean: a Snapshot as rows, and back.
//!
//! Rows have their own types, so that a Snapshot can change without the format. A new field of a Snapshot gets a new tag in its
//! row, optional if it may be missing; a new list gets a kind of row. Numbers of tags and kinds are never used again for something
//! else. Lists whose entries have an identity are keyed by it and brought into the Snapshot's order when read; the others
//! are keyed by their place.

mod ages;
mod analysis;
pub(super) mod codes;
mod descriptors;
mod endpoint;
mod growth;
mod modes;
mod probes;
mod processes;
mod sampling;
mod signals;
mod sites;
mod sizes;
mod sums;
mod time;
mod verdicts;

use std::{sync::Arc, time::Duration};

use prost::Message;
use tracer_common::{
    counter::{LossCause, Stat},
    stack::StackEnd,
};

use self::{processes::Target, time::Moment};
use super::{error::Malformed, format::nanos, limits::ROW_BYTES, rows::Rows};
use crate::{
    aggregate::{
        BlockCounters, Ending, Feature, IncompleteCount, LossCount, Note, Overhead, OwnCost, Rates, SiteId, Snapshot,
        StatCount, Suppressed, TargetState, Tgid,
    },
    symbolize::Stack,
};

/// Kinds of rows. `descriptors` has those from 20 to 28.
mod kind {
    pub(super) const HEAD: u32 = 1;
    pub(super) const SESSION: u32 = 2;
    pub(super) const PROCESS: u32 = 3;
    pub(super) const NOTE: u32 = 4;
    pub(super) const LOSS: u32 = 5;
    pub(super) const INCOMPLETE: u32 = 6;
    pub(super) const STAT: u32 = 7;
    pub(super) const PROBE: u32 = 8;
    pub(super) const HITS: u32 = 9;
    pub(super) const SITE: u32 = 10;
    pub(super) const VERDICT: u32 = 11;
    pub(super) const ANALYSIS: u32 = 12;
    pub(super) const SUPPRESSION: u32 = 13;
    pub(super) const AGES: u32 = 14;
    pub(super) const FEATURE: u32 = 16;
    pub(super) const OWN_COST: u32 = 17;
    pub(super) const GROWTH: u32 = 40;
    pub(super) const MODES: u32 = 41;
    pub(super) const SAMPLING: u32 = 15;
    pub(super) const SAMPLED: u32 = 18;
    pub(super) const OVERHEAD: u32 = 19;
    pub(super) const SIZES: u32 = 29;
}

#[derive(Clone, PartialEq, Message)]
struct Counters {
    #[prost(uint64, tag = "1")]
    alloc_bytes: u64,
    #[prost(uint64, tag = "2")]
    alloc_objects: u64,
    #[prost(uint64, tag = "3")]
    free_bytes: u64,
    #[prost(uint64, tag = "4")]
    free_objects: u64,
}

impl From<BlockCounters> for Counters {
    fn from(counters: BlockCounters) -> Self {
        let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = counters;
        Self { alloc_bytes, alloc_objects, free_bytes, free_objects }
    }
}

impl From<Counters> for BlockCounters {
    fn from(counters: Counters) -> Self {
        let Counters { alloc_bytes, alloc_objects, free_bytes, free_objects } = counters;
        Self { alloc_bytes, alloc_objects, free_bytes, free_objects }
    }
}

/// What changes with every window.
#[derive(Clone, PartialEq, Message)]
struct HeadRow {
    #[prost(uint64, tag = "1")]
    elapsed_ns: u64,
    #[prost(uint64, tag = "2")]
    window_ns: u64,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(sint32, optional, tag = "4")]
    exit_code: Option<i32>,
    #[prost(sint32, optional, tag = "5")]
    signal: Option<i32>,
    #[prost(message, optional, tag = "6")]
    totals: Option<Counters>,
    #[prost(double, tag = "7")]
    allocs_per_s: f64,
    #[prost(double, tag = "8")]
    frees_per_s: f64,
    #[prost(double, tag = "9")]
    alloc_bytes_per_s: f64,
    #[prost(double, tag = "10")]
    inuse_bytes_per_s: f64,
    #[prost(uint64, tag = "11")]
    lost_windows: u64,
}

/// What does not change.
#[derive(Clone, PartialEq, Message)]
struct SessionRow {
    #[prost(sint64, tag = "1")]
    started_s: i64,
    #[prost(sint32, tag = "2")]
    started_subsec_ns: i32,
    #[prost(message, optional, tag = "3")]
    target: Option<Target>,
    #[prost(bool, tag = "4")]
    heap_traced: bool,
}

#[derive(Clone, PartialEq, Message)]
struct NoteRow {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(uint32, repeated, tag = "2")]
    pids: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct CountRow {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(uint64, tag = "2")]
    count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SuppressionRow {
    #[prost(string, tag = "1")]
    pattern: String,
    #[prost(uint64, tag = "2")]
    sites: u64,
    #[prost(uint64, tag = "3")]
    inuse_bytes: u64,
    #[prost(uint64, tag = "4")]
    inuse_objects: u64,
}

#[derive(Clone, PartialEq, Message)]
struct FeatureRow {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    used: String,
    #[prost(bool, tag = "3")]
    best: bool,
}

#[derive(Clone, PartialEq, Message)]
struct OwnCostRow {
    #[prost(uint64, tag = "1")]
    cpu_ns: u64,
    #[prost(uint64, tag = "2")]
    resident: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OverheadRow {
    #[prost(uint64, tag = "1")]
    probes_ns: u64,
    #[prost(uint64, tag = "2")]
    cpu_ns: u64,
    #[prost(double, optional, tag = "3")]
    limit: Option<f64>,
}

/// A Snapshot as rows, without its stacks; and how many windows before it were lost.
pub(super) fn to_rows(snapshot: &Snapshot, lost_windows: u64) -> Rows {
    let Snapshot {
        started,
        elapsed,
        window,
        target,
        processes,
        state,
        ending,
        analysis,
        suppressions,
        notes,
        heap_traced,
        growth,
        modes,
        sites,
        totals,
        sample,
        rates,
        loss,
        incomplete,
        stats,
        probes,
        features,
        own_cost,
        overhead,
        descriptors,
    } = snapshot;
    let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s } = *rates;
    let now = Moment::after(*elapsed);
    let mut rows = Rows::default();
    let head = HeadRow {
        elapsed_ns: nanos(*elapsed),
        window_ns: nanos(*window),
        state: codes::of_state(state),
        exit_code: match ending {
            Some(Ending::Code(code)) => Some(*code),
            _ => None,
        },
        signal: match ending {
            Some(Ending::Signal(signal)) => Some(*signal),
            _ => None,
        },
        totals: Some((*totals).into()),
        allocs_per_s,
        frees_per_s,
        alloc_bytes_per_s,
        inuse_bytes_per_s,
        lost_windows,
    };
    rows.add(kind::HEAD, 0, &head);
    let session = SessionRow {
        started_s: started.as_second(),
        started_subsec_ns: started.subsec_nanosecond(),
        target: Some(target.into()),
        heap_traced: *heap_traced,
    };
    rows.add(kind::SESSION, 0, &session);
    for (place, process) in (0..).zip(processes) {
        rows.add(kind::PROCESS, place, &processes::to_row(process));
    }
    for (place, Note { what, pids }) in (0..).zip(notes) {
        let row = NoteRow { what: what.as_ref().to_owned(), pids: pids.iter().map(|pid| pid.0).collect() };
        rows.add(kind::NOTE, place, &row);
    }
    for (place, (pid, analysis)) in (0..).zip(analysis) {
        rows.add(kind::ANALYSIS, place, &analysis::to_row(*pid, analysis));
    }
    for (place, Suppressed { pattern, sites, inuse_bytes, inuse_objects }) in (0..).zip(suppressions) {
        let (pattern, sites) = (pattern.clone(), *sites);
        let row = SuppressionRow { pattern, sites, inuse_bytes: *inuse_bytes, inuse_objects: *inuse_objects };
        rows.add(kind::SUPPRESSION, place, &row);
    }
    for (place, &LossCount { cause, count }) in (0..).zip(loss) {
        rows.add(kind::LOSS, place, &CountRow { code: cause.code(), count });
    }
    for (place, &IncompleteCount { end, objects }) in (0..).zip(incomplete) {
        rows.add(kind::INCOMPLETE, place, &CountRow { code: end.code(), count: objects });
    }
    for (place, &StatCount { stat, count }) in (0..).zip(stats) {
        rows.add(kind::STAT, place, &CountRow { code: stat.code(), count });
    }
    probes::to_rows(probes, &mut rows);
    for (place, Feature { name, used, best }) in (0..).zip(features) {
        let row = FeatureRow { name: name.as_ref().to_owned(), used: used.as_ref().to_owned(), best: *best };
        rows.add(kind::FEATURE, place, &row);
    }
    if let Some(OwnCost { cpu, resident }) = *own_cost {
        rows.add(kind::OWN_COST, 0, &OwnCostRow { cpu_ns: nanos(cpu), resident });
    }
    if let Some(growth) = growth {
        growth::to_row(kind::GROWTH, growth, &mut rows);
    }
    modes::to_row(kind::MODES, modes, &mut rows);
    if let Some(Overhead { probes, cpu, limit }) = *overhead {
        rows.add(kind::OVERHEAD, 0, &OverheadRow { probes_ns: nanos(probes), cpu_ns: nanos(cpu), limit });
    }
    sampling::to_row(kind::SAMPLING, sample.as_ref(), &mut rows);
    for site in sites {
        sites::to_rows(site, now, &mut rows);
    }
    if let Some(descriptors) = descriptors {
        descriptors::to_rows(descriptors, now, &mut rows);
    }
    rows.sort();
    rows
}

/// A window, read.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) snapshot: Snapshot,
    pub(super) lost_windows: u64,
    /// Rows whose meaning only a later leaktrace knows.
    pub(super) unknown: u64,
}

/// Reads rows of a kind; those that only a later leaktrace knows are counted.
struct RowReader<'a> {
    rows: &'a Rows,
    unknown: u64,
}

impl RowReader<'_> {
    fn all<R: Message + Default, T>(
        &mut self,
        kind: u32,
        mut read: impl FnMut(u64, R) -> Option<T>,
    ) -> Result<Vec<T>, Malformed> {
        let mut all = Vec::new();
        for (key, row) in self.rows.of(kind) {
            if row.len() > ROW_BYTES {
                return Err(Malformed("a row is longer than a recording's may be"));
            }
            match read(key, R::decode(row)?) {
                Some(value) => all.push(value),
                None => self.unknown += 1,
            }
        }
        Ok(all)
    }

    fn one<R: Message + Default>(&self, kind: u32) -> Result<Option<R>, Malformed> {
        Ok(self.rows.of(kind).next().map(|(_, row)| R::decode(row)).transpose()?)
    }
}

/// The Snapshot of these rows, with its stacks from `stack`.
pub(super) fn from_rows(rows: &Rows, stack: impl Fn(SiteId) -> Arc<Stack>) -> Result<Decoded, Malformed> {
    let mut reader = RowReader { rows, unknown: 0 };
    let head: HeadRow = reader.one(kind::HEAD)?.ok_or(Malformed("a window has no beginning"))?;
    let session: SessionRow = reader.one(kind::SESSION)?.ok_or(Malformed("a window does not say of what it is"))?;
    let elapsed = Duration::from_nanos(head.elapsed_ns);
    let now = Moment::after(elapsed);
    let mut unknown = 0;
    let growth = growth::from_rows(&reader, kind::GROWTH)?;
    let modes = modes::from_row(&reader, kind::MODES, &mut unknown)?;
    let period = growth.as_ref().map_or(0, |growth| growth.period);
    let snapshot = Snapshot {
        started: jiff::Timestamp::new(session.started_s, session.started_subsec_ns)
            .map_err(|_| Malformed("it began at no possible time"))?,
        elapsed,
        window: Duration::from_nanos(head.window_ns),
        target: session.target.unwrap_or_default().into(),
        processes: reader.all(kind::PROCESS, |_, row| processes::from_row(row))?,
        state: codes::state(head.state).unwrap_or(TargetState::Running),
        ending: head.exit_code.map(Ending::Code).or(head.signal.map(Ending::Signal)),
        analysis: reader.all(kind::ANALYSIS, |_, row| Some(analysis::from_row(row, &mut unknown)))?,
        suppressions: reader.all(kind::SUPPRESSION, |_, row| {
            let SuppressionRow { pattern, sites, inuse_bytes, inuse_objects } = row;
            Some(Suppressed { pattern, sites, inuse_bytes, inuse_objects })
        })?,
        notes: reader.all(kind::NOTE, |_, NoteRow { what, pids }| {
            Some(Note { what: what.into(), pids: pids.into_iter().map(Tgid).collect() })
        })?,
        heap_traced: session.heap_traced,
        growth,
        modes,
        sites: sites::from_rows(&mut reader, period, now, &stack)?,
        totals: head.totals.unwrap_or_default().into(),
        sample: sampling::from_row(&reader, kind::SAMPLING)?,
        rates: Rates {
            allocs_per_s: head.allocs_per_s,
            frees_per_s: head.frees_per_s,
            alloc_bytes_per_s: head.alloc_bytes_per_s,
            inuse_bytes_per_s: head.inuse_bytes_per_s,
        },
        loss: reader.all(kind::LOSS, |_, CountRow { code, count }| {
            Some(LossCount { cause: LossCause::try_from(code).ok()?, count })
        })?,
        incomplete: reader.all(kind::INCOMPLETE, |_, CountRow { code, count }| {
            Some(IncompleteCount { end: StackEnd::try_from(code).ok()?, objects: count })
        })?,
        stats: reader.all(kind::STAT, |_, CountRow { code, count }| {
            Some(StatCount { stat: Stat::try_from(code).ok()?, count })
        })?,
        probes: probes::from_rows(&mut reader)?,
        features: reader.all(kind::FEATURE, |_, FeatureRow { name, used, best }| {
            Some(Feature { name: name.into(), used: used.into(), best })
        })?,
        own_cost: reader
            .one(kind::OWN_COST)?
            .map(|OwnCostRow { cpu_ns, resident }| OwnCost { cpu: Duration::from_nanos(cpu_ns), resident }),
        overhead: reader.one(kind::OVERHEAD)?.map(|OverheadRow { probes_ns, cpu_ns, limit }| Overhead {
            probes: Duration::from_nanos(probes_ns),
            cpu: Duration::from_nanos(cpu_ns),
            limit,
        }),
        descriptors: descriptors::from_rows(&mut reader, now, &stack)?,
    };
    let decoded = Decoded { snapshot, lost_windows: head.lost_windows, unknown: reader.unknown + unknown };
    sums::check(&decoded.snapshot)?;
    Ok(decoded)
}
