//! The unwind tables in the kernel: rows, page indexes and each process's mappings, written through mapped memory.
//!
//! A file's table is written once and shared by every mapping of it. A process's list of mappings is replaced as a
//! whole: the new one is written beside the old one, then the process is pointed at it.
//!
//! Memory without a file has a table where it holds code that is known by its bytes ([`UnwindTable::from_trampolines`]).

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    sync::Arc,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::unwind::{MAX_MAPPINGS, Mapping, MappingRange, PageRows, Row};

use super::{BpfError, WalkBy};
use crate::{
    target::maps::{self, FileIdentity, MappingKind, Module, ModuleMap},
    unwind::{ARENA_BYTES, TRAMPOLINE_BYTES, TablePlace, UnwindTable, begins_with_trampoline},
};

/// Rows and pages that are free after the target's own tables are in: for libraries that come later.
const SPARE_ROWS: usize = 1 << 19;
const SPARE_PAGES: usize = 1 << 17;
/// The same where whole programs come later.
const ROOMY_ROWS: usize = 1 << 21;
const ROOMY_PAGES: usize = 1 << 19;

/// How long a list that was given up is left alone.
const REST: Duration = Duration::from_secs(1);

/// Arenas of trampolines that are read in one look at a process.
const ARENAS_PER_LOOK: u32 = 1 << 9;
/// Different arenas that get a table. One CPython fills all of its own alike.
const ARENA_TABLES: usize = 1 << 5;

/// The tables of the files that a target has mapped, before they go into the kernel.
#[derive(Debug, Default)]
pub struct Tables {
    by: WalkBy,
    made: HashMap<FileIdentity, Option<Arc<UnwindTable>>>,
    roomy: bool,
}

impl Tables {
    /// None yet.
    pub fn new(by: WalkBy) -> Self {
        Self { by, made: HashMap::new(), roomy: false }
    }

    /// Makes the tables of all modules, if stacks are walked by tables. `before` is told of each that is not made yet.
    ///
    /// # Errors
    /// Those of `before`.
    pub fn add<E>(&mut self, modules: &ModuleMap, mut before: impl FnMut(&Module) -> Result<(), E>) -> Result<(), E> {
        for mapping in modules.mappings() {
            if let MappingKind::Module(module) = &mapping.kind {
                if module.identity().is_some_and(|identity| !self.made.contains_key(&identity)) {
                    before(module)?;
                }
                self.get(module);
            }
        }
        Ok(())
    }

    /// Leaves room for programs that come later.
    #[must_use]
    pub fn with_room_for_programs(self, roomy: bool) -> Self {
        Self { roomy, ..self }
    }

    fn get(&mut self, module: &Module) -> Option<Arc<UnwindTable>> {
        if self.by == WalkBy::FramePointers {
            return None;
        }
        let made = self.made.entry(module.identity()?).or_insert_with(|| {
            let table = UnwindTable::from_file(module.file()?);
            table.map(Arc::new).inspect_err(|error| log::debug!("no unwind table of {}: {error}", module.path())).ok()
        });
        made.clone()
    }

    fn totals(&self) -> (usize, usize) {
        self.made
            .values()
            .flatten()
            .fold((0, 0), |(rows, pages), table| (rows + table.rows().len(), pages + table.pages().len()))
    }

    /// Capacities of the kernel's arrays that hold these tables and leave room for later ones.
    pub(super) fn capacities(&self) -> (u32, u32) {
        let (rows, pages) = self.totals();
        let capacity = |used: usize, spare: usize| u32::try_from(used + used / 2 + spare).unwrap_or(u32::MAX);
        let (spare_rows, spare_pages) = if self.roomy { (ROOMY_ROWS, ROOMY_PAGES) } else { (SPARE_ROWS, SPARE_PAGES) };
        (capacity(rows, spare_rows), capacity(pages, spare_pages))
    }
}

/// An array of the kernel's, mapped for writing. Written only where nobody reads yet.
struct Shared<T> {
    memory: MmapRaw,
    capacity: usize,
    used: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: aya::Pod> Shared<T> {
    fn new(name: &'static str, map: &MapData, capacity: u32) -> Result<Self, BpfError> {
        // The kernel rounds the elements of an array up to 8 bytes.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let capacity = capacity as usize;
        let memory = MmapOptions::new()
            .len((capacity * size_of::<T>()).next_multiple_of(rustix::param::page_size()))
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|source| BpfError::Map { map: name, what: "cannot map it into memory", source })?;
        Ok(Self { memory, capacity, used: 0, kind: std::marker::PhantomData })
    }

    fn write(&mut self, at: usize, values: impl ExactSizeIterator<Item = T>) {
        assert!(at + values.len() <= self.capacity, "{} values at {at} of {}", values.len(), self.capacity);
        for (index, value) in values.enumerate() {
            // SAFETY: within the mapping, aligned because the mapping starts at a page and elements are multiples of
            // 8 bytes; the kernel side reads no element that it has not been told of.
            unsafe { self.memory.as_mut_ptr().cast::<T>().add(at + index).write_volatile(value) };
        }
    }

    /// Writes behind what is there. `None` when there is no room.
    fn append(&mut self, values: impl ExactSizeIterator<Item = T>) -> Option<u32> {
        let at = self.used;
        let end = at.checked_add(values.len()).filter(|end| *end <= self.capacity)?;
        self.write(at, values);
        self.used = end;
        u32::try_from(at).ok()
    }
}

/// The arrays in the kernel, and what is in them.
pub(super) struct KernelTables {
    rows: Shared<Row>,
    pages: Shared<PageRows>,
    mappings: Shared<Mapping>,
    tables: Tables,
    places: HashMap<FileIdentity, Option<TablePlace>>,
    /// The arenas of trampolines, by what is in them.
    arenas: Vec<(Box<[u8]>, Option<TablePlace>)>,
    /// Runs of the array of mappings that are free, by position.
    free: Vec<MappingRange>,
    /// Each process's list, and where it is.
    in_use: HashMap<u32, (MappingRange, Vec<Mapping>)>,
    /// Given up lately, with the time: a walk may still be reading it, and so may one of a process that was forked
    /// meanwhile and begins with its parent's list.
    resting: VecDeque<(Instant, MappingRange)>,
}

impl KernelTables {
    pub(super) fn new(rows: &MapData, pages: &MapData, mappings: &MapData, tables: Tables) -> Result<Self, BpfError> {
        let (row_capacity, page_capacity) = tables.capacities();
        Ok(Self {
            rows: Shared::new("ROWS", rows, row_capacity)?,
            pages: Shared::new("PAGES", pages, page_capacity)?,
            mappings: Shared::new("MAPPINGS", mappings, MAX_MAPPINGS)?,
            tables,
            places: HashMap::new(),
            arenas: Vec::new(),
            free: vec![MappingRange { first: 0, count: MAX_MAPPINGS, ..MappingRange::default() }],
            in_use: HashMap::new(),
            resting: VecDeque::new(),
        })
    }

    /// Writes the process's present mappings and the tables they need. Returns where they are; the caller points the
    /// process at them, as those of this image. `None` when nothing has changed.
    pub(super) fn describe(&mut self, modules: &ModuleMap, image: u32) -> Option<MappingRange> {
        let mut memory = ArenaMemory::of(modules, self.tables.by);
        let mut list = Vec::with_capacity(modules.mappings().len());
        for mapping in modules.mappings() {
            match &mapping.kind {
                MappingKind::Module(module) => list.push(self.mapping(mapping, module)),
                MappingKind::Anonymous(_) => self.add_anonymous(mapping, &mut memory, &mut list),
                MappingKind::Kernel(_) | MappingKind::Reserved => push_plain(mapping.start, mapping.end, &mut list),
            }
        }
        let pid = modules.pid();
        if self.in_use.get(&pid).is_some_and(|(range, known)| range.image == image && *known == list) {
            return None;
        }
        self.forget(pid);
        while self.resting.front().is_some_and(|(since, _)| since.elapsed() > REST) {
            self.wake_oldest();
        }
        let mut taken = self.take(list.len() as u32);
        // Rather a walk that is slow to end goes astray than all those to come.
        while taken.is_none() && self.wake_oldest() {
            taken = self.take(list.len() as u32);
        }
        let Some(range) = taken else {
            log::warn!("no room for {} mappings: stacks end at the allocator's caller", list.len());
            return Some(MappingRange { image, ..MappingRange::default() });
        };
        let range = MappingRange { image, ..range };
        self.mappings.write(range.first as usize, list.iter().copied());
        self.in_use.insert(pid, (range, list));
        Some(range)
    }

    /// Ends the rest of the list that has rested longest. Returns whether there was one.
    fn wake_oldest(&mut self) -> bool {
        let oldest = self.resting.pop_front();
        oldest.map(|(_, range)| self.give_back(range)).is_some()
    }

    /// The list of a process is not its own any more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.resting.extend(self.in_use.remove(&pid).map(|(range, _)| (Instant::now(), range)));
    }

    fn mapping(&mut self, mapping: &maps::Mapping, module: &Module) -> Mapping {
        let maps::Mapping { start, end, file_offset, kind: _ } = *mapping;
        let placed = self
            .place(module)
            .and_then(|(place, table)| Some(place.mapping(start, end, table.bias_for(start, file_offset)?)));
        placed.unwrap_or_else(|| plain(start, end))
    }

    /// Adds memory without a file: arena by arena as far as it is trampolines, since the kernel joins mappings that
    /// touch, and the rest as code without rows.
    fn add_anonymous(&mut self, mapping: &maps::Mapping, memory: &mut ArenaMemory, list: &mut Vec<Mapping>) {
        let (mut start, end) = (mapping.start, mapping.end);
        while let Some(arena) = memory.read(start, end)
            && let Some(place) = self.arena_place(arena)
        {
            let arena_end = start + arena.len() as u64;
            list.push(place.mapping(start, arena_end, start));
            start = arena_end;
        }
        push_plain(start, end, list);
    }

    fn arena_place(&mut self, arena: &[u8]) -> Option<TablePlace> {
        let Self { rows, pages, arenas, .. } = self;
        if let Some((_, place)) = arenas.iter().find(|(known, _)| **known == *arena) {
            return *place;
        }
        if arenas.len() == ARENA_TABLES {
            return None;
        }
        let place = UnwindTable::from_trampolines(arena).and_then(|table| write_table(rows, pages, &table));
        if place.is_none() {
            log::warn!("no room for the unwind table of run-time code: stacks through it are walked by frame pointer");
        }
        arenas.push((arena.into(), place));
        place
    }

    fn place(&mut self, module: &Module) -> Option<(TablePlace, Arc<UnwindTable>)> {
        let table = self.tables.get(module)?;
        let Self { rows, pages, places, .. } = self;
        let place = places.entry(module.identity()?).or_insert_with(|| {
            let place = write_table(rows, pages, &table);
            if place.is_none() {
                log::warn!(
                    "no room for the unwind table of {}: stacks through it are walked by frame pointer",
                    module.path()
                );
            }
            place
        });
        Some(((*place)?, table))
    }

    fn take(&mut self, count: u32) -> Option<MappingRange> {
        let run = self.free.iter_mut().find(|run| run.count >= count)?;
        let taken = MappingRange { first: run.first, count, ..MappingRange::default() };
        run.first += count;
        run.count -= count;
        self.free.retain(|run| run.count > 0);
        Some(taken)
    }

    fn give_back(&mut self, range: MappingRange) {
        if range.count == 0 {
            return;
        }
        let at = self.free.partition_point(|run| run.first < range.first);
        self.free.insert(at, range);
        self.free.dedup_by(|next, run| {
            let joined = run.first + run.count == next.first;
            run.count += if joined { next.count } else { 0 };
            joined
        });
    }
}

/// Code without rows.
fn plain(start: u64, end: u64) -> Mapping {
    Mapping { start, end, ..Mapping::default() }
}

/// Adds code without rows, in one piece with such code that it touches.
fn push_plain(start: u64, end: u64, list: &mut Vec<Mapping>) {
    match list.last_mut() {
        Some(last) if *last == plain(last.start, start) => last.end = end,
        _ if start < end => list.push(plain(start, end)),
        _ => {}
    }
}

/// Reads arenas of trampolines out of a process, so many and no more.
struct ArenaMemory {
    memory: Option<File>,
    left: u32,
    arena: Vec<u8>,
}

impl ArenaMemory {
    fn of(modules: &ModuleMap, by: WalkBy) -> Self {
        let memory = if by == WalkBy::Tables { modules.memory() } else { None };
        Self { memory, left: ARENAS_PER_LOOK, arena: Vec::new() }
    }

    /// The arena of trampolines at `start` in a mapping that ends at `end`, if that is what begins there.
    fn read(&mut self, start: u64, end: u64) -> Option<&[u8]> {
        let memory = self.memory.as_ref()?;
        let length = usize::try_from(end.checked_sub(start)?).unwrap_or(usize::MAX).min(ARENA_BYTES);
        let mut head = [0; TRAMPOLINE_BYTES];
        if length < head.len() || memory.read_exact_at(&mut head, start).is_err() || !begins_with_trampoline(&head) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.arena.resize(length, 0);
        memory.read_exact_at(&mut self.arena, start).ok()?;
        // It may have changed meanwhile.
        begins_with_trampoline(&self.arena).then_some(&self.arena)
    }
}

fn write_table(rows: &mut Shared<Row>, pages: &mut Shared<PageRows>, table: &UnwindTable) -> Option<TablePlace> {
    let index = table.pages();
    let page_count = index.len().checked_sub(1)?;
    let first_row = rows.append(table.rows().iter().copied())?;
    let ranges = (0..page_count).map(|page| PageRows { first: index[page], last: index[page + 1] });
    let first_page = pages.append(ranges)?;
    Some(TablePlace { first_row, first_page, page_count: page_count as u32 })
}
