//! The difference for programs: one object, schema [`DIFF_SCHEMA`].

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{Change, Diff, Difference, Held, Side, Sums};
use crate::report::json::JsonFrame;

/// Name and version of the schema.
pub const DIFF_SCHEMA: &str = "leaktrace-diff/1";

#[derive(Serialize)]
struct JsonDiff<'a> {
    schema: &'static str,
    before: JsonSide<'a>,
    after: JsonSide<'a>,
    /// By kind.
    totals: BTreeMap<&'static str, JsonChange>,
    /// How many sites.
    counts: BTreeMap<&'static str, usize>,
    notes: &'a [String],
    sites: Vec<JsonDifference<'a>>,
}

#[derive(Serialize)]
struct JsonSide<'a> {
    file: &'a str,
    pid: u32,
    comm: &'a str,
    started: &'a str,
    elapsed_s: f64,
    traced: Vec<&'static str>,
}

impl<'a> From<&'a Side> for JsonSide<'a> {
    fn from(side: &'a Side) -> Self {
        let Side { source, comm, pid, started, elapsed, heap, growth, fds, sites: _ } = side;
        let traced = [("heap", *heap), ("growth", *growth), ("fds", *fds)];
        Self {
            file: source,
            pid: pid.0,
            comm,
            started,
            elapsed_s: elapsed.as_secs_f64(),
            traced: traced.into_iter().filter_map(|(what, traced)| traced.then_some(what)).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonHeld {
    bytes: u64,
    objects: u64,
}

impl From<Held> for JsonHeld {
    fn from(held: Held) -> Self {
        let Held { bytes, objects } = held;
        Self { bytes, objects }
    }
}

/// Of descriptors, `objects` are descriptors, and there are no bytes.
#[derive(Serialize)]
struct JsonChange {
    before: JsonHeld,
    after: JsonHeld,
    change_bytes: i64,
    change_objects: i64,
}

impl JsonChange {
    fn new(before: Held, after: Held) -> Self {
        Self {
            change_bytes: signed(before.bytes, after.bytes),
            change_objects: signed(before.objects, after.objects),
            before: before.into(),
            after: after.into(),
        }
    }
}

fn signed(before: u64, after: u64) -> i64 {
    let size = i64::try_from(before.abs_diff(after)).unwrap_or(i64::MAX);
    if after < before { -size } else { size }
}

#[derive(Serialize)]
struct JsonDifference<'a> {
    change: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    held: JsonChange,
    stack: &'static str,
    frames: Vec<JsonFrame<'a>>,
}

impl<'a> From<&'a Difference> for JsonDifference<'a> {
    fn from(site: &'a Difference) -> Self {
        let Difference { change, kind, before, after, stack } = site;
        Self {
            change: change.name(),
            kind: kind.name(),
            held: JsonChange::new(*before, *after),
            stack: stack.end.name(),
            frames: stack.frames.iter().map(JsonFrame::from).collect(),
        }
    }
}

/// Writes all changes as one indented JSON object and a final newline.
///
/// # Errors
/// Those of `out`.
pub fn write_diff_json(diff: &Diff, before: &Side, after: &Side, out: &mut dyn Write) -> io::Result<()> {
    let Diff { sites, same, heap: _, fds: _, sums, notes } = diff;
    let counts = Change::ALL.map(|change| (change.name(), diff.count(change)));
    let document = JsonDiff {
        schema: DIFF_SCHEMA,
        before: before.into(),
        after: after.into(),
        totals: sums
            .iter()
            .map(|(kind, Sums { before, after })| (kind.name(), JsonChange::new(*before, *after)))
            .collect(),
        counts: counts.into_iter().chain([("same", *same)]).collect(),
        notes,
        sites: sites.iter().map(JsonDifference::from).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}
