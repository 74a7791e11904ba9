//! What leaktrace itself needs while it traces: memory, CPU time, and the time until its probes are on.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use leaktrace_tests::process::{Guarded, Lines};
use serde::Serialize;

use super::{
    Options,
    programs::{Batch, Bench, CHANGING_STACKS, Work},
    table::{Spread, number},
    tracers::{Started, start_leaktrace},
};

/// Pairs per second while leaktrace's own CPU time is measured.
const RATE: usize = 100_000;
const FRAMES: usize = 10;
/// The CPU time comes in ticks of 10 ms: it takes this long to have a percentage to a tenth.
const SHORTEST_WINDOW: Duration = Duration::from_secs(10);

/// What leaktrace needs to trace a busy target.
#[derive(Debug, Serialize)]
pub(super) struct Footprint {
    pairs_per_second: f64,
    cpu_percent: f64,
    /// Kibibytes, as in /proc/PID/status.
    rss_kib: u64,
    peak_rss_kib: u64,
    anonymous_kib: u64,
    /// Of the resident memory: BPF maps that leaktrace has mapped.
    mapped_maps_kib: u64,
    /// Kernel memory of all its BPF maps, as fdinfo has it.
    maps_kib: u64,
}

/// Measures leaktrace on a paced target.
pub(super) fn of_tracing(bench: &Bench, program: &Path, options: &Options) -> Result<Footprint> {
    let mut target = bench.start_target(program, Work { frames: FRAMES, stacks: CHANGING_STACKS, rate: RATE })?;
    let mut command = bench.leaktrace(target.pid(), Path::new("/dev/null"), &[]);
    let Started::Tracing(tracer) = start_leaktrace(&mut command)? else { bail!("leaktrace refused its arguments") };
    let window = (options.seconds * options.rounds).max(SHORTEST_WINDOW);
    let (begun, before) = (Instant::now(), cpu_seconds(tracer.pid())?);
    let batches = target.measure(window)?;
    let used = cpu_seconds(tracer.pid())? - before;
    let cpu_percent = used / begun.elapsed().as_secs_f64() * 100.0;
    let Memory { resident_kib, anonymous_kib } = Memory::of(tracer.pid())?;
    let footprint = Footprint {
        pairs_per_second: rate(&batches),
        cpu_percent,
        rss_kib: resident_kib,
        peak_rss_kib: peak_bytes(tracer.pid())? >> 10,
        anonymous_kib,
        mapped_maps_kib: mapped_maps_kib(&read_proc(tracer.pid(), "smaps")?),
        maps_kib: maps_bytes(tracer.pid())? >> 10,
    };
    tracer.stop()?;
    Ok(footprint)
}

impl Footprint {
    pub(super) fn show(&self) -> String {
        let Self { pairs_per_second, cpu_percent, rss_kib, peak_rss_kib, anonymous_kib, mapped_maps_kib, maps_kib } =
            self;
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        format!(
            "leaktrace itself, target at {} pairs/s: {cpu_percent:.1} % of a core\n\
             resident memory: {} (peak {}), without mapped BPF maps {}, anonymous {}\n\
             kernel memory of its BPF maps: {}",
            number(*pairs_per_second),
            mib(*rss_kib),
            mib(*peak_rss_kib),
            mib(rss_kib.saturating_sub(*mapped_maps_kib)),
            mib(*anonymous_kib),
            mib(*maps_kib),
        )
    }
}

pub(super) fn rate(batches: &[Batch]) -> f64 {
    let (ns, pairs) = batches.iter().fold((0.0, 0.0), |(ns, pairs), batch| {
        (ns + batch.ns_per_pair() * batch.pairs as f64, pairs + batch.pairs as f64)
    });
    pairs / ns * 1e9
}

fn read_proc(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// CPU time that a process has used, user and system.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let ticks = cpu_ticks(&read_proc(pid, "stat")?).context("cannot read /proc/PID/stat")?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name may hold anything, also spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A field such as `VmRSS:     1234 kB`.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory of the mappings of BPF maps in an smaps file.
fn mapped_maps_kib(smaps: &str) -> u64 {
    let mut of_a_map = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            of_a_map = line.ends_with("bpf-map");
        } else if of_a_map {
            sum += field_kib(line, "Rss").unwrap_or(0);
        }
    }
    sum
}

/// What a process has resident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident_kib: u64,
    /// Of it, what is neither a file's nor shared.
    pub(super) anonymous_kib: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = read_proc(pid, "status")?;
        let kib = |name: &str| field_kib(&status, name).with_context(|| format!("no {name} in /proc/PID/status"));
        Ok(Self { resident_kib: kib("VmRSS")?, anonymous_kib: kib("RssAnon")? })
    }
}

/// The most memory that a process has had resident, in bytes.
pub(super) fn peak_bytes(pid: u32) -> Result<u64> {
    let kib = field_kib(&read_proc(pid, "status")?, "VmHWM").context("no VmHWM in /proc/PID/status")?;
    Ok(kib << 10)
}

/// What a tracer needs at most: its own memory, and that of its BPF maps, which it may have mapped as well.
pub(super) fn tracer_bytes(pid: u32) -> Result<u64> {
    let mapped = mapped_maps_kib(&read_proc(pid, "smaps")?) << 10;
    Ok(peak_bytes(pid)?.saturating_sub(mapped) + maps_bytes(pid)?)
}

/// Kernel memory of the BPF maps that a process holds.
pub(super) fn maps_bytes(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if let (Some(id), Some(bytes)) = (field_kib(&text, "map_id"), field_kib(&text, "memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

/// Milliseconds from the start of leaktrace until it traces a redis-server.
pub(super) fn attach_times(bench: &Bench, times: u32) -> Result<Vec<f64>> {
    let redis = start_redis(&bench.folder)?;
    let mut milliseconds = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let started = start_leaktrace(&mut bench.leaktrace(redis.pid(), Path::new("/dev/null"), &[]))?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        let Started::Tracing(tracer) = started else { bail!("leaktrace refused its arguments") };
        thread::sleep(Duration::from_millis(100));
        tracer.stop()?;
    }
    Ok(milliseconds)
}

pub(super) fn show_attach_times(milliseconds: &[f64]) -> String {
    let first = milliseconds.first().map_or_else(String::new, |&first| format!(", the first time {}", number(first)));
    let spread = Spread::of(milliseconds).map_or_else(|| "n/a".to_owned(), |spread| spread.show());
    format!("start to tracing, redis-server: {spread} ms{first}")
}

/// A redis-server that listens on a socket file and writes no data.
fn start_redis(folder: &Path) -> Result<Guarded> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
    // Socket addresses are short; a path relative to the folder is too.
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut redis = Guarded::spawn(&mut command)?;
    let mut output = Lines::read(redis.child().stdout.take().context("redis-server has no stdout")?);
    if output.find("redis-server to serve", |line| line.contains("eady to accept connections"))?.is_none() {
        bail!("redis-server ended:\n{}", output.rest()?);
    }
    Ok(redis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "41 (a) b (c) S 1 41 41 0 -1 4194304 10 0 0 0 17 13 0 0 20 0 3 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(30));
        assert_eq!(cpu_ticks("41 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_taken_by_its_whole_name() {
        let status = "VmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(field_kib(status, "VmRSS"), Some(1024));
        assert_eq!(field_kib(status, "Vm"), None);
    }

    #[test]
    fn only_mappings_of_bpf_maps_are_counted() {
        let smaps = "7f00-7f01 rw-s 00000000 00:0e 1  anon_inode:bpf-map\nSize: 8 kB\nRss:  8 kB\nVmFlags: rd\n\
                     7f02-7f03 rw-p 00000000 00:00 0\nRss: 100 kB\n\
                     7f04-7f05 rw-s 00000000 00:0e 1  anon_inode:bpf-map\nRss:  4 kB\n";
        assert_eq!(mapped_maps_kib(smaps), 12);
    }
}
