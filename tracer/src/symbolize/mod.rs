//! From addresses to names.
//!
//! In: a site's addresses and the modules of the process. Out: a [`Stack`] of [`Frame`]s, or for each frame the reason
//! why it has no name. Works on its own thread; what is visible is named first.

mod frame;

pub use frame::{Frame, NoSymbol, Stack};
