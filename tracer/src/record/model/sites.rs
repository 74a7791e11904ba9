//! Call sites of memory, with what rows of their own say of each.

use std::{collections::HashMap, sync::Arc};

use prost::Message;
use tracer_common::event::SiteKind;

use super::{RowReader, ages, kind, sampling, sizes, time::Moment, verdicts};
use crate::{
    aggregate::{BlockCounters, Faulted, Sampled, SiteId, SiteSnapshot, Tgid},
    analyze::{sizes::Sizes, survival::Ages, verdict::Verdict},
    record::{error::Malformed, rows::Rows},
    symbolize::Stack,
};

/// Keyed by the site.
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

/// Adds a site, without its stack.
pub(super) fn to_rows(site: &SiteSnapshot, now: Moment, rows: &mut Rows) {
    let SiteSnapshot { id, tgid, kind, counters, faulted, sampled, oldest, stack: _, verdict, ages, sizes, suppressed } =
        site;
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
    verdicts::to_row(kind::VERDICT, *id, verdict.as_deref(), rows);
    ages::to_row(kind::AGES, *id, ages.as_deref(), rows);
    sizes::to_row(kind::SIZES, *id, sizes.as_deref(), rows);
    sampling::site_to_row(kind::SAMPLED, *id, sampled.as_deref(), rows);
}

/// The sites in their order, with their stacks from `stack`. A page fault that was looked at stands for `period`.
pub(super) fn from_rows(
    reader: &mut RowReader<'_>,
    period: u64,
    now: Moment,
    stack: impl Fn(SiteId) -> Arc<Stack>,
) -> Result<Vec<SiteSnapshot>, Malformed> {
    let mut judged = Judged {
        verdicts: verdicts::from_rows(reader, kind::VERDICT)?,
        ages: ages::from_rows(reader, kind::AGES)?,
        sizes: sizes::from_rows(reader, kind::SIZES)?,
        sampled: sampling::sites_from_rows(reader, kind::SAMPLED)?,
    };
    let mut sites = reader.all(kind::SITE, |key, row| site(key, &row, period, now, &stack, &mut judged))?;
    sites.sort_by_key(SiteSnapshot::order);
    Ok(sites)
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
