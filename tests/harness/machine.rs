//! The machine that the suite runs on.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread over which is looked.
const WATCHED: Duration = Duration::from_millis(200);
/// No two readings of the clock are so far apart by themselves.
const GAP: Duration = Duration::from_millis(1);

/// The part of the CPU time in which a CPU stands still: a hypervisor gives it to others without saying so, and what is
/// counted as the CPU time of a process is longer by that.
pub fn stands_still() -> f64 {
    let begun = thread_time();
    let (mut last, mut still) = (begun, Duration::ZERO);
    while last - begun < WATCHED {
        let now = thread_time();
        if now - last > GAP {
            still += now - last;
        }
        last = now;
    }
    still.as_secs_f64() / (last - begun).as_secs_f64()
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
