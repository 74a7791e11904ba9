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
mod sampling;
mod signals;
mod sizes;
mod sums;
mod time;
mod verdicts;

use std::{collections::HashMap, sync::Arc, time::Duration};

use prost::Message;
use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    stack::StackEnd,
};

use self::time::Moment;
use super::{
    error::Malformed,
    format::nanos,
    limits::{LIST, ROW_BYTES},
    rows::Rows,
};
use crate::{
    aggregate::{
        BlockCounters, Ending, Faulted, Feature, IncompleteCount, LossCount, Note, Overhead, OwnCost, ProbeStatus,
        ProcessSnapshot, Rates, Sampled, SiteId, SiteSnapshot, Snapshot, StatCount, Suppressed, TargetInfo,
        TargetState, Tgid,
    },
    analyze::{sizes::Sizes, survival::Ages, verdict::Verdict},
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
struct Target {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(string, tag = "2")]
    comm: String,
    #[prost(string, tag = "3")]
    exe: String,
    #[prost(string, repeated, tag = "4")]
    cmdline: Vec<String>,
}

impl From<&TargetInfo> for Target {
    fn from(target: &TargetInfo) -> Self {
        let TargetInfo { pid, comm, exe, cmdline } = target;
        Self { pid: pid.0, comm: comm.clone(), exe: exe.clone(), cmdline: cmdline.clone() }
    }
}

impl From<Target> for TargetInfo {
    fn from(target: Target) -> Self {
        let Target { pid, comm, exe, mut cmdline } = target;
        cmdline.truncate(LIST);
        Self { pid: Tgid(pid), comm, exe, cmdline }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ProcessRow {
    #[prost(message, optional, tag = "1")]
    info: Option<Target>,
    #[prost(uint32, optional, tag = "2")]
    parent: Option<u32>,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(uint64, tag = "4")]
    began_ns: u64,
    #[prost(uint64, optional, tag = "5")]
    ended_ns: Option<u64>,
    #[prost(uint64, tag = "6")]
    unseen_ns: u64,
    #[prost(message, optional, tag = "7")]
    totals: Option<Counters>,
    #[prost(uint64, optional, tag = "8")]
    fds: Option<u64>,
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
struct ProbeRow {
    #[prost(string, tag = "1")]
    module: String,
    #[prost(string, tag = "2")]
    symbol: String,
    #[prost(uint64, tag = "3")]
    offset: u64,
    #[prost(string, tag = "4")]
    kind: String,
}

/// Of all probes, in their order: apart from them, because the rest does not change.
#[derive(Clone, PartialEq, Message)]
struct HitsRow {
    #[prost(uint64, repeated, tag = "1")]
    hits: Vec<u64>,
    /// What a hit costs, in nanoseconds and 1; 0 where that is not known.
    #[prost(uint64, repeated, tag = "2")]
    costs: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct SiteRow {
    #[prost(uint32, tag = "1")]
    tgid: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint64, tag = "3")]
    alloc_bytes: u64,
    #[prost(uint64, tag = "4")]
    alloc_objects: u64,
    #[prost(uint64, tag = "5")]
    free_bytes: u64,
    #[prost(uint64, tag = "6")]
    free_objects: u64,
    #[prost(sint64, optional, tag = "7")]
    oldest: Option<i64>,
    #[prost(bool, tag = "8")]
    suppressed: bool,
    /// Page faults that were looked at.
    #[prost(uint64, optional, tag = "16")]
    samples: Option<u64>,
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
        rows.add(kind::PROCESS, place, &ProcessRow::from(process));
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
    for (place, ProbeStatus { module, symbol, offset, kind, hits: _, cost: _ }) in (0..).zip(probes) {
        let (module, symbol, kind) = (module.clone(), symbol.clone(), (*kind).to_owned());
        rows.add(kind::PROBE, place, &ProbeRow { module, symbol, offset: *offset, kind });
    }
    if !probes.is_empty() {
        let hits = probes.iter().map(|probe| probe.hits).collect();
        let costs = probes.iter().map(|probe| probe.cost.map_or(0, |cost| nanos(cost).saturating_add(1))).collect();
        rows.add(kind::HITS, 0, &HitsRow { hits, costs });
    }
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
        let SiteSnapshot {
            id,
            tgid,
            kind,
            counters,
            faulted,
            sampled,
            oldest,
            stack: _,
            verdict,
            ages,
            sizes,
            suppressed,
        } = site;
        let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *counters;
        let row = SiteRow {
            tgid: tgid.0,
            kind: kind.code(),
            alloc_bytes,
            alloc_objects,
            free_bytes,
            free_objects,
            oldest: oldest.map(|age| now.before(age)),
            suppressed: *suppressed,
            samples: faulted.map(|faulted| faulted.samples),
        };
        rows.add(kind::SITE, u64::from(id.0), &row);
        verdicts::to_row(kind::VERDICT, *id, verdict.as_deref(), &mut rows);
        ages::to_row(kind::AGES, *id, ages.as_deref(), &mut rows);
        sizes::to_row(kind::SIZES, *id, sizes.as_deref(), &mut rows);
        sampling::site_to_row(kind::SAMPLED, *id, sampled.as_deref(), &mut rows);
    }
    if let Some(descriptors) = descriptors {
        descriptors::to_rows(descriptors, now, &mut rows);
    }
    rows.sort();
    rows
}

impl From<&ProcessSnapshot> for ProcessRow {
    fn from(process: &ProcessSnapshot) -> Self {
        let ProcessSnapshot { info, parent, state, began, ended, unseen, totals, fds } = process;
        Self {
            info: Some(info.into()),
            parent: parent.map(|parent| parent.0),
            state: codes::of_state(state),
            began_ns: nanos(*began),
            ended_ns: ended.map(nanos),
            unseen_ns: nanos(*unseen),
            totals: Some((*totals).into()),
            fds: *fds,
        }
    }
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
    let hits = reader.one::<HitsRow>(kind::HITS)?.unwrap_or_default();
    let mut judged = Judged {
        verdicts: verdicts::from_rows(&mut reader, kind::VERDICT)?,
        ages: ages::from_rows(&mut reader, kind::AGES)?,
        sizes: sizes::from_rows(&mut reader, kind::SIZES)?,
        sampled: sampling::sites_from_rows(&mut reader, kind::SAMPLED)?,
    };
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
        processes: reader.all(kind::PROCESS, |_, row| process(row))?,
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
        sites: reader.all(kind::SITE, |key, row| site(key, &row, period, now, &stack, &mut judged))?,
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
        probes: reader.all(kind::PROBE, |place, row| probe(row, usize::try_from(place).ok()?, &hits))?,
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
    let mut decoded = Decoded { snapshot, lost_windows: head.lost_windows, unknown: reader.unknown + unknown };
    decoded.snapshot.sites.sort_by_key(SiteSnapshot::order);
    sums::check(&decoded.snapshot)?;
    Ok(decoded)
}

fn process(row: ProcessRow) -> Option<ProcessSnapshot> {
    let ProcessRow { info, parent, state, began_ns, ended_ns, unseen_ns, totals, fds } = row;
    Some(ProcessSnapshot {
        info: info?.into(),
        parent: parent.map(Tgid),
        state: codes::state(state)?,
        began: Duration::from_nanos(began_ns),
        ended: ended_ns.map(Duration::from_nanos),
        unseen: Duration::from_nanos(unseen_ns),
        totals: totals.unwrap_or_default().into(),
        fds,
    })
}

fn probe(row: ProbeRow, place: usize, HitsRow { hits, costs }: &HitsRow) -> Option<ProbeStatus> {
    let ProbeRow { module, symbol, offset, kind } = row;
    let hits = hits.get(place).copied().unwrap_or_default();
    let cost = costs.get(place).and_then(|cost| cost.checked_sub(1)).map(Duration::from_nanos);
    Some(ProbeStatus { module, symbol, offset, kind: codes::probe_kind(&kind)?, hits, cost })
}

/// What was found out about sites.
struct Judged {
    verdicts: HashMap<SiteId, Arc<Verdict>>,
    ages: HashMap<SiteId, Arc<Ages>>,
    sizes: HashMap<SiteId, Arc<Sizes>>,
    sampled: HashMap<SiteId, Box<Sampled>>,
}

fn site(
    key: u64,
    row: &SiteRow,
    period: u64,
    now: Moment,
    stack: impl Fn(SiteId) -> Arc<Stack>,
    Judged { verdicts, ages, sizes, sampled }: &mut Judged,
) -> Option<SiteSnapshot> {
    let SiteRow { tgid, kind, alloc_bytes, alloc_objects, free_bytes, free_objects, oldest, suppressed, samples } =
        *row;
    let id = SiteId(u32::try_from(key).ok()?);
    Some(SiteSnapshot {
        id,
        tgid: Tgid(tgid),
        kind: SiteKind::try_from(kind).ok()?,
        counters: BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects },
        faulted: samples.map(|samples| Faulted { samples, period }),
        sampled: sampled.remove(&id),
        oldest: oldest.map(|born| now.since(born)),
        stack: stack(id),
        verdict: verdicts.remove(&id),
        ages: ages.remove(&id),
        sizes: sizes.remove(&id),
        suppressed,
    })
}
