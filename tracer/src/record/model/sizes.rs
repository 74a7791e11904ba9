//! Sizes of a site's outstanding blocks. Apart from their ages, because these change although nothing happens.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use super::RowReader;
use crate::{
    aggregate::SiteId,
    analyze::sizes::{SizeBucket, Sizes},
    record::{error::Malformed, rows::Rows},
};

/// Keyed by its site. The three lists go together.
#[derive(Clone, PartialEq, Message)]
struct SizesRow {
    #[prost(uint32, repeated, tag = "1")]
    bits: Vec<u32>,
    #[prost(uint64, repeated, tag = "2")]
    objects: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    bytes: Vec<u64>,
}

/// Adds the sizes of a site's blocks, if they are known.
pub(super) fn to_row(kind: u32, id: SiteId, sizes: Option<&Sizes>, rows: &mut Rows) {
    let Some(sizes) = sizes else { return };
    let mut row = SizesRow::default();
    for bucket in sizes.buckets() {
        row.bits.push(bucket.bits().into());
        row.objects.push(bucket.objects);
        row.bytes.push(bucket.bytes);
    }
    rows.add(kind, u64::from(id.0), &row);
}

/// The sizes of a kind, by their sites.
pub(super) fn from_rows(reader: &mut RowReader<'_>, kind: u32) -> Result<HashMap<SiteId, Arc<Sizes>>, Malformed> {
    let sizes = reader.all(kind, |key, SizesRow { bits, objects, bytes }| {
        if bits.len() != objects.len() || bits.len() != bytes.len() {
            return None;
        }
        let mut sizes = Sizes::default();
        for (bits, (objects, bytes)) in bits.into_iter().zip(objects.into_iter().zip(bytes)) {
            sizes.add_all(SizeBucket::new(u8::try_from(bits).ok()?, objects, bytes)?);
        }
        Some((SiteId(u32::try_from(key).ok()?), Arc::new(sizes)))
    })?;
    Ok(sizes.into_iter().collect())
}
