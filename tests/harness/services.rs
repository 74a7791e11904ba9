//! Real services for the suite, each in a [`Network`] where its usual port is free, gone with its handle.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::{
    folder::Folder,
    leaker::leakers_dir,
    network::Network,
    process::{Guarded, Lines},
    wait_for, work_dir,
};

/// A PostgreSQL server with a cluster of its own, on port 5432 of its network, trusting everyone there.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order: nobody writes into a folder that is being removed.
    server: Guarded,
    _folder: Folder,
}

impl Postgres {
    /// Makes the cluster and starts the server, and waits until it answers.
    pub fn start(network: &Network) -> Result<Self> {
        let programs = postgres_programs()?;
        let folder = Folder::new("postgres")?;
        let data = folder.path().join("data");
        // It refuses to be root's. The package has made this user.
        let owned = Command::new("chown").arg("postgres:postgres").arg(folder.path()).status()?;
        ensure!(owned.success(), "chown to postgres failed: is Debian's postgresql installed?");
        let as_postgres = |program: &str| {
            let mut command = Command::new("setpriv");
            // A change of user clears the signal that a child is to get at its parent's death.
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", "--"]);
            command.arg(programs.join(program)).current_dir(folder.path()).env("LC_ALL", "C").stdin(Stdio::null());
            command
        };
        let mut initdb = as_postgres("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--no-instructions", "-D"]).arg(&data);
        let made = initdb.output().context("cannot run initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        let mut command = as_postgres("postgres");
        command.arg("-D").arg(&data).args(["-k"]).arg(folder.path());
        for setting in
            ["listen_addresses=127.0.0.1", "port=5432", "fsync=off", "max_connections=97", "shared_buffers=4MB"]
        {
            command.args(["-c", setting]);
        }
        network.enter(&mut command)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut server = Guarded::spawn(command.stdout(log.try_clone()?).stderr(log))?;
        wait_for("PostgreSQL to accept connections", || {
            let log = fs::read_to_string(folder.path().join("log"))?;
            ensure!(server.try_wait()?.is_none(), "PostgreSQL ended:\n{log}");
            Ok(log.contains("ready to accept connections").then_some(()))
        })?;
        Ok(Self { server, _folder: folder })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its own processes end with it only if it is asked to end. What is left is killed by the handle.
        if self.server.signal(Signal::INT).is_ok() {
            let _ = self.server.wait();
        }
    }
}

/// Where the newest installed version has its programs: Debian keeps them out of the path.
fn postgres_programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL: install Debian's postgresql")?;
    let mut found = Vec::new();
    for version in versions {
        let version = version?;
        let programs = version.path().join("bin");
        if let Some(number) = version.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            && programs.join("initdb").exists()
        {
            found.push((number, programs));
        }
    }
    found.into_iter().max().map(|(_, programs)| programs).context("PostgreSQL has no initdb: install its server")
}

/// A redis-server without persistence, on port 6379 of its network.
#[derive(Debug)]
pub struct Redis {
    _server: Guarded,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub fn start(network: &Network) -> Result<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/"]);
        network.enter(&mut command)?;
        let mut server = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut output = Lines::read(server.child().stdout.take().context("no stdout")?);
        let is_ready = |line: &str| line.contains("eady to accept connections");
        ensure!(output.find("redis to accept connections", is_ready)?.is_some(), "redis ended:\n{}", output.rest()?);
        Ok(Self { _server: server })
    }
}

/// The folder of `node-service` with its packages, as its lock file has them: installed once, outside of the sources.
pub fn node_service() -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    const FILES: [&str; 4] = ["package.json", "package-lock.json", "service.js", "client.js"];

    let _guard = ONE_AT_A_TIME.lock();
    let sources = leakers_dir().join("node-service");
    let mut hasher = DefaultHasher::new();
    for file in FILES {
        fs::read(sources.join(file)).with_context(|| format!("cannot read {file}"))?.hash(&mut hasher);
    }
    let folder = work_dir()?.join(format!("node-service-{:016x}", hasher.finish()));
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension(format!("{}.tmp", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    for file in FILES {
        fs::copy(sources.join(file), unfinished.join(file))?;
    }
    npm_ci(&unfinished)?;
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}

fn npm_ci(folder: &Path) -> Result<()> {
    let mut command = Command::new("npm");
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder).stdin(Stdio::null());
    let output = command.output().context("cannot run npm: is it installed?")?;
    ensure!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
