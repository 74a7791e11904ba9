//! Ages of a site's blocks. Apart from the sites' rows, because either changes without the other.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use super::RowReader;
use crate::{
    aggregate::SiteId,
    analyze::survival::{AGE_BUCKETS, Ages},
    record::{error::Malformed, rows::Rows},
};

/// Keyed by its site. Buckets at the end that have none are left out.
#[derive(Clone, PartialEq, Message)]
struct AgesRow {
    #[prost(uint64, repeated, tag = "1")]
    freed: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    live: Vec<u64>,
}

/// Adds the ages of a site's blocks, if they are known.
pub(super) fn to_row(kind: u32, id: SiteId, ages: Option<&Ages>, rows: &mut Rows) {
    let Some(Ages { freed, live }) = ages else { return };
    let used = |buckets: &[u64; AGE_BUCKETS]| {
        let end = buckets.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        buckets[..end].to_vec()
    };
    rows.add(kind, u64::from(id.0), &AgesRow { freed: used(freed), live: used(live) });
}

/// The ages of a kind, by their sites.
pub(super) fn from_rows(reader: &mut RowReader<'_>, kind: u32) -> Result<HashMap<SiteId, Arc<Ages>>, Malformed> {
    fn buckets(counts: &[u64]) -> Option<[u64; AGE_BUCKETS]> {
        let mut all = [0; AGE_BUCKETS];
        all.get_mut(..counts.len())?.copy_from_slice(counts);
        Some(all)
    }
    let ages = reader.all(kind, |key, AgesRow { freed, live }| {
        let ages = Ages { freed: buckets(&freed)?, live: buckets(&live)? };
        Some((SiteId(u32::try_from(key).ok()?), Arc::new(ages)))
    })?;
    Ok(ages.into_iter().collect())
}
