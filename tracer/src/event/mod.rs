//! From bytes to typed events, and where they come from.
//!
//! In: records of the ring buffer, counters of the kernel. Out: an [`EventSource`]: everything behind it runs without
//! root or a kernel, on a recording or on made-up events.

mod address;
mod decode;
mod fd_survey;
mod raw;
mod replay;
mod source;
mod synthetic;

pub use decode::decode;
pub use fd_survey::{FdLook, FdSurvey, SurveyedFd, SurveyedSocket};
pub use raw::{Connection, DecodeError, RawEvent, SiteStack, Turn};
pub use replay::{Replay, write_step};
pub use source::{EventSource, Reading, SampleReading, SourceError, Survey};
pub use synthetic::{Pattern, Synthetic};
