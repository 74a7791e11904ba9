//! Chromium without a window, in a network of its own, where nothing can be reached.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    folder::Folder,
    network::Network,
    process::{Guarded, Lines},
    wait_for,
};

/// Hosts that Chromium itself asks for, whatever it shows.
const OWN_HOSTS: &[&str] = &[".google.com", ".googleapis.com", ".gvt1.com"];

/// What became of a page.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The document after its scripts have run.
    pub dom: String,
    /// What it wrote to the console: errors, warnings, what its policy refused.
    pub console: Vec<String>,
    /// Addresses that it asked for over the network.
    pub requests: Vec<String>,
    /// A picture of it, as PNG.
    pub picture: Vec<u8>,
}

/// Shows a file of this name and content.
pub fn show(name: &str, content: &[u8]) -> Result<Shown> {
    let folder = Folder::new("browser")?;
    let page = folder.path().join(name);
    fs::write(&page, content)?;
    let network = Network::new()?;
    let picture = folder.path().join("picture.png");
    chromium(&network, folder.path(), &page, &format!("--screenshot={}", picture.display()))?;
    let (dom, log) = chromium(&network, folder.path(), &page, "--dump-dom")?;
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    // A process of its own writes it, which ends after the others.
    let log = wait_for("Chromium's log of requests", || {
        let log = fs::read_to_string(folder.path().join("requests.json")).unwrap_or_default();
        Ok(serde_json::from_str::<serde_json::Value>(&log).is_ok().then_some(log))
    })?;
    let requests = requests(&log);
    Ok(Shown { dom, console, requests, picture: fs::read(picture).context("no picture was taken")? })
}

/// Runs it once; returns what it wrote to its output and to its log.
fn chromium(network: &Network, folder: &Path, page: &Path, task: &str) -> Result<(String, String)> {
    let log = folder.join("log");
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--window-size=1280,1600", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--log-net-log={}", folder.join("requests.json").display()))
        .arg(task)
        .arg(format!("file://{}", page.display()));
    network.enter(&mut command)?;
    let output = fs::File::create(&log)?;
    let mut browser = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output))?;
    let mut dom = Lines::read(browser.child().stdout.take().context("no stdout")?);
    let dom = dom.rest()?;
    let status = browser.wait()?;
    let log = fs::read_to_string(&log)?;
    ensure!(status.success(), "chromium: {status}\n{log}");
    Ok((dom, log))
}

/// Those of a log of Chromium's network that are not its own.
fn requests(log: &str) -> Vec<String> {
    let urls = log.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let is_own = |url: &str| {
        let host = url.split("//").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        OWN_HOSTS.iter().any(|own| host.ends_with(own))
    };
    urls.filter(|url| !is_own(url)).map(str::to_owned).collect()
}
