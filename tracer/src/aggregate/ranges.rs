//! Ranges: what processes mapped by themselves since the attach, by the call stack that mapped it.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracer_common::heap::{AGE_BUCKETS, age_bucket};

use super::{BlockCounters, SiteId, SiteMap, Tgid};
use crate::analyze::{sizes::Sizes, survival::LiveAges};

/// Bytes of a page: the kernel rounds lengths up to it.
const PAGE: u64 = 4096;
/// From the kernel's `include/uapi/linux/mman.h`.
const MREMAP_DONTUNMAP: u32 = 4;
/// A thread that unmaps a range is announced when its call returns. Meanwhile the kernel may have given the addresses to
/// another thread, which is announced earlier. So what one thread unmaps so soon after another one mapped it is
/// remembered until a look at the mappings tells.
const DOUBTFUL: Duration = Duration::from_millis(100);
/// Ranges in doubt that are remembered.
const MOST_DOUBTS: usize = 4096;

/// A change of a process's mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeChange {
    /// The process.
    pub tgid: Tgid,
    /// The thread.
    pub tid: u32,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What happened.
    pub turn: RangeTurn,
}

/// What happened to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RangeTurn {
    /// It was mapped.
    Mapped {
        /// Where.
        start: u64,
        /// Bytes.
        len: u64,
        /// By whom; `None` when that was lost.
        site: Option<SiteId>,
    },
    /// It was unmapped.
    Unmapped {
        /// Where.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// It was resized or moved.
    Remapped {
        /// Where it was.
        old_start: u64,
        /// Bytes it had.
        old_len: u64,
        /// Where it is.
        start: u64,
        /// Bytes it has.
        len: u64,
        /// The call's flags.
        flags: u32,
        /// By whom; `None` when it did not grow, or that was lost.
        site: Option<SiteId>,
    },
    /// The data segment ends elsewhere.
    BreakMoved {
        /// Its end.
        end: u64,
        /// By whom; `None` when it was the allocator.
        site: Option<SiteId>,
    },
}

/// What one call mapped, or is left of it.
#[derive(Debug)]
struct Mapping {
    site: SiteId,
    born_ns: u64,
    tid: u32,
    /// Bytes that are still mapped.
    bytes: u64,
    /// There may be doubts about others of its bytes.
    is_doubted: bool,
}

/// Index of a [`Mapping`].
type MappingId = u64;

/// A part of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    mapping: MappingId,
}

/// What was taken out, and may have been mapped again before.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    end: u64,
    mapping: MappingId,
    site: SiteId,
    born_ns: u64,
    tid: u32,
    /// When the mapping ended by that.
    ended_ns: u64,
    /// When it was unmapped last: what was mapped before says nothing.
    unmapped_ns: u64,
}

/// The ranges of one process.
#[derive(Debug, Default)]
struct Process {
    /// By their starts; they do not overlap.
    pieces: BTreeMap<u64, Piece>,
    mappings: HashMap<MappingId, Mapping>,
    next: MappingId,
    /// Where the data segment ends; `None` before that is known.
    break_end: Option<u64>,
    /// By their starts; they overlap neither each other nor the pieces.
    doubts: BTreeMap<u64, Doubt>,
}

/// The ranges of all processes, and the counters of their sites.
#[derive(Debug, Default)]
pub struct Ranges {
    processes: HashMap<Tgid, Process>,
    counters: HashMap<SiteId, BlockCounters>,
    deaths: HashMap<SiteId, [u64; AGE_BUCKETS]>,
    corrections: u64,
}

impl Ranges {
    /// Says where a process's data segment ends, before anything else is said of it.
    pub fn begin(&mut self, tgid: Tgid, break_end: Option<u64>) {
        self.end(tgid);
        self.processes.insert(tgid, Process { break_end, ..Process::default() });
    }

    /// Nobody sees what is mapped and unmapped from now on: what is there is as if it never had been.
    pub fn lose(&mut self) {
        for process in self.processes.values_mut() {
            for mapping in std::mem::take(process).mappings.into_values() {
                let counters = self.counters.entry(mapping.site).or_default();
                counters.alloc_bytes = counters.alloc_bytes.saturating_sub(mapping.bytes);
                counters.alloc_objects = counters.alloc_objects.saturating_sub(1);
            }
        }
    }

    /// A process forked: the child has the same data segment.
    pub fn fork(&mut self, parent: Tgid, child: Tgid) {
        let break_end = self.processes.get(&parent).and_then(|process| process.break_end);
        self.begin(child, break_end);
    }

    /// Takes a change.
    pub fn apply(&mut self, change: RangeChange) {
        let RangeChange { tgid, tid, time_ns, turn } = change;
        let process = self.processes.entry(tgid).or_default();
        let mut ledger = Ledger { counters: &mut self.counters, deaths: &mut self.deaths, tid, now_ns: time_ns };
        match turn {
            RangeTurn::Mapped { start, len, site } => {
                let part = start..page_end(start, len);
                process.replace(&part, &mut ledger);
                if let Some(site) = site {
                    process.add(part, site, &mut ledger);
                }
            }
            RangeTurn::Unmapped { start, len } => process.remove(&(start..page_end(start, len)), &mut ledger),
            RangeTurn::Remapped { old_start, old_len, start, len, flags, site } => {
                let (old, new) = (old_start..page_end(old_start, old_len), start..page_end(start, len));
                process.remap(&old, &new, flags & MREMAP_DONTUNMAP != 0, site, &mut ledger);
            }
            RangeTurn::BreakMoved { end, site } => process.move_break(end, site, &mut ledger),
        }
    }

    /// A process replaced its program, or is gone: its ranges went with it.
    pub fn end(&mut self, tgid: Tgid) {
        let Some(process) = self.processes.remove(&tgid) else { return };
        for mapping in process.mappings.values() {
            let counters = self.counters.entry(mapping.site).or_default();
            counters.free_bytes += mapping.bytes;
            counters.free_objects += 1;
        }
    }

    /// Compares with the mappings that a process had at `read_ns`, all changes up to some time after it having been taken.
    /// `mapped` is in order. What is not mapped any more was unmapped unseen; what is in doubt and mapped was mapped again.
    pub fn compare(&mut self, tgid: Tgid, mapped: &[Range<u64>], read_ns: u64) {
        let Some(process) = self.processes.get_mut(&tgid) else { return };
        let mut ledger = Ledger { counters: &mut self.counters, deaths: &mut self.deaths, tid: 0, now_ns: read_ns };
        let gaps = gaps(mapped);
        let gone: Vec<Range<u64>> = process
            .pieces
            .iter()
            .filter(|(_, piece)| process.mappings[&piece.mapping].born_ns < read_ns)
            .flat_map(|(start, piece)| overlaps(&gaps, *start..piece.end))
            .collect();
        self.corrections += gone.len() as u64;
        for part in &gone {
            process.remove(part, &mut ledger);
        }
        for (start, doubt) in std::mem::take(&mut process.doubts) {
            if doubt.unmapped_ns >= read_ns {
                process.doubts.insert(start, doubt);
            } else if overlaps(&gaps, start..doubt.end).is_empty() {
                process.put_back(start, doubt, &mut ledger);
                self.corrections += 1;
            }
        }
    }

    /// Whether a look at the mappings is worth while.
    pub fn is_in_doubt(&self, tgid: Tgid) -> bool {
        self.processes.get(&tgid).is_some_and(|process| !process.doubts.is_empty())
    }

    /// The counters of a site: bytes, and calls that mapped.
    pub fn counters(&self, site: SiteId) -> BlockCounters {
        self.counters.get(&site).copied().unwrap_or_default()
    }

    /// When the oldest mapping of each site that is left was made.
    pub fn oldest_born_ns(&self) -> SiteMap<u64> {
        let mut oldest = SiteMap::default();
        for mapping in self.processes.values().flat_map(|process| process.mappings.values()) {
            let born = oldest.entry(mapping.site).or_insert(mapping.born_ns);
            *born = (*born).min(mapping.born_ns);
        }
        oldest
    }

    /// The ages of each site's mappings: of those that are left, and at which others ended.
    pub fn ages(&self, now_ns: u64) -> SiteMap<(LiveAges, [u64; AGE_BUCKETS])> {
        let mut ages = SiteMap::default();
        for mapping in self.processes.values().flat_map(|process| process.mappings.values()) {
            let deaths = || self.deaths.get(&mapping.site).copied().unwrap_or([0; AGE_BUCKETS]);
            let (live, _) = ages.entry(mapping.site).or_insert_with(|| (LiveAges::default(), deaths()));
            live.add(now_ns.saturating_sub(mapping.born_ns), mapping.bytes);
        }
        ages
    }

    /// The sizes of each site's mappings that are left.
    pub fn sizes(&self) -> SiteMap<Sizes> {
        let mut sizes: SiteMap<Sizes> = SiteMap::default();
        for mapping in self.processes.values().flat_map(|process| process.mappings.values()) {
            sizes.entry(mapping.site).or_default().add(mapping.bytes);
        }
        sizes
    }

    /// What comparing has put right.
    pub fn corrections(&self) -> u64 {
        self.corrections
    }
}

/// What a change is booked to.
struct Ledger<'a> {
    counters: &'a mut HashMap<SiteId, BlockCounters>,
    deaths: &'a mut HashMap<SiteId, [u64; AGE_BUCKETS]>,
    tid: u32,
    now_ns: u64,
}

impl Ledger<'_> {
    fn of(&mut self, site: SiteId) -> &mut BlockCounters {
        self.counters.entry(site).or_default()
    }

    /// How many of a site's mappings ended at the age of one that began then.
    fn deaths(&mut self, site: SiteId, born_ns: u64, now_ns: u64) -> &mut u64 {
        let bucket = age_bucket(now_ns.saturating_sub(born_ns));
        &mut self.deaths.entry(site).or_insert([0; AGE_BUCKETS])[bucket]
    }
}

impl Process {
    /// Makes no piece reach over `at`.
    fn split(&mut self, at: u64) {
        let Some((_, piece)) = self.pieces.range_mut(..at).next_back() else { return };
        if piece.end > at {
            let rest = *piece;
            piece.end = at;
            self.pieces.insert(at, rest);
        }
    }

    /// Takes out what is in `part`.
    fn cut(&mut self, part: &Range<u64>) -> Vec<(Range<u64>, MappingId)> {
        if part.is_empty() {
            return Vec::new();
        }
        self.split(part.start);
        self.split(part.end);
        let starts: Vec<u64> = self.pieces.range(part.clone()).map(|(start, _)| *start).collect();
        starts
            .into_iter()
            .filter_map(|start| self.pieces.remove(&start).map(|piece| (start..piece.end, piece.mapping)))
            .collect()
    }

    /// Takes out the doubts about `part`, by their starts.
    fn cut_doubts(&mut self, part: &Range<u64>) -> Vec<(u64, Doubt)> {
        if part.is_empty() {
            return Vec::new();
        }
        let before = self.doubts.range(..part.end).rev();
        let starts: Vec<u64> =
            before.take_while(|(_, doubt)| doubt.end > part.start).map(|(start, _)| *start).collect();
        let mut inside = Vec::with_capacity(starts.len());
        for start in starts {
            let Some(doubt) = self.doubts.remove(&start) else { continue };
            if start < part.start {
                self.doubts.insert(start, Doubt { end: part.start, ..doubt });
            }
            if doubt.end > part.end {
                self.doubts.insert(part.end, doubt);
            }
            inside.push((start.max(part.start), Doubt { end: doubt.end.min(part.end), ..doubt }));
        }
        inside
    }

    /// Something else is mapped there: whatever it was has been unmapped.
    fn replace(&mut self, part: &Range<u64>, ledger: &mut Ledger<'_>) {
        self.remove(part, ledger);
        self.cut_doubts(part);
    }

    /// What is there has been unmapped, or had been.
    fn remove(&mut self, part: &Range<u64>, ledger: &mut Ledger<'_>) {
        for (start, doubt) in self.cut_doubts(part) {
            self.doubts.insert(start, Doubt { unmapped_ns: ledger.now_ns, ..doubt });
        }
        for (part, id) in self.cut(part) {
            let Some(mapping) = self.mappings.get_mut(&id) else { continue };
            let bytes = part.end - part.start;
            mapping.bytes -= bytes;
            let (site, born_ns, tid) = (mapping.site, mapping.born_ns, mapping.tid);
            let age = Duration::from_nanos(ledger.now_ns.saturating_sub(born_ns));
            let is_doubtful = tid != ledger.tid && age < DOUBTFUL && self.doubts.len() < MOST_DOUBTS;
            let was_doubted = mapping.is_doubted;
            mapping.is_doubted |= is_doubtful;
            let ended = mapping.bytes == 0;
            if ended {
                self.mappings.remove(&id);
                if was_doubted {
                    let others = self.doubts.values_mut().filter(|doubt| doubt.mapping == id);
                    others.for_each(|doubt| doubt.ended_ns = ledger.now_ns);
                }
            }
            let counters = ledger.of(site);
            counters.free_bytes += bytes;
            counters.free_objects += u64::from(ended);
            *ledger.deaths(site, born_ns, ledger.now_ns) += u64::from(ended);
            if is_doubtful {
                let (end, now_ns) = (part.end, ledger.now_ns);
                let doubt = Doubt { end, mapping: id, site, born_ns, tid, ended_ns: now_ns, unmapped_ns: now_ns };
                self.doubts.insert(part.start, doubt);
            }
        }
    }

    fn add(&mut self, part: Range<u64>, site: SiteId, ledger: &mut Ledger<'_>) {
        if part.is_empty() {
            return;
        }
        let bytes = part.end - part.start;
        let counters = ledger.of(site);
        counters.alloc_bytes += bytes;
        counters.alloc_objects += 1;
        let id = self.next;
        self.next += 1;
        self.mappings.insert(id, Mapping { site, born_ns: ledger.now_ns, tid: ledger.tid, bytes, is_doubted: false });
        self.pieces.insert(part.start, Piece { end: part.end, mapping: id });
    }

    /// What was taken out had not been given back.
    fn put_back(&mut self, start: u64, doubt: Doubt, ledger: &mut Ledger<'_>) {
        let Doubt { end, mapping: id, site, born_ns, tid, ended_ns, unmapped_ns: _ } = doubt;
        let bytes = end - start;
        ledger.of(site).free_bytes -= bytes;
        let mapping = self.mappings.entry(id).or_insert_with(|| {
            ledger.of(site).free_objects -= 1;
            *ledger.deaths(site, born_ns, ended_ns) -= 1;
            Mapping { site, born_ns, tid, bytes: 0, is_doubted: true }
        });
        mapping.bytes += bytes;
        self.pieces.insert(start, Piece { end, mapping: id });
    }

    /// What moves keeps its site; what is added belongs to the caller of mremap.
    fn remap(
        &mut self,
        old: &Range<u64>,
        new: &Range<u64>,
        leaves_old: bool,
        site: Option<SiteId>,
        ledger: &mut Ledger<'_>,
    ) {
        // It was mapped, or the call would have failed.
        for (start, doubt) in self.cut_doubts(old) {
            self.put_back(start, doubt, ledger);
        }
        let (old_len, new_len) = (old.end - old.start, new.end - new.start);
        let moved_len = if leaves_old { 0 } else { old_len.min(new_len) };
        let moving = self.cut(&(old.start..old.start + moved_len));
        if !leaves_old {
            self.remove(&(old.start + moved_len..old.end), ledger);
        }
        self.replace(new, ledger);
        for (part, mapping) in moving {
            let place = |at: u64| new.start + (at - old.start);
            self.pieces.insert(place(part.start), Piece { end: place(part.end), mapping });
        }
        // It has been cleared above.
        if let Some(site) = site {
            self.add(new.start + moved_len..new.end, site, ledger);
        }
    }

    fn move_break(&mut self, end: u64, site: Option<SiteId>, ledger: &mut Ledger<'_>) {
        let before = self.break_end.replace(end);
        let Some(before) = before else { return };
        if end < before {
            self.remove(&(end..before), ledger);
            return;
        }
        self.replace(&(before..end), ledger);
        if let Some(site) = site {
            self.add(before..end, site, ledger);
        }
    }
}

fn page_up(address: u64) -> u64 {
    address.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1))
}

/// Where a range ends.
fn page_end(start: u64, len: u64) -> u64 {
    page_up(start.saturating_add(len))
}

/// What lies between mappings.
fn gaps(mapped: &[Range<u64>]) -> Vec<Range<u64>> {
    let starts = std::iter::once(0).chain(mapped.iter().map(|range| range.end));
    let ends = mapped.iter().map(|range| range.start).chain(std::iter::once(u64::MAX));
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
}

/// The parts of `part` that lie in one of `ranges`, which are in order.
fn overlaps(ranges: &[Range<u64>], part: Range<u64>) -> Vec<Range<u64>> {
    let first = ranges.partition_point(|range| range.end <= part.start);
    ranges[first..]
        .iter()
        .take_while(|range| range.start < part.end)
        .map(|range| range.start.max(part.start)..range.end.min(part.end))
        .collect()
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
