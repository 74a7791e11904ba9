//! The attach plan: a table of probe points, made from the symbols and the code of the modules.

use std::{collections::BTreeMap, sync::Arc};

use object::{
    Endianness, Object, ReadRef, elf,
    read::elf::{ElfFile64, ProgramHeader as _},
};
use thiserror::Error;
use tracer_common::{config::MAX_PROBES, heap::Function};

use super::{
    Cost, Findings, FunctionFinding, Needs, Outcome,
    allocator::{Allocator, Family, FunctionRow, NOT_PROBED, recognise},
    exits::exits,
    findings::ResultBy,
    image::Image,
    point::{choose, forwards, mnemonic},
    runtime::runtime_of,
    symbols::{Symbol, Symbols},
};

/// Entry, return, or one of several exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Hit when the function is called.
    Entry,
    /// Hit when it returns.
    Return,
    /// Hit when it is about to return, by this `ret`.
    Exit,
}

impl ProbeKind {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
            Self::Exit => "exit",
        }
    }
}

/// One probe to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// Index into the list of modules the plan was made from.
    pub module: usize,
    /// The symbol, for people.
    pub symbol: Arc<str>,
    /// What the program must know of it.
    pub function: Function,
    /// Entry, return or exit.
    pub kind: ProbeKind,
    /// Bytes from the function's start. Of an exit, which may be in another function, bytes from there as well.
    pub offset: u64,
    /// Where that is in the module's file.
    pub file_offset: u64,
    /// What a hit costs.
    pub cost: Cost,
}

/// All probes for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachPlan {
    /// In the order of attaching: returns and exits before entries, so that a call whose entry is seen has its end seen too.
    pub points: Vec<AttachPoint>,
}

/// Why a module gives no probe points.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not an ELF file for x86-64.
    #[error("not an x86-64 ELF file: {0}")]
    NotElf(String),
    /// The user named an allocator that is not there.
    #[error(
        "it defines no {prefix}malloc and {prefix}free; see which functions it has with: nm -D --defined-only FILE"
    )]
    NotAllocator {
        /// The prefix given.
        prefix: String,
    },
}

/// An allocator that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAllocator {
    /// Path of the module, or the end of it.
    pub path: String,
    /// What stands before the names of its functions.
    pub prefix: String,
}

/// Makes a plan, module by module.
#[derive(Debug, Default)]
pub struct Planner {
    points: Vec<AttachPoint>,
    /// Where exceptions are thrown.
    throws: Vec<AttachPoint>,
}

impl Planner {
    /// Adds the probes of a module. `separate` is its debug file, where it has one; `named` the prefixes under which the user
    /// says that there is an allocator. A module without an allocator adds no probes.
    ///
    /// # Errors
    /// When the module cannot be parsed, or has no allocator of that name.
    pub fn add_module<'data, R: ReadRef<'data>>(
        &mut self,
        module: usize,
        data: R,
        separate: Option<R>,
        named: &[&str],
    ) -> Result<Findings, PlanError> {
        let image = Image::parse(data)?;
        let mut symbols = Symbols::default();
        symbols.add(&image.file, false);
        if !symbols.tables.contains(&".symtab") {
            symbols.add_packed(&image.file);
            if let Some(file) = separate.and_then(|data| ElfFile64::<Endianness, _>::parse(data).ok()) {
                symbols.add(&file, true);
            }
        }
        let mut allocators = recognise(&symbols);
        for prefix in named {
            let has = |name: &str| symbols.get(&format!("{prefix}{name}")).is_some();
            if !(has("malloc") && has("free")) {
                return Err(PlanError::NotAllocator { prefix: (*prefix).to_owned() });
            }
            if !allocators.iter().any(|allocator| allocator.prefix == *prefix) {
                allocators.push(Allocator { family: Family::Named, prefix: (*prefix).to_owned() });
            }
        }
        let functions = self.add_functions(module, &image, &symbols, &allocators);
        if let Some(throw) = symbols.get("__cxa_throw").filter(|throw| !throw.local) {
            self.add_throw(module, &image, throw);
        }
        Ok(Findings {
            allocators: allocators.into_iter().map(|allocator| (allocator.family, allocator.prefix)).collect(),
            functions,
            symbols: symbols.tables,
            is_static: is_static(&image.file),
            runtime: runtime_of(&image.file),
        })
    }

    /// Adds the probes of a module that another planner has looked through as its only one.
    pub fn add_planned(&mut self, module: usize, other: &Self) {
        let Self { points, throws: _ } = other;
        self.points.extend(points.iter().map(|point| AttachPoint { module, ..point.clone() }));
        self.add_throws(module, other);
    }

    /// Adds where exceptions are thrown in such a module, and nothing else.
    pub fn add_throws(&mut self, module: usize, other: &Self) {
        self.throws.extend(other.throws.iter().map(|point| AttachPoint { module, ..point.clone() }));
    }

    /// Whether no function is to be probed.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether what is probed may throw, so that it matters where exceptions are thrown.
    pub fn may_throw(&self) -> bool {
        self.points.iter().any(|point| point.function.may_throw())
    }

    /// The plan.
    pub fn finish(self) -> AttachPlan {
        let throws = self.may_throw();
        self.finish_with(throws)
    }

    /// The plan, with the probes where exceptions are thrown or without.
    pub fn finish_with(self, with_throws: bool) -> AttachPlan {
        let Self { mut points, throws } = self;
        if with_throws {
            points.extend(throws);
        }
        points.sort_by_key(|point| point.kind == ProbeKind::Entry);
        AttachPlan { points }
    }

    fn add_functions<'data, R: ReadRef<'data>>(
        &mut self,
        module: usize,
        image: &Image<'data, R>,
        symbols: &Symbols,
        allocators: &[Allocator],
    ) -> Vec<FunctionFinding> {
        let mut selected: Vec<(String, FunctionRow, Symbol)> = Vec::new();
        // Aliases are one function: aligned_alloc and memalign in many versions of glibc.
        let mut by_address: BTreeMap<u64, (String, Function)> = BTreeMap::new();
        let mut findings = Vec::new();
        for allocator in allocators {
            for row in allocator.tables().iter().copied().flatten() {
                let name = format!("{}{}", allocator.prefix, row.symbol);
                let Some(symbol) = symbols.get(&name) else { continue };
                if selected.iter().any(|(known, ..)| *known == name) {
                    continue;
                }
                by_address.entry(symbol.address).or_insert_with(|| (name.clone(), row.function));
                selected.push((name, *row, symbol));
            }
        }
        for (name, row, symbol) in selected {
            let outcome = match by_address.get(&symbol.address) {
                Some((known, _)) if *known != name => Outcome::Alias(known.clone()),
                _ => self.add_function(module, image, &name, row.function, symbol, &by_address),
            };
            findings.push(FunctionFinding { symbol: name, outcome });
        }
        if !allocators.is_empty() {
            let unprobed = NOT_PROBED.iter().filter(|(name, _)| symbols.get(name).is_some());
            findings.extend(
                unprobed.map(|(name, why)| FunctionFinding { symbol: (*name).to_owned(), outcome: Outcome::Not(why) }),
            );
        }
        findings
    }

    fn add_function<'data, R: ReadRef<'data>>(
        &mut self,
        module: usize,
        image: &Image<'data, R>,
        name: &str,
        function: Function,
        symbol: Symbol,
        others: &BTreeMap<u64, (String, Function)>,
    ) -> Outcome {
        let code = image.code(symbol.address, symbol.size.clamp(1, MAX_FUNCTION));
        let (Some(start), Some(code)) = (image.file_offset(symbol.address), code) else {
            return Outcome::Not("its address is outside of the module's code");
        };
        let needs = Needs { arguments: function.arguments(), stack: function.allocates() };
        if let Some(other) = forwarded_to(image, code, symbol.address, needs, others)
            && other.0 != name
            && is_alike(function, other.1)
        {
            return Outcome::Forwards(other.0.clone());
        }
        let point = choose(code, needs);
        let base = AttachPoint {
            module,
            symbol: Arc::from(name),
            function,
            kind: ProbeKind::Entry,
            offset: point.offset,
            file_offset: start + point.offset,
            cost: point.cost,
        };
        let result = if function.may_throw() {
            let exits = exits(image, symbol.address);
            if exits.addresses.is_empty() {
                return Outcome::Not("it may throw, and no end of it was found");
            }
            for &address in &exits.addresses {
                self.add_exit(&base, address.wrapping_sub(symbol.address), image.file_offset(address));
            }
            ResultBy::Exits { count: exits.addresses.len(), complete: exits.complete }
        } else if function.allocates() {
            self.points.push(AttachPoint { kind: ProbeKind::Return, ..base.clone() });
            ResultBy::Return
        } else {
            ResultBy::Nothing
        };
        self.points.push(base);
        if self.points.len() > MAX_PROBES as usize {
            log::warn!("more than {MAX_PROBES} probes: the hits of some will not be counted");
        }
        Outcome::Probed { offset: point.offset, instruction: mnemonic(code, point.offset), cost: point.cost, result }
    }

    /// Functions that may throw share exits: one probe serves them all.
    fn add_exit(&mut self, entry: &AttachPoint, offset: u64, file_offset: Option<u64>) {
        let Some(file_offset) = file_offset else { return };
        let same = |point: &AttachPoint| {
            (point.kind, point.module, point.file_offset) == (ProbeKind::Exit, entry.module, file_offset)
        };
        if !self.points.iter().any(same) {
            let cost = Cost::SingleStepped;
            self.points.push(AttachPoint { kind: ProbeKind::Exit, offset, file_offset, cost, ..entry.clone() });
        }
    }

    fn add_throw<'data, R: ReadRef<'data>>(&mut self, module: usize, image: &Image<'data, R>, symbol: Symbol) {
        let code = image.code(symbol.address, symbol.size.clamp(1, MAX_FUNCTION));
        let (Some(start), Some(code)) = (image.file_offset(symbol.address), code) else { return };
        let point = choose(code, Needs { arguments: 0, stack: false });
        self.throws.push(AttachPoint {
            module,
            symbol: Arc::from("__cxa_throw"),
            function: Function::Throw,
            kind: ProbeKind::Entry,
            offset: point.offset,
            file_offset: start + point.offset,
            cost: point.cost,
        });
    }

    /// Whether a module has anything in the plan, now or with what is added at its end.
    pub fn uses(&self, module: usize) -> bool {
        self.points.iter().chain(&self.throws).any(|point| point.module == module)
    }
}

/// A function larger than this is not looked through for branches beyond it.
const MAX_FUNCTION: u64 = 1 << 20;

/// The function among `others` that this one does nothing but jump to.
fn forwarded_to<'a, 'data, R: ReadRef<'data>>(
    image: &Image<'data, R>,
    code: &[u8],
    address: u64,
    needs: Needs,
    others: &'a BTreeMap<u64, (String, Function)>,
) -> Option<&'a (String, Function)> {
    let jump = image.instruction(address + forwards(code, needs)?)?;
    others.get(&image.jump_target(&jump)?)
}

/// Whether a probe of one serves for the other.
fn is_alike(function: Function, other: Function) -> bool {
    let frees = |function| matches!(function, Function::Free | Function::Release);
    function == other || frees(function) && frees(other)
}

/// Whether a file is a program that runs without a dynamic linker.
fn is_static<'data, R: ReadRef<'data>>(file: &ElfFile64<'data, Endianness, R>) -> bool {
    let endian = file.endian();
    let has_interpreter = file.elf_program_headers().iter().any(|header| header.p_type(endian) == elf::PT_INTERP);
    let is_program = file.entry() != 0 && file.dynamic_symbols().next().is_none();
    !has_interpreter && is_program
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
