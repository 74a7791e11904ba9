//! Signals of trouble with a process: growth, a limit that is near, the time that is left.

use super::{Eta, Growth, eta};
use crate::target::limits::MemoryLimit;

/// Marks of growth, bytes per hour: 50 and 100 MB/h, the higher first.
pub const GROWTH_MARKS: [u64; 2] = [100_000_000, 50_000_000];
/// Marks of the share of a limit, in percent, the higher first.
pub const SHARE_MARKS: [u8; 2] = [85, 70];

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// In use, as the limit counts.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl Pressure {
    /// The share in use, 1 at the limit.
    pub fn share(&self) -> f64 {
        if self.limit == 0 { 1.0 } else { self.used as f64 / self.limit as f64 }
    }

    /// The highest mark that is reached, in percent.
    pub fn mark(&self) -> Option<u8> {
        SHARE_MARKS.into_iter().find(|mark| self.share() * 100.0 >= f64::from(*mark))
    }
}

/// Something is wrong with a process, or will be.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessSignal {
    /// A memory limit will be reached.
    OutOfMemory {
        /// Which.
        limit: MemoryLimit,
        /// When.
        eta: Eta,
    },
    /// The limit of descriptors will be reached.
    OutOfDescriptors {
        /// The limit and how many are open.
        pressure: Pressure,
        /// When.
        eta: Eta,
    },
    /// A memory limit is near.
    NearMemoryLimit {
        /// Which.
        limit: MemoryLimit,
        /// The mark that is reached, in percent.
        mark: u8,
    },
    /// Memory grows fast.
    Growth {
        /// The faster of resident and outstanding memory.
        growth: Growth,
        /// Whether that is resident memory.
        resident: bool,
        /// The mark that is reached, bytes per hour.
        mark: u64,
    },
}

/// All signals, the most urgent first. `limits` with how much of each is in use; `resident` is the growth of what they
/// count, or of resident memory; `descriptors` the growth of open ones, and their soft limit.
pub fn signals(
    limits: &[MemoryLimit],
    resident: Option<&Growth>,
    outstanding: Option<&Growth>,
    descriptors: Option<(&Growth, u64)>,
) -> Vec<ProcessSignal> {
    let mut all = Vec::new();
    all.extend(resident.and_then(|growth| out_of_memory(limits, growth)));
    if let Some((growth, limit)) = descriptors {
        let pressure = Pressure { used: growth.now, limit };
        all.extend(eta(growth, limit).map(|eta| ProcessSignal::OutOfDescriptors { pressure, eta }));
    }
    let nearest = limits.iter().filter_map(|limit| Some((limit, limit.pressure().mark()?)));
    let nearest = nearest.max_by(|(a, _), (b, _)| a.pressure().share().total_cmp(&b.pressure().share()));
    all.extend(nearest.map(|(limit, mark)| ProcessSignal::NearMemoryLimit { limit: limit.clone(), mark }));
    let kinds = [(resident, true), (outstanding, false)];
    let fastest = kinds.into_iter().filter_map(|(growth, resident)| Some((growth?, resident)));
    let fastest = fastest.filter(|(growth, _)| growth.certain);
    if let Some((growth, resident)) = fastest.max_by(|(a, _), (b, _)| a.per_s.value.total_cmp(&b.per_s.value)) {
        let mark = GROWTH_MARKS.into_iter().find(|mark| growth.per_hour.value >= *mark as f64);
        all.extend(mark.map(|mark| ProcessSignal::Growth { growth: *growth, resident, mark }));
    }
    all
}

/// The first limit that will end the process, if it goes on as it does. Whatever a limit counts grows with resident memory.
fn out_of_memory(limits: &[MemoryLimit], growth: &Growth) -> Option<ProcessSignal> {
    let fatal = limits.iter().filter(|limit| limit.kind.is_fatal());
    let etas = fatal.filter_map(|limit| Some((limit, eta(&Growth { now: limit.used, ..*growth }, limit.bytes)?)));
    let (limit, eta) = etas.min_by_key(|(_, eta)| eta.expected)?;
    Some(ProcessSignal::OutOfMemory { limit: limit.clone(), eta })
}
