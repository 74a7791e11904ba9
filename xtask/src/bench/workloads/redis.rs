//! redis-server under redis-benchmark. The server counts what it did, so the rate is of any window that is looked at.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use leaktrace_tests::{
    process::{Guarded, Lines},
    wait_for,
};
use rustix::process::Signal;

use super::Timing;
use crate::bench::programs::Bench;

/// Keys and bytes of a value: few enough that the blocks fit into the smallest table of a tool, bpftrace's.
const KEYS: &str = "10000";
const VALUE: &str = "64";
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A server without persistence on a free port of the loopback.
pub(super) fn words() -> Result<Vec<OsString>> {
    // Taken by nobody else until the server starts a moment later.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port();
    let port = port.to_string();
    let words = ["/usr/bin/redis-server", "--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    Ok(words.map(OsString::from).to_vec())
}

/// Operations per second.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Rates {
    pub(in crate::bench) set: f64,
    pub(in crate::bench) get: f64,
}

impl Rates {
    pub(super) fn both(self) -> f64 {
        // As many of the one as of the other.
        2.0 / (1.0 / self.set + 1.0 / self.get)
    }
}

/// The running server.
#[derive(Debug)]
pub(in crate::bench) struct Redis {
    server: Guarded,
    _output: Lines,
    port: u16,
}

impl Redis {
    /// A server by itself.
    pub(in crate::bench) fn alone(bench: &Bench) -> Result<Self> {
        let words = words()?;
        let (program, arguments) = words.split_first().context("no words")?;
        Self::start(bench, Command::new(program).args(arguments))
    }

    /// Starts `command`, whose arguments end with those of [`words`].
    pub(super) fn start(bench: &Bench, command: &mut Command) -> Result<Self> {
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let place = words.iter().position(|word| word == "--port").context("no port")?;
        let port = words.get(place + 1).and_then(|port| port.parse().ok()).context("no port")?;
        command.current_dir(&bench.folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = bench.on_target_cpu(|| Guarded::spawn(command))?;
        let mut output = Lines::read(server.child().stdout.take().context("redis-server has no stdout")?);
        if output.find("redis-server to serve", |line| line.contains("eady to accept connections"))?.is_none() {
            bail!("redis-server ended: {}", server.wait()?);
        }
        Ok(Self { server, _output: output, port })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Half of the window for each kind of operation, and all of the warm-up: they do not cost a tool the same.
    pub(in crate::bench) fn work(&mut self, timing: Timing) -> Result<Rates> {
        Ok(Rates { set: self.rate("set", timing)?, get: self.rate("get", timing)? })
    }

    fn rate(&mut self, operation: &str, timing: Timing) -> Result<f64> {
        let mut command = Command::new("redis-benchmark");
        // More requests than there is time for: it is ended.
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", operation, "-n", "1000000000"]);
        command.args(["-r", KEYS, "-d", VALUE, "-q"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _benchmark = Guarded::spawn(&mut command)?;
        wait_for("redis-benchmark to begin", || {
            ensure!(self.server.try_wait()?.is_none(), "redis-server ended");
            Ok((self.calls(operation)? > 0).then_some(()))
        })?;
        thread::sleep(timing.warm_up);
        let (before, begun) = (self.calls(operation)?, Instant::now());
        thread::sleep(timing.window / 2);
        let (after, ended) = (self.calls(operation)?, Instant::now());
        ensure!(after > before, "no {operation} within {:?}", timing.window / 2);
        Ok((after - before) as f64 / (ended - begun).as_secs_f64())
    }

    /// How many of these operations it has done.
    fn calls(&self, operation: &str) -> Result<u64> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("redis-server takes no calls")?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("redis-server does not answer")?;
        Ok(calls(&answer, operation))
    }

    /// Ends it as an administrator does, so that a tool in it gets to write its profile.
    pub(in crate::bench) fn finish(mut self) -> Result<()> {
        self.server.signal(Signal::TERM)?;
        self.server.wait()?;
        Ok(())
    }
}

/// From lines like `cmdstat_set:calls=17,usec=30,…`; an operation that never was has none.
fn calls(info: &str, operation: &str) -> u64 {
    let prefix = format!("cmdstat_{operation}:calls=");
    let rest = info.lines().find_map(|line| line.strip_prefix(&prefix));
    rest.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_those_of_the_operation() {
        let info = "$99\r\n# Commandstats\r\ncmdstat_get:calls=3,usec=9\r\ncmdstat_set:calls=1701,usec=5,x=1\r\n";
        assert_eq!([calls(info, "set"), calls(info, "get"), calls(info, "del")], [1701, 3, 0]);
    }

    #[test]
    fn both_rates_are_as_if_of_as_many() {
        assert!((Rates { set: 100.0, get: 300.0 }.both() - 150.0).abs() < 1e-9);
    }
}
