//! Keys, read on a thread of their own: crossterm blocks, the program's loop must not.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossterm::event::{self, Event, KeyEvent, MouseEvent, MouseEventKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::sync::mpsc;

/// Keys that may wait for the program. A full channel leaves the rest in the terminal's own buffer.
const CAPACITY: usize = 64;
/// How long the thread may take to notice that it is to stop.
const POLL: Duration = Duration::from_millis(50);

/// How long an end waits for the thread. One that does not return from crossterm goes with the process.
const PATIENCE: Duration = Duration::from_millis(250);

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Pressed a key; for [`super::App::on_key`].
    Key(KeyEvent),
    /// Used the mouse; for [`super::App::on_mouse`].
    Mouse(MouseEvent),
    /// Resized the terminal: draw again.
    Resize,
}

/// The reading end. Dropping it stops the thread, within a twentieth of a second, or leaves it to itself.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<io::Result<Input>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts reading from the terminal, which [`super::Terminal::enter`] should have put into raw mode.
pub fn events() -> io::Result<Events> {
    Events::from_reader(|timeout| {
        // First what has been read already: several keys may come at once.
        if event::poll(AT_ONCE)? {
            return event::read().map(Some);
        }
        wait_for_terminal(timeout).map(|()| None)
    })
}

/// The shortest time in which crossterm looks at the terminal at all.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Waits until there is something to read or a signal has come. A terminal that is gone is an error: crossterm would read its end over and
/// over.
fn wait_for_terminal(timeout: Duration) -> io::Result<()> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        // A resize comes as a signal.
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal is gone"));
    }
    Ok(())
}

impl Events {
    /// Reads with `read`, which returns an event, or nothing after the given time.
    fn from_reader(mut read: impl FnMut(Duration) -> io::Result<Option<Event>> + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let input = match read(POLL) {
                    Ok(Some(Event::Key(key))) => Ok(Input::Key(key)),
                    Ok(Some(Event::Mouse(mouse))) if means_something(mouse.kind) => Ok(Input::Mouse(mouse)),
                    Ok(Some(Event::Resize(..))) => Ok(Input::Resize),
                    Ok(_) => continue,
                    Err(error) => Err(error),
                };
                let last = input.is_err();
                if sender.blocking_send(input).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(Self { receiver, stop, thread: Some(thread) })
    }

    /// The next input; safe to cancel. `None` after an error: the terminal is gone.
    pub async fn next(&mut self) -> Option<io::Result<Input>> {
        self.receiver.recv().await
    }

    /// What has come already.
    pub fn take(&mut self) -> Option<io::Result<Input>> {
        self.receiver.try_recv().ok()
    }

    /// Stops the thread and waits for its end.
    pub fn stop(self) {
        drop(self);
    }
}

/// Terminals tell of each move.
fn means_something(kind: MouseEventKind) -> bool {
    matches!(kind, MouseEventKind::Down(_) | MouseEventKind::ScrollUp | MouseEventKind::ScrollDown)
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Or the thread would wait for room in the channel.
        self.receiver.close();
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() > PATIENCE {
                log::debug!("the thread that reads keys does not end");
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // Its panic was reported by the hook.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;

    fn key(letter: char) -> KeyEvent {
        KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE)
    }

    #[tokio::test]
    async fn keys_and_resizes_are_passed_on_until_the_terminal_fails() {
        let mut script = vec![
            Ok(Some(Event::Key(key('a')))),
            Ok(None),
            Ok(Some(Event::FocusGained)),
            Ok(Some(Event::Resize(80, 24))),
            Err(io::Error::other("hung up")),
        ]
        .into_iter();
        let mut events =
            Events::from_reader(move |_| script.next().expect("not read after an error")).expect("a thread");
        assert_eq!(events.next().await.and_then(Result::ok), Some(Input::Key(key('a'))));
        assert_eq!(events.next().await.and_then(Result::ok), Some(Input::Resize));
        assert_eq!(events.next().await.and_then(Result::err).map(|error| error.to_string()), Some("hung up".into()));
        assert!(events.next().await.is_none());
    }

    #[test]
    fn a_reader_that_never_returns_is_left_to_itself() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let events = Events::from_reader(move |_| held.recv().map(|()| None).map_err(io::Error::other));
        events.expect("a thread").stop();
        drop(hold);
    }

    #[test]
    fn a_thread_that_waits_for_room_can_be_stopped() {
        let events = Events::from_reader(|_| Ok(Some(Event::Key(key('x'))))).expect("a thread");
        events.stop();
    }
}
