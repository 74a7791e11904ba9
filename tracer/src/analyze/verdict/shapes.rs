//! Sites of known kinds, block by block, as a watch would see them.

use std::time::Duration;

use super::{Context, Evidence, Judgement, judge};
use crate::{
    aggregate::{BlockCounters, SiteId},
    analyze::{
        history::{History, INTERVAL},
        survival::{Lifetimes, Weighs, age_bucket},
        testing::Random,
    },
};

const SITE: SiteId = SiteId(3);

#[derive(Clone, Copy, Debug)]
struct Block {
    born: f64,
    died: f64,
    bytes: u64,
}

/// All blocks that a site ever allocates.
#[derive(Debug, Default)]
pub(super) struct Site {
    blocks: Vec<Block>,
    /// Of how many blocks one is tracked, beyond the first.
    untracked: u32,
}

impl Site {
    /// Adds a block and gives its number.
    pub(super) fn block(&mut self, born: f64, life: f64, bytes: u64) -> usize {
        self.blocks.push(Block { born, died: born + life, bytes });
        self.blocks.len() - 1
    }

    /// The same where one block in this many is tracked.
    pub(super) fn sampled(mut self, one_in: u32, random: &mut Random) -> Self {
        self.blocks.retain(|_| random.share() < 1.0 / f64::from(one_in));
        self.untracked = one_in - 1;
        self
    }

    pub(super) fn die(&mut self, block: usize, now: f64) {
        self.blocks[block].died = now;
    }

    pub(super) fn born(&self, block: usize) -> f64 {
        self.blocks[block].born
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.blocks.extend(other.blocks);
        self
    }

    /// What is judged at these times, readings a second apart beginning at zero.
    pub(super) fn judged(&self, times: &[u64]) -> Vec<Option<Judgement>> {
        self.judged_in(times, &Context::default())
    }

    pub(super) fn judged_in(&self, times: &[u64], context: &Context) -> Vec<Option<Judgement>> {
        let mut history = History::new(INTERVAL);
        let mut counters = BlockCounters::default();
        let (mut born, mut died) = (self.blocks.clone(), self.blocks.clone());
        born.sort_by(|a, b| a.born.total_cmp(&b.born));
        died.sort_by(|a, b| a.died.total_cmp(&b.died));
        let (mut born, mut died) = (born.iter().peekable(), died.iter().peekable());
        let mut judged = Vec::new();
        let all = u64::from(self.untracked) + 1;
        for second in 0..=times.last().copied().unwrap_or(0) {
            let now = second as f64;
            while let Some(block) = born.next_if(|block| block.born <= now) {
                counters.alloc_bytes += block.bytes * all;
                counters.alloc_objects += all;
            }
            while let Some(block) = died.next_if(|block| block.died <= now) {
                counters.free_bytes += block.bytes * all;
                counters.free_objects += all;
            }
            let elapsed = Duration::from_secs(second);
            history.push(elapsed, [(SITE, counters)]);
            if times.contains(&second) {
                let recent = history.site(SITE, Duration::from_secs(120));
                let whole = history.site(SITE, elapsed);
                let lifetimes = self.lifetimes(now);
                let evidence = Evidence { recent: &recent, whole: &whole, lifetimes: Some(&lifetimes), context };
                judged.push(judge(&evidence));
            }
        }
        judged
    }

    fn lifetimes(&self, now: f64) -> Lifetimes {
        let weighs = Weighs::default().times(f64::from(self.untracked) + 1.0);
        let mut lifetimes = Lifetimes { looked_at: Duration::from_secs_f64(now), weighs, ..Default::default() };
        for block in self.blocks.iter().filter(|block| block.born <= now) {
            if block.died <= now {
                lifetimes.freed[age_bucket(((block.died - block.born) * 1e9) as u64)] += 1;
            } else {
                lifetimes.live.add(((now - block.born) * 1e9) as u64, block.bytes);
            }
        }
        lifetimes
    }

    /// Bytes per second of blocks that are never freed.
    pub(super) fn leaked_per_s(&self, until: f64) -> f64 {
        let leaked = self.blocks.iter().filter(|block| block.born <= until && block.died == FOREVER);
        leaked.map(|block| block.bytes as f64).sum::<f64>() / until
    }
}

/// The life of a block that is never freed.
pub(super) const FOREVER: f64 = f64::INFINITY;

/// Moments at random, `rate` a second on average.
fn arrivals(random: &mut Random, from: f64, to: f64, rate: f64) -> Vec<f64> {
    let mut moments = Vec::new();
    let mut now = from + random.exponential(1.0 / rate);
    while now < to {
        moments.push(now);
        now += random.exponential(1.0 / rate);
    }
    moments
}

/// Moments at random with a rate that changes, at most `highest` (thinning, Lewis & Shedler 1979).
fn varying(random: &mut Random, to: f64, highest: f64, rate: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut moments = arrivals(random, 0.0, to, highest);
    moments.retain(|moment| random.share() * highest < rate(*moment));
    moments
}

/// A moment every `pause` seconds, each off by up to `jitter` of it.
fn ticks(random: &mut Random, from: f64, to: f64, pause: f64, jitter: f64) -> Vec<f64> {
    let mut moments = Vec::new();
    let mut now = from + pause * random.share();
    while now < to {
        moments.push((now + pause * jitter * random.between(-1.0, 1.0)).max(0.0));
        now += pause;
    }
    moments
}

fn size(random: &mut Random) -> u64 {
    1 << random.between(4.0, 14.0) as u32
}

/// A leak of so many blocks every `pause` seconds, both on average.
fn irregular_bursts(random: &mut Random, until: f64, pause: f64, count: f64) -> Site {
    let size = size(random);
    let mut site = Site::default();
    let mut now = 0.0;
    while now < until {
        now += pause * random.between(0.6, 1.4);
        for _ in 0..(count * random.between(0.5, 1.5)) as u64 {
            site.block(now, FOREVER, size);
        }
    }
    site
}

fn all(moments: Vec<f64>, mut life: impl FnMut(f64) -> f64, mut bytes: impl FnMut() -> u64) -> Site {
    let mut site = Site::default();
    for born in moments {
        site.block(born, life(born), bytes());
    }
    site
}

/// A shape: made up to a time, for a seed.
pub(super) type Shape = fn(&mut Random, f64) -> Site;

/// Leaks: judged leaking after a minute.
pub(super) const LEAKS: &[(&str, Shape)] = &[
    ("linear", |random, until| {
        let (pause, size) = (random.between(0.002, 0.2), size(random));
        all(ticks(random, 0.0, until, pause, 0.3), |_| FOREVER, || size)
    }),
    ("linear, at random", |random, until| {
        let (rate, size) = (random.between(12.0, 300.0), size(random));
        all(arrivals(random, 0.0, until, rate), |_| FOREVER, || size)
    }),
    ("linear, of all sizes", |random, until| {
        let moments = arrivals(random, 0.0, until, 50.0);
        let sizes: Vec<u64> = moments.iter().map(|_| size(random)).collect();
        let mut sizes = sizes.into_iter();
        all(moments, |_| FOREVER, || sizes.next().expect("one each"))
    }),
    ("slow", |random, until| {
        let (pause, size) = (random.between(1.5, 5.0), size(random));
        all(ticks(random, 0.0, until, pause, 0.1), |_| FOREVER, || size)
    }),
    ("in bursts", |random, until| {
        let (pause, count) = (random.between(3.0, 9.0), random.between(10.0, 300.0) as usize);
        let size = size(random);
        let mut site = Site::default();
        for burst in ticks(random, 0.0, until, pause, 0.05) {
            for _ in 0..count {
                site.block(burst + random.between(0.0, 0.5), FOREVER, size);
            }
        }
        site
    }),
    ("in bursts about each second", |random, until| {
        let count = random.between(20.0, 60.0);
        irregular_bursts(random, until, 1.0, count)
    }),
    ("one in a thousand", |random, until| {
        let (rate, life) = (random.between(10_000.0, 12_000.0), random.between(0.001, 0.3));
        let mut site = Site::default();
        for moment in arrivals(random, 0.0, until, rate) {
            let life = if random.share() < 0.001 { FOREVER } else { random.exponential(life) };
            site.block(moment, life, 256);
        }
        site
    }),
    ("behind churn", |random, until| {
        let (rate, life) = (random.between(200.0, 800.0), random.between(0.1, 1.5));
        let pause = random.between(0.05, 0.4);
        let churn = arrivals(random, 0.0, until, rate);
        let leaked = ticks(random, 0.0, until, pause, 0.3);
        let mut site = all(leaked, |_| FOREVER, || 512);
        for moment in churn {
            site.block(moment, random.exponential(life), 1 << (moment as u64 % 10 + 4));
        }
        site
    }),
    ("faster and faster", |random, until| {
        let rate = random.between(10.0, 60.0);
        all(varying(random, until, rate * 3.0, |now| rate * (1.0 + now / 60.0).min(3.0)), |_| FOREVER, || 128)
    }),
    ("after a start", |random, until| {
        let pause = random.between(0.01, 0.2);
        let tables = all(arrivals(random, 0.0, 3.0, 300.0), |_| FOREVER, || 4_096);
        tables.and(all(ticks(random, 3.0, until, pause, 0.3), |_| FOREVER, || 64))
    }),
];

/// Neither steady nor bounded programs leak, ever.
pub(super) const OTHERS: &[(&str, Shape)] = &[
    ("start-up tables", |random, until| {
        let (rate, end) = (random.between(5.0, 2_000.0), random.between(0.5, 9.0));
        all(arrivals(random, 0.0, end.min(until), rate), |_| FOREVER, || 512)
    }),
    ("one block", |random, until| {
        let at = random.between(0.0, until);
        all(vec![at], |_| FOREVER, || 1 << 20)
    }),
    ("churn", |random, until| {
        let (rate, life) = (random.between(10.0, 1_500.0), random.between(0.001, 2.0));
        let moments = arrivals(random, 0.0, until, rate);
        let mut random = random.clone();
        all(moments, |_| random.exponential(life), || 100)
    }),
    ("churn of all sizes", |random, until| {
        let moments = arrivals(random, 0.0, until, 300.0);
        let (mut lives, mut sizes) = (random.clone(), Random::new(random.next()));
        all(moments, |_| lives.exponential(0.5), || size(&mut sizes))
    }),
    ("sessions", |random, until| {
        let (rate, life) = (random.between(1.0, 60.0), random.between(3.0, 150.0));
        let moments = arrivals(random, 0.0, until, rate);
        let mut random = random.clone();
        all(moments, |_| random.exponential(life), || 2_048)
    }),
    ("requests of a fixed length", |random, until| {
        let (rate, life) = (random.between(5.0, 300.0), random.between(1.0, 25.0));
        all(arrivals(random, 0.0, until, rate), |_| life, || 700)
    }),
    ("cache, oldest out", |random, until| {
        let (rate, fill) = (random.between(20.0, 500.0), random.between(2.0, 45.0));
        let moments = arrivals(random, 0.0, until, rate);
        let entries = (rate * fill) as usize;
        let ends: Vec<f64> =
            (0..moments.len()).map(|at| moments.get(at + entries).copied().unwrap_or(FOREVER)).collect();
        let mut site = Site::default();
        for (born, end) in moments.iter().zip(ends) {
            site.block(*born, end - born, 300);
        }
        site
    }),
    ("cache, any one out", |random, until| {
        let (rate, fill) = (random.between(20.0, 400.0), random.between(2.0, 45.0));
        let entries = (rate * fill) as usize;
        let mut site = Site::default();
        let mut inside: Vec<usize> = Vec::new();
        for born in arrivals(random, 0.0, until, rate) {
            if inside.len() == entries {
                let out = inside.swap_remove((random.next() % entries as u64) as usize);
                site.die(out, born);
            }
            inside.push(site.blocks.len());
            site.block(born, FOREVER, 300);
        }
        site
    }),
    ("cache of so many keys", |random, until| {
        let (keys, fill) = (random.between(600.0, 9_000.0), random.between(4.0, 60.0));
        let rate = keys / fill;
        all(varying(random, until, rate, |now| rate * (-now / fill).exp()), |_| FOREVER, || 300)
    }),
    ("cache with a time to live", |random, until| {
        let (rate, life) = (random.between(5.0, 300.0), random.between(2.0, 30.0));
        all(arrivals(random, 0.0, until, rate), |_| life, || 900)
    }),
    ("words seen", |random, until| {
        // Heaps' law: as many as the square root of the text.
        let scale = random.between(100.0, 2_000.0);
        all(varying(random, until, scale * 5.0, |now| scale / 2.0 / (now + 0.01).sqrt()), |_| FOREVER, || 24)
    }),
    ("names, common and rare", |random, until| {
        let (names, rate) = (random.between(1_000.0, 4_000.0) as usize, random.between(0.1, 0.2));
        let mut site = Site::default();
        let mut seen = vec![false; names];
        for moment in arrivals(random, 0.0, until, rate * names as f64) {
            let name = (names as f64 * random.share().powf(1.5)) as usize;
            if !std::mem::replace(&mut seen[name], true) {
                site.block(moment, FOREVER, 6 + name as u64 % 40);
            }
        }
        site
    }),
    ("pool", |random, until| {
        // As large as the largest demand so far.
        let demand = random.between(20.0, 400.0);
        let mut site = Site::default();
        let mut pooled = 0.0;
        for second in 0..until as u64 {
            let ramp = (second as f64 / 10.0).min(1.0);
            let now = ramp * demand + random.normal() * demand.sqrt();
            while pooled < now {
                site.block(second as f64 + random.share(), FOREVER, 8_192);
                pooled += 1.0;
            }
        }
        site
    }),
    ("arena", |random, until| {
        let (period, rate) = (random.between(1.0, 40.0), random.between(2.0, 80.0));
        all(arrivals(random, 0.0, until, rate), |born| period - born % period, || 65_536)
    }),
    ("warm-up, then none", |random, until| {
        let (end, rate) = (random.between(5.0, 45.0), random.between(2.0, 400.0));
        all(arrivals(random, 0.0, end.min(until), rate), |_| FOREVER, || 1_000)
    }),
    ("warm-up, regular, then none", |random, until| {
        let (end, pause) = (random.between(5.0, 45.0), random.between(0.002, 1.0));
        all(ticks(random, 0.0, end.min(until), pause, 0.1), |_| FOREVER, || 1_000)
    }),
    ("warm-up in an S", |random, until| {
        let (middle, width) = (random.between(8.0, 22.0), random.between(1.0, 5.0));
        let count = random.between(500.0, 5_000.0);
        let rate = move |now: f64| {
            let e = (-(now - middle) / width).exp();
            count / width * e / (1.0 + e).powi(2)
        };
        all(varying(random, until, count / width / 4.0, rate), |_| FOREVER, || 128)
    }),
    ("periodic load", |random, until| {
        let (period, rate) = (random.between(8.0, 240.0), random.between(50.0, 600.0));
        let (phase, life) = (random.between(0.0, 6.3), random.between(0.05, 4.0));
        let wave = move |now: f64| rate * (1.0 + (now / period * std::f64::consts::TAU + phase).sin()) / 2.0;
        let moments = varying(random, until, rate, wave);
        let mut random = random.clone();
        all(moments, |_| random.exponential(life), || 400)
    }),
    ("load that rises", |random, until| {
        let (rate, life) = (random.between(20.0, 200.0), random.between(0.1, 5.0));
        let moments = varying(random, until, rate * 3.0, |now| rate * (1.0 + now / 60.0).min(3.0));
        let mut random = random.clone();
        all(moments, |_| random.exponential(life), || 400)
    }),
    ("a vector that doubles", |random, until| {
        let rate = random.between(100.0, 5_000.0);
        let mut site = Site::default();
        let (mut born, mut elements) = (0.0, 16.0);
        while born < until {
            let next = f64::max(elements / rate, born + 1e-6);
            site.block(born, next - born, elements as u64 * 8);
            (born, elements) = (next, elements * 2.0);
        }
        site
    }),
    ("blocks of a table that doubles", |random, until| {
        let pause = random.between(0.2, 2.0);
        let moments = (0..12).map(|power| pause * f64::from(1u32 << power)).filter(|at| *at < until).collect();
        all(moments, |_| FOREVER, || 1 << 16)
    }),
    ("two steps of load", |random, until| {
        let (rate, life, at) = (random.between(20.0, 300.0), random.between(0.5, 8.0), random.between(5.0, 50.0));
        let moments = varying(random, until, rate * 2.0, |now| if now < at { rate } else { rate * 2.0 });
        let mut random = random.clone();
        all(moments, |_| random.exponential(life), || 400)
    }),
    ("lazy parts", |random, until| {
        let (count, mean) = (random.between(3.0, 30.0) as usize, random.between(2.0, 20.0));
        all((0..count).map(|_| random.exponential(mean)).filter(|at| *at < until).collect(), |_| FOREVER, || 1 << 12)
    }),
    ("lifetimes of all lengths", |random, until| {
        // Pareto.
        let (rate, power) = (random.between(50.0, 500.0), random.between(0.6, 1.5));
        let moments = arrivals(random, 0.0, until, rate);
        let mut random = random.clone();
        all(moments, |_| 0.01 * random.share().powf(-1.0 / power), || 320)
    }),
];

/// Leaks for which a minute need not be enough, but some are.
pub(super) const SLOWLY_SEEN: &[(&str, Shape)] = &[
    ("once a second among a thousand", |random, until| {
        let (rate, life) = (random.between(700.0, 1_500.0), random.between(0.001, 0.1));
        let mut site = Site::default();
        for moment in arrivals(random, 0.0, until, rate) {
            let life = if random.share() < 0.001 { FOREVER } else { random.exponential(life) };
            site.block(moment, life, 2_000);
        }
        site
    }),
    ("abandoned sessions", |random, until| {
        let (rate, life) = (random.between(20.0, 60.0), random.between(1.0, 3.0));
        let mut site = Site::default();
        for moment in arrivals(random, 0.0, until, rate) {
            let life = if random.share() < 0.1 { FOREVER } else { random.exponential(life) };
            site.block(moment, life, 900);
        }
        site
    }),
    ("by load", |random, until| {
        let (period, rate, phase) = (random.between(8.0, 25.0), random.between(20.0, 60.0), random.between(0.0, 6.3));
        let load = move |now: f64| rate * (1.1 + (now / period * std::f64::consts::TAU + phase).sin()) / 2.1;
        all(varying(random, until, rate, load), |_| FOREVER, || 400)
    }),
    ("in irregular bursts", |random, until| {
        let pause = random.between(1.5, 4.0);
        irregular_bursts(random, until, pause, 40.0)
    }),
];
