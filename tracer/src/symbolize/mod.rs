//! From addresses to names.
//!
//! In: a site's addresses and the modules of the process. Out: a [`Stack`] of [`Frame`]s, or for each frame the reason
//! why it has no name. Works on its own thread; what is visible is named first.

mod fake;
mod frame;
mod request;

pub use fake::FakeSymbolizer;
pub use frame::{Frame, NoSymbol, Stack};
pub use request::{ExactFrames, Priority, QueueFull, Request, Symbolize};
