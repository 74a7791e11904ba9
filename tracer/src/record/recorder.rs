//! A writer on a thread of its own: the disk may be slow, tracing must not be.

use std::{
    fs::File,
    io::{self, Seek as _},
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::Writer;
use crate::aggregate::Snapshot;

/// Windows that may wait for the disk. More are lost, and counted.
const WAITING: usize = 8;

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Windows in the file.
    pub windows: u64,
    /// Windows that are not, because the disk did not keep up.
    pub lost: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

struct Waiting {
    snapshot: Arc<Snapshot>,
    lost: u64,
}

/// Records what it is offered. Only [`Recorder::finish`] waits for the file.
#[derive(Debug)]
pub struct Recorder {
    queue: SyncSender<Waiting>,
    thread: JoinHandle<io::Result<Recorded>>,
    /// Set when nothing more can be written.
    failed: Arc<OnceLock<String>>,
    lost: u64,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Waiting")
    }
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(file: File) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING);
        let failed = Arc::new(OnceLock::new());
        let failure = Arc::clone(&failed);
        let thread = thread::Builder::new().name("recorder".into()).spawn(move || {
            let result = record(file, &waiting);
            if let Err(error) = &result {
                let _ = failure.set(error.to_string());
            }
            result
        })?;
        Ok(Self { queue, thread, failed, lost: 0 })
    }

    /// Hands a window over, without waiting. Where there is no room it is lost.
    ///
    /// # Errors
    /// Why nothing can be written any more.
    pub fn offer(&mut self, snapshot: Arc<Snapshot>) -> Result<(), String> {
        match self.queue.try_send(Waiting { snapshot, lost: self.lost }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => {
                self.lost += 1;
                Err(self.failed.get().cloned().unwrap_or_else(|| "its thread has ended".to_owned()))
            }
        }
    }

    /// Windows lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes the last window, if there is another one, and waits until everything is on the disk.
    ///
    /// # Errors
    /// Not everything was written.
    pub fn finish(self, last: Option<Arc<Snapshot>>) -> io::Result<Recorded> {
        let Self { queue, thread, failed: _, lost } = self;
        if let Some(snapshot) = last {
            // A thread that has ended says why below.
            let _ = queue.send(Waiting { snapshot, lost });
        }
        drop(queue);
        let recorded = thread.join().map_err(|_| io::Error::other("its thread panicked"))??;
        Ok(Recorded { lost, ..recorded })
    }
}

fn record(file: File, waiting: &Receiver<Waiting>) -> io::Result<Recorded> {
    let mut writer = Writer::new(file)?;
    let mut recorded = Recorded { bytes: writer.get_ref().stream_position()?, ..Recorded::default() };
    for Waiting { snapshot, lost } in waiting {
        match writer.write(&snapshot, lost) {
            Ok(written) => {
                recorded.windows += 1;
                recorded.bytes += written.bytes;
                if written.whole {
                    // What a machine that goes down leaves ends here at the earliest.
                    writer.get_ref().sync_data()?;
                }
            }
            Err(error) => {
                // Half a window is no use; a full disk may still take it away.
                let _ = writer.get_ref().set_len(recorded.bytes);
                return Err(error);
            }
        }
    }
    writer.get_ref().sync_all()?;
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{End, Recording},
        report::testing,
    };

    #[test]
    fn what_is_offered_is_written_and_what_has_no_room_is_counted() {
        let file = tempfile::tempfile().expect("a file");
        let mut recorder = Recorder::start(file.try_clone().expect("a descriptor")).expect("a thread");
        let snapshot = Arc::new(testing::normal());
        for _ in 0..101 {
            recorder.offer(Arc::clone(&snapshot)).expect("is written");
        }
        let recorded = recorder.finish(Some(snapshot)).expect("is written");
        assert_eq!(recorded.windows + recorded.lost, 102);
        let mut recording = Recording::open(file).expect("a recording");
        assert_eq!((recording.windows() as u64, recording.end()), (recorded.windows, End::Complete));
        let last = recording.window(recording.windows() - 1).expect("the last window");
        assert_eq!(last.lost, recorded.lost);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said_at_once_and_at_the_end() {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut recorder = Recorder::start(full).expect("a thread");
        let snapshot = Arc::new(testing::normal());
        let error = loop {
            if let Err(error) = recorder.offer(Arc::clone(&snapshot)) {
                break error;
            }
            thread::yield_now();
        };
        assert!(error.contains("No space left"), "{error}");
        assert!(recorder.finish(Some(snapshot)).is_err());
    }
}
