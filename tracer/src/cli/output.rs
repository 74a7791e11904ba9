//! Where reports go.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::Format;
use crate::{
    aggregate::Snapshot,
    report::{ReportOptions, write_json, write_text},
};

/// A destination for reports, opened before tracing starts so that a bad one costs nothing.
#[derive(Debug)]
pub(super) struct Output {
    file: Option<(PathBuf, File)>,
    /// Standard output belongs to the program that was started.
    aside: bool,
    format: Format,
    options: ReportOptions,
}

impl Output {
    /// Opens the file, or standard output when there is none.
    pub(super) fn open(path: Option<&Path>, format: Format, options: ReportOptions) -> anyhow::Result<Self> {
        let file = path.map(|path| open_file(path).map(|file| (path.to_owned(), file))).transpose()?;
        Ok(Self { file, aside: false, format, options })
    }

    /// Leaves standard output to the program that is started.
    pub(super) fn beside_program(self, aside: bool) -> Self {
        Self { aside, ..self }
    }

    /// Writes a report.
    pub(super) fn write(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let (format, options) = (self.format, self.options);
        self.write_with(|out| match format {
            Format::Text => write_text(snapshot, &options, out),
            Format::Json => write_json(snapshot, out),
        })
    }

    /// Writes whatever `write` writes.
    pub(super) fn write_with(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        let Self { file, aside, format: _, options: _ } = self;
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
