//! A heap profile in pprof's format, as Go's are: `go tool pprof`, speedscope, Pyroscope and Grafana read it.
//!
//! The values of each site are `alloc_objects`, `alloc_space`, `inuse_objects` and `inuse_space`; its labels are `tgid`,
//! `kind`, `verdict` where there is one, and `incomplete` where the stack is not whole. Frames without a function are named by module and offset, since
//! most readers leave out what has no name. Of page faults the values are `faults` and `faulted`, both estimates.

mod message;
mod tables;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use tracer_common::stack::StackEnd;

use self::{
    message::{Label, Profile, Sample, ValueType},
    tables::{Mappings, Tables},
};
use super::{By, names::target_name, own_memory};
use crate::{
    aggregate::{BlockCounters, LossCount, SiteSnapshot, Snapshot},
    report::{units::count, untrusted::displayable, words::loss_words},
};

/// Writes the profile, compressed by gzip as the format has it. `by` is what readers show first; what they cannot show is
/// shown as [`By::Inuse`].
pub fn write_pprof(snapshot: &Snapshot, by: By, out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(&profile(snapshot, by).encode_to_vec())?;
    encoder.finish()?.flush()
}

fn profile(snapshot: &Snapshot, by: By) -> Profile {
    let mut tables = Tables::new(Mappings::of(snapshot));
    let sample = own_memory(snapshot).map(|site| sample(site, &mut tables)).collect();
    let mut value = |name, unit| ValueType { r#type: tables.text(name), unit: tables.text(unit) };
    let sample_type = if snapshot.growth.is_some() {
        vec![value("faults", "count"), value("faulted", "bytes")]
    } else {
        vec![
            value("alloc_objects", "count"),
            value("alloc_space", "bytes"),
            value("inuse_objects", "count"),
            value("inuse_space", "bytes"),
        ]
    };
    let period_type = Some(if snapshot.growth.is_some() { value("faults", "count") } else { value("space", "bytes") });
    let default_sample_type = tables.text(match by {
        By::Objects if snapshot.growth.is_some() => "faults",
        _ if snapshot.growth.is_some() => "faulted",
        By::Inuse | By::Growth => "inuse_space",
        By::Objects => "inuse_objects",
        By::Alloc => "alloc_space",
    });
    let comment = comments(snapshot).iter().map(|text| tables.text(text)).collect();
    let (mapping, location, function, string_table) = tables.into_messages();
    Profile {
        sample_type,
        sample,
        mapping,
        location,
        function,
        string_table,
        drop_frames: 0,
        keep_frames: 0,
        time_nanos: i64::try_from(snapshot.started.as_nanosecond()).unwrap_or_default(),
        duration_nanos: i64::try_from(snapshot.elapsed.as_nanos()).unwrap_or(i64::MAX),
        period_type,
        // Every block is counted, and one page fault in many.
        period: snapshot.growth.as_ref().map_or(1, |faults| i64::try_from(faults.period).unwrap_or(i64::MAX)),
        comment,
        default_sample_type,
    }
}

fn sample(site: &SiteSnapshot, tables: &mut Tables<'_>) -> Sample {
    let SiteSnapshot {
        id: _,
        tgid,
        kind,
        counters,
        faulted,
        sampled: _,
        oldest: _,
        stack,
        verdict,
        ages: _,
        sizes: _,
        suppressed: _,
    } = site;
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes: _, free_objects: _ } = *counters;
    let values = match faulted {
        Some(_) => vec![alloc_objects, alloc_bytes],
        None => vec![alloc_objects, alloc_bytes, counters.inuse_objects(), counters.inuse_bytes()],
    };
    let mut label = vec![
        Label { key: tables.text("tgid"), num: tgid.0.into(), ..Default::default() },
        Label { key: tables.text("kind"), str: tables.text(kind.name()), ..Default::default() },
    ];
    if stack.end != StackEnd::Complete {
        let (key, str) = (tables.text("incomplete"), tables.text(stack.end.name()));
        label.push(Label { key, str, ..Default::default() });
    }
    if let Some(verdict) = verdict {
        let (key, str) = (tables.text("verdict"), tables.text(verdict.label.name()));
        label.push(Label { key, str, ..Default::default() });
    }
    Sample {
        location_id: tables.stack(stack),
        value: values.into_iter().map(|value| i64::try_from(value).unwrap_or(i64::MAX)).collect(),
        label,
    }
}

/// Whose profile it is, and what is not in it.
fn comments(snapshot: &Snapshot) -> Vec<String> {
    let mut comments = vec![
        format!("leaktrace {}: {}", env!("CARGO_PKG_VERSION"), target_name(snapshot)),
        displayable(&snapshot.target.cmdline.join(" ")).into_owned(),
    ];
    let lost = |&LossCount { cause, count: lost }: &LossCount| format!("LOSS: {} {}", count(lost), loss_words(cause));
    comments.extend(snapshot.loss.iter().map(lost));
    comments
}
