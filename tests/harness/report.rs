//! The JSON report, as a consumer outside of the project would read it: types of its own, so that a change of the format
//! does not go unnoticed.

use std::{collections::BTreeMap, fmt, iter::Sum};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Deserializer, de::Error};

/// One JSON report. Fields that it must have are not optional.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// `leaktrace/1`.
    pub schema: String,
    /// The traced process.
    pub target: Target,
    /// All traced processes.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// `detached`, `exited`, …
    pub state: String,
    /// Wall clock at the start.
    pub started: serde_json::Value,
    /// Seconds traced.
    pub elapsed_s: f64,
    /// Those of the heap, most outstanding bytes first. See `descriptors::report` for those that opened descriptors.
    #[serde(deserialize_with = "heap_sites")]
    pub sites: Vec<Site>,
    /// Those of memory from the kernel itself: see [`Report::parse`].
    #[serde(skip)]
    pub ranges: Vec<Site>,
    /// Sum over the sites.
    pub totals: Counters,
    /// Events lost, by cause.
    pub loss: BTreeMap<String, u64>,
    /// Things seen that are not losses.
    pub stats: BTreeMap<String, u64>,
    /// The probes that were in place.
    pub probes: Vec<Probe>,
}

fn heap_sites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Site>, D::Error> {
    sites_of(deserializer, |kind| kind == "heap")
}

fn range_sites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Site>, D::Error> {
    sites_of(deserializer, |kind| kind.starts_with("mmap"))
}

fn sites_of<'de, D: Deserializer<'de>>(deserializer: D, wanted: fn(&str) -> bool) -> Result<Vec<Site>, D::Error> {
    let sites = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let wanted = sites.into_iter().filter(|site| site["kind"].as_str().is_some_and(wanted));
    wanted.map(|site| serde_json::from_value(site).map_err(D::Error::custom)).collect()
}

/// The traced process.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Its id.
    pub pid: u32,
    /// The kernel's short name of it.
    pub comm: String,
    /// Path of its program.
    pub exe: String,
    /// Its arguments.
    pub cmdline: Vec<String>,
}

/// A traced process, with what it holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, or what it has put in their place.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// The process that forked it, if it is traced for that.
    pub parent: Option<u32>,
    /// `running`, `exited`, …
    pub state: String,
    /// When it came, in seconds since the first ones.
    #[serde(default)]
    pub began_s: f64,
    /// Seconds after its fork that were not seen.
    pub unseen_s: f64,
    /// Its numbers.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The six numbers of a site or a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// Outstanding bytes.
    pub inuse_bytes: u64,
    /// Outstanding blocks.
    pub inuse_objects: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Blocks allocated.
    pub alloc_objects: u64,
    /// Bytes freed.
    pub free_bytes: u64,
    /// Blocks freed.
    pub free_objects: u64,
}

impl Counters {
    /// One of them by its name in JSON.
    pub fn number(&self, name: &str) -> u64 {
        let Self { inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects } = *self;
        match name {
            "inuse_bytes" => inuse_bytes,
            "inuse_objects" => inuse_objects,
            "alloc_bytes" => alloc_bytes,
            "alloc_objects" => alloc_objects,
            "free_bytes" => free_bytes,
            "free_objects" => free_objects,
            _ => panic!("no such number: {name}"),
        }
    }

    fn balanced(&self) -> bool {
        self.alloc_bytes.checked_sub(self.free_bytes) == Some(self.inuse_bytes)
            && self.alloc_objects.checked_sub(self.free_objects) == Some(self.inuse_objects)
    }
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), |sum, next| {
            let Self { inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects } = next;
            Self {
                inuse_bytes: sum.inuse_bytes + inuse_bytes,
                inuse_objects: sum.inuse_objects + inuse_objects,
                alloc_bytes: sum.alloc_bytes + alloc_bytes,
                alloc_objects: sum.alloc_objects + alloc_objects,
                free_bytes: sum.free_bytes + free_bytes,
                free_objects: sum.free_objects + free_objects,
            }
        })
    }
}

/// One call stack that allocated.
#[derive(Clone, Debug, Deserialize)]
pub struct Site {
    /// Stable for the session.
    pub id: u64,
    /// `heap`.
    pub kind: String,
    /// The process.
    pub tgid: u32,
    /// Its numbers.
    #[serde(flatten)]
    pub counters: Counters,
    /// Age of the oldest outstanding block.
    pub oldest_age_s: Option<f64>,
    /// Of the program's start, before any code of its own.
    #[serde(default)]
    pub startup: bool,
    /// Why the walk up its stack ended: `complete`, or what kept it from the outermost frame.
    pub stack: String,
    /// Innermost first; the allocator's own frame is left out.
    pub frames: Vec<Frame>,
}

impl Site {
    /// Whether frame `index` is in `function`.
    pub fn frame_is(&self, index: usize, function: &str) -> bool {
        self.frames.get(index).is_some_and(|frame| frame.is_in(function))
    }
}

/// Whether the demangled name `full` (`int ns::Type<T>::function<U>(args)`) is that of `function`, which may itself be a
/// path. Template arguments and rustc's hash do not count.
pub(crate) fn is_named(full: &str, function: &str) -> bool {
    let mut path = String::new();
    let mut depth = 0_usize;
    for character in full.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => path.push(character),
            _ => {}
        }
    }
    // A template's return type stands before its name.
    let path = path.rsplit(' ').next().unwrap_or_default();
    let path = match path.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path,
        _ => path,
    };
    path == function || path.strip_suffix(function).is_some_and(|head| head.ends_with("::"))
}

/// One frame of a call stack.
#[derive(Clone, Debug, Deserialize)]
pub struct Frame {
    /// Demangled name, if there is one.
    pub function: Option<String>,
    /// Path of the module.
    pub module: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Inlined into the next frame's function.
    #[serde(default)]
    pub inlined: bool,
    /// The address in the process, a return address in all but a few frames; an inlined frame repeats its caller's.
    #[serde(deserialize_with = "hexadecimal")]
    pub address: u64,
    /// Why there is no name.
    pub reason: Option<String>,
}

impl Frame {
    /// Whether it is in `function`.
    pub fn is_in(&self, function: &str) -> bool {
        self.function.as_deref().is_some_and(|name| is_named(name, function))
    }
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom(format!("{text:?} does not begin with 0x")))?;
    u64::from_str_radix(digits, 16).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

/// A probe that was in place.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    /// Path of the module.
    pub module: String,
    /// The function.
    pub symbol: String,
    /// Bytes from the function's start.
    pub offset: u64,
    /// `entry` or `return`.
    pub kind: String,
    /// Times it was hit.
    pub hits: u64,
}

/// Those of memory from the kernel itself.
#[derive(Deserialize)]
struct Ranges {
    #[serde(deserialize_with = "range_sites")]
    sites: Vec<Site>,
}

impl Report {
    /// Reads a report.
    pub fn parse(text: &str) -> Result<Self> {
        let report: Self = serde_json::from_str(text)?;
        let Ranges { sites: ranges } = serde_json::from_str(text)?;
        Ok(Self { ranges, ..report })
    }

    /// A statistic; one that is not listed is zero.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats.get(name).copied().unwrap_or_default()
    }

    /// Paths of the modules with probes, each once.
    pub fn probed_modules(&self) -> Vec<&str> {
        let in_process = self.probes.iter().filter(|probe| probe.kind != "tracepoint");
        let mut modules: Vec<&str> = in_process.map(|probe| probe.module.as_str()).collect();
        modules.sort_unstable();
        modules.dedup();
        modules
    }

    /// The process of that id.
    pub fn process(&self, pid: u32) -> Result<&Process> {
        self.processes.iter().find(|process| process.pid == pid).with_context(|| format!("no process {pid}:\n{self}"))
    }

    /// What the report says of one process.
    #[must_use]
    pub fn of(&self, pid: u32) -> Self {
        let mut own = self.clone();
        own.sites.retain(|site| site.tgid == pid);
        own.totals = own.sites.iter().map(|site| site.counters).sum();
        own
    }

    /// What must hold in every report: nothing lost, every site in balance, the totals their sum, the order right.
    pub fn check_arithmetic(&self) -> Result<()> {
        ensure!(self.schema == "leaktrace/1", "schema is {:?}", self.schema);
        ensure!(self.loss.is_empty(), "events were lost: {:?}", self.loss);
        for site in self.sites.iter().chain(&self.ranges) {
            ensure!(site.counters.balanced(), "site {} is out of balance: {:?}", site.id, site.counters);
            let known = self.processes.iter().any(|process| process.pid == site.tgid);
            ensure!(site.tgid == self.target.pid || known, "site {} belongs to process {}", site.id, site.tgid);
        }
        let sum: Counters = self.sites.iter().map(|site| site.counters).sum();
        ensure!(self.totals == sum, "totals {:?} are not the sum of the sites {sum:?}", self.totals);
        ensure!(
            self.sites.is_sorted_by(|a, b| a.counters.inuse_bytes >= b.counters.inuse_bytes),
            "sites are not sorted by outstanding bytes"
        );
        Ok(())
    }
}

/// For failure messages: one line for each site.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state {}, loss {:?}, stats {:?}, totals {:?}", self.state, self.loss, self.stats, self.totals)?;
        for site in self.sites.iter().take(50) {
            let Counters { inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects } =
                site.counters;
            let names: Vec<&str> =
                site.frames.iter().take(8).map(|frame| frame.function.as_deref().unwrap_or("?")).collect();
            writeln!(
                f,
                "  inuse {inuse_bytes}/{inuse_objects} alloc {alloc_bytes}/{alloc_objects} \
                 free {free_bytes}/{free_objects}  {}",
                names.join(" < ")
            )?;
        }
        if self.sites.len() > 50 {
            writeln!(f, "  and {} more", self.sites.len() - 50)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn names_are_matched_by_their_last_parts() {
        assert!(is_named("leak", "leak"));
        assert!(is_named("rust_heap::leak::h0123456789abcdef", "leak"));
        assert!(is_named("void demo::Cache<std::pair<int, long>>::grow<long>(std::vector<int>&)", "grow"));
        assert!(is_named("<demo::Cache<T> as demo::Grow>::grow", "grow"));
        assert!(is_named("demo::grow(int)", "demo::grow"));
        assert!(!is_named("demo::regrow(int)", "grow"));
        assert!(!is_named("leak_more", "leak"));
    }
}
