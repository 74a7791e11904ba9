//! From the modules of processes to their probes, and to what was found in each module.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use object::ReadCache;

use crate::{
    aggregate::TargetInfo,
    bpf,
    probe::{AttachPlan, Findings, NamedAllocator, Planner, Runtime},
    symbolize::separate_symbols,
    target::maps::{FileIdentity, Module, ModuleMap},
};

/// The probes for a process.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) plan: AttachPlan,
    /// The modules that the plan's points are in.
    pub(super) modules: Vec<bpf::Module>,
    /// A named allocator that is none.
    pub(super) wrong: Option<anyhow::Error>,
}

/// All files met so far: each is looked through once, however many processes map it.
#[derive(Debug)]
pub(super) struct Allocators {
    named: Vec<NamedAllocator>,
    /// Which of those that are named have been met.
    met: Vec<bool>,
    /// By what the user calls it as well, which may depend on the process.
    files: HashMap<(FileIdentity, Vec<usize>), Arc<Looked>>,
}

/// A file that was looked through.
#[derive(Debug)]
struct Looked {
    /// Held, so that its number does not come to mean another file.
    file: Arc<File>,
    /// Of this module alone, the first one of a plan.
    planner: Planner,
    /// `None` where it could not be read or parsed.
    findings: Option<Findings>,
}

/// The files of a process that were looked through, and got the probes they need.
#[derive(Debug, Default)]
pub(super) struct Planned {
    files: HashMap<FileIdentity, Arc<Looked>>,
    /// Functions that may throw are probed, and so is what throws.
    throws: bool,
    /// Runtimes with heaps of their own.
    pub(super) runtimes: BTreeSet<Runtime>,
}

impl Planned {
    /// Whether an allocator is among the modules, as far as they were looked through.
    pub(super) fn has_allocator(&self, modules: &ModuleMap) -> bool {
        let mut looked = modules.modules().filter_map(|module| self.files.get(&module.identity()?));
        looked.any(|looked| !looked.planner.is_empty())
    }

    /// What was found in each module that could be looked through, by its path.
    pub(super) fn findings(&self, modules: &ModuleMap) -> Vec<(Arc<str>, Findings)> {
        let found = |module: &Arc<Module>| {
            let looked = self.files.get(&module.identity()?)?;
            Some((Arc::clone(module.path()), looked.findings.clone()?))
        };
        let mut findings: Vec<_> = modules.modules().filter_map(found).collect();
        findings.sort_by(|(a, _), (b, _)| a.cmp(b));
        findings
    }
}

impl Allocators {
    /// Knows no file yet. `named` are the allocators that the user names.
    pub(super) fn new(named: &[NamedAllocator]) -> Self {
        Self { named: named.to_vec(), met: vec![false; named.len()], files: HashMap::new() }
    }

    /// The probes for every module that is an allocator, recognised or named by the user, and is not in `planned` yet,
    /// where all modules are afterwards. One that cannot be read or parsed is none.
    pub(super) fn plan(&mut self, mapped: &ModuleMap, planned: &mut Planned) -> Probes {
        let mut planner = Planner::default();
        let (mut modules, mut before, mut wrong) = (Vec::new(), Vec::new(), None);
        for module in mapped.modules() {
            let (Some(identity), Some(file)) = (module.identity(), module.file()) else { continue };
            if let Some(looked) = planned.files.get(&identity) {
                before.push((module, Arc::clone(looked)));
                continue;
            }
            let looked = self.look_at(mapped, module, identity, file).unwrap_or_else(|error| {
                wrong.get_or_insert(error);
                Arc::new(Looked { file: Arc::clone(file), planner: Planner::default(), findings: None })
            });
            planned.runtimes.extend(looked.findings.as_ref().and_then(|found| found.runtime));
            planner.add_planned(modules.len(), &looked.planner);
            if planner.uses(modules.len()) {
                modules.push(module_of(module, &looked));
            }
            planned.files.insert(identity, looked);
        }
        if planner.may_throw() && !planned.throws {
            // What was without a use until now.
            for (module, looked) in before {
                planner.add_throws(modules.len(), &looked.planner);
                if planner.uses(modules.len()) {
                    modules.push(module_of(module, &looked));
                }
            }
        }
        planned.throws |= planner.may_throw();
        Probes { plan: planner.finish_with(planned.throws), modules, wrong }
    }

    fn look_at(
        &mut self,
        mapped: &ModuleMap,
        module: &Module,
        identity: FileIdentity,
        file: &Arc<File>,
    ) -> anyhow::Result<Arc<Looked>> {
        let is_here = |(index, named): (usize, &NamedAllocator)| is_named(module, named).then_some(index);
        let here: Vec<usize> = self.named.iter().enumerate().filter_map(is_here).collect();
        here.iter().for_each(|&index| self.met[index] = true);
        if let Some(looked) = self.files.get(&(identity, here.clone())) {
            return Ok(Arc::clone(looked));
        }
        let prefixes: Vec<&str> = here.iter().map(|&index| self.named[index].prefix.as_str()).collect();
        let separate = separate_symbols(module, mapped.root());
        let mut planner = Planner::default();
        let findings = match look(&mut planner, file, separate.as_deref(), &prefixes) {
            Ok(findings) => Some(findings),
            Err(error) if !here.is_empty() => {
                return Err(error).with_context(|| format!("--allocator {}", module.path()));
            }
            Err(error) => {
                log::debug!("{}: {error:#}", module.path());
                None
            }
        };
        let looked = Arc::new(Looked { file: Arc::clone(file), planner, findings });
        self.files.insert((identity, here), Arc::clone(&looked));
        Ok(looked)
    }

    /// Whether all that the user names have been met in these processes. One that is there as a file may be loaded later.
    ///
    /// # Errors
    /// When one has not.
    pub(super) fn are_met(&self, pids: &[u32]) -> anyhow::Result<()> {
        let [pid, ..] = pids else { return Ok(()) };
        let who = if pids.len() == 1 { format!("process {pid} has") } else { "none of the processes has".to_owned() };
        for (NamedAllocator { path, prefix: _ }, _) in self.named.iter().zip(&self.met).filter(|(_, met)| !**met) {
            let is_file = |pid: &u32| std::fs::metadata(format!("/proc/{pid}/root{path}")).is_ok_and(|it| it.is_file());
            if !path.starts_with('/') || !pids.iter().any(is_file) {
                bail!("--allocator {path}: {who} no such file mapped; see what there is with: cat /proc/{pid}/maps");
            }
            log::warn!("--allocator {path}: {who} not mapped it yet; it is probed when that has been loaded");
        }
        Ok(())
    }
}

fn module_of(module: &Module, looked: &Looked) -> bpf::Module {
    bpf::Module { path: module.path().as_ref().into(), file: Arc::clone(&looked.file) }
}

fn look(planner: &mut Planner, file: &File, separate: Option<&File>, named: &[&str]) -> anyhow::Result<Findings> {
    // Read, not mapped: a file that is truncated meanwhile would end this process.
    let (data, separate) = (ReadCache::new(file), separate.map(ReadCache::new));
    Ok(planner.add_module(0, &data, separate.as_ref(), named)?)
}

fn is_named(module: &Module, named: &NamedAllocator) -> bool {
    let path = module.path();
    let ends_so = path.strip_suffix(named.path.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('/'));
    let is_same_file = || {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(&named.path).ok()?;
        let identity = module.identity()?;
        Some((identity.device, identity.inode) == (metadata.dev(), metadata.ino()))
    };
    ends_so || is_same_file().unwrap_or(false)
}

/// Why there is nothing to probe.
pub(super) fn no_allocator(target: &TargetInfo, findings: &[(Arc<str>, Findings)]) -> anyhow::Error {
    let TargetInfo { pid, comm, exe, .. } = target;
    let pid = pid.0;
    let program = findings.iter().find(|(path, _)| **path == **exe).map(|(_, found)| found);
    let reason = match program {
        Some(found) if found.is_static && found.symbols.is_empty() => format!(
            "{exe} is static and has no symbols, and its allocator is found by nothing else; keep them (do not strip it), put its debug \
             file beside it as {exe}.debug with a .gnu_debuglink, or take a build that has them"
        ),
        Some(found) if found.is_static => {
            format!(
                "{exe} is static, and its symbols show no allocator that is known; name it with --allocator {exe}:PREFIX"
            )
        }
        _ => format!(
            "nothing mapped defines malloc and free: a runtime with a heap of its own, such as Go, or an allocator with \
             names of its own (--allocator PATH:PREFIX); check with: grep -c libc /proc/{pid}/maps"
        ),
    };
    anyhow::anyhow!(
        "process {pid} ({comm}) has no allocator to probe: {reason}; --fds traces its descriptors alone, and leaktrace doctor -p \
         {pid} lists what was looked at"
    )
}
