//! `leaktrace view FILE`: the dashboard, on a recording.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};

use super::{
    super::{export::export, interrupts::Interrupts, source::source_line},
    ViewArguments,
    open::{caveats, find, open},
};
use crate::{
    record::Recording,
    tui::{self, App, AppOptions, Flow, Input, Recorded, Terminal},
};

/// Shows the recording until the user has seen enough.
pub(in crate::cli) fn run(arguments: &ViewArguments) -> anyhow::Result<ExitCode> {
    let ViewArguments { file, at, sort, min_age } = arguments;
    let mut recording = open(file)?;
    let begin = find(&mut recording, *at)?;
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("there is no terminal to view it in; use leaktrace report {}", file.display());
    }
    let app = App::new(AppOptions {
        sort: *sort,
        min_age: *min_age,
        source: Some(source_line),
        color: tui::color_from_env(),
        braille: tui::braille_from_env(),
    });
    let mut viewer = Viewer { recording, app, shown: begin };
    viewer.remember();
    viewer.show(begin)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(viewer.run())?;
    Ok(ExitCode::SUCCESS)
}

struct Viewer {
    recording: Recording<File>,
    app: App,
    /// The window on the screen.
    shown: usize,
}

/// Recordings of no more windows are charted with all of them.
const CHARTED_WHOLE: usize = 600;
/// Of longer ones so many.
const CHARTED: usize = 120;
/// Every so many windows one does not need those before it: see docs/recording.md.
const WHOLE_WINDOWS: usize = 61;

impl Viewer {
    /// Lets the charts know the whole run. In a long one, only windows that can be read by themselves: a day is 86,400.
    fn remember(&mut self) {
        let windows = self.recording.windows();
        let step = match windows {
            ..=CHARTED_WHOLE => 1,
            _ => WHOLE_WINDOWS * windows.div_ceil(WHOLE_WINDOWS * CHARTED),
        };
        let last = windows.saturating_sub(1);
        for number in (0..last).step_by(step).chain([last]) {
            match self.recording.window(number) {
                Ok(window) => self.app.remember(&window.snapshot),
                // Whoever goes there is told; the rest of the run can be seen all the same.
                Err(error) => log::debug!("window {number} is not charted: {error}"),
            }
        }
    }

    fn show(&mut self, number: usize) -> anyhow::Result<()> {
        // In this order, because going on costs least.
        let before = number.checked_sub(1).map(|before| self.recording.window(before)).transpose()?;
        let window = self.recording.window(number)?;
        let elapsed = jiff::SignedDuration::try_from(window.snapshot.elapsed).unwrap_or_default();
        let time = window.snapshot.started.checked_add(elapsed).unwrap_or(jiff::Timestamp::MAX);
        let recorded = Recorded { window: number + 1, windows: self.recording.windows(), time };
        let caveats = caveats(&self.recording, &window);
        self.app.jump(before.as_ref().map(|before| &before.snapshot), Arc::new(window.snapshot), recorded);
        if !caveats.is_empty() {
            self.app.status(caveats.join("; "));
        }
        self.shown = number;
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut interrupts = Interrupts::listen()?;
        let mut terminal = Terminal::enter().context("cannot use the terminal; try leaktrace report")?;
        let mut events = tui::events()?;
        loop {
            terminal.draw(&mut self.app)?;
            let input = tokio::select! {
                input = events.next() => input,
                _ = interrupts.next() => return Ok(()),
            };
            match input {
                Some(Ok(Input::Key(key))) => match self.app.on_key(key) {
                    Flow::Quit => return Ok(()),
                    Flow::Continue => {}
                    Flow::Copy(text) => terminal.copy(&text)?,
                    Flow::Export(what) => {
                        if let Some(shown) = self.app.shown() {
                            self.app.status(export(&shown, None, what));
                        }
                    }
                    Flow::Seek(seek) => {
                        let next = seek.from(self.shown, self.recording.windows());
                        if next != self.shown {
                            self.show(next)?;
                        }
                    }
                },
                Some(Ok(Input::Mouse(mouse))) => self.app.on_mouse(mouse),
                Some(Ok(Input::Resize)) => {}
                Some(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(error).context("reading the terminal");
                }
                // The terminal is gone.
                Some(Err(_)) | None => return Ok(()),
            }
        }
    }
}
