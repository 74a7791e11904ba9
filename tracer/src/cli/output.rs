//! Where reports go.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::Format;
use crate::{
    aggregate::Snapshot,
    analyze::history::History,
    report::{
        ReportOptions,
        export::{By, Measure, write_flame_graph, write_folded, write_html, write_pprof},
        write_json, write_text,
    },
};

/// A destination for reports, opened before tracing starts so that a bad one costs nothing.
#[derive(Debug)]
pub(super) struct Output {
    file: Option<(PathBuf, File)>,
    /// Standard output belongs to the program that was started.
    aside: bool,
    format: Format,
    options: ReportOptions,
    by: By,
}

impl Output {
    /// Opens the file, or standard output when there is none.
    pub(super) fn open(path: Option<&Path>, format: Format, options: ReportOptions) -> anyhow::Result<Self> {
        let file = path.map(|path| open_file(path).map(|file| (path.to_owned(), file))).transpose()?;
        Ok(Self { file, aside: false, format, options, by: By::default() })
    }

    /// Leaves standard output to the program that is started.
    pub(super) fn beside_program(self, aside: bool) -> Self {
        Self { aside, ..self }
    }

    /// Shows this of the call stacks.
    pub(super) fn measuring(self, by: By) -> Self {
        Self { by, ..self }
    }

    /// Refuses to write what is no text to a terminal.
    pub(super) fn check_terminal(&self) -> anyhow::Result<()> {
        let is_terminal = if self.aside { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        if self.format == Format::Pprof && self.file.is_none() && is_terminal {
            bail!("a profile is no text for a terminal; give -o FILE");
        }
        Ok(())
    }

    /// Writes a report. Those that show how it went do so from the history.
    pub(super) fn write(&mut self, snapshot: &Snapshot, history: Option<&History>) -> anyhow::Result<()> {
        let Self { file: _, aside: _, format, options, by } = *self;
        let measure = Measure { by, history };
        self.write_with(|out| match format {
            Format::Text => write_text(snapshot, &options, out),
            Format::Json => write_json(snapshot, out),
            Format::Folded => write_folded(snapshot, &measure, out),
            Format::Svg => write_flame_graph(snapshot, &measure, out),
            Format::Pprof => write_pprof(snapshot, by, out),
            Format::Html => write_html(snapshot, &options, &measure, out),
        })
    }

    /// Writes whatever `write` writes.
    pub(super) fn write_with(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        let Self { file, aside, format: _, options: _, by: _ } = self;
        match file {
            Some((path, file)) => {
                let mut out = io::BufWriter::new(file);
                write(&mut out).and_then(|()| out.flush()).with_context(|| {
                    format!("cannot write {}; free some space or choose another -o FILE", path.display())
                })
            }
            None => {
                let stream: Box<dyn Write> = if *aside { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
                let mut out = io::BufWriter::new(stream);
                match write(&mut out).and_then(|()| out.flush()) {
                    // The reader has seen enough: `leaktrace … | head`.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    result => result.context(if *aside {
                        "cannot write to standard error"
                    } else {
                        "cannot write to standard output"
                    }),
                }
            }
        }
    }
}

/// Creates or empties the file. A report of a root process does not follow a symbolic link that someone laid out.
fn open_file(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => anyhow::anyhow!("{} is a symbolic link; give -o the path of a file", path.display()),
            _ => anyhow::Error::new(error).context(format!("cannot write {}; choose another -o FILE", path.display())),
        })
}
