//! What hits of probes come to.

use std::time::Duration;

use super::ProbeStatus;

/// The hits of each probe, to be compared with later.
pub fn hits(probes: &[ProbeStatus]) -> Vec<u64> {
    probes.iter().map(|probe| probe.hits).collect()
}

/// The time that the hits since then took, at what one costs by the place of its probe; `None` where any of that is not
/// known.
pub fn spent(
    probes: &[ProbeStatus],
    before: &[u64],
    cost: impl Fn(usize, &ProbeStatus) -> Option<Duration>,
) -> Option<Duration> {
    let one = |(index, probe): (usize, &ProbeStatus)| {
        let hits = probe.hits.saturating_sub(before.get(index).copied().unwrap_or(0));
        cost(index, probe).map(|cost| cost.mul_f64(hits as f64))
    };
    probes.iter().enumerate().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(hits: u64, cost_ns: Option<u64>) -> ProbeStatus {
        let (module, symbol, cost) = (String::new(), String::new(), cost_ns.map(Duration::from_nanos));
        ProbeStatus { module, symbol, offset: 0, kind: "entry", hits, cost }
    }

    #[test]
    fn hits_since_then_count_at_what_each_costs() {
        let probes = [probe(113, Some(7)), probe(17, Some(1_009)), probe(5, Some(3))];
        let cost = |_: usize, probe: &ProbeStatus| probe.cost;
        assert_eq!(spent(&probes, &[100, 17], cost), Some(Duration::from_nanos(13 * 7 + 5 * 3)));
        assert_eq!(spent(&probes, &hits(&probes), cost), Some(Duration::ZERO));
        assert_eq!(spent(&[probe(113, Some(7)), probe(1, None)], &[], cost), None);
    }
}
