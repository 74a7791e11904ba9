//! The names in one module.

use std::{fs::File, sync::Arc};

use blazesym::symbolize::{
    CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer,
    source::{self, Source},
};

use super::{
    NoSymbol, debug_file,
    elf::{Elf, check_compressed_sections},
    guard::{Panicked, contain},
    name::{cut, demangle},
};
use crate::target::{
    Root,
    maps::{Module, fd_path},
};

/// Calls inlined into each other at one address that are reported. Compilers stop far below.
const INLINED_MAX: usize = 256;

/// A function, or the place of one without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) function: Result<Arc<str>, NoSymbol>,
    pub(super) file: Option<Arc<str>>,
    pub(super) line: Option<u32>,
    pub(super) inlined: bool,
}

/// One file that names come from, with a blazesym instance of its own: what a broken file leaves behind in a parser
/// goes away with it. blazesym caches by path, and the path here is that of an open descriptor, so the file is held.
#[derive(Debug)]
struct NameSource {
    symbolizer: Symbolizer,
    source: Source<'static>,
    _file: Arc<File>,
}

impl NameSource {
    fn new(file: &Arc<File>, with_debug_info: bool) -> Self {
        let mut elf = source::Elf::new(fd_path(file));
        elf.debug_syms = with_debug_info;
        // Links to other files have been followed, and checked, before. Demangling has to be bounded.
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_demangling(false)
            .set_debug_dirs(Some([""; 0]))
            .build();
        Self { symbolizer, source: Source::Elf(elf), _file: Arc::clone(file) }
    }

    /// The functions at an address, innermost first; `None` when no symbol covers it.
    fn look_up(&self, address: u64) -> Result<Option<Vec<Named>>, blazesym::Error> {
        match self.symbolizer.symbolize_single(&self.source, Input::VirtOffset(address))? {
            Symbolized::Sym(symbol) => Ok(Some(functions(&symbol))),
            Symbolized::Unknown(reason) => {
                if !matches!(reason, Reason::MissingSyms | Reason::UnknownAddr) {
                    log::debug!("no symbol at {address:#x}: {reason}");
                }
                Ok(None)
            }
        }
    }
}

/// A module's names, from its debug file, its own debug information, its symbol table or its dynamic symbols.
#[derive(Debug)]
pub(super) struct ModuleSymbols {
    path: Arc<str>,
    elf: Elf,
    /// Best first.
    sources: Vec<NameSource>,
    /// It has neither debug information nor a symbol table of its own: what its dynamic symbols do not cover cannot
    /// be named without its debug file.
    stripped: bool,
}

impl ModuleSymbols {
    /// Opens a module's names, with debug files looked for in the roots, in their order.
    pub(super) fn open(module: &Module, roots: &[Arc<Root>], host: Option<&Arc<Root>>) -> Result<Self, NoSymbol> {
        let unreadable = if module.is_memory_file() { NoSymbol::Anonymous } else { NoSymbol::ModuleUnreadable };
        let path = Arc::clone(module.path());
        let file = module.file().ok_or(NoSymbol::ModuleUnreadable)?;
        let elf = contain(|| Elf::read(file))
            .map_err(|Panicked| unreadable)?
            .map_err(|error| log::debug!("{path:?} {error}"))
            .map_err(|()| unreadable)?;

        let mut sources = Vec::new();
        let mut stripped = !elf.has_symbols && !elf.has_debug_info;
        let has_own_debug_info = elf.has_debug_info && elf.debug_link.is_none();
        if !has_own_debug_info
            && let Ok(Some((debug, debug_elf))) = contain(|| debug_file::find(&path, &elf, roots))
            && unpacks(&path, &debug)
        {
            sources.push(NameSource::new(&debug, has_usable_debug_info(&debug, &debug_elf, host)));
            stripped = false;
        }
        if unpacks(&path, file) {
            if has_usable_debug_info(file, &elf, host) {
                sources.push(NameSource::new(file, true));
            }
            // Asked without its debug information too: blazesym gives up on an address when that is broken.
            sources.push(NameSource::new(file, false));
        }
        if sources.is_empty() {
            return Err(NoSymbol::ModuleUnreadable);
        }
        Ok(Self { path, elf, sources, stripped })
    }

    /// Its build id, in hexadecimal digits.
    pub(super) fn build_id(&self) -> Option<Arc<str>> {
        let id = self.elf.build_id.as_deref()?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// The address in the module's own count of a byte in its file.
    pub(super) fn address(&self, file_offset: u64) -> Option<u64> {
        self.elf.address(file_offset)
    }

    /// The functions at an address in the module's own count, innermost first.
    pub(super) fn look_up(&mut self, address: u64) -> Result<Vec<Named>, NoSymbol> {
        let mut index = 0;
        let mut unnamed = None;
        while let Some(source) = self.sources.get(index) {
            match contain(|| source.look_up(address)) {
                Ok(Ok(Some(functions))) if functions.iter().all(|function| function.function.is_ok()) => {
                    return Ok(functions);
                }
                Ok(Ok(Some(functions))) => {
                    unnamed.get_or_insert(functions);
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => log::debug!("{:?} at {address:#x}: {:?}", self.path, error.to_string()),
                Err(Panicked) => {
                    log::warn!("{:?} broke the symbol parser at {address:#x}: fewer names from it", self.path);
                    // What the panic left half done is not even dropped.
                    std::mem::forget(self.sources.remove(index));
                    continue;
                }
            }
            index += 1;
        }
        match unnamed {
            Some(functions) => Ok(functions),
            None if self.sources.is_empty() => Err(NoSymbol::ModuleUnreadable),
            None if self.stripped => Err(NoSymbol::Stripped),
            None => Err(NoSymbol::NotCovered),
        }
    }
}

/// Whether blazesym can read the debug information in a file without following links to others unchecked.
fn has_usable_debug_info(file: &File, elf: &Elf, host: Option<&Arc<Root>>) -> bool {
    let alone = elf.debug_link.is_none() && !elf.has_supplement;
    elf.has_debug_info && alone && contain(|| debug_file::alt_link_holds(file, elf, host)) == Ok(true)
}

/// Whether the compressed sections are what they claim; for the module at `path` or its debug file.
fn unpacks(path: &str, file: &File) -> bool {
    match contain(|| check_compressed_sections(file)) {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => log::warn!("not used for the names of {path:?}: a file that {error}"),
        Err(Panicked) => log::warn!("not used for the names of {path:?}: a file that broke the ELF parser"),
    }
    false
}

/// blazesym gives the outermost inlined call first; frames go from the innermost outwards.
fn functions(symbol: &Sym<'_>) -> Vec<Named> {
    let inner = symbol.inlined.iter().rev().take(INLINED_MAX);
    let inner = inner.map(|inlined| named(&inlined.name, inlined.code_info.as_ref(), true));
    inner.chain([named(&symbol.name, symbol.code_info.as_deref(), false)]).collect()
}

fn named(name: &str, code: Option<&CodeInfo<'_>>, inlined: bool) -> Named {
    Named {
        function: if name.is_empty() { Err(NoSymbol::NotCovered) } else { Ok(Arc::from(demangle(name))) },
        file: code.map(|code| Arc::from(cut(&code.to_path().to_string_lossy()))),
        line: code.and_then(|code| code.line).filter(|&line| line != 0),
        inlined,
    }
}
