//! A tracing session: the object loaded, the probes in place, the maps in our hands.

use std::os::fd::{AsFd, OwnedFd};

use aya::{
    Btf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, Queue, RingBuf},
    programs::RawTracePoint,
};
use tracer_common::{
    config::MAX_SITES,
    counter::{LOSS_SLOTS, LossCause, Stat},
    heap::BUCKET,
    unwind::MappingRange,
    uring::UringOffsets,
};

pub use super::links::{Module, ProgramSet};
use super::{
    BpfError, Surveyor,
    calls::{self, Watched},
    error::chain,
    fds::{self, FdReader},
    features::{AttachMode, Features},
    kernel_types::{self, Layout},
    links::{self, Links},
    mapped::{self, MappedCounters},
    object,
    tables::{KernelTables, Tables},
    uring::UringLayout,
};
use crate::{
    aggregate::{BlockCounters, LossCount, ProbeStatus, SiteId, StatCount},
    clock::monotonic_ns,
    event::{EventSource, RawEvent, Reading, SourceError, decode},
    probe::AttachPlan,
    target::maps::ModuleMap,
};

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct AttachOptions {
    /// The process.
    pub pid: u32,
    /// Capacity of the table of outstanding blocks.
    pub max_live: u32,
    /// Let the programs log (aya-log); costs time in every program.
    pub kernel_log: bool,
    /// What runs at the probes.
    pub programs: ProgramSet,
    /// Force a way of attaching.
    pub mode: Option<AttachMode>,
    /// Trace descriptors too; with the target's limit of them.
    pub fds: Option<u64>,
    /// Follow what it maps.
    pub ranges: bool,
}

/// A running session. Dropping it takes everything out of the kernel.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Session {
    links: Links,
    points: Vec<ProbeStatus>,
    hit_slots: Vec<u32>,
    counters: MappedCounters<4>,
    loss: MappedCounters<1>,
    stats: PerCpuArray<MapData, u64>,
    hits: PerCpuArray<MapData, u64>,
    events: RingBuf<MapData>,
    tables: KernelTables,
    pid: u32,
    max_live: u32,
    generation: u64,
    fd_reader: Option<FdReader>,
    ebpf: Ebpf,
}

impl Session {
    /// Loads the programs, puts the probes of `plan` in place and starts counting, in this order: nothing is counted
    /// until every probe is there, so that no block is seen born whose end would be missed.
    ///
    /// # Errors
    /// When the kernel refuses; everything is taken out again.
    pub fn attach(
        plan: &AttachPlan,
        modules: &[Module],
        mappings: &ModuleMap,
        tables: Tables,
        options: AttachOptions,
    ) -> Result<Self, BpfError> {
        let AttachOptions { pid, max_live, kernel_log, programs, mode, fds, ranges } = options;
        let features = Features::detect();
        let (mut ebpf, uring) = load(max_live, kernel_log, tables.capacities(), fds)?;
        fill_free_sites(&mut ebpf)?;
        attach_lifecycle(&mut ebpf)?;
        let links = links::attach(&mut ebpf, plan, modules, pid, features, programs, mode)?;
        let btf = Btf::from_sys_fs().map_err(|error| log::debug!("no BTF: {}", chain(&error))).ok();
        let watched = Watched { fds: fds.is_some(), ranges };
        let modern = match calls::attach(&mut ebpf, btf.as_ref(), watched, uring.as_ref()) {
            Ok(modern) => modern,
            Err(error) if fds.is_none() => {
                log::warn!("what the target maps itself cannot be traced: {error}");
                false
            }
            Err(error) => return Err(error),
        };
        let fd_reader = match fds {
            Some(_) => {
                let programs = fds::attach(&mut ebpf, btf.as_ref(), pid, modern)?;
                Some(FdReader::new(fds::records(&ebpf)?, programs)?)
            }
            None => None,
        };
        // Takes its map out of the object, which all programs must have found there before.
        if kernel_log {
            start_kernel_log(&mut ebpf);
        }
        let tables = KernelTables::new(data(&ebpf, "ROWS")?, data(&ebpf, "PAGES")?, data(&ebpf, "MAPPINGS")?, tables)?;
        let mut session = Self {
            points: plan.points.iter().map(|point| status(point, modules)).collect(),
            hit_slots: plan
                .points
                .iter()
                .enumerate()
                .map(|(i, point)| links::hit_slot(links.modern, i, point))
                .collect(),
            links,
            counters: MappedCounters::new("SITE_COUNTERS", data(&ebpf, "SITE_COUNTERS")?, MAX_SITES)?,
            loss: MappedCounters::new("LOSS", data(&ebpf, "LOSS")?, LOSS_SLOTS)?,
            stats: take(&mut ebpf, "STATS")?,
            hits: take(&mut ebpf, "HITS")?,
            events: take(&mut ebpf, "EVENTS")?,
            tables,
            pid,
            max_live,
            generation: 0,
            fd_reader,
            ebpf,
        };
        // From here on the process is a target, and counts.
        session.advance_generation()?;
        session.update_mappings(mappings)?;
        Ok(session)
    }

    /// Tells the stack walks of the target's present mappings.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn update_mappings(&mut self, mappings: &ModuleMap) -> Result<(), BpfError> {
        let Some(range) = self.tables.describe(mappings) else { return Ok(()) };
        let map = self.ebpf.map_mut("TARGETS").ok_or(BpfError::Object { name: "TARGETS" })?;
        let mut targets: HashMap<_, u32, MappingRange> =
            HashMap::try_from(map).map_err(|error| map_error("TARGETS", &error))?;
        targets.insert(self.pid, range, 0).map_err(|error| map_error("TARGETS", &error))?;
        self.advance_generation()
    }

    /// Makes the threads look themselves up again. A new thread has seen generation 0, so the count is beyond that before
    /// there is a target.
    fn advance_generation(&mut self) -> Result<(), BpfError> {
        let map = self.ebpf.map_mut("GENERATION").ok_or(BpfError::Object { name: "GENERATION" })?;
        let mut generation: Array<_, u64> = Array::try_from(map).map_err(|error| map_error("GENERATION", &error))?;
        self.generation += 1;
        generation.set(0, self.generation, 0).map_err(|error| map_error("GENERATION", &error))
    }

    /// A reader of the table of outstanding blocks, for a thread of its own.
    ///
    /// # Errors
    /// When the map's descriptor cannot be duplicated.
    pub fn surveyor(&self) -> Result<Surveyor, BpfError> {
        let live = data(&self.ebpf, "LIVE")?;
        let again = live.fd().as_fd().try_clone_to_owned();
        let buckets = near_buckets(self.max_live);
        let near = MappedCounters::new("NEAR", data(&self.ebpf, "NEAR")?, buckets)?;
        let blocks = MappedCounters::new("NEAR_BLOCKS", data(&self.ebpf, "NEAR_BLOCKS")?, buckets * BUCKET as u32)?;
        again.map(|map| Surveyor::new(map, near, blocks)).map_err(|source| BpfError::Map {
            map: "LIVE",
            what: "cannot duplicate its descriptor",
            source,
        })
    }

    /// A descriptor that becomes readable, edge by edge, when the programs ask for attention: a walk came to an address
    /// that no table knows. [`EventSource::poll`] takes what there is.
    ///
    /// # Errors
    /// When the ring buffer's descriptor cannot be duplicated.
    pub fn wakeups(&self) -> std::io::Result<OwnedFd> {
        self.events.as_fd().try_clone_to_owned()
    }

    /// The clock of all times in events and blocks: `CLOCK_MONOTONIC`, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    /// The reader of descriptors, for a thread of its own; `None` when they are not traced, or when it was taken.
    pub fn take_fd_reader(&mut self) -> Option<FdReader> {
        self.fd_reader.take()
    }

    /// Takes the probes out. Counters can still be read.
    pub fn detach(&mut self) {
        self.links.detach(&mut self.ebpf);
    }
}

impl EventSource for Session {
    fn read(&mut self, sites: usize, reading: &mut Reading) -> Result<(), SourceError> {
        reading.now_ns = self.now_ns();
        reading.counters.clear();
        reading.counters.extend((0..sites.min(MAX_SITES as usize)).map(|site| {
            let [alloc_bytes, alloc_objects, free_bytes, free_objects] = self.counters.get(site);
            BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects }
        }));
        reading.loss = LossCause::ALL
            .iter()
            .map(|cause| LossCount { cause: *cause, count: self.loss.get(cause.code() as usize)[0] })
            .filter(|loss| loss.count > 0)
            .collect();
        reading.stats.clear();
        for stat in Stat::ALL {
            let count = sum(&self.stats, stat.code())?;
            if count > 0 {
                reading.stats.push(StatCount { stat: *stat, count });
            }
        }
        reading.probes.clone_from(&self.points);
        for (probe, slot) in reading.probes.iter_mut().zip(&self.hit_slots) {
            probe.hits = sum(&self.hits, *slot)?;
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Vec<RawEvent>) -> Result<(), SourceError> {
        while let Some(record) = self.events.next() {
            events.push(decode(&record)?);
        }
        Ok(())
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn sum(map: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64, SourceError> {
    let values = map.get(&index, 0).map_err(|error| SourceError::Read(chain(&error)))?;
    Ok(values.iter().sum())
}

fn status(point: &crate::probe::AttachPoint, modules: &[Module]) -> ProbeStatus {
    ProbeStatus {
        module: modules.get(point.module).map(|m| m.path.to_string_lossy().into_owned()).unwrap_or_default(),
        symbol: point.symbol.to_string(),
        offset: point.offset,
        kind: point.kind.name(),
        hits: 0,
    }
}

pub(super) fn load(
    max_live: u32,
    kernel_log: bool,
    (rows, pages): (u32, u32),
    fds: Option<u64>,
) -> Result<(Ebpf, Option<UringLayout>), BpfError> {
    // Before 5.11 maps count as locked memory.
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited) {
        log::debug!("raising the limit of locked memory: {error}");
    }
    let buckets = near_buckets(max_live);
    let near_mask = buckets - 1;
    let Layout { offsets, uring } = if fds.is_some() { kernel_types::layout() } else { Layout::default() };
    let uring_offsets = uring.as_ref().map_or(UringOffsets::default(), |uring| uring.offsets);
    let log_level = if kernel_log { u8::MAX } else { 0 };
    // What was refused is said without every instruction that was followed, which takes minutes where a program is large.
    let verifier_log = if log::log_enabled!(log::Level::Trace) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::STATS
    };
    EbpfLoader::new()
        .verifier_log_level(verifier_log)
        .override_global("NEAR_MASK", &near_mask, true)
        .map_max_entries("NEAR", buckets)
        .map_max_entries("NEAR_BLOCKS", buckets * BUCKET as u32)
        .override_global("KERNEL", &offsets, true)
        .override_global("URING_KERNEL", &uring_offsets, true)
        .map_max_entries("FDS", fds.map_or(1, fds::capacity))
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .map_max_entries("LIVE", max_live)
        .map_max_entries("ROWS", rows)
        .map_max_entries("PAGES", pages)
        .load(object())
        .map(|ebpf| (ebpf, uring))
        .map_err(|error| BpfError::Load { reason: chain(&error) })
}

/// Buckets of the near table: at their full load they hold a quarter of the blocks that can be kept track of, and no more
/// than half a million, because their memory is taken at once.
fn near_buckets(max_live: u32) -> u32 {
    (max_live / 4 / BUCKET as u32).clamp(1, 1 << 16).next_power_of_two()
}

fn start_kernel_log(ebpf: &mut Ebpf) {
    match aya_log::EbpfLogger::init(ebpf) {
        Ok(mut logger) => {
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
                loop {
                    tick.tick().await;
                    logger.flush();
                }
            });
        }
        Err(error) => log::warn!("the programs' log cannot be read: {error}"),
    }
}

fn fill_free_sites(ebpf: &mut Ebpf) -> Result<(), BpfError> {
    let map = ebpf.map_mut("FREE_SITES").ok_or(BpfError::Object { name: "FREE_SITES" })?;
    let mut free: Queue<_, u32> = Queue::try_from(map).map_err(|error| map_error("FREE_SITES", &error))?;
    for site in 0..MAX_SITES {
        free.push(site, 0).map_err(|error| map_error("FREE_SITES", &error))?;
    }
    Ok(())
}

fn attach_lifecycle(ebpf: &mut Ebpf) -> Result<(), BpfError> {
    for (name, tracepoint) in [("process_exit", "sched_process_exit"), ("process_exec", "sched_process_exec")] {
        let program: &mut RawTracePoint =
            ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })?;
        program.load().map_err(|error| BpfError::Load { reason: chain(&error) })?;
        program.attach(tracepoint).map_err(|error| BpfError::Load { reason: chain(&error) })?;
    }
    Ok(())
}

fn data<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, BpfError> {
    ebpf.map(name).and_then(mapped::data).ok_or(BpfError::Object { name })
}

fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, BpfError> {
    let map = ebpf.take_map(name).ok_or(BpfError::Object { name })?;
    T::try_from(map).map_err(|error| map_error(name, &error))
}

fn map_error(map: &'static str, error: &dyn std::error::Error) -> BpfError {
    BpfError::Map { map, what: "cannot use it", source: std::io::Error::other(chain(error)) }
}

/// A site's index in the counters.
impl From<SiteId> for usize {
    fn from(SiteId(id): SiteId) -> Self {
        id as usize
    }
}
