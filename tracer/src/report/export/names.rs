//! Names of frames and processes for other tools: one word each, safe to display.

use std::borrow::Cow;

use crate::{
    aggregate::{SiteSnapshot, Snapshot, TargetInfo},
    report::{basename, untrusted::displayable},
    symbolize::Frame,
};

/// The function, or `module+0xoffset`, or the address.
pub(crate) fn frame_name(frame: &Frame) -> Cow<'_, str> {
    match (&frame.function, &frame.module, frame.module_offset) {
        (Ok(function), ..) if function.trim().is_empty() => "[no name]".into(),
        (Ok(function), ..) => displayable(function),
        (Err(_), Some(module), Some(offset)) => format!("{}+{offset:#x}", displayable(basename(module))).into(),
        (Err(_), Some(module), None) => format!("{} {:#x}", displayable(basename(module)), frame.address).into(),
        (Err(_), None, _) => format!("{:#x}", frame.address).into(),
    }
}

/// `imgserver[4242]`.
pub(super) fn process_name(info: &TargetInfo) -> String {
    format!("{}[{}]", displayable(&info.comm), info.pid.0)
}

/// The same for what is traced: one process, or the first of several.
pub(super) fn target_name(snapshot: &Snapshot) -> String {
    let name = process_name(&snapshot.target);
    match snapshot.processes.len() {
        0 | 1 => name,
        processes => format!("{name} and {} more", processes - 1),
    }
}

/// The process of a site.
pub(crate) fn process_of(snapshot: &Snapshot, site: &SiteSnapshot) -> String {
    let process = snapshot.processes.iter().find(|process| process.info.pid == site.tgid);
    process.map_or_else(|| format!("[{}]", site.tgid.0), |process| process_name(&process.info))
}
