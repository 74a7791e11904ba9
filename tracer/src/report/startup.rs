//! What a program's start allocates: its loader, and the initialization of its libraries, before any code of its own runs.

use crate::{
    aggregate::{SiteSnapshot, Snapshot, TargetInfo},
    symbolize::{Frame, Stack},
};

/// Functions of the C library that set up a static program, which is its own loader.
const STATIC_START: &[&str] =
    &["_dl_non_dynamic_init", "__libc_setup_tls", "__libc_init_first", "_dl_relocate_static_pie"];

/// Whether the site belongs to the start of its program: the stack begins in the loader, and no code of the program itself
/// is on it; or the C library of a static program is at it.
pub(crate) fn is_startup(snapshot: &Snapshot, site: &SiteSnapshot) -> bool {
    let of_process = snapshot.processes.iter().find(|process| process.info.pid == site.tgid);
    let TargetInfo { exe, .. } = of_process.map_or(&snapshot.target, |process| &process.info);
    let frames = &site.stack.frames;
    let is_static_start = |frame: &Frame| frame.function.as_deref().is_ok_and(|name| STATIC_START.contains(&name));
    let is_own = |frame: &Frame| frame.module.as_deref() == Some(exe.as_str());
    frames.iter().any(is_static_start) || begins_in_loader(&site.stack) && !frames.iter().any(is_own)
}

fn begins_in_loader(stack: &Stack) -> bool {
    let name = |frame: &Frame| frame.module.as_deref().and_then(|path| path.rsplit('/').next().map(str::to_owned));
    stack.frames.last().and_then(name).is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld.so"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    #[test]
    fn what_the_loader_calls_is_start_up_unless_it_is_the_programs_own() {
        let mut snapshot = testing::normal();
        let exe = "/srv/app".to_owned();
        snapshot.target.exe.clone_from(&exe);
        snapshot.processes.clear();
        let mut site = snapshot.sites[0].clone();
        let mut stack = |modules: &[&str]| {
            let template = site.stack.frames[0].clone();
            let frame = |module: &&str| Frame { module: Some((*module).into()), ..template.clone() };
            site.stack =
                std::sync::Arc::new(Stack { frames: modules.iter().map(frame).collect(), end: site.stack.end });
            is_startup(&snapshot, &site)
        };
        assert!(stack(&["/usr/lib/libstdc++.so.6", "/usr/lib/ld-linux-x86-64.so.2"]));
        assert!(!stack(&["/usr/lib/libstdc++.so.6", "/srv/app", "/usr/lib/ld-linux-x86-64.so.2"]));
        assert!(!stack(&["/usr/lib/libc.so.6", "/srv/app"]));
        assert!(!stack(&[]));
    }
}
