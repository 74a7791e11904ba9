//! Real services for the suite, each in a [`Network`] where its usual port is free, gone with its handle.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
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
    process::{Guarded, Lines, children, run_tool},
    wait_for, work_dir,
};

/// A PostgreSQL server with a cluster of its own, on port 5432 of its network, trusting everyone there.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order: nobody writes into a folder that is being removed.
    server: Guarded,
    folder: Folder,
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
        for setting in [
            "listen_addresses=127.0.0.1",
            "port=5432",
            "fsync=off",
            "autovacuum=off",
            "max_connections=97",
            "shared_buffers=4MB",
        ] {
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
        Ok(Self { server, folder })
    }
}

impl Postgres {
    /// The process that starts all others.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs these statements on a connection of their own, which is closed then.
    pub fn run(&self, statements: &str) -> Result<()> {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--username=postgres", "--host"]);
        run_tool(command.arg(self.folder.path()).args(["--command", statements]))
    }

    /// Whether it is well.
    pub fn expect_well(&mut self) -> Result<()> {
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        ensure!(self.server.try_wait()?.is_none(), "PostgreSQL ended:\n{log}");
        ensure!(!["ERROR", "FATAL", "PANIC", "terminat"].iter().any(|word| log.contains(word)), "{log}");
        Ok(())
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

/// An nginx with three workers, on a unix socket, that serves one file.
#[derive(Debug)]
pub struct Nginx {
    // Dropped in this order.
    master: Guarded,
    folder: Folder,
}

impl Nginx {
    /// Workers it has.
    pub const WORKERS: usize = 3;

    /// Starts it and waits until all of its workers are there.
    pub fn start() -> Result<Self> {
        let folder = Folder::new("nginx")?;
        let path = folder.path().display();
        let workers = Self::WORKERS;
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.map(|what| format!("{what}_temp_path {path}/{what};\n")).concat();
        let configuration = format!(
            "daemon off;\nworker_processes {workers};\npid {path}/pid;\nerror_log {path}/error.log info;\n\
             events {{ worker_connections 61; }}\n\
             http {{ access_log off;\n{temporary}server {{ listen unix:{path}/socket; root {path}/served; }} }}\n"
        );
        fs::write(folder.path().join("configuration"), configuration)?;
        fs::create_dir(folder.path().join("served"))?;
        fs::write(folder.path().join("served/index.html"), "x".repeat(211))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("configuration"));
        let output = fs::File::create(folder.path().join("output"))?;
        let master = Guarded::spawn(command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output))?;
        let mut nginx = Self { master, folder };
        wait_for("nginx to answer", || {
            let ended = nginx.master.try_wait()?;
            ensure!(ended.is_none(), "nginx: {}", fs::read_to_string(nginx.folder.path().join("output"))?);
            Ok((nginx.workers()?.len() == workers && nginx.request().is_ok()).then_some(()))
        })?;
        Ok(nginx)
    }

    /// The process that starts the workers.
    pub fn master(&self) -> u32 {
        self.master.pid()
    }

    /// The workers as they are now.
    pub fn workers(&self) -> Result<Vec<u32>> {
        children(self.master.pid())
    }

    /// Asks for the file on a connection of its own, which the server closes.
    pub fn request(&self) -> Result<()> {
        let mut stream = UnixStream::connect(self.folder.path().join("socket"))?;
        stream.set_read_timeout(Some(crate::DEADLINE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&"x".repeat(211)), "nginx answered {answer:?}");
        Ok(())
    }

    /// Lets new workers take over, as after a change of its configuration, and waits until the old ones are gone.
    pub fn reload(&self) -> Result<()> {
        let old = self.workers()?;
        self.master.signal(Signal::HUP)?;
        wait_for("nginx to change its workers", || {
            let now = self.workers()?;
            let changed = now.len() == Self::WORKERS && !now.iter().any(|worker| old.contains(worker));
            Ok(changed.then_some(()))
        })
    }

    /// Whether it is well, by its own log.
    pub fn expect_well(&mut self) -> Result<()> {
        let log = fs::read_to_string(self.folder.path().join("error.log"))?;
        ensure!(self.master.try_wait()?.is_none(), "nginx ended:\n{log}");
        let is_good = |line: &str| line.contains("[notice]") || line.contains("[info]");
        let bad: Vec<&str> = log.lines().filter(|line| !is_good(line) || line.contains("exited on signal")).collect();
        ensure!(bad.is_empty(), "nginx is not well: {bad:?}");
        self.request()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked to end.
        if self.master.signal(Signal::TERM).is_ok() {
            let _ = self.master.wait();
        }
    }
}

/// A memcached on a unix socket.
#[derive(Debug)]
pub struct Memcached {
    // Dropped in this order.
    server: Guarded,
    folder: Folder,
}

impl Memcached {
    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self> {
        let folder = Folder::new("memcached")?;
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-t", "3", "-s"]).arg(folder.path().join("socket"));
        let server = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let memcached = Self { server, folder };
        wait_for("memcached to answer", || Ok(memcached.connect().ok()))?;
        Ok(memcached)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its socket's path.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A connection that it has answered on.
    pub fn connect(&self) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(crate::DEADLINE))?;
        stream.write_all(b"version\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        ensure!(answer == *b"VERSION", "memcached answered {answer:?}");
        Ok(stream)
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
