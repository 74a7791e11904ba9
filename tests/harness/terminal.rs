//! A terminal that can be typed into and read: a tmux of its own, with a shell in it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::{process::Guarded, wait_for, work_dir};

/// The only session of a server of its own.
const SESSION: &str = "suite";

/// A shell in a terminal. Both end when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    /// Not a daemon, so that it cannot outlive the test.
    _server: Guarded,
    name: String,
    /// Commands typed so far.
    typed: u32,
}

impl Terminal {
    /// Starts it, so many columns wide and rows high.
    pub fn start(width: u16, height: u16) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("leaktrace-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut command = tmux(&name);
        command.arg("-D").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut terminal = Self { _server: Guarded::spawn(&mut command)?, name, typed: 0 };
        let (width, height) = (width.to_string(), height.to_string());
        wait_for("tmux to listen", || {
            let new = ["new-session", "-d", "-s", SESSION, "-x", &width, "-y", &height, "sh"];
            Ok(terminal.tmux(&new).ok())
        })?;
        terminal.shell("true")?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        // `-N`: a client that comes before the server listens would start another one, a daemon.
        let output = tmux(&self.name)
            .arg("-N")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("tmux: is it installed?")?;
        ensure!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What is on the screen, with the escape sequences of its colours.
    pub fn coloured_screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-e", "-p", "-t", SESSION])
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-t", SESSION])
    }

    /// Waits until the screen is as it must be, and returns it.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let seen = wait_for(what, || {
            last = self.screen()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        seen.with_context(|| format!("the screen:\n{last}"))
    }

    /// Waits until the screen has all of these.
    pub fn until_shown(&self, words: &[&str]) -> Result<String> {
        self.until(&format!("{words:?} on the screen"), |screen| words.iter().all(|words| screen.contains(words)))
    }

    /// Presses a key, as tmux names it.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", "-t", SESSION, key]).map(drop)
    }

    /// Makes the terminal this large.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        self.tmux(&["resize-window", "-t", SESSION, "-x", &width.to_string(), "-y", &height.to_string()]).map(drop)
    }

    /// Types a command; [`Self::ended`] waits for its end.
    pub fn begin(&mut self, command: &str) -> Result<()> {
        self.typed += 1;
        // Written in two parts, so that what is typed is not taken for what is printed.
        let line = format!("{command}; echo \"en\"\"ded-{}-$?.\"", self.typed);
        self.tmux(&["send-keys", "-t", SESSION, "-l", &line])?;
        self.press("Enter")
    }

    /// Waits until the command has ended, and returns its exit code.
    pub fn ended(&self) -> Result<i32> {
        let mark = format!("ended-{}-", self.typed);
        let code = |screen: &str| -> Option<i32> {
            let (_, rest) = screen.split_once(&mark)?;
            rest.split_once('.')?.0.parse().ok()
        };
        let screen = self.until("the end of the command", |screen| code(screen).is_some())?;
        code(&screen).context("it was there")
    }

    /// Runs a command.
    pub fn shell(&mut self, command: &str) -> Result<()> {
        self.begin(command)?;
        let code = self.ended()?;
        ensure!(code == 0, "{command} ended with {code}:\n{}", self.screen()?);
        Ok(())
    }

    /// How the terminal is set, as `stty -a` writes it.
    pub fn settings(&mut self) -> Result<String> {
        let path = self.file("stty")?;
        self.shell(&format!("stty -a > {}", path.display()))?;
        let settings = fs::read_to_string(&path)?;
        fs::remove_file(&path)?;
        Ok(settings)
    }

    /// A path of this terminal's own.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        Ok(work_dir()?.join(format!("{}.{name}", self.name)))
    }

    /// Whether the cursor is visible, and whether the alternate screen is shown.
    pub fn modes(&self) -> Result<(bool, bool)> {
        let modes = self.tmux(&["display-message", "-p", "-t", SESSION, "#{cursor_flag} #{alternate_on}"])?;
        let (cursor, alternate) = modes.trim().split_once(' ').with_context(|| format!("modes {modes:?}"))?;
        Ok((cursor == "1", alternate == "1"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A server that is killed leaves its socket behind.
        if let Ok(path) = self.tmux(&["display-message", "-p", "#{socket_path}"]) {
            let _ = fs::remove_file(path.trim());
        }
    }
}

fn tmux(name: &str) -> Command {
    let mut command = Command::new("tmux");
    // Nobody's configuration, and not within another tmux.
    command.args(["-u", "-f", "/dev/null", "-L", name]).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
    command
}
