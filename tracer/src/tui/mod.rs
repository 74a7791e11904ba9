//! The live dashboard: state, view and input apart; everything shown comes from the Snapshot.
//!
//! In: Snapshots, given to [`App::update`], and key events, which [`events`] reads on a thread of its own. Out: frames
//! on a [`Terminal`] that is given back however the program ends, and [`App::visible_sites`], so that what is looked
//! at can be symbolized first. Nothing here reads a clock: what does not come from the Snapshot does not change.

mod app;
mod events;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod goldens_fds;
#[cfg(test)]
mod goldens_recorded;
#[cfg(test)]
mod goldens_tabs;
mod input;
#[cfg(test)]
mod random_input;
mod state;
mod terminal;
mod theme;
mod view;
mod widgets;

pub use app::{App, AppOptions};
pub use events::{Events, Input, events};
pub use input::Export;
pub use input::{Flow, Seek};
pub use state::{Recorded, SourceLine};
pub use terminal::{Log, Terminal, restore};
pub use theme::{braille_from_env, color_from_env};
