//! Profiles, read by pprof itself: that of Go.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{report::Counters, tracer::report_path};

/// A profile as `go tool pprof -raw` tells of it.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The sample type that is shown first.
    pub default_type: String,
    /// All samples.
    pub samples: Vec<Sample>,
    /// Functions by location, the innermost first.
    pub locations: BTreeMap<u64, Vec<String>>,
    /// Mapped files and their build ids.
    pub mappings: Vec<(String, String)>,
}

/// A stack with its values.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What was allocated and is outstanding; of what was freed it says nothing.
    pub counters: Counters,
    /// Locations, the innermost first.
    pub stack: Vec<u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Profile {
    /// Has pprof read a profile.
    pub fn read(written: &[u8]) -> Result<Self> {
        let raw = pprof(written, &["-raw"])?;
        Self::parse(&raw).with_context(|| format!("not what pprof writes:\n{raw}"))
    }

    fn parse(raw: &str) -> Result<Self> {
        let mut profile = Self::default();
        let mut section = "";
        for line in raw.lines() {
            match line {
                "Samples:" | "Locations" | "Mappings" => section = line,
                _ => match section {
                    "Samples:" => profile.sample(line)?,
                    "Locations" => profile.location(line)?,
                    "Mappings" => profile.mapping(line)?,
                    _ => {}
                },
            }
        }
        Ok(profile)
    }

    /// `alloc_objects/count … inuse_space/bytes[dflt]`, then values and locations, with the labels on the lines below.
    fn sample(&mut self, line: &str) -> Result<()> {
        if line.contains("/count") {
            let types: Vec<&str> = line.split_whitespace().collect();
            let plain: Vec<&str> = types.iter().map(|name| name.trim_end_matches("[dflt]")).collect();
            let wanted = ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"];
            ensure!(plain == wanted, "its sample types are {plain:?}");
            let first = types.iter().find_map(|name| name.strip_suffix("[dflt]")).context("no default")?;
            self.default_type = first.to_owned();
            return Ok(());
        }
        let label = line.trim_start().split_once(":[").filter(|(key, _)| !key.contains(' '));
        if let Some((key, value)) = label {
            let last = self.samples.last_mut().context("a label before any sample")?;
            last.labels.insert(key.to_owned(), value.trim_end().trim_end_matches(']').to_owned());
            return Ok(());
        }
        let (values, stack) = line.split_once(':').with_context(|| format!("a sample without a colon: {line:?}"))?;
        let numbers = |text: &str| text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        let [alloc_objects, alloc_bytes, inuse_objects, inuse_bytes] = numbers(values)?[..] else {
            bail!("not four values: {line}");
        };
        let (free_bytes, free_objects) = (alloc_bytes - inuse_bytes, alloc_objects - inuse_objects);
        let counters = Counters { inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects };
        self.samples.push(Sample { counters, stack: numbers(stack)?, labels: BTreeMap::new() });
        Ok(())
    }

    /// `ID: 0xADDRESS M=1 FUNCTION FILE:LINE:COLUMN s=0`, and for what is inlined there a line without what is before it.
    fn location(&mut self, line: &str) -> Result<()> {
        let (mut text, mut id) = (line.trim_start(), self.locations.keys().last().copied());
        if let Some((number, rest)) = text.split_once(": 0x")
            && let Ok(number) = number.parse()
        {
            id = Some(number);
            let (_, after) = rest.split_once(' ').context("an address alone")?;
            text = match after.split_once(' ') {
                Some((mapping, rest)) if mapping.starts_with("M=") => rest,
                _ => after,
            };
        }
        let (function, _) = text.trim_end().rsplit_once(" s=").context("no start")?;
        let (function, _) = function.rsplit_once(' ').context("no file")?;
        self.locations.entry(id.context("no location")?).or_default().push(function.trim_end().to_owned());
        Ok(())
    }

    /// `ID: START/LIMIT/OFFSET FILE BUILD-ID [FN]…`.
    fn mapping(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace().skip(2);
        let file = words.next().context("no file")?.to_owned();
        let id = words.next().filter(|word| !word.starts_with('[')).unwrap_or_default().to_owned();
        self.mappings.push((file, id));
        Ok(())
    }

    /// The sum over the samples of this kind.
    pub fn total(&self, kind: &str) -> Counters {
        let of_kind = self.samples.iter().filter(|sample| sample.labels.get("kind").is_some_and(|known| known == kind));
        of_kind.map(|sample| sample.counters).sum()
    }

    /// Functions of a sample, the innermost first.
    pub fn functions(&self, sample: &Sample) -> Vec<&str> {
        let names = sample.stack.iter().filter_map(|id| self.locations.get(id));
        names.flatten().map(String::as_str).collect()
    }
}

/// What pprof says of a profile.
pub fn pprof(written: &[u8], options: &[&str]) -> Result<String> {
    let path = report_path()?.with_extension("pprof");
    fs::write(&path, written)?;
    let said = run(&path, options);
    fs::remove_file(&path)?;
    said
}

fn run(path: &Path, options: &[&str]) -> Result<String> {
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(options)
        .arg(path)
        // It keeps settings there.
        .env("HOME", crate::work_dir()?)
        .output()
        .context("cannot run go: is Debian's golang-go installed?")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pprof cannot read it: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
