//! The unwind tables in the kernel: rows, page indexes and each process's mappings, written through mapped memory.
//!
//! A file's table is written once and shared by every mapping of it. A process's list of mappings is replaced as a
//! whole: the new one is written beside the old one, then the process is pointed at it.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Arc,
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use tracer_common::unwind::{MAX_MAPPINGS, Mapping, MappingRange, PageRows, Row};

use super::{BpfError, WalkBy};
use crate::{
    target::maps::{self, FileIdentity, MappingKind, Module, ModuleMap},
    unwind::{TablePlace, UnwindTable},
};

/// Rows and pages that are free after the target's own tables are in: for libraries that come later.
const SPARE_ROWS: usize = 1 << 19;
const SPARE_PAGES: usize = 1 << 17;

/// The tables of the files that a target has mapped, before they go into the kernel.
#[derive(Debug, Default)]
pub struct Tables {
    by: WalkBy,
    made: HashMap<FileIdentity, Option<Arc<UnwindTable>>>,
}

impl Tables {
    /// Makes the tables of all modules, if stacks are walked by tables.
    pub fn of(modules: &ModuleMap, by: WalkBy) -> Self {
        let mut tables = Self { by, made: HashMap::new() };
        for mapping in modules.mappings() {
            if let MappingKind::Module(module) = &mapping.kind {
                tables.get(module);
            }
        }
        tables
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
        (capacity(rows, SPARE_ROWS), capacity(pages, SPARE_PAGES))
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
    /// Runs of the array of mappings that are free, by position.
    free: Vec<MappingRange>,
    in_use: HashMap<u32, MappingRange>,
    /// Given up by the last change: a walk may still be reading it.
    resting: Option<MappingRange>,
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
            free: vec![MappingRange { first: 0, count: MAX_MAPPINGS }],
            in_use: HashMap::new(),
            resting: None,
        })
    }

    /// Writes the process's present mappings and the tables they need. Returns where they are; the caller points the
    /// process at them.
    pub(super) fn describe(&mut self, modules: &ModuleMap) -> MappingRange {
        let list: Vec<Mapping> = modules.mappings().iter().map(|mapping| self.mapping(mapping)).collect();
        let old = self.in_use.remove(&modules.pid());
        // What the change before last gave up has not been read for a while.
        if let Some(rested) = std::mem::replace(&mut self.resting, old) {
            self.give_back(rested);
        }
        let Some(range) = self.take(list.len() as u32) else {
            log::warn!("no room for {} mappings: stacks end at the allocator's caller", list.len());
            return MappingRange::default();
        };
        self.mappings.write(range.first as usize, list.into_iter());
        self.in_use.insert(modules.pid(), range);
        range
    }

    fn mapping(&mut self, mapping: &maps::Mapping) -> Mapping {
        let maps::Mapping { start, end, file_offset, kind } = mapping;
        let plain = Mapping { start: *start, end: *end, ..Mapping::default() };
        let MappingKind::Module(module) = kind else { return plain };
        let placed = self
            .place(module)
            .and_then(|(place, table)| Some(place.mapping(*start, *end, table.bias_for(*start, *file_offset)?)));
        placed.unwrap_or(plain)
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
        let taken = MappingRange { first: run.first, count };
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

fn write_table(rows: &mut Shared<Row>, pages: &mut Shared<PageRows>, table: &UnwindTable) -> Option<TablePlace> {
    let index = table.pages();
    let page_count = index.len().checked_sub(1)?;
    let first_row = rows.append(table.rows().iter().copied())?;
    let ranges = (0..page_count).map(|page| PageRows { first: index[page], last: index[page + 1] });
    let first_page = pages.append(ranges)?;
    Some(TablePlace { first_row, first_page, page_count: page_count as u32 })
}
