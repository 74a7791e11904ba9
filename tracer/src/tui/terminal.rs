//! The terminal, taken over and always given back: at the end, on an error, and before a panic prints its message.

use std::{
    io::{self, IsTerminal as _, Stdout, Write},
    panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{
    clipboard::CopyToClipboard,
    cursor::Show,
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::backend::CrosstermBackend;

use super::App;
use crate::symbolize;

/// Whether the terminal is taken over. There is one terminal, so there is one flag: the panic hook must know too.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();
/// What was logged meanwhile.
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// Bytes of it at most.
const HELD_MOST: usize = 64 << 10;

/// The terminal in raw mode on its alternate screen, until this is dropped.
#[derive(Debug)]
pub struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl Terminal {
    /// Takes over the terminal on standard output, and its mouse; with Shift, most terminals select text all the same.
    pub fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // A parser that trips over a module's file costs that module its names, not the dashboard.
                if symbolize::panic_is_contained() {
                    return;
                }
                restore();
                previous(info);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let entered = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture))
            .and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(io::stdout())));
        match entered {
            Ok(inner) => Ok(Self { inner }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Asks the terminal to put a text on its clipboard (OSC 52). It may have been told not to.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Draws the dashboard. Fails when the terminal is gone, or was given back because another thread panicked.
    pub fn draw(&mut self, app: &mut App) -> io::Result<()> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Err(io::Error::other("the terminal was given back after a panic"));
        }
        self.inner.draw(|frame| app.draw(frame)).map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it is taken over; for where destructors do not run, before `std::process::exit`.
/// Failures are not reported: there is no screen left to report them on.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = leave(&mut out);
        let _ = disable_raw_mode();
        let held = std::mem::take(&mut *HELD.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = io::stderr().write_all(&held);
    }
}

/// Standard error for what is logged. While the dashboard is on the same terminal it would tear the picture, and be lost
/// with it: it comes when the terminal is given back.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !TAKEN.load(Ordering::SeqCst) || !io::stderr().is_terminal() {
            return io::stderr().write(line);
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() + line.len() <= HELD_MOST {
            held.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn leave(out: &mut impl Write) -> io::Result<()> {
    execute!(out, DisableMouseCapture, LeaveAlternateScreen, Show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_shows_the_cursor_and_the_main_screen() {
        let mut written = Vec::new();
        leave(&mut written).expect("writes to memory");
        let written = String::from_utf8(written).expect("is text");
        assert!(written.contains("\x1b[?1049l") && written.contains("\x1b[?25h"), "{written:?}");
    }

    #[test]
    fn what_was_not_taken_is_not_given_back() {
        assert!(!TAKEN.load(Ordering::SeqCst));
        restore();
        assert!(!TAKEN.load(Ordering::SeqCst));
    }
}
