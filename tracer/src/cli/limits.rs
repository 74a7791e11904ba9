//! What tracing may cost, by the arguments.

use super::{LiveArguments, call_turns::CallLimits};

/// Percent of the target's CPU time that the dashboard may cost it.
const DASHBOARD_OVERHEAD: f64 = 10.0;
/// The share of a limit that looking at system calls may take, where memory is traced besides and the whole machine counts.
const FOR_CALLS: f64 = 0.25;
/// The share of a limit that looking at the target's own takes from the probes, at most.
pub(super) const MOST_FOR_CALLS: f64 = 0.5;
/// Percent of the CPU time that looking at system calls may cost beside page faults.
const CALLS_OF_GROWTH: f64 = 0.5;

/// Percent of the targets' CPU time that tracing may take.
pub(super) fn overhead_limit(arguments: &LiveArguments, dashboard: bool) -> Option<f64> {
    let default = dashboard.then_some(DASHBOARD_OVERHEAD);
    arguments.max_overhead.or(default).filter(|limit| !arguments.empty_probes && *limit < 100.0)
}

/// What looking at system calls may cost. Every process of the machine pays for it, which counts where a limit was asked for,
/// and with page faults, which cost nothing themselves; the dashboard's own limit is for the target.
pub(super) fn call_limits(arguments: &LiveArguments, limit: Option<f64>) -> Option<CallLimits> {
    let both = |percent: f64| CallLimits { targets: percent / 100.0, machine: percent / 100.0 };
    match (arguments.max_overhead, limit) {
        (Some(_), limit) => limit.map(|limit| both(if arguments.traces_heap() { limit * FOR_CALLS } else { limit })),
        (None, _) if arguments.growth => Some(both(CALLS_OF_GROWTH)),
        (None, limit) => {
            let part = if arguments.traces_heap() { MOST_FOR_CALLS } else { 1.0 };
            limit.map(|limit| CallLimits { machine: f64::INFINITY, ..both(limit * part) })
        }
    }
}
