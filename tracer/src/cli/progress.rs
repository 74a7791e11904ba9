//! What is going on while the reader waits: before tracing has begun, and while call stacks have no names yet.
//!
//! In: steps, as they begin. Out: the dashboard's first screen, which is there before the probes are. Reports say nothing.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    report::units::counted,
    tui::{self, App, AppOptions, Flow, Input, Terminal},
};

/// Names that come sooner are nothing to talk about.
const SLOW_NAMES: Duration = Duration::from_millis(300);
/// How often it is said how many are left.
const SAID: Duration = Duration::from_millis(250);

/// The user left before tracing began.
#[derive(Debug, thiserror::Error)]
#[error("left before tracing began")]
pub(super) struct Left;

/// The terminal and what is on it.
pub(super) struct Screen {
    pub(super) terminal: Terminal,
    pub(super) app: Box<App>,
    pub(super) events: tui::Events,
}

/// Says what is going on until tracing has begun.
pub(super) struct Progress {
    options: Option<AppOptions>,
    screen: Option<Screen>,
}

impl Progress {
    /// For a dashboard with these options, or for nobody.
    pub(super) fn new(options: Option<AppOptions>) -> Self {
        Self { options, screen: None }
    }

    /// Takes over the terminal, if there is to be a dashboard. What is wrong with the arguments should be known by now: an error
    /// after this flickers.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        let Some(options) = self.options else { return Ok(()) };
        let terminal = Terminal::enter().context("cannot use the terminal; try --format text")?;
        self.screen = Some(Screen { terminal, app: Box::new(App::new(options)), events: tui::events()? });
        Ok(())
    }

    /// What is begun now.
    ///
    /// # Errors
    /// When the user has had enough, or the terminal is gone.
    pub(super) fn step(&mut self, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        let Some(Screen { terminal, app, events }) = &mut self.screen else { return Ok(()) };
        while let Some(input) = events.take() {
            match input {
                Ok(Input::Key(key)) if app.on_key(key) == Flow::Quit => return Err(Left.into()),
                Ok(Input::Key(_) | Input::Resize) => {}
                Ok(Input::Mouse(mouse)) => app.on_mouse(mouse),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Left.into()),
                Err(error) => return Err(error).context("reading the terminal"),
            }
        }
        app.progress(Some(words()));
        Ok(terminal.draw(app)?)
    }

    /// Tracing has begun.
    pub(super) fn end(mut self) -> Option<Screen> {
        let screen = self.screen.take();
        screen.map(|mut screen| {
            screen.app.progress(None);
            screen
        })
    }
}

/// Says how many call stacks wait for their names, when that takes a while: the first one of a large program does.
#[derive(Debug, Default)]
pub(super) struct Naming {
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Naming {
    /// What to say from now on, when that is something else than before; `waiting` stacks have no names at this moment.
    pub(super) fn news(&mut self, waiting: usize, now: Instant) -> Option<Option<String>> {
        if waiting == 0 {
            self.since = None;
            return self.said.take().map(|_| None);
        }
        let since = *self.since.get_or_insert(now);
        let is_slow = now.duration_since(since) >= SLOW_NAMES;
        let is_due = self.said.is_none_or(|said| now.duration_since(said) >= SAID);
        (is_slow && is_due).then(|| {
            self.said = Some(now);
            Some(format!("naming {}", counted(waiting as u64, "call stack", "call stacks")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_soon_are_not_talked_about() {
        let (begun, mut naming) = (Instant::now(), Naming::default());
        let after = |millis| begun + Duration::from_millis(millis);
        assert_eq!(naming.news(3, after(0)), None);
        assert_eq!(naming.news(1, after(299)), None);
        assert_eq!(naming.news(0, after(300)), None);
        assert_eq!(naming.news(7, after(400)), None);
        assert_eq!(naming.news(7, after(700)), Some(Some("naming 7 call stacks".to_owned())));
        assert_eq!(naming.news(5, after(949)), None);
        assert_eq!(naming.news(1, after(950)), Some(Some("naming 1 call stack".to_owned())));
        assert_eq!(naming.news(0, after(960)), Some(None));
        assert_eq!(naming.news(0, after(970)), None);
    }
}
