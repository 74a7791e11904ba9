//! Why a recording cannot be read.

use std::io;

use super::FORMAT;

/// Why a recording cannot be read. The caller knows its name.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is something else.
    #[error("it is not a recording of leaktrace")]
    NotARecording,
    /// It is of a later format.
    #[error(
        "it was written by leaktrace {by} in format {format}, and this leaktrace {own} reads formats up to {FORMAT}; use \
         leaktrace {by} or newer",
        own = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The leaktrace that wrote it.
        by: String,
        /// Its format.
        format: u32,
    },
    /// There is no window in it.
    #[error("no window was written to it: leaktrace was stopped before the first one, or the file is cut off")]
    Empty,
    /// It says what no leaktrace would write.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// In words.
        what: &'static str,
    },
    /// The operating system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What is wrong with a piece, before it is known where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Malformed {
    pub(super) fn at(self, at: u64) -> RecordError {
        RecordError::Damaged { at, what: self.0 }
    }
}

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self("a row cannot be decoded")
    }
}
