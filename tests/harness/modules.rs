//! The files that a process has mapped: where they are, where their functions begin, and which of their addresses have
//! call-frame information. By binutils, not by leaktrace's own readers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    ops::Range,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// `e_type` of a file that is loaded where it says, of the ELF specification.
const ET_EXEC: u16 = 2;

/// The files that are mapped executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// The lowest address of each.
    lowest: BTreeMap<String, u64>,
    /// The addresses of their executable mappings.
    executable: Vec<Range<u64>>,
}

impl Modules {
    /// Those of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).with_context(|| format!("process {pid} is gone"))?;
        let (mut lowest, mut paths, mut executable) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for line in maps.lines() {
            let mut fields = line.splitn(6, ' ');
            let (range, access) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let path = fields.nth(3).unwrap_or_default().trim_start();
            if !path.starts_with('/') {
                continue;
            }
            let (start, end) = range.split_once('-').with_context(|| format!("not a mapping: {line}"))?;
            let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
            lowest.entry(path.to_owned()).or_insert(start);
            if access.contains('x') {
                paths.insert(path);
                executable.push(start..end);
            }
        }
        lowest.retain(|path, _| paths.contains(path.as_str()));
        Ok(Self { lowest, executable })
    }

    /// Whether an address is in a file's code.
    pub fn hold(&self, address: u64) -> bool {
        self.executable.iter().any(|range| range.contains(&address))
    }

    /// What to add to an address in the file to get one of the process.
    fn bias(&self, path: &str) -> Result<u64> {
        let start = self.lowest.get(path).with_context(|| format!("{path} is not mapped"))?;
        let mut header = [0; 18];
        File::open(path)?.read_exact(&mut header).with_context(|| format!("{path} is no ELF file"))?;
        Ok(if u16::from_le_bytes([header[16], header[17]]) == ET_EXEC { 0 } else { *start })
    }

    /// Addresses of those of the functions that a file defines.
    pub fn functions(&self, path: &str, names: &[&str]) -> Result<Vec<u64>> {
        let bias = self.bias(path)?;
        let mut addresses = Vec::new();
        // Libraries have dynamic symbols, static programs others.
        for table in [&["--dynamic"][..], &[]] {
            for line in tool("nm", &[table, &["--defined-only", path]].concat())?.lines() {
                if let [address, "T" | "t" | "W" | "w" | "i", name] = line.split(' ').collect::<Vec<_>>()[..]
                    && names.contains(&name.split('@').next().unwrap_or_default())
                {
                    addresses.push(bias + u64::from_str_radix(address, 16)?);
                }
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The addresses of all files that have call-frame information.
    pub fn described(&self) -> Result<Described> {
        let mut ranges = Vec::new();
        for path in self.lowest.keys() {
            let bias = self.bias(path)?;
            for line in tool("readelf", &["--debug-dump=frames", path])?.lines() {
                // 00000018 0000000000000024 0000001c FDE cie=00000000 pc=0000000000001010..0000000000001170
                let Some((_, range)) = line.split_once(" FDE ").and_then(|(_, rest)| rest.split_once(" pc=")) else {
                    continue;
                };
                let (start, end) = range.split_once("..").with_context(|| format!("not a range: {line}"))?;
                let address = |text| u64::from_str_radix(text, 16).map(|address| address.wrapping_add(bias));
                ranges.push((address(start)?, address(end)?));
            }
        }
        ranges.sort_unstable();
        Ok(Described(ranges))
    }
}

/// Addresses with call-frame information: ranges, sorted, ends excluded.
#[derive(Clone, Debug)]
pub struct Described(pub Vec<(u64, u64)>);

impl Described {
    /// Whether an address has.
    pub fn contains(&self, address: u64) -> bool {
        let after = self.0.partition_point(|&(start, _)| start <= address);
        self.0[..after].last().is_some_and(|&(_, end)| address < end)
    }
}

/// The output of one of binutils' programs. It may be empty, and its warnings (no symbols) do not matter.
fn tool(name: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C").args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {name}: install binutils"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && text.is_empty() && !error.contains("no symbols") {
        bail!("{command:?}: {}: {error}", output.status);
    }
    ensure!(output.status.code().is_some(), "{command:?}: {}", output.status);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{Modules, Result};

    #[test]
    fn one_s_own_functions_are_found_and_described() -> Result<()> {
        let modules = Modules::of(std::process::id())?;
        let path = modules.lowest.keys().find(|path| path.contains("/libc.so")).expect("a libc");
        let [malloc] = modules.functions(path, &["malloc"])?[..] else { panic!("one malloc") };
        assert_eq!(malloc, libc::malloc as *const () as u64);
        let described = modules.described()?;
        assert!(modules.hold(malloc) && !modules.hold(&raw const malloc as u64));
        assert!(described.contains(malloc));
        assert!(!described.contains(modules.bias(path)?));
        assert!(!described.contains(0));
        assert!(modules.functions(path, &["no_such_function"])?.is_empty());
        Ok(())
    }
}
