//! How much memory a process has, as the kernel counts it.

use super::{TargetError, proc_dir::ProcDir};

/// Bytes of these files that are read; they have less.
const LIMIT: u64 = 64 << 10;

/// What a process has in memory, in bytes. All of it but `rss` costs the kernel a walk over its page tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Resident.
    pub rss: u64,
    /// Resident, shared pages by their share.
    pub pss: u64,
    /// Of the resident: heap, stacks, mappings without a file, changed pages of files.
    pub anonymous: u64,
    /// Given back with `MADV_FREE`, and not taken yet.
    pub lazy_free: u64,
    /// Not resident for lack of room.
    pub swap: u64,
    /// Of the resident: shared memory and tmpfs.
    pub shared: u64,
}

/// Reads them.
#[derive(Debug)]
pub struct MemoryReader {
    dir: ProcDir,
}

impl MemoryReader {
    pub(super) fn new(dir: ProcDir) -> Self {
        Self { dir }
    }

    /// Resident bytes; cheap.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident(&self) -> Result<u64, TargetError> {
        let statm = self.dir.read("statm", LIMIT)?;
        let pages = std::str::from_utf8(&statm).ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        Ok(pages.unwrap_or(0) * rustix::param::page_size() as u64)
    }

    /// All of it: takes time with the size of the process.
    ///
    /// # Errors
    /// When the process is gone, or the kernel does not say.
    pub fn rollup(&self) -> Result<Rollup, TargetError> {
        let rollup = self.dir.read("smaps_rollup", LIMIT)?;
        let status = self.dir.read("status", LIMIT)?;
        let of = |name: &str| field(&rollup, name);
        Ok(Rollup {
            rss: of("Rss:"),
            pss: of("Pss:"),
            anonymous: of("Anonymous:"),
            lazy_free: of("LazyFree:"),
            swap: of("Swap:"),
            shared: field(&status, "RssShmem:"),
        })
    }
}

/// A field in KiB, as bytes; 0 when it is not there. The process's name in the file may be anything, on its one line.
fn field(file: &[u8], name: &str) -> u64 {
    file.split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes()))
        .and_then(|rest| std::str::from_utf8(rest).ok()?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let file = b"55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:   123 kB\nPss:    45 kB\nPss_Anon: 7 kB\nSwapPss: 1 kB\n";
        assert_eq!(field(file, "Rss:"), 123 << 10);
        assert_eq!(field(file, "Pss:"), 45 << 10);
        assert_eq!(field(file, "Swap:"), 0);
    }

    #[test]
    fn our_own_memory_is_read() {
        let dir = ProcDir::open(std::process::id()).expect("we exist");
        let reader = MemoryReader::new(dir);
        let (resident, rollup) = (reader.resident().expect("alive"), reader.rollup().expect("alive"));
        assert!(resident > 1 << 20 && rollup.rss > 1 << 20, "{resident} {rollup:?}");
        assert!(rollup.anonymous > 0 && rollup.anonymous <= rollup.rss && rollup.pss <= rollup.rss, "{rollup:?}");
    }
}
