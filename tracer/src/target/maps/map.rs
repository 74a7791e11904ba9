//! From addresses to modules.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FileIdentity, Module,
    line::MapsLine,
    reservation::{Span, reserved},
};
use crate::{
    clock::monotonic_ns,
    target::{Owner, Root, TargetError, proc_dir::ProcDir},
};

/// Files held open at most: a target that maps more distinct ones gets no names for the rest.
const MODULES_MAX: usize = 8192;
/// Mappings remembered after they disappeared.
const RETIRED_MAX: usize = 16_384;

/// What is mapped somewhere.
#[derive(Clone, Debug)]
pub enum MappingKind {
    /// A file, or the `[vdso]`.
    Module(Arc<Module>),
    /// Code of the kernel's own in the process: `[uprobes]`, `[vsyscall]`.
    Kernel(Arc<str>),
    /// Memory without a file, with the name the process gave it, if any.
    Anonymous(Option<Arc<str>>),
    /// Memory beside such code that is to hold more of it, and is not executable yet.
    Reserved,
}

/// A range of executable memory, or one that is to be.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file of its first byte.
    pub file_offset: u64,
    /// What is mapped.
    pub kind: MappingKind,
}

impl Mapping {
    fn is_same(&self, other: &Self) -> bool {
        let kind = match (&self.kind, &other.kind) {
            (MappingKind::Module(a), MappingKind::Module(b)) => Arc::ptr_eq(a, b) || a.is_unopened_twin(b),
            (MappingKind::Kernel(a), MappingKind::Kernel(b)) => a == b,
            (MappingKind::Anonymous(a), MappingKind::Anonymous(b)) => a == b,
            (MappingKind::Reserved, MappingKind::Reserved) => true,
            _ => false,
        };
        kind && (self.start, self.end, self.file_offset) == (other.start, other.end, other.file_offset)
    }
}

/// What lies at an address.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file or the `[vdso]`, and the offset in it.
    Module {
        /// The file.
        module: Arc<Module>,
        /// Offset of the address in it.
        file_offset: u64,
    },
    /// The kernel's own code, by name.
    Kernel(Arc<str>),
    /// Executable memory without a file, with the name the process gave it, if any.
    Anonymous(Option<Arc<str>>),
    /// No executable memory that was ever seen.
    Unmapped,
}

/// What a refresh found.
#[derive(Debug, Default)]
pub struct Changes {
    /// Modules seen for the first time.
    pub added: Vec<Arc<Module>>,
    /// A mapping came, went or moved.
    pub mappings_changed: bool,
}

/// How a mapped file is told from others: device and inode as in maps, and the name, because the subvolumes of a btrfs
/// share both numbers.
type MapsKey = (u32, u32, u64, Box<[u8]>);

/// The executable mappings of a process, and those it had.
#[derive(Debug)]
pub struct ModuleMap {
    dir: ProcDir,
    /// Open on the memory that the process had then: nothing comes of it after an exec.
    maps: File,
    root: Option<Arc<Root>>,
    owner: Option<Arc<Owner>>,
    /// Ascending, disjoint.
    current: Vec<Mapping>,
    /// Modules' mappings that disappeared and nothing took their place: ascending, disjoint, with the generation that
    /// saw them last.
    retired: Vec<(u64, Mapping)>,
    by_key: HashMap<MapsKey, Arc<Module>>,
    by_identity: HashMap<FileIdentity, Arc<Module>>,
    vdso: Option<(u64, u64, Arc<Module>)>,
    generation: u64,
    read_at: Instant,
    /// How long that took.
    read_took: Duration,
    whole: MappedRanges,
}

/// All that a process has mapped, executable or not.
#[derive(Clone, Debug, Default)]
pub struct MappedRanges {
    /// When reading began: `CLOCK_MONOTONIC`, nanoseconds.
    pub read_ns: u64,
    /// In order; ranges that touch are one.
    pub ranges: Vec<Range<u64>>,
    /// Where the data segment ends, to the page; `None` when there is none.
    pub data_end: Option<u64>,
}

impl MappedRanges {
    fn add(&mut self, line: &MapsLine<'_>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == line.start => last.end = line.end,
            _ => self.ranges.push(line.start..line.end),
        }
        if line.name == b"[heap]" {
            self.data_end = Some(line.end);
        }
    }
}

impl ModuleMap {
    /// Reads the maps of a process and opens its modules.
    ///
    /// # Errors
    /// When the process is gone or may not be looked into.
    pub fn read(pid: u32) -> Result<Self, TargetError> {
        Self::of(ProcDir::open(pid)?)
    }

    pub(crate) fn of(dir: ProcDir) -> Result<Self, TargetError> {
        let root = Root::of(&dir)
            .inspect_err(|error| log::debug!("{error}: modules are opened by their mappings alone"))
            .ok()
            .map(Arc::new);
        let owner = root.as_ref().and_then(|root| Owner::of(&dir, root).ok()).map(Arc::new);
        let maps = dir.file("maps")?;
        let mut map = Self {
            dir,
            maps,
            root,
            owner,
            current: Vec::new(),
            retired: Vec::new(),
            by_key: HashMap::new(),
            by_identity: HashMap::new(),
            vdso: None,
            generation: 0,
            read_at: Instant::now(),
            read_took: Duration::ZERO,
            whole: MappedRanges::default(),
        };
        map.refresh()?;
        Ok(map)
    }

    /// Reads the maps again. Mappings that disappeared stay findable where nothing new is.
    ///
    /// # Errors
    /// When the process is gone, or runs another program; everything known stays findable.
    pub fn refresh(&mut self) -> Result<Changes, TargetError> {
        self.read_at = Instant::now();
        let mut changes = Changes::default();
        let new = self.read_mappings(&mut changes);
        self.read_took = self.read_at.elapsed();
        let new = new?;
        let unchanged =
            new.len() == self.current.len() && new.iter().zip(&self.current).all(|(new, old)| new.is_same(old));
        if unchanged {
            return Ok(changes);
        }
        changes.mappings_changed = true;
        self.generation += 1;
        let old = std::mem::replace(&mut self.current, new);
        self.retire(old);
        Ok(changes)
    }

    /// The module at an address, and the offset of the address in its file.
    pub fn find(&self, address: u64) -> Option<(&Arc<Module>, u64)> {
        let mapping = self.mapping(address)?;
        match &mapping.kind {
            MappingKind::Module(module) => Some((module, file_offset(mapping, address))),
            MappingKind::Kernel(_) | MappingKind::Anonymous(_) | MappingKind::Reserved => None,
        }
    }

    /// What lies at an address.
    pub fn locate(&self, address: u64) -> Place {
        let Some(mapping) = self.mapping(address) else { return Place::Unmapped };
        match &mapping.kind {
            MappingKind::Module(module) => {
                Place::Module { module: Arc::clone(module), file_offset: file_offset(mapping, address) }
            }
            MappingKind::Kernel(name) => Place::Kernel(Arc::clone(name)),
            MappingKind::Anonymous(name) => Place::Anonymous(name.clone()),
            MappingKind::Reserved => Place::Anonymous(None),
        }
    }

    /// The executable mappings of the last look, and what is reserved for more code, ascending and disjoint.
    pub fn mappings(&self) -> &[Mapping] {
        &self.current
    }

    /// Every module seen so far, the unmapped ones too, in no order.
    pub fn modules(&self) -> impl Iterator<Item = &Arc<Module>> {
        let vdso = self.vdso.iter().map(|(_, _, module)| module);
        let unopened = self.by_key.values().filter(|module| module.identity().is_none());
        self.by_identity.values().chain(vdso).chain(unopened)
    }

    /// Grows with each refresh that found a change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Time since the maps were last read.
    pub fn age(&self) -> Duration {
        self.read_at.elapsed()
    }

    /// Whether reading them again would not take more than a twentieth of one core's time.
    pub fn may_refresh(&self) -> bool {
        self.age() >= self.read_took * 20
    }

    /// All that was mapped at the last reading.
    pub fn whole(&self) -> &MappedRanges {
        &self.whole
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.dir.pid()
    }

    /// The memory of the process as it is now, untrusted; `None` when it may not be read.
    pub(crate) fn memory(&self) -> Option<File> {
        self.dir.file("mem").inspect_err(|error| log::debug!("{error}")).ok()
    }

    /// The root directory of the process.
    pub(crate) fn root(&self) -> Option<&Arc<Root>> {
        self.root.as_ref()
    }

    /// What tells the process's own files from others'.
    pub(crate) fn owner(&self) -> Option<&Arc<Owner>> {
        self.owner.as_ref()
    }

    fn mapping(&self, address: u64) -> Option<&Mapping> {
        let current = find(&self.current, address, |mapping| mapping);
        current.or_else(|| find(&self.retired, address, |(_, mapping)| mapping).map(|(_, mapping)| mapping))
    }

    fn read_mappings(&mut self, changes: &mut Changes) -> Result<Vec<Mapping>, TargetError> {
        let pid = self.dir.pid();
        let error = |error| TargetError::proc(pid, "maps", error);
        // The kernel gives out at most a page per read, whatever the buffer; it only saves copying.
        let maps = self.maps.try_clone().map_err(error)?;
        let mut reader = BufReader::with_capacity(64 << 10, maps);
        reader.rewind().map_err(error)?;
        let mut mappings: Vec<Mapping> = Vec::new();
        let mut spans: Vec<(u64, u64, Span)> = Vec::new();
        let mut whole = MappedRanges { read_ns: monotonic_ns(), ..MappedRanges::default() };
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes).map_err(error)? == 0 {
                if number == 1 {
                    return Err(TargetError::NoSuchProcess { pid });
                }
                break;
            }
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let line = MapsLine::parse(text).ok_or(TargetError::MapsFormat { pid, line: number })?;
            // The file is read in pieces: what was remapped between two of them may show twice.
            if spans.last().is_some_and(|(_, end, _)| line.start < *end) {
                continue;
            }
            whole.add(&line);
            let mut is_code = false;
            if line.is_executable() {
                let kind = self.classify(&line, changes);
                is_code = matches!(kind, MappingKind::Anonymous(_));
                mappings.push(Mapping { start: line.start, end: line.end, file_offset: line.file_offset, kind });
            }
            spans.push((line.start, line.end, Span::of(&line, is_code)));
        }
        self.whole = whole;
        let reserved = reserved(&spans).into_iter();
        mappings.extend(reserved.map(|(start, end)| Mapping {
            start,
            end,
            file_offset: 0,
            kind: MappingKind::Reserved,
        }));
        mappings.sort_by_key(|mapping| mapping.start);
        Ok(mappings)
    }

    fn classify(&mut self, line: &MapsLine<'_>, changes: &mut Changes) -> MappingKind {
        match line.name {
            b"" => MappingKind::Anonymous(None),
            b"[vdso]" => MappingKind::Module(self.vdso(line, changes)),
            b"[uprobes]" | b"[vsyscall]" => MappingKind::Kernel(lossy(line.name)),
            [b'/', ..] if line.inode != 0 => MappingKind::Module(self.module(line, changes)),
            name => MappingKind::Anonymous(Some(lossy(name))),
        }
    }

    fn vdso(&mut self, line: &MapsLine<'_>, changes: &mut Changes) -> Arc<Module> {
        if let Some((start, end, module)) = &self.vdso
            && (*start, *end) == (line.start, line.end)
        {
            return Arc::clone(module);
        }
        let module = Arc::new(Module::vdso(&self.dir, line.start, line.end));
        changes.added.push(Arc::clone(&module));
        self.vdso = Some((line.start, line.end, Arc::clone(&module)));
        module
    }

    fn module(&mut self, line: &MapsLine<'_>, changes: &mut Changes) -> Arc<Module> {
        let key = (line.device.0, line.device.1, line.inode, Box::from(line.name));
        if let Some(module) = self.by_key.get(&key) {
            return Arc::clone(module);
        }
        if self.by_key.len() >= MODULES_MAX {
            return Arc::new(Module::unopened(line));
        }
        let mut module = Arc::new(Module::open(&self.dir, self.root.as_deref(), line));
        // Deleted or renamed since: the same file under a new name.
        if let Some(known) = module.identity().and_then(|identity| self.by_identity.get(&identity)) {
            module = Arc::clone(known);
        } else {
            changes.added.push(Arc::clone(&module));
            if let Some(identity) = module.identity() {
                self.by_identity.insert(identity, Arc::clone(&module));
            }
        }
        self.by_key.insert(key, Arc::clone(&module));
        module
    }

    /// Keeps of the former mappings what the current ones leave uncovered.
    fn retire(&mut self, old: Vec<Mapping>) {
        let generation = self.generation;
        let mut retired = std::mem::take(&mut self.retired);
        retired.extend(old.into_iter().map(|mapping| (generation, mapping)));
        retired.sort_by_key(|(_, mapping)| mapping.start);
        let modules = retired.into_iter().filter(|(_, mapping)| matches!(mapping.kind, MappingKind::Module(_)));
        let mut kept: Vec<(u64, Mapping)> = Vec::new();
        for (generation, mapping) in modules {
            uncovered(&mapping, &self.current, |rest| kept.push((generation, rest)));
        }
        if kept.len() > RETIRED_MAX {
            let mut generations: Vec<u64> = kept.iter().map(|&(generation, _)| generation).collect();
            generations.sort_unstable();
            let oldest_kept = generations[generations.len() - RETIRED_MAX];
            kept.retain(|&(generation, _)| generation >= oldest_kept);
            kept.truncate(RETIRED_MAX);
        }
        self.retired = kept;
    }
}

fn lossy(name: &[u8]) -> Arc<str> {
    Arc::from(String::from_utf8_lossy(name))
}

fn file_offset(mapping: &Mapping, address: u64) -> u64 {
    mapping.file_offset.wrapping_add(address - mapping.start)
}

fn find<T>(sorted: &[T], address: u64, mapping: impl Fn(&T) -> &Mapping) -> Option<&T> {
    let after = sorted.partition_point(|entry| mapping(entry).start <= address);
    let entry = sorted.get(after.checked_sub(1)?)?;
    (address < mapping(entry).end).then_some(entry)
}

/// The parts of a mapping that none of the others (ascending, disjoint) covers.
fn uncovered(mapping: &Mapping, others: &[Mapping], mut keep: impl FnMut(Mapping)) {
    let first = others.partition_point(|other| other.end <= mapping.start);
    let mut start = mapping.start;
    let mut part = |start: u64, end: u64| {
        if start < end {
            keep(Mapping { start, end, file_offset: file_offset(mapping, start), kind: mapping.kind.clone() });
        }
    };
    for other in others[first..].iter().take_while(|other| other.start < mapping.end) {
        part(start, other.start);
        start = start.max(other.end);
    }
    part(start, mapping.end);
}

#[cfg(test)]
mod tests;
