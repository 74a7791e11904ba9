//! Arrays of the kernel's that are mapped into our memory: reading them costs no system call.

use std::{
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{Map, MapData};
use memmap2::{MmapOptions, MmapRaw};

use super::BpfError;

/// A mapped array of records of `WORDS` 64-bit counters.
#[derive(Debug)]
pub(super) struct MappedCounters<const WORDS: usize> {
    memory: MmapRaw,
    records: usize,
}

impl<const WORDS: usize> MappedCounters<WORDS> {
    /// Maps the array.
    pub(super) fn new(name: &'static str, map: &MapData, records: u32) -> Result<Self, BpfError> {
        let records = records as usize;
        let memory = MmapOptions::new()
            .len((records * WORDS * 8).next_multiple_of(rustix::param::page_size()))
            .map_raw_read_only(map.fd().as_fd().as_raw_fd())
            .map_err(|source| BpfError::Map { map: name, what: "cannot map it into memory", source })?;
        Ok(Self { memory, records })
    }

    /// Records there are.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// One record. The kernel counts on while we read: each word is whole, the words are of slightly different times.
    pub(super) fn get(&self, index: usize) -> [u64; WORDS] {
        assert!(index < self.records, "record {index} of {}", self.records);
        std::array::from_fn(|word| {
            // SAFETY: within the mapping, aligned to 8; the kernel writes these words atomically.
            let counter = unsafe { &*self.memory.as_ptr().cast::<AtomicU64>().add(index * WORDS + word) };
            counter.load(Ordering::Relaxed)
        })
    }
}

/// The data behind any of the map kinds we use.
pub(super) fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data)
        | Map::Queue(data) => Some(data),
        _ => None,
    }
}
