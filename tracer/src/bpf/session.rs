//! A tracing session: the object loaded, the probes in place, the maps in our hands.

mod load;

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
};
use tracer_common::{
    config::MAX_SITES,
    counter::{LossCause, Stat},
    heap::{AGE_BUCKETS, BUCKET},
    process::Image,
    unwind::MappingRange,
};

pub use self::load::LoadOptions;
pub(super) use self::load::load;
use self::load::near_buckets;
pub use super::links::{Module, ProgramSet};
use super::{
    BpfError, Surveyor,
    calls::{self, Calls, CallsReading},
    code_watch::{CodeWatch, Mapped},
    error::chain,
    fds::FdReader,
    growth::{self, Growth},
    hits::{HitCounters, HitKind},
    links::Links,
    mapped::{self, MappedCounters},
    overhead::Meter,
    sampler::Sampler,
    tables::KernelTables,
};
use crate::{
    aggregate::{BlockCounters, Feature, LossCount, ProbeStatus, SampleRate, SiteId, StatCount, Tgid},
    clock::monotonic_ns,
    event::{EventSource, RawEvent, Reading, SampleReading, SourceError, decode},
    probe::{AttachPlan, ProbeKind},
    target::maps::ModuleMap,
};

/// A running session. Dropping it takes everything out of the kernel.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Session {
    links: Links,
    points: HitCounters,
    counters: MappedCounters<4>,
    deaths: MappedCounters<AGE_BUCKETS>,
    loss: MappedCounters<1>,
    stats: PerCpuArray<MapData, u64>,
    hits: PerCpuArray<MapData, u64>,
    events: RingBuf<MapData>,
    tables: KernelTables,
    max_live: u32,
    generation: u64,
    fd_reader: Option<FdReader>,
    calls: Option<Calls>,
    may_rest_calls: bool,
    code: Option<CodeWatch>,
    faults: MappedCounters<1>,
    growth: Option<Growth>,
    features: Vec<Feature>,
    /// Where links are of many probes each: there a trial is quick.
    meter: Option<Meter>,
    sampler: Arc<Sampler>,
    /// Dropping it ends the thread that looks after the table of blocks.
    _stop_sampling: Sender<()>,
    ebpf: Ebpf,
}

impl Session {
    /// Puts the probes of `plan` into a process and starts counting there, in this order: nothing is counted until every
    /// probe is there, so that no block is seen born whose end would be missed.
    ///
    /// # Errors
    /// When the kernel refuses; the process is none of the targets then.
    pub fn add_target(
        &mut self,
        pid: u32,
        plan: &AttachPlan,
        modules: &[Module],
        mappings: &ModuleMap,
    ) -> Result<(), BpfError> {
        let calls = self.calls.as_mut().map_or(Ok(()), |calls| calls.begin(&mut self.ebpf));
        let added = calls
            .and_then(|()| self.add_probes(pid, plan, modules))
            .and_then(|()| self.set_image(pid, Image::default()))
            .and_then(|()| self.update_mappings(mappings, 0));
        if added.is_err() {
            self.remove_target(pid);
        }
        added
    }

    /// Puts further probes into a process.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_probes(&mut self, pid: u32, plan: &AttachPlan, modules: &[Module]) -> Result<(), BpfError> {
        let begun = std::time::Instant::now();
        let indexes = self.points.indexes(plan, modules, self.links.mode);
        self.links.add(&mut self.ebpf, plan, modules, pid, &indexes)?;
        log::debug!("process {pid}: {} probes attached in {:?}", plan.points.len(), begun.elapsed());
        Ok(())
    }

    /// What is known of system calls; `None` where none are looked at.
    ///
    /// # Errors
    /// When the kernel does not hand out the counts.
    pub fn calls(&self) -> Result<Option<CallsReading>, SourceError> {
        self.calls.as_ref().map(|calls| calls.read(&self.ebpf)).transpose()
    }

    /// Whether what happens while no system call is looked at can be found out later.
    pub fn may_rest_calls(&self) -> bool {
        self.may_rest_calls
    }

    /// Looks at no system call from here on.
    pub fn rest_calls(&mut self) {
        self.calls.iter_mut().for_each(Calls::rest);
    }

    /// Looks at system calls again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume_calls(&mut self) -> Result<(), BpfError> {
        self.calls.as_mut().map_or(Ok(()), |calls| calls.resume(&mut self.ebpf))
    }

    /// Whether the probes can be taken out and put back quickly, and what they cost is known.
    pub fn may_rest(&self) -> bool {
        self.links.may_rest() && self.meter.is_some()
    }

    /// Tracks nothing from here on; the probes stay, and their hits are counted.
    pub fn pause(&mut self) {
        self.sampler.close();
    }

    /// Goes on tracking where the probes stayed.
    pub fn go_on(&mut self) {
        self.sampler.open();
    }

    /// Stops tracking blocks, and takes the allocator's probes out. Counters can be read as soon as this returns.
    pub fn rest(&mut self) {
        self.sampler.close();
        self.links.rest();
    }

    /// Puts the allocator's probes back and goes on tracking blocks. What became of those that were known is not known.
    pub fn resume(&mut self) {
        self.links.resume();
        self.sampler.open();
    }

    /// Puts the allocator's probes back, to count their hits alone.
    pub fn look(&mut self) {
        self.links.resume();
    }

    /// Forgets all blocks, as if they never had been tracked, while the probes rest.
    ///
    /// # Errors
    /// When the kernel does not hand out the tables.
    pub fn forget_blocks(&mut self) -> Result<(), BpfError> {
        self.sampler.forget_all().map(drop)
    }

    /// Tracks one block in this many from here on, at most.
    pub fn thin_to(&self, rate: u32) {
        self.sampler.thin_to(rate);
    }

    /// What hits of the probes cost when no block is tracked, in the order of a reading; `None` while that is not known.
    pub fn idle_costs(&self) -> Option<Vec<Duration>> {
        let (meter, sessions) = (self.meter.as_ref()?, self.links.mode.is_by_sessions());
        let cost = |(_, _, HitKind { program: _, kind, cost })| match kind {
            // A call that is let go at its entry does not come there.
            ProbeKind::Return if sessions => Some(Duration::ZERO),
            _ => meter.idle_cost(kind, cost),
        };
        self.points.iter().map(cost).collect()
    }

    /// What of the kernel is in use.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The image of a process that is a target: see [`Image`].
    pub fn image(&self, pid: u32) -> Option<Image> {
        let images = HashMap::<_, u32, Image>::try_from(self.ebpf.map("IMAGES")?).ok()?;
        images.get(&pid, 0).ok()
    }

    /// Stops a target when probes may be missing: see [`tracer_common::process::stops`].
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn stop_for_probes(&mut self, pid: u32, stops: u32) -> Result<(), BpfError> {
        let image = self.image(pid).unwrap_or_default();
        self.set_image(pid, Image { stops, ..image })
    }

    fn set_image(&mut self, pid: u32, image: Image) -> Result<(), BpfError> {
        let map = self.ebpf.map_mut("IMAGES").ok_or(BpfError::Object { name: "IMAGES" })?;
        let mut images: HashMap<_, u32, Image> = HashMap::try_from(map).map_err(|error| map_error("IMAGES", &error))?;
        images.insert(pid, image, 0).map_err(|error| map_error("IMAGES", &error))
    }

    /// Takes the probes out of a process: those of its former main thread, which is gone, do not work any more.
    pub fn remove_probes(&mut self, pid: u32) {
        self.links.remove(&mut self.ebpf, pid);
    }

    /// Takes out the blocks of these processes that were born before a time each, and counts them as freed.
    ///
    /// # Errors
    /// When the kernel does not hand out the tables.
    pub fn purge(&mut self, gone: &std::collections::HashMap<u32, u64>) -> Result<u64, BpfError> {
        self.sampler.purge(gone)
    }

    /// Looks at page faults of the targets from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_growth(&mut self) -> Result<(), BpfError> {
        if self.growth.is_none() {
            self.growth = Some(Growth::attach(&mut self.ebpf)?);
            let feature = growth::feature();
            if !self.features.contains(&feature) {
                self.features.push(feature);
            }
        }
        Ok(())
    }

    /// Looks at them no more. What they told can still be read.
    pub fn stop_growth(&mut self) {
        let begun = std::time::Instant::now();
        if self.growth.take().is_some() {
            log::debug!("page faults are not followed any more, after {:?}", begun.elapsed());
        }
    }

    /// Sees to it that a target which was forked has its image.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn keep_image(&mut self, pid: u32, image: Image) -> Result<(), BpfError> {
        // The end of one that had the same number may have been noticed after this one's fork.
        if self.image(pid).is_some() { Ok(()) } else { self.set_image(pid, image) }
    }

    /// Takes the probes out of a process that is gone and whose number another target has by now.
    pub fn forget(&mut self, pid: u32) {
        self.tables.forget(pid);
        self.links.remove(&mut self.ebpf, pid);
    }

    /// Takes the probes out of a process that is gone, and stops counting there. What is known of it stays.
    pub fn remove_target(&mut self, pid: u32) {
        if let Some(map) = self.ebpf.map_mut("TARGETS")
            && let Ok(mut targets) = HashMap::<_, u32, MappingRange>::try_from(map)
            && let Err(error) = targets.remove(&pid)
        {
            log::debug!("process {pid} is no target: {error}");
        }
        if let Some(map) = self.ebpf.map_mut("IMAGES")
            && let Ok(mut images) = HashMap::<_, u32, Image>::try_from(map)
        {
            let _ = images.remove(&pid);
        }
        self.forget(pid);
    }

    /// Tells the stack walks of a target's present mappings, which are those of this image: walks of another one do not
    /// use them.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn update_mappings(&mut self, mappings: &ModuleMap, image: u32) -> Result<(), BpfError> {
        let Some(range) = self.tables.describe(mappings, image) else { return Ok(()) };
        let map = self.ebpf.map_mut("TARGETS").ok_or(BpfError::Object { name: "TARGETS" })?;
        let mut targets: HashMap<_, u32, MappingRange> =
            HashMap::try_from(map).map_err(|error| map_error("TARGETS", &error))?;
        targets.insert(mappings.pid(), range, 0).map_err(|error| map_error("TARGETS", &error))?;
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

    /// How many blocks or descriptors of a site ended, by their age then.
    pub fn deaths(&self, site: SiteId) -> [u64; AGE_BUCKETS] {
        if (site.0 as usize) < self.deaths.len() { self.deaths.get(site.0 as usize) } else { [0; AGE_BUCKETS] }
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
        let deaths = MappedCounters::new("DEATHS", data(&self.ebpf, "DEATHS")?, MAX_SITES)?;
        let sampler = Arc::clone(&self.sampler);
        again.map(|map| Surveyor::new(map, near, blocks, deaths, sampler)).map_err(|source| BpfError::Map {
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
        self.stop_growth();
        self.rest_calls();
        let begun = std::time::Instant::now();
        self.links.detach(&mut self.ebpf);
        log::debug!("detached in {:?}", begun.elapsed());
    }

    /// How many probes come out one by one, which takes about a tenth of a second for each: none where links hold many.
    pub fn slow_probes(&self) -> usize {
        self.links.slow_probes()
    }
}

impl EventSource for Session {
    fn read(&mut self, sites: usize, reading: &mut Reading) -> Result<(), SourceError> {
        // First, so that all counters are of one rate.
        let (state, raised) = self.sampler.settle().map_err(|error| SourceError::Read(error.to_string()))?;
        reading.now_ns = self.now_ns();
        reading.counters.clear();
        reading.counters.extend((0..sites.min(MAX_SITES as usize)).map(|site| {
            let [alloc_bytes, alloc_objects, free_bytes, free_objects] = self.counters.get(site);
            BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects }
        }));
        reading.faults.clear();
        reading.faults.extend((0..sites.min(self.faults.len())).map(|site| self.faults.get(site)[0]));
        reading.sample = None;
        if !state.is_all() {
            let rate = SampleRate::of(state);
            let frees = self.sampler.frees(sites).map_err(|error| SourceError::Read(error.to_string()))?;
            reading.sample = Some(SampleReading { rate, raised, frees });
        }
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
        reading.calls = self.calls()?.map(calls::status);
        reading.probes.clear();
        for (status, slot, HitKind { program, kind, cost }) in self.points.iter() {
            let cost = self.meter.as_ref().and_then(|meter| meter.cost(program, kind, cost));
            reading.probes.push(ProbeStatus { hits: sum(&self.hits, slot)?, cost, ..status.clone() });
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Vec<RawEvent>) -> Result<(), SourceError> {
        while let Some(record) = self.events.next() {
            events.push(decode(&record)?);
        }
        if let Some(code) = &mut self.code {
            let Mapped { mut pids, lost } = code.take();
            if lost {
                let targets = self.ebpf.map("TARGETS").ok_or_else(|| SourceError::Read("no map TARGETS".to_owned()))?;
                let targets = HashMap::<_, u32, MappingRange>::try_from(targets);
                let targets = targets.map_err(|error| SourceError::Read(chain(&error)))?;
                pids.extend(targets.keys().filter_map(Result::ok));
            }
            events.extend(pids.into_iter().map(|pid| RawEvent::Mapped { tgid: Tgid(pid) }));
        }
        Ok(())
    }
}

fn sum(map: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64, SourceError> {
    let values = map.get(&index, 0).map_err(|error| SourceError::Read(chain(&error)))?;
    Ok(values.iter().sum())
}

fn data<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, BpfError> {
    ebpf.map(name).and_then(mapped::data).ok_or(BpfError::Object { name })
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
