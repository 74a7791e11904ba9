//! CPU time that a hypervisor takes without saying so. What it reports is steal time, which the kernel takes off; the rest is
//! counted as CPU time of the process that was running, and makes all that it did seem to take longer.

use std::{sync::OnceLock, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// CPU time over which is looked, and over which where some is missing: limits are kept over periods of up to 100 ms.
const LOOK: Duration = Duration::from_millis(20);
const LONG_LOOK: Duration = Duration::from_millis(300);
/// No two readings of the clock are so far apart by themselves.
const GAP: Duration = Duration::from_micros(500);

/// How many times as long the CPU time of a process is as what its CPUs ran. Measured once, by keeping one busy.
pub(super) fn stretch() -> f64 {
    static STRETCH: OnceLock<f64> = OnceLock::new();
    *STRETCH.get_or_init(|| {
        let stretch = measure(thread_time);
        log::debug!("CPU time is {stretch:.2} times what the CPUs run");
        stretch
    })
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn measure(mut clock: impl FnMut() -> Duration) -> f64 {
    let begun = clock();
    let (mut last, mut taken) = (begun, Duration::ZERO);
    while last - begun < if taken.is_zero() { LOOK } else { LONG_LOOK } {
        let now = clock();
        if now - last > GAP {
            taken += now - last;
        }
        last = now;
    }
    let all = last - begun;
    all.as_secs_f64() / (all - taken).as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is read every microsecond, and of each period jumps over the end.
    fn clock(runs: u64, period: u64) -> impl FnMut() -> Duration {
        let mut micros = 0;
        move || {
            micros += if micros % period >= runs { period - runs } else { 1 };
            Duration::from_micros(micros)
        }
    }

    #[test]
    fn nothing_is_missing_where_a_cpu_always_runs() {
        assert_eq!(measure(clock(10_000, 10_000)), 1.0);
    }

    #[test]
    fn a_limit_is_seen_whatever_its_period() {
        for (runs, period) in [(1_430, 10_000), (14_300, 100_000), (5_000, 10_000)] {
            let (stretch, is) = (measure(clock(runs, period)), period as f64 / runs as f64);
            assert!((stretch / is - 1.0).abs() < 0.1, "{stretch} instead of {is}");
        }
    }
}
