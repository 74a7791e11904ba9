//! Opening recordings, and what has to be said about them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::At;
use crate::{
    record::{End, Recording, Window},
    report::{
        units::{counted, duration},
        untrusted::displayable,
    },
};

/// Opens a file to be read. A pipe is not waited for.
pub(super) fn open_file(path: &Path) -> anyhow::Result<File> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; a recording is its owner's: read it as that user, or chown it",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("cannot read {}{hint}", path.display()))
    })
}

/// Opens a recording.
pub(super) fn open(path: &Path) -> anyhow::Result<Recording<File>> {
    Recording::open(open_file(path)?).with_context(|| format!("cannot read {}", path.display()))
}

/// The window of a time; without one, the last.
pub(super) fn find(recording: &mut Recording<File>, at: Option<At>) -> anyhow::Result<usize> {
    let elapsed = match at {
        None => return Ok(recording.windows() - 1),
        Some(At::Elapsed(elapsed)) => Some(elapsed),
        Some(At::Time(time)) => {
            let started = recording.window(0)?.snapshot.started;
            Duration::try_from(time.duration_since(started)).ok()
        }
    };
    match elapsed.and_then(|elapsed| recording.at(elapsed)) {
        Some(window) => Ok(window),
        None => bail!("there is no window that early; {}", range(recording)?),
    }
}

/// From when to when it goes.
fn range(recording: &mut Recording<File>) -> anyhow::Result<String> {
    let mut words = Vec::new();
    for window in [0, recording.windows() - 1] {
        words.push(when(&recording.window(window)?));
    }
    Ok(format!("the first one is of {}, the last one of {}", words[0], words[1]))
}

/// When a window was taken, in words.
pub(super) fn when(window: &Window) -> String {
    let Window { snapshot, .. } = window;
    let time = snapshot.started.checked_add(jiff::SignedDuration::try_from(snapshot.elapsed).unwrap_or_default());
    let time = time.map_or_else(|_| "no possible time".to_owned(), |time| time.strftime("%F %T UTC").to_string());
    format!("{time} ({} traced)", duration(snapshot.elapsed))
}

/// What a reader has to know about a recording, besides its numbers.
pub(super) fn caveats(recording: &Recording<File>, window: &Window) -> Vec<String> {
    let mut caveats = Vec::new();
    match recording.end() {
        End::Complete => {}
        End::Cut(_) => caveats.push("it is cut off after its last whole window".to_owned()),
        End::Damaged { at, what } => caveats.push(format!("it is damaged at byte {at}, and read up to there: {what}")),
    }
    let Window { snapshot: _, lost, unknown } = window;
    if *lost > 0 {
        let words = counted(*lost, "window is", "windows are");
        caveats.push(format!("{words} missing up to here, because the disk was too slow"));
    }
    if *unknown > 0 {
        let by = displayable(recording.by());
        let words = counted(*unknown, "entry is", "entries are");
        caveats.push(format!("{words} not shown: use leaktrace {by}, which wrote it"));
    }
    caveats
}
