//! The descriptors' programs, and looks at both tables of descriptors: ours, and the kernel's own.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read as _,
    os::fd::{AsFd, OwnedFd},
};

use aya::{Btf, Ebpf, maps::MapData, programs::Iter};
use tracer_common::fd::{FdKey, FdRecord, KernelFd};

use super::{
    BpfError,
    calls::{attach_raw, load_raw, refused},
    mapped, sys,
};
use crate::{clock::monotonic_ns, event::FdLook};

/// Records read in one system call, and bytes of an iterator's output.
const BATCH: usize = 4096;
const CHUNK: usize = 64 << 10;

/// The programs in place.
#[derive(Debug)]
pub(super) struct FdPrograms {
    /// The iterator's program.
    pub(super) iterator: Option<OwnedFd>,
    correct: OwnedFd,
}

/// Loads and attaches what descriptors take besides the programs at the returns of system calls.
pub(super) fn attach(ebpf: &mut Ebpf, btf: Option<&Btf>, modern: bool) -> Result<FdPrograms, BpfError> {
    attach_raw(ebpf, "sock_state", "inet_sock_set_state")?;
    let correct = load_raw(ebpf, if modern { "fd_correct" } else { "fd_correct_old" })?;
    let iterator = btf.and_then(|btf| match iterator(ebpf, btf) {
        Ok(program) => Some(program),
        Err(error) => {
            log::debug!("the kernel's table of files cannot be walked: {error}");
            None
        }
    });
    Ok(FdPrograms { iterator, correct })
}

fn iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<OwnedFd, BpfError> {
    let name = "task_files";
    let program: &mut Iter =
        ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })?;
    program.load("task_file", btf).map_err(|error| refused(&error))?;
    let fd = program.fd().map_err(|error| refused(&error))?;
    // A kernel that takes the program may still refuse the walk.
    sys::iter_link(fd.as_fd(), None).map_err(|error| refused(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| refused(&error))
}

/// Looks at both tables, on a thread of its own.
#[derive(Debug)]
pub struct FdReader {
    records: OwnedFd,
    programs: FdPrograms,
    /// The walk of each process's files; under 0 that of all processes'.
    walks: BTreeMap<u32, OwnedFd>,
    keys: Vec<FdKey>,
    values: Vec<FdRecord>,
}

impl FdReader {
    pub(super) fn new(records: &MapData, programs: FdPrograms) -> Result<Self, BpfError> {
        let records = records.fd().as_fd().try_clone_to_owned().map_err(|source| BpfError::Map {
            map: "FDS",
            what: "cannot duplicate its descriptor",
            source,
        })?;
        let (keys, values) = (vec![FdKey::default(); BATCH], vec![FdRecord::default(); BATCH]);
        Ok(Self { records, programs, walks: BTreeMap::new(), keys, values })
    }

    /// Looks at this process too.
    pub fn add(&mut self, pid: u32) {
        let Some(program) = &self.programs.iterator else { return };
        // Kernels that cannot walk one process alone walk all of them, and the program picks.
        let walk = sys::iter_link(program.as_fd(), Some(pid)).map(|link| (pid, link));
        match walk.or_else(|_| sys::iter_link(program.as_fd(), None).map(|link| (0, link))) {
            Ok((pid, link)) => {
                self.walks.insert(pid, link);
            }
            Err(error) => {
                log::debug!("the kernel's table of files cannot be walked: {error}");
                self.programs.iterator = None;
                self.walks.clear();
            }
        }
    }

    /// Looks at this process no more.
    pub fn remove(&mut self, pid: u32) {
        self.walks.remove(&pid);
    }

    /// Looks at both tables. `gone` are processes that have ended, each with a time that it did not live to see: what is
    /// known of their descriptors is taken out.
    ///
    /// # Errors
    /// When the kernel does not hand them out.
    pub fn look(&mut self, gone: &HashMap<u32, u64>) -> Result<FdLook, BpfError> {
        let time_ns = monotonic_ns();
        let kernel =
            self.programs.iterator.as_ref().map(|_| self.walk_all()).transpose().map_err(|source| BpfError::Map {
                map: "task_file",
                what: "cannot walk the target's files",
                source,
            })?;
        let mut records = self.read_records()?;
        // One that has the same number by now has younger ones.
        let is_gone =
            |(key, record): &(FdKey, FdRecord)| gone.get(&key.tgid).is_some_and(|ended| record.born_ns < *ended);
        let taken: Vec<_> = records.extract_if(.., |record| is_gone(record)).collect();
        self.take_out(&taken);
        records.retain(|(_, record)| record.word != 0);
        Ok(FdLook { time_ns, kernel, records })
    }

    fn walk_all(&self) -> std::io::Result<Vec<KernelFd>> {
        let mut all = Vec::new();
        for link in self.walks.values() {
            all.extend(walk(link)?);
        }
        Ok(all)
    }

    /// Takes records out that were found to be wrong, unless they changed meanwhile.
    pub fn correct(&self, wrong: &[(FdKey, u64)]) {
        for (FdKey { tgid, fd }, word) in wrong {
            let key = u64::from(*tgid) << 32 | u64::from(*fd);
            if let Err(error) = sys::run_raw_tracepoint(self.programs.correct.as_fd(), &[key, *word]) {
                log::warn!("a record of descriptor {fd} that is wrong cannot be taken out: {error}");
            }
        }
    }

    /// Takes records out, and makes room for those of other processes.
    fn take_out(&self, records: &[(FdKey, FdRecord)]) {
        let open = records.iter().filter(|(_, record)| record.word != 0);
        let open: Vec<_> = open.map(|(key, record)| (*key, record.word)).collect();
        self.correct(&open);
        // A number that is in use again has use for its places, too.
        for (key, _) in records.iter().filter(|(key, _)| !self.walks.contains_key(&key.tgid)) {
            if let Err(error) = sys::map_delete(self.records.as_fd(), key) {
                log::debug!("a record of descriptor {} of process {} stays: {error}", key.fd, key.tgid);
            }
        }
    }

    fn read_records(&mut self) -> Result<Vec<(FdKey, FdRecord)>, BpfError> {
        let mut records = Vec::new();
        let mut cursor = sys::Cursor::default();
        loop {
            let read = sys::lookup_batch(self.records.as_fd(), &mut cursor, &mut self.keys, &mut self.values);
            let (count, more) = match read {
                Ok(read) => read,
                // A bucket holds more than fits: only a larger buffer gets past it.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let larger = self.keys.len() * 2;
                    self.keys.resize(larger, FdKey::default());
                    self.values.resize(larger, FdRecord::default());
                    continue;
                }
                Err(source) => return Err(BpfError::Map { map: "FDS", what: "cannot read it in batches", source }),
            };
            records.extend(self.keys.iter().zip(&self.values).take(count).map(|(key, record)| (*key, *record)));
            if !more {
                return Ok(records);
            }
        }
    }
}

/// One walk of the kernel's table.
fn walk(link: &OwnedFd) -> std::io::Result<Vec<KernelFd>> {
    let mut file = File::from(sys::iter_create(link.as_fd())?);
    let (mut bytes, mut len) = (Vec::new(), 0);
    loop {
        bytes.resize(len + CHUNK, 0);
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    let mut files: Vec<KernelFd> = bytes.chunks_exact(size_of::<KernelFd>()).map(record).collect();
    // Linux 6.1 walks a table once for each thread that shares it.
    files.sort_unstable_by_key(|file| (file.tgid, file.fd));
    files.dedup_by_key(|file| (file.tgid, file.fd));
    Ok(files)
}

fn record(bytes: &[u8]) -> KernelFd {
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    KernelFd { tgid: word(0), fd: word(4), file: long(8), inode: long(16), mode: word(24), reserved: 0 }
}

/// Capacity of the table of descriptors for a process with this limit: no more can be open, nor can the numbers be
/// higher, unless it raises the limit.
pub(super) fn capacity(nofile_soft: u64) -> u32 {
    (nofile_soft.clamp(1 << 16, 1 << 20) as u32).next_power_of_two()
}

/// The map of descriptors, from the object.
pub(super) fn records(ebpf: &Ebpf) -> Result<&MapData, BpfError> {
    ebpf.map("FDS").and_then(mapped::data).ok_or(BpfError::Object { name: "FDS" })
}
