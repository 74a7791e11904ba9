//! The object, loaded: its maps in their sizes, its programs in the kernel, and the first of them in place.

use std::{
    os::fd::AsFd as _,
    sync::{Arc, mpsc::channel},
    time::Duration,
};

use aya::{
    Btf, Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, Queue},
    programs::RawTracePoint,
};
use tracer_common::{config::MAX_SITES, counter::LOSS_SLOTS, heap::BUCKET, uring::UringOffsets};

use super::{ProgramSet, Session, data, map_error};
use crate::{
    aggregate::SampleRate,
    bpf::{
        AttachMode, BpfError, Features, Tables,
        calls::{Calls, Watched},
        code_watch::CodeWatch,
        error::chain,
        fds::{self, FdReader},
        features::InUse,
        hits::HitCounters,
        kernel_types::{self, Layout},
        links::Links,
        mapped::MappedCounters,
        object,
        overhead::Meter,
        purge::BlockMaps,
        sampler::Sampler,
        tables::KernelTables,
        uring::UringLayout,
    },
};

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Capacity of the table of outstanding blocks.
    pub max_live: u32,
    /// Track so many blocks.
    pub sample: SampleRate,
    /// Not all blocks may be tracked later on.
    pub may_sample: bool,
    /// Let the programs log (aya-log); costs time in every program.
    pub kernel_log: bool,
    /// What runs at the probes.
    pub programs: ProgramSet,
    /// Force a way of attaching.
    pub mode: Option<AttachMode>,
    /// Trace descriptors too; with the targets' limits of them, in sum.
    pub fds: Option<u64>,
    /// Track the blocks of allocators, by probes.
    pub blocks: bool,
    /// Follow what targets map.
    pub ranges: bool,
    /// System calls may not be looked at later on.
    pub may_rest_calls: bool,
    /// Trace the children of targets, too.
    pub follow_forks: bool,
}

impl Session {
    /// Loads the programs. They count nothing before there is a target.
    ///
    /// # Errors
    /// When the kernel refuses; everything is taken out again.
    pub fn load(tables: Tables, options: LoadOptions) -> Result<Self, BpfError> {
        let LoadOptions { max_live, sample, programs, fds, blocks, ranges, follow_forks, .. } = options;
        let features = Features::detect();
        let (mut ebpf, uring) = load(&options, tables.capacities())?;
        fill_free_sites(&mut ebpf)?;
        attach_lifecycle(&mut ebpf, follow_forks)?;
        let may_sample = options.may_sample || !sample.is_all();
        let links = Links::load(&mut ebpf, features, programs, options.mode, may_sample)?;
        let btf = Btf::from_sys_fs().map_err(|error| log::debug!("no BTF: {}", chain(&error))).ok();
        let watched = Watched { fds: fds.is_some(), ranges };
        let calls = match Calls::load(&mut ebpf, btf.as_ref(), watched, uring.as_ref()) {
            Ok(calls) => calls,
            Err(error) if fds.is_none() => {
                log::warn!("what targets map themselves cannot be traced: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let typed_calls = calls.as_ref().map(|calls| calls.is_typed);
        // What is mapped is seen by its system call, if that is looked at.
        let code = (!ranges || calls.is_none() || options.may_rest_calls).then(CodeWatch::start).and_then(|code| {
            code.map_err(|error| log::debug!("what code is mapped is noticed when a walk comes there: {error}")).ok()
        });
        let mut iterator = None;
        let fd_reader = match fds {
            Some(_) => {
                let programs = fds::attach(&mut ebpf, btf.as_ref(), typed_calls == Some(true))?;
                iterator = Some(programs.iterator.is_some());
                Some(FdReader::new(fds::records(&ebpf)?, programs)?)
            }
            None => None,
        };
        let found = InUse { mode: links.mode, typed_calls, btf: btf.is_some(), uring: uring.is_some(), iterator };
        let is_counting = blocks && programs == ProgramSet::Counting;
        let meter = links.programs().filter(|_| is_counting).and_then(|programs| {
            let programs = programs.try_clone().map_err(|error| BpfError::Load { reason: error.to_string() });
            let meter = programs.and_then(|programs| Meter::start(&ebpf, programs, links.mode));
            meter.map_err(|error| log::debug!("what the probes cost will not be known: {error}")).ok()
        });
        // Takes its map out of the object, which all programs must have found there before.
        if options.kernel_log {
            start_kernel_log(&mut ebpf);
        }
        let tables = KernelTables::new(data(&ebpf, "ROWS")?, data(&ebpf, "PAGES")?, data(&ebpf, "MAPPINGS")?, tables)?;
        let control = data(&ebpf, "SAMPLE")?.fd().as_fd();
        let sampler = Arc::new(Sampler::new(
            control,
            block_maps(&ebpf, max_live)?,
            sample,
            links.mode.is_by_sessions(),
            max_live,
        )?);
        let (stop, stopped) = channel();
        if blocks {
            sampler.watch(stopped).map_err(|source| BpfError::Map {
                map: "SAMPLE",
                what: "cannot start the thread that looks after it",
                source,
            })?;
        }
        let mut session = Self {
            links,
            points: HitCounters::default(),
            counters: MappedCounters::new("SITE_COUNTERS", data(&ebpf, "SITE_COUNTERS")?, MAX_SITES)?,
            deaths: MappedCounters::new("DEATHS", data(&ebpf, "DEATHS")?, MAX_SITES)?,
            loss: MappedCounters::new("LOSS", data(&ebpf, "LOSS")?, LOSS_SLOTS)?,
            stats: take(&mut ebpf, "STATS")?,
            hits: take(&mut ebpf, "HITS")?,
            events: take(&mut ebpf, "EVENTS")?,
            tables,
            max_live,
            generation: 0,
            fd_reader,
            // What is opened meanwhile is found in the kernel's list.
            may_rest_calls: calls.is_some() && iterator != Some(false),
            calls,
            code,
            faults: MappedCounters::new("FAULTS", data(&ebpf, "FAULTS")?, MAX_SITES)?,
            growth: None,
            features: found.describe(),
            meter,
            sampler,
            _stop_sampling: stop,
            ebpf,
        };
        session.advance_generation()?;
        Ok(session)
    }
}

pub(in crate::bpf) fn load(
    options: &LoadOptions,
    (rows, pages): (u32, u32),
) -> Result<(Ebpf, Option<UringLayout>), BpfError> {
    let LoadOptions { max_live, kernel_log, fds, follow_forks, .. } = *options;
    // Before 5.11 maps count as locked memory.
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited) {
        log::debug!("raising the limit of locked memory: {error}");
    }
    let buckets = near_buckets(max_live);
    let near_mask = buckets - 1;
    let Layout { offsets, uring } =
        if fds.is_some() || follow_forks { kernel_types::layout() } else { Layout::default() };
    let uring_offsets = uring.as_ref().map_or(UringOffsets::default(), |uring| uring.offsets);
    if follow_forks && offsets.known == 0 {
        return Err(BpfError::Load {
            reason: "children cannot be followed without the kernel's types in /sys/kernel/btf/vmlinux".to_owned(),
        });
    }
    // Whoever forks without end has more descriptors than the targets' limits allow them.
    let fds = if follow_forks { fds.map(|_| u64::MAX) } else { fds };
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
pub(super) fn near_buckets(max_live: u32) -> u32 {
    (max_live / 4 / BUCKET as u32).clamp(1, 1 << 16).next_power_of_two()
}

fn block_maps(ebpf: &Ebpf, max_live: u32) -> Result<BlockMaps, BpfError> {
    let descriptor = |name: &'static str| {
        data(ebpf, name)?.fd().as_fd().try_clone_to_owned().map_err(|source| BpfError::Map {
            map: name,
            what: "cannot duplicate its descriptor",
            source,
        })
    };
    Ok(BlockMaps {
        near: descriptor("NEAR")?,
        near_blocks: descriptor("NEAR_BLOCKS")?,
        live: descriptor("LIVE")?,
        live_count: descriptor("LIVE_COUNT")?,
        counters: descriptor("SITE_COUNTERS")?,
        sampled_frees: descriptor("SAMPLED_FREES")?,
        buckets: near_buckets(max_live),
        sites: MAX_SITES,
    })
}

fn start_kernel_log(ebpf: &mut Ebpf) {
    match aya_log::EbpfLogger::init(ebpf) {
        Ok(mut logger) => {
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(100));
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

fn attach_lifecycle(ebpf: &mut Ebpf, follow_forks: bool) -> Result<(), BpfError> {
    let always = [("process_exit", "sched_process_exit"), ("process_exec", "sched_process_exec")];
    let following = follow_forks.then_some(("process_fork", "sched_process_fork"));
    for (name, tracepoint) in always.into_iter().chain(following) {
        let program: &mut RawTracePoint =
            ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })?;
        program.load().map_err(|error| BpfError::Load { reason: chain(&error) })?;
        program.attach(tracepoint).map_err(|error| BpfError::Load { reason: chain(&error) })?;
    }
    Ok(())
}

fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, BpfError> {
    let map = ebpf.take_map(name).ok_or(BpfError::Object { name })?;
    T::try_from(map).map_err(|error| map_error(name, &error))
}
