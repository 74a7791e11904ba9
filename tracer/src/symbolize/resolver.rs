//! From a request to a stack: finds the module of each address, and asks it.

use std::{
    fs::File,
    sync::{Arc, PoisonError},
};

use super::{
    Frame, NoSymbol, Request, SharedModules, Stack,
    cache::Cache,
    guard::{Panicked, contain},
    jit::JitNames,
    module::{ModuleSymbols, Named},
};
use crate::{
    aggregate::Tgid,
    target::{
        Owner, Root,
        maps::{FileIdentity, Module, ModuleMap, Place},
    },
};

/// Modules whose symbols are kept ready. Each costs what its symbol tables and the used parts of its DWARF take.
const MODULES: usize = 256;
/// Addresses whose names are kept, some hundred bytes each.
const ADDRESSES: usize = 1 << 18;
/// Processes whose maps of run-time code are kept ready.
const PROCESSES: usize = 64;

/// What is known of an address, before it is put into a frame.
#[derive(Clone, Debug)]
struct Resolved {
    module_offset: Option<u64>,
    build_id: Option<Arc<str>>,
    functions: Arc<[Named]>,
}

/// A module's symbols. Holds the file even without any, so that no other gets its identity meanwhile.
#[derive(Debug)]
struct Opened {
    /// Differs from every other opening, of the same file too.
    serial: u64,
    build_id: Option<Arc<str>>,
    symbols: Result<ModuleSymbols, NoSymbol>,
    _file: Arc<File>,
}

/// Names stacks, one at a time. Stays on one thread.
#[derive(Debug)]
pub(super) struct Resolver {
    host: Option<Arc<Root>>,
    modules: Cache<FileIdentity, Opened>,
    opened: u64,
    /// By serial of the opening and offset in the file.
    addresses: Cache<(u64, u64), Resolved>,
    jit: Cache<Tgid, JitNames>,
}

/// The process of a stack.
#[derive(Debug)]
struct Process {
    tgid: Tgid,
    root: Option<Arc<Root>>,
    owner: Option<Arc<Owner>>,
    /// Its map of run-time code was read for this stack.
    jit_is_fresh: bool,
}

impl Resolver {
    pub(super) fn new() -> Self {
        let host = Root::host().inspect_err(|error| log::debug!("no debug files of the host's: {error}")).ok();
        Self {
            host: host.map(Arc::new),
            modules: Cache::new(MODULES),
            opened: 0,
            addresses: Cache::new(ADDRESSES),
            jit: Cache::new(PROCESSES),
        }
    }

    /// Names a stack; without the process's modules every frame is unmapped.
    pub(super) fn stack(&mut self, request: &Request, modules: Option<&SharedModules>) -> Stack {
        let addresses: Vec<(u64, u64)> = request
            .frames
            .iter()
            .enumerate()
            .map(|(index, &address)| {
                // A return address is that of the next instruction, which may be another line or function's.
                let before = u64::from(!request.exact.contains(index));
                (address, before)
            })
            .collect();
        let (places, mut process) = locate(request.tgid, &addresses, modules);
        let mut frames = Vec::with_capacity(places.len());
        for ((address, before), place) in addresses.into_iter().zip(places) {
            self.frames(address, before, place, &mut process, &mut frames);
        }
        Stack { frames, end: request.end }
    }

    fn frames(&mut self, address: u64, before: u64, place: Place, process: &mut Process, frames: &mut Vec<Frame>) {
        let without = |reason, module| Frame { function: Err(reason), module, ..Frame::pending(address) };
        let looked_up = address.wrapping_sub(before);
        let (module, file_offset) = match place {
            Place::Module { module, file_offset } => (module, file_offset),
            Place::Kernel(name) => return frames.push(without(NoSymbol::NotCovered, Some(name))),
            Place::Anonymous(name) => {
                let named = self.run_time_code(looked_up, process);
                return frames.push(run_time_frame(named, without(NoSymbol::Anonymous, name)));
            }
            Place::Unmapped => {
                // What ran there may have been thrown away since; the map still tells of it.
                let named = self.run_time_code(looked_up, process).or(Err(NoSymbol::Unmapped));
                return frames.push(run_time_frame(named, without(NoSymbol::Unmapped, None)));
            }
        };
        let resolved =
            contain(|| self.resolve(&module, file_offset, process.root.as_ref())).unwrap_or_else(|Panicked| {
                log::warn!("a panic while naming {address:#x} in {:?}", module.path());
                nameless(NoSymbol::ModuleUnreadable, None)
            });
        if resolved.is_run_time_code() {
            let named = self.run_time_code(looked_up, process);
            let path = Some(Arc::clone(module.path()));
            return frames.push(run_time_frame(named, without(NoSymbol::Anonymous, path)));
        }
        frames.extend(resolved.functions.iter().map(|named| {
            let Named { function, file, line, inlined } = named;
            Frame {
                address,
                function: function.clone(),
                module: Some(Arc::clone(module.path())),
                module_offset: resolved.module_offset.map(|offset| offset.wrapping_add(before)),
                build_id: resolved.build_id.clone(),
                file: file.clone(),
                line: *line,
                inlined: *inlined,
            }
        }));
    }

    /// The function at an address in memory without a file.
    fn run_time_code(&mut self, address: u64, process: &mut Process) -> Result<Named, NoSymbol> {
        let owner = process.owner.as_ref().ok_or(NoSymbol::Anonymous)?;
        if self.jit.get(&process.tgid).is_none_or(|names| !names.are_of(owner)) {
            self.jit.insert(process.tgid, JitNames::new(Arc::clone(owner)));
        }
        let names = self.jit.get(&process.tgid).ok_or(NoSymbol::Anonymous)?;
        if !std::mem::replace(&mut process.jit_is_fresh, true) {
            names.refresh();
        }
        names.look_up(address)
    }

    fn resolve(&mut self, module: &Module, file_offset: u64, root: Option<&Arc<Root>>) -> Resolved {
        let (Some(identity), Some(file)) = (module.identity(), module.file()) else {
            return nameless(NoSymbol::ModuleUnreadable, None);
        };
        if self.modules.get(&identity).is_none() {
            let symbols = ModuleSymbols::open(module, &self.roots(root), self.host.as_ref());
            self.opened += 1;
            let build_id = symbols.as_ref().ok().and_then(ModuleSymbols::build_id);
            self.modules.insert(identity, Opened { serial: self.opened, build_id, symbols, _file: Arc::clone(file) });
        }
        let Some(opened) = self.modules.get(&identity) else { return nameless(NoSymbol::ModuleUnreadable, None) };
        let key = (opened.serial, file_offset);
        if let Some(known) = self.addresses.get(&key) {
            return known.clone();
        }
        let build_id = opened.build_id.clone();
        let resolved = match &mut opened.symbols {
            Ok(symbols) => match symbols.address(file_offset) {
                None => nameless(NoSymbol::NotCovered, None),
                Some(address) => match symbols.look_up(address) {
                    Ok(functions) => Resolved { module_offset: Some(address), build_id, functions: functions.into() },
                    Err(reason) => Resolved { build_id, ..nameless(reason, Some(address)) },
                },
            },
            Err(reason) => nameless(*reason, None),
        };
        self.addresses.insert(key, resolved.clone());
        resolved
    }

    /// Where debug files are looked for: the target's root, then the host's.
    fn roots(&self, target: Option<&Arc<Root>>) -> Vec<Arc<Root>> {
        let host = self.host.iter().filter(|host| target.is_none_or(|target| !host.is_same(target)));
        target.into_iter().chain(host).map(Arc::clone).collect()
    }
}

impl Resolved {
    /// The module turned out to be memory that holds no ELF file.
    fn is_run_time_code(&self) -> bool {
        matches!(&*self.functions, [Named { function: Err(NoSymbol::Anonymous), .. }])
    }
}

/// A frame without a name, with what was found out about its code.
fn run_time_frame(named: Result<Named, NoSymbol>, frame: Frame) -> Frame {
    match named {
        Ok(Named { function, file, line, inlined }) => Frame { function, file, line, inlined, ..frame },
        Err(reason) => Frame { function: Err(reason), ..frame },
    }
}

fn nameless(reason: NoSymbol, module_offset: Option<u64>) -> Resolved {
    let named = Named { function: Err(reason), file: None, line: None, inlined: false };
    Resolved { module_offset, build_id: None, functions: Arc::from([named]) }
}

/// The places of all addresses, each looked up so many bytes before itself, and what belongs to the process. The map is
/// locked for this only: naming takes long.
fn locate(tgid: Tgid, addresses: &[(u64, u64)], modules: Option<&SharedModules>) -> (Vec<Place>, Process) {
    let mut process = Process { tgid, root: None, owner: None, jit_is_fresh: false };
    let Some(modules) = modules else { return (vec![Place::Unmapped; addresses.len()], process) };
    let mut map = modules.lock().unwrap_or_else(PoisonError::into_inner);
    let look_up = |map: &ModuleMap| -> Vec<Place> {
        let find = |&(address, before): &(u64, u64)| match address.checked_sub(before) {
            Some(address) => map.locate(address),
            None => Place::Unmapped,
        };
        addresses.iter().map(find).collect()
    };
    let mut places = look_up(&map);
    // Something may have been loaded since.
    if places.iter().any(|place| matches!(place, Place::Unmapped)) && map.may_refresh() {
        match map.refresh() {
            Ok(changes) if changes.mappings_changed => places = look_up(&map),
            Ok(_) => {}
            Err(error) => log::debug!("maps not read again: {error}"),
        }
    }
    (process.root, process.owner) = (map.root().map(Arc::clone), map.owner().map(Arc::clone));
    (places, process)
}
