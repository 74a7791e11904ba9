//! A process's machine code compared with the files it came from. A uprobe is a breakpoint written into the process's
//! private copy of a page, so the comparison shows every probe that is in place, and every one left behind.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use anyhow::{Context, Result, ensure};

/// Addresses at which the executable mappings of `module` in process `pid` differ from the file.
pub fn differences(pid: u32, module: &str) -> Result<Vec<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).with_context(|| format!("process {pid} is gone"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let file = File::open(module).with_context(|| format!("cannot open {module}"))?;
    let file_length = file.metadata()?.len();
    let mut differences = Vec::new();
    let mut mappings = 0;
    for mapping in maps.lines().filter_map(Mapping::parse).filter(|m| m.executable && m.path == module) {
        // The last page may reach beyond the file, where there is nothing to compare with.
        let length = (mapping.end - mapping.start).min(file_length.saturating_sub(mapping.offset));
        let mut in_memory = vec![0; usize::try_from(length)?];
        let mut in_file = in_memory.clone();
        memory.read_exact_at(&mut in_memory, mapping.start)?;
        file.read_exact_at(&mut in_file, mapping.offset)?;
        let pairs = in_memory.iter().zip(&in_file).zip(mapping.start..);
        differences.extend(pairs.filter(|((memory, file), _)| memory != file).map(|(_, address)| address));
        mappings += 1;
    }
    ensure!(mappings > 0, "process {pid} has no executable mapping of {module}");
    Ok(differences)
}

struct Mapping<'a> {
    start: u64,
    end: u64,
    executable: bool,
    offset: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let executable = fields.next()?.contains('x');
        let offset = fields.next()?;
        let path = fields.nth(2)?.trim_start();
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { start: number(start)?, end: number(end)?, executable, offset: number(offset)?, path })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

    use super::{Result, differences};

    #[test]
    fn one_changed_byte_is_found() -> Result<()> {
        const BYTES: usize = 5003;

        let path = crate::tracer::report_path()?.with_extension("text");
        std::fs::write(&path, vec![0x90; BYTES])?;
        let path = path.canonicalize()?;
        let name = path.to_str().expect("an ASCII name");
        let pid = std::process::id();
        let file = File::open(&path)?;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let memory = unsafe { mmap(std::ptr::null_mut(), BYTES, access, flags, &file, 0)? };
        // SAFETY: nobody else knows of the mapping.
        unsafe { mprotect(memory, BYTES, MprotectFlags::READ | MprotectFlags::EXEC)? };
        assert!(differences(pid, name)?.is_empty());
        // SAFETY: as above.
        unsafe { mprotect(memory, BYTES, MprotectFlags::READ | MprotectFlags::WRITE)? };
        // SAFETY: within the mapping, which is writable now.
        unsafe { memory.cast::<u8>().add(4099).write(0xcc) };
        // SAFETY: as above.
        unsafe { mprotect(memory, BYTES, MprotectFlags::READ | MprotectFlags::EXEC)? };
        assert_eq!(differences(pid, name)?, [memory as u64 + 4099]);
        // SAFETY: the mapping is not used any more.
        unsafe { munmap(memory, BYTES)? };
        std::fs::remove_file(&path)?;
        assert!(differences(pid, name).is_err(), "there is nothing to compare any more");
        Ok(())
    }
}
