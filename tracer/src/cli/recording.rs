//! The recording of a run: its file, which is opened before privileges are given up, and what is said about it.

use std::{
    fs::{self, File},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;

use crate::{
    aggregate::Snapshot,
    record::{self, Recorded, Recorder},
    report::{
        units::{bytes, counted},
        untrusted::displayable,
    },
};

/// An open file in which nothing has been written. Goes when tracing does not come about.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    file: Option<File>,
}

impl RecordFile {
    pub(super) fn create(path: &Path, overwrite: bool) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Some(record::create(path, overwrite)?) })
    }
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("{} is left, and empty: {error}", self.path.display());
        }
    }
}

/// A recording under way.
#[derive(Debug)]
pub(super) struct Recording {
    path: PathBuf,
    /// `None` once it has come to an end.
    recorder: Option<Recorder>,
    /// What was said already.
    said_lost: bool,
    said_failed: bool,
}

impl Recording {
    pub(super) fn start(mut file: RecordFile) -> anyhow::Result<Self> {
        let path = mem::take(&mut file.path);
        let opened = file.file.take().context("the recording has no file")?;
        let recorder = Recorder::start(opened).context("cannot start a thread")?;
        Ok(Self { path, recorder: Some(recorder), said_lost: false, said_failed: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Records a window. Returns what the user has to know, once.
    pub(super) fn take(&mut self, snapshot: Arc<Snapshot>) -> Option<String> {
        let recorder = self.recorder.as_mut()?;
        match recorder.offer(snapshot) {
            Err(why) if !mem::replace(&mut self.said_failed, true) => {
                Some(format!("the recording has ended: cannot write {}: {why}", self.path.display()))
            }
            Ok(()) if recorder.lost() > 0 && !mem::replace(&mut self.said_lost, true) => {
                Some(format!("windows are missing in the recording: {} is too slow", self.path.display()))
            }
            _ => None,
        }
    }

    /// Records the last window, and says what there is.
    pub(super) fn finish(mut self, last: Arc<Snapshot>) -> anyhow::Result<()> {
        let Some(recorder) = self.recorder.take() else { return Ok(()) };
        let path = self.path.display();
        let Recorded { windows, lost, bytes: size } = recorder
            .finish(Some(last))
            .with_context(|| format!("cannot write {path}; what was recorded before can be read"))?;
        let lost = match lost {
            0 => String::new(),
            lost => format!("; {} lost, because it is too slow", counted(lost, "window", "windows")),
        };
        let said = format!("recorded {} to {path}, {}{lost}", counted(windows, "window", "windows"), bytes(size));
        eprintln!("leaktrace: {}", displayable(&said));
        Ok(())
    }
}

impl Drop for Recording {
    /// What ends by an error or a panic has what came until then.
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.take()
            && let Err(error) = recorder.finish(None)
        {
            log::warn!("cannot write {}: {error}", self.path.display());
        }
    }
}
