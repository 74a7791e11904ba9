//! The symbols of a module that allocators are recognised and probed by, from wherever the module has them: its dynamic
//! symbols, its static ones, those packed into `.gnu_debugdata`, and those of a separate debug file.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use object::{Endianness, Object, ObjectSection as _, ObjectSymbol, ReadRef, SymbolKind, read::elf::ElfFile64};

/// Bytes that `.gnu_debugdata` may unpack to: it holds the names of functions and nothing else.
const PACKED_MAX: usize = 64 << 20;
/// Symbols longer than this are none of an allocator's.
const NAME_MAX: usize = 128;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// As the file itself counts.
    pub(super) address: u64,
    /// Bytes of code; 0 when it is not known.
    pub(super) size: u64,
    /// Not visible outside of the module.
    pub(super) local: bool,
}

/// Functions by name.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    by_name: BTreeMap<String, Symbol>,
    /// Where symbols were found.
    pub(super) tables: Vec<&'static str>,
}

impl Symbols {
    /// Adds those of a file. A name that is known stays what it is: of several versions of a symbol the first one holds, and
    /// a global one holds before a local one.
    pub(super) fn add<'data, R: ReadRef<'data>>(&mut self, file: &ElfFile64<'data, Endianness, R>, separate: bool) {
        if !separate {
            self.add_table(file.dynamic_symbols(), ".dynsym");
        }
        self.add_table(file.symbols(), if separate { "debug file" } else { ".symtab" });
    }

    /// Adds those in `.gnu_debugdata`: an ELF file with nothing but symbols, packed with xz.
    pub(super) fn add_packed<'data, R: ReadRef<'data>>(&mut self, file: &ElfFile64<'data, Endianness, R>) {
        let Some(packed) = file.section_by_name(".gnu_debugdata").and_then(|section| section.data().ok()) else {
            return;
        };
        let mut unpacked = Limited(Vec::new());
        if let Err(error) = lzma_rs::xz_decompress(&mut io::Cursor::new(packed), &mut unpacked) {
            log::debug!(".gnu_debugdata does not unpack: {error:?}");
            return;
        }
        match ElfFile64::<Endianness, _>::parse(&unpacked.0[..]) {
            Ok(inner) => self.add_table(inner.symbols(), ".gnu_debugdata"),
            Err(error) => log::debug!(".gnu_debugdata holds no ELF file: {error}"),
        }
    }

    fn add_table<'data>(&mut self, symbols: impl Iterator<Item = impl ObjectSymbol<'data>>, table: &'static str) {
        let mut any = false;
        for symbol in symbols {
            any = true;
            if !symbol.is_definition() || symbol.kind() != SymbolKind::Text {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if name.len() > NAME_MAX || !is_of_interest(name) {
                continue;
            }
            let found = Symbol { address: symbol.address(), size: symbol.size(), local: !symbol.is_global() };
            match self.by_name.get_mut(name) {
                Some(known) if known.local && !found.local => *known = found,
                Some(_) => {}
                None => {
                    self.by_name.insert(name.to_owned(), found);
                }
            }
        }
        if any && !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Symbol> {
        self.by_name.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Symbols at addresses of their own.
    #[cfg(test)]
    pub(super) fn of_names(names: &[&str]) -> Self {
        let symbol = |index: usize| Symbol { address: 16 * index as u64, size: 16, local: false };
        let by_name = names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), symbol(index))).collect();
        Self { by_name, tables: Vec::new() }
    }
}

/// Whether an allocator's function or something that tells it can have this name. A program has many thousands of others.
fn is_of_interest(name: &str) -> bool {
    name.starts_with("_Zn")
        || name.starts_with("_Zd")
        || [
            "alloc",
            "free",
            "memalign",
            "mallctl",
            "mi_",
            "tc_",
            "gnu_get_libc",
            "__tls_get",
            "__libc_start",
            "__cxa_throw",
        ]
        .iter()
        .any(|part| name.contains(part))
}

/// Takes as much as it may.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PACKED_MAX {
            return Err(io::Error::other("larger than symbols can be"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
