//! Which processes have mapped code: the kernel records that by itself, for whoever asks (`perf_event_open(2)`), at no cost to
//! system calls that map nothing. For when no program looks at them.
//!
//! The records are of all processes of the machine, since those of one would have to be switched with its threads.

use std::{collections::BTreeSet, io};

use perf_event::{Builder, Sampler, events::Software};

/// Types of records, from the kernel's `include/uapi/linux/perf_event.h`.
const PERF_RECORD_MMAP: u32 = 1;
const PERF_RECORD_LOST: u32 = 2;
/// Bytes of records that a CPU has room for; one has a hundred.
const ROOM: usize = 16 << 10;

/// The records of each CPU.
pub(super) struct CodeWatch {
    by_cpu: Vec<Sampler>,
}

impl std::fmt::Debug for CodeWatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CodeWatch").field("cpus", &self.by_cpu.len()).finish()
    }
}

/// What was mapped since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mapped {
    /// By these processes.
    pub(super) pids: BTreeSet<u32>,
    /// Maybe by others as well.
    pub(super) lost: bool,
}

impl CodeWatch {
    /// Begins to look at all CPUs.
    pub(super) fn start() -> io::Result<Self> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        let by_cpu = cpus.into_iter().map(|cpu| {
            let mut builder = Builder::new(Software::DUMMY);
            builder.any_pid().one_cpu(cpu as usize).mmap(true).enabled(true);
            builder.build()?.sampled(ROOM)
        });
        Ok(Self { by_cpu: by_cpu.collect::<io::Result<_>>()? })
    }

    /// Takes what there is.
    pub(super) fn take(&mut self) -> Mapped {
        let mut mapped = Mapped::default();
        for sampler in &mut self.by_cpu {
            while let Some(record) = sampler.next_record() {
                match record.ty() {
                    PERF_RECORD_MMAP => mapped.pids.extend(of_file(&record.to_contiguous())),
                    PERF_RECORD_LOST => mapped.lost = true,
                    _ => {}
                }
            }
        }
        mapped
    }
}

/// Bytes of a record before the name: process, thread, address, length and offset.
const BEFORE_NAME: usize = 32;
/// The name of what is no file: code made at run time, which has no unwind tables.
const NO_FILE: &[u8] = b"//anon";

/// The process that mapped code of a file, from the record's body; `None` of one that is not seen from here.
fn of_file(record: &[u8]) -> Option<u32> {
    let pid = u32::from_ne_bytes(*record.first_chunk()?);
    let name = record.get(BEFORE_NAME..)?;
    (pid != 0 && !name.starts_with(NO_FILE)).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: u32, name: &[u8]) -> Vec<u8> {
        [&pid.to_ne_bytes()[..], &[7; BEFORE_NAME - 4], name].concat()
    }

    #[test]
    fn the_process_is_known_of_code_that_is_a_files() {
        assert_eq!(of_file(&record(12_345, b"/usr/lib/libc.so.6\0")), Some(12_345));
        assert_eq!(of_file(&record(12_345, b"//anon\0\0")), None);
        assert_eq!((of_file(&record(0, b"/x\0")), of_file(&[1, 2, 3])), (None, None));
    }
}
