//! The dashboard in a real terminal: it shows what the demo leaks, obeys every key of its help, and gives the terminal
//! back as it was, however it ends; and the process that it looked at goes on.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    process::Guarded,
    recording::{RecordingFile, offline, variant},
    terminal::Terminal,
    tracer::binary,
    wait_for,
};
use rustix::process::{Pid, Signal, kill_process};

const WIDTH: u16 = 100;
const HEIGHT: u16 = 30;

/// A terminal in which a dashboard was started.
struct Dashboard {
    terminal: Terminal,
    /// How the terminal was set before.
    settings: String,
    pid: Pid,
}

impl Dashboard {
    fn start(arguments: &str) -> Result<Self> {
        Self::start_until(arguments, &["running", " 1 Leaks ", "? help"])
    }

    fn start_until(arguments: &str, words: &[&str]) -> Result<Self> {
        let mut terminal = Terminal::start(WIDTH, HEIGHT)?;
        let settings = terminal.settings()?;
        let (path, own) = (terminal.file("pid")?, binary()?);
        terminal.begin(&format!(
            "sh -c 'echo $$ > {}; RUST_BACKTRACE=0 exec {} {arguments}'",
            path.display(),
            own.display()
        ))?;
        terminal.until_shown(words)?;
        ensure!(terminal.modes()? == (false, true), "it has a cursor, or no screen of its own");
        let pid = fs::read_to_string(&path)?.trim().parse().ok().and_then(Pid::from_raw).context("no pid")?;
        fs::remove_file(&path)?;
        Ok(Self { terminal, settings, pid })
    }

    /// Waits for its end; the terminal must be as it was.
    fn expect_given_back(self) -> Result<()> {
        self.expect_given_back_after(0).map(drop)
    }

    /// The same, with that exit code. Returns what is on the screen then.
    fn expect_given_back_after(mut self, wanted: i32) -> Result<String> {
        let code = self.terminal.ended()?;
        ensure!(code == wanted, "it ended with {code}:\n{}", self.terminal.screen()?);
        ensure!(self.terminal.modes()? == (true, false), "the cursor or the screen is not given back");
        ensure!(!self.terminal.screen()?.contains("? help"), "it left something:\n{}", self.terminal.screen()?);
        let screen = self.terminal.screen()?;
        let settings = self.terminal.settings()?;
        ensure!(settings == self.settings, "the terminal is set differently:\n{}\n{settings}", self.settings);
        Ok(screen)
    }
}

/// The demo's server by itself, which ends with this.
struct Server(Guarded);

impl Server {
    fn start() -> Result<Self> {
        let mut command = Command::new(binary()?);
        let mut server = Guarded::spawn(command.arg("demo-server").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut line = String::new();
        BufReader::new(server.child().stdout.take().context("no stdout")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "it said {line:?}");
        Ok(Self(server))
    }

    fn dashboard(&self) -> Result<Dashboard> {
        Dashboard::start(&format!("-p {}", self.0.pid()))
    }

    /// Waits until it has leaked more than it had.
    fn expect_that_it_runs_on(&mut self) -> Result<()> {
        let table = format!("/proc/{}/fd", self.0.pid());
        let open = || -> Result<usize> { Ok(fs::read_dir(&table)?.count()) };
        let before = open()?;
        // One is opened and closed for each request: three are more than that.
        wait_for("the target to leak on", || Ok((open()? > before + 3).then_some(())))?;
        ensure!(self.0.try_wait()?.is_none(), "the target has ended");
        Ok(())
    }
}

/// Where the selection is, by the last line: `1 of 31 sites`.
fn place(screen: &str) -> Option<(u64, u64)> {
    let last = screen.trim_end().lines().last()?;
    let mut words = last.split_whitespace().rev().skip(1);
    let (all, of, row) = (words.next()?, words.next()?, words.next()?);
    let number = |text: &str| text.replace(',', "").parse().ok();
    (of == "of").then_some((number(row)?, number(all)?))
}

/// How many descriptors the table says that a call site has open.
fn open(screen: &str, call_site: &str) -> Option<u64> {
    let mut rows = screen.lines().filter(|line| line.contains(call_site));
    rows.find_map(|row| row.trim_start_matches('>').split_whitespace().next()?.parse().ok())
}

#[test]
fn the_demo_shows_its_leaks_on_every_tab_and_obeys_every_key() -> Result<()> {
    let dashboard = Dashboard::start("demo")?;
    let screen = &dashboard.terminal;
    screen.until_shown(&["demo-server[", "open_session", "handle_login", "outstanding", "no loss"])?;
    screen.press("2")?;
    screen.until_shown(&["connect_to_billing", "open_report", "/512", "[open since before the attach]"])?;
    screen.press("3")?;
    screen.until_shown(&["127.0.0.1:", "OPENED BY", "connect_to_billing", " out ", " in "])?;
    press_every_key(screen)?;
    for (width, height) in [(80, 24), (220, 60), (40, 8), (39, 8)] {
        screen.resize(width, height)?;
        let narrow = width < 40;
        let drawn = |text: &str| if narrow { text.contains("too small: 39x8") } else { text.contains("? help") };
        screen.until(&format!("a screen of {width} columns"), drawn)?;
    }
    screen.resize(WIDTH, HEIGHT)?;
    screen.until_shown(&["? help", "open_session", "PER HOUR"])?;
    screen.press("q")?;
    dashboard.expect_given_back()
}

fn press_every_key(screen: &Terminal) -> Result<()> {
    let press = |key: &str, words: &[&str]| {
        screen.press(key)?;
        screen.until_shown(words).map(drop).with_context(|| format!("after {key}"))
    };
    let at = |key: &str, wanted: fn((u64, u64)) -> bool| {
        screen.press(key)?;
        let there = |text: &str| place(text).is_some_and(wanted);
        screen.until("the selection to move", there).map(drop).with_context(|| format!("after {key}"))
    };
    let right = ["since attach", "peers", "RESIDENT", "s measure", "STACKS  of blocks", "▼VERDICT"];
    press("1", &["▼VERDICT"])?;
    right.iter().try_for_each(|words| press("]", &[words]))?;
    for words in ["STACKS  of blocks", "s measure", "RESIDENT", "peers", "since attach", "▼VERDICT"] {
        press("[", &[words])?;
    }
    for (tab, words) in [("4", "RESIDENT"), ("5", "s measure"), ("6", "STACKS  of blocks"), ("1", "▼VERDICT")] {
        press(tab, &[words])?;
    }
    for key in ["Down", "j"] {
        at(key, |(row, _)| row > 1)?;
        at(if key == "j" { "k" } else { "Up" }, |(row, _)| row == 1)?;
    }
    for (to, back) in [("End", "Home"), ("G", "g"), ("NPage", "PPage")] {
        at(to, |(row, _)| row > 5)?;
        at(back, |(row, _)| row == 1)?;
    }
    press("Tab", &["Tab list", "  0 "])?;
    // What fits is not scrolled.
    screen.resize(50, HEIGHT)?;
    // A key that comes before it knows of its new size would scroll nothing.
    screen.until("the narrow screen", |text| text.contains("sort …"))?;
    for (right, left) in [("Right", "Left"), ("l", "h")] {
        screen.press(right)?;
        let first = |text: &str| text.lines().any(|line| line.starts_with("  0 "));
        screen.until("the stack to scroll sideways", |text| !first(text))?;
        screen.press(left)?;
        screen.until("the stack to scroll back", first)?;
    }
    screen.resize(WIDTH, HEIGHT)?;
    press("Tab", &["Tab stack"])?;
    for column in ["INUSE", "OBJECTS", "CHANGE/S", "1 MIN", "10 MIN", "PER HOUR", "ALLOCS", "ALLOCS/S", "OLDEST"] {
        press("s", &[&format!("▼{column}")])?;
    }
    press("s", &["▼VERDICT"])?;
    press("S", &["▼OLDEST"])?;
    press("r", &["▲OLDEST"])?;
    press("s", &["▼VERDICT"])?;
    for heading in ["FUNCTION", "MODULE", "PROCESS", "CALL SITE"] {
        press("o", &[heading])?;
    }
    press("f", &["(innermost frame)"])?;
    press("f", &["open_session"])?;
    press("b", &["baseline at", "SINCE b"])?;
    screen.press("B")?;
    screen.until("the baseline to go", |text| !text.contains("SINCE b"))?;
    press("Space", &["PAUSED"])?;
    screen.press("Space")?;
    screen.until("the view to go on", |text| !text.contains("PAUSED"))?;
    press("m", &["> "])?;
    press("c", &["copied"])?;
    press("/", &["show only sites with"])?;
    for letter in "upload".chars() {
        screen.press(&letter.to_string())?;
    }
    screen.until("only what has the words", |text| {
        text.contains("hidden") && text.contains("receive_upload") && !text.contains("> open_session")
    })?;
    screen.press("Escape")?;
    screen.until("all sites", |text| !text.contains("hidden") && text.contains("open_session"))?;
    press("e", &["export to this folder"])?;
    screen.press("x")?;
    screen.until("the menu to close", |text| !text.contains("export to this folder"))?;
    for close in ["?", "q", "Escape"] {
        press("?", &["this help", "select a row, scroll the pane"])?;
        screen.press(close)?;
        screen.until("the help to close", |text| !text.contains("this help"))?;
    }
    Ok(())
}

/// `C-c` is a key to the dashboard; `q` is pressed elsewhere.
#[test]
fn whoever_leaves_finds_the_terminal_as_it_was_and_the_target_running() -> Result<()> {
    let mut server = Server::start()?;
    for key in ["q", "Escape", "C-c"] {
        let dashboard = server.dashboard()?;
        dashboard.terminal.press(key)?;
        dashboard.expect_given_back().with_context(|| format!("after {key}"))?;
        server.expect_that_it_runs_on()?;
    }
    Ok(())
}

#[test]
fn a_signal_ends_the_dashboard_as_a_key_does() -> Result<()> {
    let mut server = Server::start()?;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let dashboard = server.dashboard()?;
        kill_process(dashboard.pid, signal)?;
        dashboard.expect_given_back().with_context(|| format!("after {signal:?}"))?;
        server.expect_that_it_runs_on()?;
    }
    Ok(())
}

#[test]
fn a_panic_gives_the_terminal_back_and_leaves_the_target_running() -> Result<()> {
    let mut server = Server::start()?;
    let arguments = format!("-p {} --provoke-panic 2s", server.0.pid());
    let dashboard = Dashboard::start_until(&arguments, &["running", "? help"])?;
    let words = dashboard.expect_given_back_after(101)?;
    ensure!(words.contains("provoked by --provoke-panic"), "it says nothing of it:\n{words}");
    server.expect_that_it_runs_on()
}

/// What it held stays to be looked at.
#[test]
fn the_end_of_the_target_is_said_and_the_dashboard_stays() -> Result<()> {
    let server = Server::start()?;
    let dashboard = server.dashboard()?;
    dashboard.terminal.until_shown(&["open_session"])?;
    dashboard.terminal.press("2")?;
    for leak in ["connect_to_billing", "open_report"] {
        dashboard.terminal.until("what leaks to be open", |screen| open(screen, leak) > Some(2))?;
    }
    dashboard.terminal.press("1")?;
    server.0.signal(Signal::KILL)?;
    dashboard.terminal.until_shown(&["EXITED, numbers are final", "open_session"])?;
    for (tab, words) in [("2", "open_report"), ("3", "connect_to_billing"), ("1", "open_session")] {
        dashboard.terminal.press(tab)?;
        dashboard.terminal.until_shown(&["EXITED", words])?;
    }
    dashboard.terminal.press("q")?;
    dashboard.expect_given_back()
}

/// With descriptors alone there is nothing to see on the first tab, so it is not the first that is seen.
#[test]
fn what_is_not_traced_is_said() -> Result<()> {
    let server = Server::start()?;
    let only = |option: &str| Dashboard::start(&format!("-p {} {option}", server.0.pid()));
    let fds = only("--fds")?;
    fds.terminal.until_shown(&["descriptors ", "/512", "connect_to_billing"])?;
    fds.terminal.press("1")?;
    fds.terminal.until_shown(&["memory is not traced: started with --fds"])?;
    fds.terminal.press("q")?;
    fds.expect_given_back()?;
    let heap = only("--heap")?;
    heap.terminal.until_shown(&["open_session"])?;
    heap.terminal.press("2")?;
    heap.terminal.until_shown(&["descriptors are not traced: started with --heap"])?;
    heap.terminal.press("q")?;
    heap.expect_given_back()
}

/// Which window of how many the header says is shown.
fn window(screen: &str) -> Option<(u64, u64)> {
    let (_, rest) = screen.lines().next()?.split_once("RECORDING ")?;
    let (window, windows) = rest.split_whitespace().next()?.split_once('/')?;
    Some((window.parse().ok()?, windows.parse().ok()?))
}

/// Makes the terminal this large, and waits until the dashboard fills it: its last line ends in the last column.
fn fill(screen: &Terminal, width: u16, height: u16) -> Result<()> {
    screen.resize(width, height)?;
    let (width, height) = (usize::from(width), usize::from(height));
    let fills = |text: &str| {
        let text = text.trim_end();
        text.lines().count() == height && text.lines().last().is_some_and(|line| line.chars().count() == width)
    };
    screen.until(&format!("{width}x{height}"), fills).map(drop)
}

#[test]
fn a_recording_is_looked_at_at_any_time_of_it() -> Result<()> {
    let file = RecordingFile::new()?;
    let server = Server::start()?;
    let pid = server.0.pid().to_string();
    offline(&["record", "-p", &pid, "--duration", "6s", "--interval", "250ms", "-o", file.argument()?])?;
    drop(server);
    let shown = ["RECORDING ", "DETACHED", " 1 Leaks ", ", . time"];
    let dashboard = Dashboard::start_until(&format!("view {}", file.argument()?), &shown)?;
    let screen = &dashboard.terminal;
    for (width, height) in [(WIDTH, HEIGHT), (80, 24), (200, 50)] {
        fill(screen, width, height)?;
        screen.until_shown(&["DETACHED  6s", "open_session", "no loss"])?;
        let to = |key: &str, wanted: u64| {
            screen.press(key)?;
            let there = |text: &str| window(text).is_some_and(|(window, _)| window == wanted);
            screen.until(&format!("window {wanted}"), there).map(drop).with_context(|| format!("after {key}"))
        };
        let (last, all) = window(&screen.screen()?).context("no window")?;
        ensure!(last == all && all > 20, "window {last} of {all}");
        for (key, wanted) in [(",", all - 1), (".", all), ("Home", 1), (",", 1), (".", 2), (">", 2 + all / 20)] {
            to(key, wanted)?;
        }
        screen.until_shown(&["running"])?;
        for (key, wanted) in [("<", 2), ("End", all), (".", all)] {
            to(key, wanted)?;
        }
        // Keys of the lists are what they were; the other tabs are of the same window.
        screen.press("G")?;
        screen.until("the last row", |text| place(text).is_some_and(|(row, rows)| row == rows && rows > 5))?;
        screen.press("g")?;
        for (tab, words) in [("2", "connect_to_billing"), ("3", "OPENED/MIN"), ("1", "open_session")] {
            screen.press(tab)?;
            screen.until_shown(&[&format!("RECORDING {all}/{all}"), words])?;
        }
        screen.press("?")?;
        screen.until_shown(&["the window before, the next window", "this help"])?;
        screen.press("?")?;
        screen.until("the help to close", |text| !text.contains("this help"))?;
    }
    fill(screen, WIDTH, HEIGHT)?;
    screen.press("q")?;
    dashboard.expect_given_back()?;

    let bytes = fs::read(file.path())?;
    let cut = variant(&file, &bytes[..bytes.len() - 7])?;
    let view = Dashboard::start_until(&format!("view {}", cut.display()), &["it is cut off", "running"])?;
    view.terminal.press("1")?;
    view.terminal.until_shown(&[", . time"])?;
    view.terminal.press("q")?;
    view.expect_given_back()
}
