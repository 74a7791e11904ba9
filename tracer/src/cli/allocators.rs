//! From the modules of a process to its probes, and to what was found in each of them.

use std::{fs::File, sync::Arc};

use anyhow::{Context as _, bail};
use object::ReadCache;

use crate::{
    aggregate::TargetInfo,
    bpf,
    probe::{AttachPlan, Findings, NamedAllocator, Planner},
    symbolize::separate_symbols,
    target::maps::{Module, ModuleMap},
};

/// The probes for a process.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) plan: AttachPlan,
    /// The modules that the plan's points are in.
    pub(super) modules: Vec<bpf::Module>,
    /// What was found in each module that has an allocator, and in the program itself, by its path.
    pub(super) findings: Vec<(Arc<str>, Findings)>,
}

/// The probes for every module that is an allocator, recognised or named by the user. A module that cannot be read or
/// parsed is none.
pub(super) fn probes(mapped: &ModuleMap, named: &[NamedAllocator]) -> anyhow::Result<Probes> {
    let mut planner = Planner::default();
    let (mut modules, mut findings) = (Vec::new(), Vec::new());
    let mut unknown: Vec<&NamedAllocator> = named.iter().collect();
    for module in mapped.modules() {
        let Some(file) = module.file() else { continue };
        let here: Vec<&NamedAllocator> = named.iter().filter(|named| is_named(module, named)).collect();
        unknown.retain(|named| !here.contains(named));
        let prefixes: Vec<&str> = here.iter().map(|named| named.prefix.as_str()).collect();
        let separate = separate_symbols(module, mapped.root());
        match look(&mut planner, modules.len(), file, separate.as_deref(), &prefixes) {
            Ok(found) => {
                if planner.uses(modules.len()) {
                    modules.push(bpf::Module { path: module.path().as_ref().into(), file: Arc::clone(file) });
                }
                findings.push((Arc::clone(module.path()), found));
            }
            Err(error) if !here.is_empty() => {
                return Err(error).with_context(|| format!("--allocator {}", module.path()));
            }
            Err(error) => log::debug!("{}: {error:#}", module.path()),
        }
    }
    if let Some(NamedAllocator { path, prefix: _ }) = unknown.first() {
        bail!(
            "--allocator {path}: process {pid} has no such file mapped; see what it has with: cat /proc/{pid}/maps",
            pid = mapped.pid()
        );
    }
    findings.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Probes { plan: planner.finish(), modules, findings })
}

fn look(
    planner: &mut Planner,
    index: usize,
    file: &File,
    separate: Option<&File>,
    named: &[&str],
) -> anyhow::Result<Findings> {
    // Read, not mapped: a file that is truncated meanwhile would end this process.
    let (data, separate) = (ReadCache::new(file), separate.map(ReadCache::new));
    Ok(planner.add_module(index, &data, separate.as_ref(), named)?)
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
