//! Real servers under load: redis on jemalloc, and CPython.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    process::Guarded,
    report::{Report, Site},
    tracer::{Tracer, report_path, trace},
    wait_for,
};

/// A redis-server of our own, without persistence, on a unix socket.
pub(crate) struct Redis {
    pub(crate) server: Guarded,
    pub(crate) socket: PathBuf,
}

impl Redis {
    pub(crate) fn start() -> Result<Self> {
        // A socket's path must be short, which a target directory's need not be.
        let name = report_path()?;
        let name = name.file_stem().and_then(|name| name.to_str()).context("a path that is not text")?;
        let socket = std::env::temp_dir().join(format!("leaktrace-{name}.sock"));
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dir", "/", "--unixsocket"]).arg(&socket);
        let server = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let redis = Self { server, socket };
        wait_for("redis to answer", || Ok(redis.command(&["PING"]).ok()))?;
        Ok(redis)
    }

    /// One command on a connection of its own.
    pub(crate) fn command(&self, words: &[&str]) -> Result<String> {
        Connection::new(&self.socket)?.command(words)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It is gone already when the server could not start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn new(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(leaktrace_tests::DEADLINE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command as an array of bulk strings; returns the answer's first line.
    pub(crate) fn command(&mut self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        ensure!(!answer.starts_with('-') && answer.ends_with("\r\n"), "redis answered {answer:?} to {words:?}");
        Ok(answer.trim_end().to_owned())
    }
}

fn expect_names(report: &Report) -> Result<()> {
    let frames = || report.sites.iter().flat_map(|site| &site.frames);
    let named = frames().filter(|frame| frame.function.is_some()).count();
    ensure!(named * 2 > frames().count(), "only {named} of {} frames have names:\n{report}", frames().count());
    let nameless = frames().find(|frame| frame.function.is_none() && frame.reason.is_none());
    ensure!(nameless.is_none(), "a frame has neither a name nor a reason: {nameless:?}");
    Ok(())
}

#[test]
fn redis_under_load() -> Result<()> {
    let mut redis = Redis::start()?;
    let tracer = Tracer::attach(redis.server.pid())?;
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["-n", "20011", "-c", "13", "-d", "211", "-r", "997", "-t", "set,get,lpush,hset", "--csv", "-s"]);
    let mut benchmark = Guarded::spawn(
        benchmark.arg(&redis.socket).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
    )?;
    let out = benchmark.child().stdout.take().context("no stdout")?;
    let error = benchmark.child().stderr.take().context("no stderr")?;
    let mut out = leaktrace_tests::process::Lines::read(out);
    let mut error = leaktrace_tests::process::Lines::read(error);
    let status = benchmark.wait()?;
    let (out, error) = (out.rest()?, error.rest()?);
    ensure!(status.success(), "redis-benchmark: {status}\n{out}\n{error}");
    ensure!(out.contains("SET") && !(out + &error).to_lowercase().contains("error"), "redis-benchmark saw errors");
    let report = tracer.stop()?;
    ensure!(redis.server.try_wait()?.is_none() && redis.command(&["PING"])? == "+PONG", "redis is not well");
    report.check_arithmetic()?;
    ensure!(report.totals.alloc_objects > 20_011, "more was allocated than that:\n{report}");
    ensure!(report.probed_modules().iter().any(|module| module.contains("libjemalloc")), "no probe in jemalloc");
    expect_names(&report)
}

#[test]
fn redis_keeps_what_it_is_given() -> Result<()> {
    const KEYS: u64 = 997;
    const VALUE_BYTES: usize = 1009;

    let redis = Redis::start()?;
    let mut connection = Connection::new(&redis.socket)?;
    let tracer = Tracer::attach(redis.server.pid())?;
    let value = "v".repeat(VALUE_BYTES);
    for key in 0..KEYS {
        let answer = connection.command(&["SET", &format!("key:{key}"), &value])?;
        ensure!(answer == "+OK", "redis answered {answer}");
    }
    let report = tracer.stop()?;
    report.check_arithmetic()?;
    ensure!(report.totals.inuse_objects >= KEYS, "{KEYS} keys need as many blocks:\n{report}");
    let bytes = KEYS * u64::try_from(VALUE_BYTES)?;
    ensure!(report.totals.inuse_bytes >= bytes, "{KEYS} values are {bytes} bytes:\n{report}");
    Ok(())
}

/// Keeps 211 bytearrays of 100,003 bytes: too large for CPython's own allocator, so that each is a call of malloc.
const PYTHON: &str = r#"
import sys
kept = []
print("ready", flush=True)
sys.stdin.readline()
for i in range(211):
    kept.append(bytearray(100003))
    bytearray(100019)
print('{"site":"bytearray","inuse_objects":211}')
print("done", flush=True)
sys.stdin.readline()
"#;

/// By its path: what a PATH finds first may be a wrapper.
pub(crate) fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", PYTHON]);
    command
}

/// Looks for the bytearrays by their size, whichever of CPython's functions asked for them.
pub(crate) fn expect_bytearrays(report: &Report) -> Result<()> {
    // A bytearray has one byte more, for a zero at its end.
    const BLOCK: u64 = 100_004;

    let is_kept = |site: &&Site| site.counters.inuse_bytes == site.counters.inuse_objects * BLOCK;
    let kept: u64 = report.sites.iter().filter(is_kept).map(|site| site.counters.inuse_objects).sum();
    ensure!(kept == 211, "found {kept} of the 211 bytearrays:\n{report}");
    report.check_arithmetic()
}

#[test]
fn python_keeps_bytearrays() -> Result<()> {
    let (_, report) = trace(Leaker::start_program(&mut python())?)?;
    expect_bytearrays(&report)
}
