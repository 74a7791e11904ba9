//! Recordings of made-up runs: what is written is read, and what is cut off, damaged or newer is told.

mod damage;
mod round_trip;
pub(crate) mod runs;

use std::{io::Cursor, sync::Arc};

use super::{Recording, Writer};
use crate::aggregate::Snapshot;

/// The bytes of a recording, and where each window ends.
pub(super) fn record(run: &[Snapshot]) -> (Vec<u8>, Vec<usize>) {
    let mut writer = Writer::new(Vec::new()).expect("memory takes everything");
    let mut ends = Vec::new();
    for snapshot in run {
        writer.write(snapshot, 0).expect("memory takes everything");
        ends.push(writer.get_ref().len());
    }
    (writer.into_inner(), ends)
}

pub(super) type InMemory = Recording<Cursor<Vec<u8>>>;

pub(super) fn open(bytes: &[u8]) -> InMemory {
    Recording::open(Cursor::new(bytes.to_vec())).expect("a recording")
}

/// All of a Snapshot, to be compared: floating-point numbers are written so that they can be told apart.
pub(super) fn text(snapshot: &Snapshot) -> String {
    format!("{snapshot:#?}")
}

/// The run with the stacks that its sites have at the end: names that come later hold for what was before.
pub(super) fn named(run: &[Snapshot]) -> Vec<Snapshot> {
    let mut last = std::collections::HashMap::new();
    for snapshot in run {
        let descriptors = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites);
        last.extend(descriptors.map(|site| (site.id, Arc::clone(&site.stack))));
        last.extend(snapshot.sites.iter().map(|site| (site.id, Arc::clone(&site.stack))));
    }
    let mut run = run.to_vec();
    for snapshot in &mut run {
        for site in &mut snapshot.sites {
            site.stack = Arc::clone(&last[&site.id]);
        }
        for site in snapshot.descriptors.iter_mut().flat_map(|descriptors| &mut descriptors.sites) {
            site.stack = Arc::clone(&last[&site.id]);
        }
    }
    run
}
