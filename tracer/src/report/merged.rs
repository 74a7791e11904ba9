//! Call sites of several processes that are one: workers of one program come by the same call stacks. The text report
//! shows them once, with what each process has; JSON keeps them apart.
//!
//! In: sites with names. Out: entries, each of one stack. Stacks are the same when their frames are: by module and offset in
//! it, since programs are loaded at other addresses in each process; by name where there is no module.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use tracer_common::{event::SiteKind, stack::StackEnd};

use crate::{
    aggregate::{FdSite, SiteId, SiteSnapshot, Tgid},
    analyze::verdict::Verdict,
    symbolize::{NoSymbol, Stack},
};

/// One site, or equal ones.
#[derive(Clone, Debug)]
pub(super) struct Merged<Site> {
    /// Their sum, as if it were one. Its id and process are those of the first.
    pub(super) sum: Site,
    /// Each of them, in order.
    pub(super) parts: Vec<Part>,
}

/// One of several that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: SiteId,
    pub(super) tgid: Tgid,
    /// Outstanding bytes, or open descriptors.
    pub(super) holds: u64,
}

impl<Site> Merged<Site> {
    /// Processes that have a part in it.
    pub(super) fn processes(&self) -> usize {
        let mut tgids: Vec<Tgid> = self.parts.iter().map(|part| part.tgid).collect();
        tgids.sort_unstable();
        tgids.dedup();
        tgids.len()
    }
}

/// Parts that are named.
const NAMED: usize = 8;

/// Whose an entry is, for its first line.
pub(super) fn owner_words<Site>(entry: &Merged<Site>, processes: usize) -> String {
    let [Part { id, tgid, holds: _ }, ..] = entry.parts[..] else { return String::new() };
    match (entry.parts.len(), entry.processes()) {
        (1, _) if processes < 2 => format!("site {}", id.0),
        (1, _) => format!("site {}, process {}", id.0, tgid.0),
        (sites, 1) => format!("{sites} sites, process {}", tgid.0),
        (_, number) => format!("{number} processes"),
    }
}

/// What each of several parts holds, those that hold most first; `None` for one alone.
pub(super) fn parts_words<Site>(entry: &Merged<Site>, amount: impl Fn(u64) -> String) -> Option<String> {
    if entry.parts.len() < 2 {
        return None;
    }
    let mut parts = entry.parts.clone();
    parts.sort_by_key(|part| Reverse(part.holds));
    let words = parts.iter().take(NAMED).map(|&Part { id, tgid, holds }| match holds {
        0 => format!("process {} (site {})", tgid.0, id.0),
        holds => format!("{} in process {} (site {})", amount(holds), tgid.0, id.0),
    });
    let mut words: Vec<String> = words.collect();
    if parts.len() > NAMED {
        words.push(format!("… {} more", parts.len() - NAMED));
    }
    Some(words.join(", "))
}

/// What can be one with others of its kind.
pub(super) trait Mergeable: Clone {
    fn kind(&self) -> SiteKind;
    fn stack(&self) -> &Stack;
    fn part(&self) -> Part;
    fn add(&mut self, other: &Self);
}

/// Of the verdicts on parts the gravest stands for all.
fn worse(verdict: &mut Option<Arc<Verdict>>, other: &Option<Arc<Verdict>>) {
    if let Some(other) = other
        && verdict.as_ref().is_none_or(|verdict| other.label < verdict.label)
    {
        *verdict = Some(Arc::clone(other));
    }
}

impl Mergeable for SiteSnapshot {
    fn kind(&self) -> SiteKind {
        self.kind
    }

    fn stack(&self) -> &Stack {
        &self.stack
    }

    fn part(&self) -> Part {
        Part { id: self.id, tgid: self.tgid, holds: self.counters.inuse_bytes() }
    }

    fn add(&mut self, other: &Self) {
        let Self {
            id: _,
            tgid: _,
            kind: _,
            counters,
            faulted,
            sampled,
            oldest,
            stack: _,
            verdict,
            ages,
            sizes,
            suppressed,
        } = other;
        if let (Some(sum), Some(more)) = (&mut self.sampled, sampled) {
            **sum += **more;
        }
        self.suppressed &= *suppressed;
        self.counters += *counters;
        if let Some(faulted) = faulted {
            *self.faulted.get_or_insert_default() += *faulted;
        }
        self.ages = match (self.ages.take(), ages) {
            (Some(own), Some(others)) => Some(Arc::new(own.with(others))),
            (own, others) => own.or_else(|| others.clone()),
        };
        self.sizes = match (self.sizes.take(), sizes) {
            (Some(own), Some(others)) => Some(Arc::new(own.with(others))),
            (own, others) => own.or_else(|| others.clone()),
        };
        worse(&mut self.verdict, verdict);
        self.oldest = self.oldest.max(*oldest);
    }
}

impl Mergeable for FdSite {
    fn kind(&self) -> SiteKind {
        SiteKind::Fd
    }

    fn stack(&self) -> &Stack {
        &self.stack
    }

    fn part(&self) -> Part {
        Part { id: self.id, tgid: self.tgid, holds: self.open() }
    }

    fn add(&mut self, other: &Self) {
        let Self { id: _, tgid: _, opened, closed, oldest, kinds, stack: _, verdict } = other;
        worse(&mut self.verdict, verdict);
        self.opened += opened;
        self.closed += closed;
        self.oldest = self.oldest.max(*oldest);
        for (kind, number) in kinds {
            match self.kinds.iter_mut().find(|(known, _)| known == kind) {
                Some((_, sum)) => *sum += number,
                None => self.kinds.push((*kind, *number)),
            }
        }
        self.kinds.sort_by_key(|&(_, number)| Reverse(number));
    }
}

/// Where a frame is, whatever the process.
#[derive(PartialEq, Eq, Hash)]
enum Place<'a> {
    InModule(&'a str, u64),
    Named(&'a str),
    Nowhere(u64, NoSymbol),
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    kind: SiteKind,
    end: StackEnd,
    /// With the function, since one place may have several that were inlined.
    frames: Vec<(Place<'a>, Option<&'a str>)>,
}

impl<'a> Key<'a> {
    fn of(kind: SiteKind, Stack { frames, end }: &'a Stack) -> Self {
        let frames = frames.iter().map(|frame| {
            let place = match (&frame.module, frame.module_offset, &frame.function) {
                (Some(module), Some(offset), _) => Place::InModule(module, offset),
                (_, _, Ok(function)) => Place::Named(function),
                (_, _, Err(reason)) => Place::Nowhere(frame.address, *reason),
            };
            (place, frame.function.as_deref().ok())
        });
        Self { kind, end: *end, frames: frames.collect() }
    }
}

/// Puts those together that have the same stack, in the order of the first of each. Where there is one process, each
/// stays by itself.
pub(super) fn merge<'a, Site: Mergeable + 'a>(
    sites: impl Iterator<Item = &'a Site>,
    processes: usize,
) -> Vec<Merged<Site>> {
    let mut merged: Vec<Merged<Site>> = Vec::new();
    let mut known = HashMap::new();
    for site in sites {
        let alone = |site: &Site| Merged { sum: site.clone(), parts: vec![site.part()] };
        if processes < 2 {
            merged.push(alone(site));
            continue;
        }
        let index = *known.entry(Key::of(site.kind(), site.stack())).or_insert(merged.len());
        match merged.get_mut(index) {
            Some(entry) => {
                entry.sum.add(site);
                entry.parts.push(site.part());
            }
            None => merged.push(alone(site)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::report::testing::{counters, frame, site, unnamed};

    /// A worker's site: its program is loaded at another address than that of the others.
    fn of_worker(worker: u32, bytes: u64, line: &str) -> SiteSnapshot {
        let base = 0x5500_0000_0000 + (u64::from(worker) << 32);
        let frames =
            vec![frame(base + 0x1234, "work", "/bin/server", line), frame(base + 0x99, "main", "/bin/server", "")];
        let site = site(worker, counters(bytes, 3, 0, 0), Some(u64::from(worker) * 1_000), StackEnd::Complete, frames);
        SiteSnapshot { tgid: Tgid(100 + worker), ..site }
    }

    #[test]
    fn the_same_stack_of_several_processes_is_one() {
        let sites = [of_worker(1, 1_009, "w.c:3"), of_worker(2, 2_003, "w.c:3"), of_worker(3, 31, "w.c:3")];
        let merged = merge(sites.iter(), 3);
        let [entry] = &merged[..] else { panic!("{merged:?}") };
        assert_eq!((entry.sum.counters, entry.processes()), (counters(3_043, 9, 0, 0), 3));
        assert_eq!(entry.sum.oldest, Some(Duration::from_secs(3)));
        assert_eq!(entry.parts[1], Part { id: SiteId(2), tgid: Tgid(102), holds: 2_003 });
        assert_eq!(merge(sites.iter(), 1).len(), 3, "one process has each of its sites");
    }

    #[test]
    fn another_kind_end_or_frame_is_another_stack() {
        let first = of_worker(1, 1_009, "w.c:3");
        let mut kind = of_worker(2, 1_009, "w.c:3");
        kind.kind = SiteKind::Mmap;
        let mut end = of_worker(3, 1_009, "w.c:3");
        end.stack = Arc::new(Stack { end: StackEnd::Depth, ..(*end.stack).clone() });
        let mut moved = of_worker(4, 1_009, "w.c:3");
        let mut frames = moved.stack.frames.clone();
        frames[0].module_offset = Some(0x1238);
        moved.stack = Arc::new(Stack { frames, end: StackEnd::Complete });
        assert_eq!(merge([first, kind, end, moved].iter(), 4).len(), 4);
    }

    #[test]
    fn without_a_module_names_tell_and_without_names_addresses() {
        let of = |id, address, name: Option<&str>| {
            let mut frame = unnamed(address, None, NoSymbol::Anonymous);
            if let Some(name) = name {
                frame.function = Ok(name.into());
            }
            site(id, counters(1, 1, 0, 0), None, StackEnd::Complete, vec![frame])
        };
        let sites = [of(1, 0x11, Some("py::f")), of(2, 0x13, Some("py::f")), of(3, 0x11, None), of(4, 0x13, None)];
        assert_eq!(merge(sites.iter(), 2).len(), 3);
    }
}
