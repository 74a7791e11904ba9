//! What is different between two runs, by call site: across restarts, rebuilds and machines.
//!
//! In: two [`Side`]s, each of a Snapshot or of a JSON report. Out: a [`Diff`], as text or JSON. Sites are the same when their
//! stacks are the same by name (`key`): not by address or line, which a rebuild changes. Only what is outstanding is
//! compared; a site that holds nothing is as good as none.

mod json;
mod key;
mod parse;
mod rules;
mod side;
#[cfg(test)]
mod tests;
mod text;

use std::{cmp::Reverse, collections::BTreeMap, collections::HashMap, sync::Arc};

use tracer_common::event::SiteKind;

use self::key::Key;
use crate::symbolize::Stack;

pub use json::{DIFF_SCHEMA, write_diff_json};
pub use parse::{ParseError, parse_report};
pub use rules::DiffRule;
pub use side::{Held, Side, SideSite};
pub use text::write_diff_text;

/// What became of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It holds something only after.
    New,
    /// It holds more after.
    Grown,
    /// It holds less after.
    Shrunk,
    /// It held something only before.
    Gone,
}

impl Change {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::New, Self::Grown, Self::Shrunk, Self::Gone];

    /// The name in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grown => "grown",
            Self::Shrunk => "shrunk",
            Self::Gone => "gone",
        }
    }

    /// `None` when nothing changed.
    fn of(before: Held, after: Held) -> Option<Self> {
        match (before.is_nothing(), after.is_nothing()) {
            (true, true) => None,
            (true, false) => Some(Self::New),
            (false, true) => Some(Self::Gone),
            (false, false) => match (after.bytes, after.objects).cmp(&(before.bytes, before.objects)) {
                std::cmp::Ordering::Less => Some(Self::Shrunk),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(Self::Grown),
            },
        }
    }
}

/// A site that is different.
#[derive(Clone, Debug)]
pub struct Difference {
    /// In one word.
    pub change: Change,
    /// What it acquires.
    pub kind: SiteKind,
    /// What it held before.
    pub before: Held,
    /// What it held after.
    pub after: Held,
    /// Its stack, after if it was there then. The first of those that count as the same.
    pub stack: Arc<Stack>,
}

impl Difference {
    /// By how many bytes, and by how many blocks, mappings or descriptors.
    fn size(&self) -> (u64, u64) {
        let Self { before, after, .. } = self;
        (before.bytes.abs_diff(after.bytes), before.objects.abs_diff(after.objects))
    }
}

/// What all sites of a kind hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Before.
    pub before: Held,
    /// After.
    pub after: Held,
}

/// What is different between two runs.
#[derive(Clone, Debug)]
pub struct Diff {
    /// Sites that changed: memory first, then descriptors, of each the largest change first.
    pub sites: Vec<Difference>,
    /// How many did not.
    pub same: usize,
    /// Memory was compared: both sides traced it.
    pub heap: bool,
    /// Descriptors were.
    pub fds: bool,
    /// Sums over all sites, by kind; of those that were compared.
    pub sums: BTreeMap<SiteKind, Sums>,
    /// What to bear in mind, in words.
    pub notes: Vec<String>,
}

impl Diff {
    /// How many sites changed in this way.
    pub fn count(&self, change: Change) -> usize {
        self.sites.iter().filter(|site| site.change == change).count()
    }
}

/// Both sides of a site.
#[derive(Default)]
struct Pair {
    before: Held,
    after: Held,
    stack: Option<Arc<Stack>>,
}

/// Compares two runs.
pub fn diff(before: &Side, after: &Side) -> Diff {
    let mut pairs: HashMap<(SiteKind, Key), Pair> = HashMap::new();
    let mut sums: BTreeMap<SiteKind, Sums> = BTreeMap::new();
    let is_compared = |kind: SiteKind| before.traces(kind) && after.traces(kind);
    let (heap, fds) = (is_compared(SiteKind::Heap), is_compared(SiteKind::Fd));
    // After first: its stacks are the ones to look at.
    for (side, is_after) in [(after, true), (before, false)] {
        for SideSite { kind, held, exe, stack } in side.sites.iter().filter(|site| is_compared(site.kind)) {
            if held.is_nothing() {
                continue;
            }
            let pair = pairs.entry((*kind, Key::new(stack, exe))).or_default();
            let sum = sums.entry(*kind).or_default();
            *(if is_after { &mut pair.after } else { &mut pair.before }) += *held;
            *(if is_after { &mut sum.after } else { &mut sum.before }) += *held;
            pair.stack.get_or_insert_with(|| Arc::clone(stack));
        }
    }
    let all = pairs.len();
    let different = |((kind, key), pair): ((SiteKind, Key), Pair)| {
        let Pair { before, after, stack } = pair;
        let difference = Difference { change: Change::of(before, after)?, kind, before, after, stack: stack? };
        Some((difference, key))
    };
    let mut sites: Vec<(Difference, Key)> = pairs.into_iter().filter_map(different).collect();
    // The stack decides last, so that the order does not depend on chance.
    sites.sort_by_cached_key(|(site, key)| (site.kind == SiteKind::Fd, Reverse(site.size()), site.kind, key.clone()));
    let same = all - sites.len();
    let sites = sites.into_iter().map(|(site, _)| site).collect();
    Diff { sites, same, heap, fds, sums, notes: side::notes(before, after) }
}
