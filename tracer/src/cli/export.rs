//! What the dashboard shows, written to a file of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
};

use crate::{
    aggregate::Snapshot,
    analyze::history::History,
    report::{
        ReportOptions, Sort,
        export::{By, Measure, write_flame_graph, write_folded, write_html, write_pprof},
        write_json,
    },
    tui::Export,
};

/// Call sites of a page.
const TOP: usize = 50;

/// Writes it into the current folder, and says what became of that.
pub(super) fn export(snapshot: &Snapshot, history: Option<&History>, what: Export) -> String {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let name = format!("leaktrace-{}-{time}.{}", snapshot.target.pid.0, what.extension());
    match create(&name).and_then(|file| write(snapshot, history, what, file)) {
        Ok(()) => format!("written to {name}"),
        Err(error) => format!("cannot write {name} here: {error}"),
    }
}

/// A new file for its owner alone: other people's data is in it, and the folder may be anyone's.
fn create(name: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_CLOEXEC).open(name)
}

fn write(snapshot: &Snapshot, history: Option<&History>, what: Export, file: File) -> io::Result<()> {
    let mut out = io::BufWriter::new(file);
    let measure = Measure { by: By::default(), history };
    match what {
        Export::Json => write_json(snapshot, &mut out)?,
        Export::Folded => write_folded(snapshot, &measure, &mut out)?,
        Export::Svg => write_flame_graph(snapshot, &measure, &mut out)?,
        Export::Pprof => write_pprof(snapshot, By::default(), &mut out)?,
        Export::Html => {
            let options = ReportOptions { top: TOP, sort: Sort::default(), min_age: std::time::Duration::ZERO };
            write_html(snapshot, &options, &measure, &mut out)?;
        }
    }
    out.flush()
}
