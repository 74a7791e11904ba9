//! What leaktrace itself takes, as the kernel counts it. What the probes cost the target is not in it.

use std::{fs::File, io, time::Duration};

use procfs::{FromRead as _, process::Stat};

/// Of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// User and system time of all threads, to a hundredth of a second.
    pub(super) cpu: Duration,
    /// Resident bytes.
    pub(super) resident: u64,
}

/// Reads it.
pub(super) fn own() -> io::Result<Own> {
    let stat = Stat::from_read(File::open("/proc/self/stat")?).map_err(io::Error::other)?;
    let ticks = (stat.utime + stat.stime) as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Own { cpu: Duration::from_secs_f64(ticks), resident: stat.rss * rustix::param::page_size() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_this_process() {
        let own = own().expect("can be read");
        assert!(own.resident > 100_000, "{own:?}");
    }
}
