//! Synthetic Snapshots for tests of the views. Counts are primes where they can be, so that a coincidence shows.

mod descriptors;
mod growth;

use std::{sync::Arc, time::Duration};

use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    stack::StackEnd,
};

use crate::{
    aggregate::{
        BlockCounters, Feature, IncompleteCount, LossCount, Modes, Overhead, OwnCost, ProbeStatus, ProcessSnapshot,
        Rates, SampleRate, Sampled, SampledFrees, Sampling, SiteId, SiteSnapshot, Snapshot, StatCount, TargetInfo,
        TargetState, Tgid, Weight, Weights,
    },
    analyze::sizes::{SizeBucket, Sizes},
    symbolize::{Frame, NoSymbol, Stack},
};

pub(crate) use descriptors::{fds_alone, hostile_fds, many_fds, no_fds, normal_fds};
pub(crate) use growth::{growth, growth_for_the_budget};

const PROGRAM: &str = "/usr/bin/imgserver";

/// A frame of `module` (its base address is made up) with a function and, unless empty, `file:line`.
pub(crate) fn frame(address: u64, function: &str, module: &str, place: &str) -> Frame {
    let (file, line) = match place.rsplit_once(':') {
        Some((file, line)) => (Some(Arc::from(file)), line.parse().ok()),
        None => (None, None),
    };
    Frame {
        address,
        function: Ok(Arc::from(function)),
        module: Some(Arc::from(module)),
        module_offset: Some(address & 0xff_ffff),
        build_id: None,
        file,
        line,
        inlined: false,
    }
}

/// A frame without a symbol.
pub(crate) fn unnamed(address: u64, module: Option<&str>, reason: NoSymbol) -> Frame {
    Frame {
        function: Err(reason),
        module: module.map(Arc::from),
        module_offset: module.map(|_| address & 0xff_ffff),
        ..Frame::pending(address)
    }
}

/// Counters from (allocated bytes, blocks, freed bytes, blocks).
pub(crate) fn counters(alloc_bytes: u64, alloc_objects: u64, free_bytes: u64, free_objects: u64) -> BlockCounters {
    BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects }
}

/// A site; `oldest` in milliseconds.
pub(crate) fn site(
    id: u32,
    counters: BlockCounters,
    oldest: Option<u64>,
    end: StackEnd,
    frames: Vec<Frame>,
) -> SiteSnapshot {
    SiteSnapshot {
        verdict: None,
        ages: None,
        sizes: None,
        suppressed: false,
        id: SiteId(id),
        tgid: Tgid(4242),
        kind: SiteKind::Heap,
        counters,
        faulted: None,
        sampled: None,
        oldest: oldest.map(Duration::from_millis),
        stack: Arc::new(Stack { frames, end }),
    }
}

/// Sizes of what is outstanding: an eighth are small blocks, one is large, the others are alike.
fn sizes(counters: &BlockCounters) -> Sizes {
    let (objects, bytes) = (counters.inuse_objects(), counters.inuse_bytes());
    let bucket = |size: u64, objects, bytes| {
        let bits = (u64::BITS - size.leading_zeros()) as u8;
        SizeBucket::new(bits, objects, bytes).expect("a size")
    };
    let (small, large) = (objects / 8, if objects > 8 { bytes / 3 } else { 0 });
    let (others, left) = (objects - small - u64::from(large > 0), bytes - small * 24 - large);
    let mut sizes = Sizes::default();
    let all = [bucket(24, small, small * 24), bucket(left / others.max(1), others, left), bucket(large, 1, large)];
    all.into_iter().filter(|bucket| bucket.bytes > 0).for_each(|bucket| sizes.add_all(bucket));
    sizes
}

/// [`normal`], as estimated from one block in 64, and with the time spent in probes.
pub(crate) fn sampled() -> Snapshot {
    let mut snapshot = normal();
    let mut totals = Sampled::default();
    for site in &mut snapshot.sites {
        let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = site.counters;
        let (kept, freed) = ((alloc_objects - free_objects).div_ceil(64), free_objects / 64);
        let size = alloc_bytes.checked_div(alloc_objects).unwrap_or(0);
        let tracked = BlockCounters {
            alloc_bytes: (kept + freed) * size,
            alloc_objects: kept + freed,
            free_bytes: freed * size,
            free_objects: freed,
        };
        let mut frees =
            SampledFrees { more_bytes: freed * size * 63, more_objects: freed * 63, ..SampledFrees::default() };
        frees.objects[3] = (free_objects / 29) as i64;
        frees.bytes[3] = (free_bytes / 23) as i64;
        let objects = Weight { mean: 1.0, evenness: 1.0, chance: 63.0 / 64.0 };
        let weights = Weights { objects, bytes: Weight { evenness: 0.7, ..objects } };
        let sampled = Sampled::new(SampleRate::Blocks(64), tracked, &frees, Some(&weights));
        site.counters = sampled.counters();
        totals += sampled;
        site.sampled = Some(Box::new(sampled));
    }
    snapshot.totals = totals.counters();
    let raised = [(Duration::from_millis(12_300), 32), (Duration::from_secs(199), 64)];
    let raised = raised.map(|(at, rate)| (at, SampleRate::Blocks(rate))).to_vec();
    let sample = Sampling { rate: SampleRate::Blocks(64), raised, totals, turns: None };
    snapshot.notes = sample.notes().collect();
    snapshot.sample = Some(sample);
    snapshot.overhead =
        Some(Overhead { probes: Duration::from_millis(47), cpu: Duration::from_millis(930), limit: None });
    snapshot
}

/// A running target with these sites, which are brought into the Snapshot's order.
pub(crate) fn snapshot(mut sites: Vec<SiteSnapshot>) -> Snapshot {
    sites.sort_by_key(|site| std::cmp::Reverse((site.counters.inuse_bytes(), site.counters.alloc_bytes)));
    let mut totals = BlockCounters::default();
    for site in &sites {
        totals += site.counters;
    }
    Snapshot {
        analysis: Vec::new(),
        suppressions: Vec::new(),
        ending: None,
        notes: Vec::new(),
        sample: None,
        overhead: None,
        started: "2026-03-01T09:30:00Z".parse().expect("a timestamp"),
        elapsed: Duration::from_millis(245_500),
        window: Duration::from_secs(1),
        target: TargetInfo {
            pid: Tgid(4242),
            comm: "imgserver".to_owned(),
            exe: PROGRAM.to_owned(),
            cmdline: ["imgserver", "--port", "8080"].map(str::to_owned).to_vec(),
        },
        processes: Vec::new(),
        state: TargetState::Running,
        heap_traced: true,
        growth: None,
        modes: Modes::default(),
        sites,
        totals,
        rates: Rates::default(),
        loss: Vec::new(),
        incomplete: Vec::new(),
        stats: Vec::new(),
        probes: vec![ProbeStatus {
            module: "/usr/lib/libc.so.6".to_owned(),
            symbol: "malloc".to_owned(),
            offset: 4,
            kind: "entry",
            cost: None,
            hits: 104_729,
        }],
        features: [
            ("kernel", "6.12.9-arch1-1", true),
            ("probes", "uprobe_multi: one link for many probes", true),
            ("descriptors", "listed through /proc", false),
        ]
        .map(|(name, used, best)| Feature { name: name.into(), used: used.into(), best })
        .to_vec(),
        own_cost: Some(OwnCost { cpu: Duration::from_millis(1_307), resident: 33 << 20 }),
        descriptors: None,
    }
}

/// A server with one large leak, smaller sites, every sort of frame, and a site with nothing outstanding.
pub(crate) fn normal() -> Snapshot {
    let libc = "/usr/lib/libc.so.6";
    let main = || frame(0x5555_0000_1234, "main", PROGRAM, "src/main.cc:31");
    let inlined = |frame: Frame| Frame { inlined: true, ..frame };
    let deep =
        (0..40).map(|level| frame(0x5555_0001_0000 + level * 16, "json::parse_value", PROGRAM, "src/json.cc:301"));
    let sites = vec![
        site(
            7,
            counters(25_165_843, 2_039, 12_582_926, 1_018),
            Some(241_500),
            StackEnd::Complete,
            vec![
                frame(0x7f00_000a_1b2c, "operator new(unsigned long)", "/usr/lib/libstdc++.so.6", ""),
                inlined(frame(0x5555_0000_c0de, "img::Pool::grow(unsigned long)", PROGRAM, "src/pool.cc:88")),
                frame(
                    0x5555_0000_c0de,
                    "img::Cache::insert(std::string const&, img::Image)",
                    PROGRAM,
                    "src/cache.cc:142",
                ),
                main(),
            ],
        ),
        site(
            2,
            counters(851_969, 6_007, 8_191, 101),
            Some(182_000),
            StackEnd::Complete,
            vec![
                frame(0x7f00_0009_8765, "strdup", libc, ""),
                frame(0x5555_0000_beef, "http_parse_header", PROGRAM, "src/http/parser.c:517"),
                frame(0x5555_0000_2345, "http_serve", PROGRAM, "src/http/server.c:90"),
                main(),
            ],
        ),
        site(11, counters(196_613, 1_301, 2_053, 7), Some(9_000), StackEnd::Depth, deep.collect()),
        site(
            3,
            counters(32_771, 61, 0, 0),
            Some(3_700),
            StackEnd::NoRow,
            vec![
                unnamed(0x7f11_0000_2468, Some("/opt/plugins/filter.so"), NoSymbol::Stripped),
                frame(0x5555_0000_3456, "plugin_call", PROGRAM, "src/plugin.c:64"),
            ],
        ),
        site(
            5,
            counters(1_031, 3, 0, 0),
            Some(450),
            StackEnd::FramePointer,
            vec![
                unnamed(0x7f22_0000_1111, None, NoSymbol::Anonymous),
                unnamed(0x7f22_0000_2222, None, NoSymbol::Pending),
            ],
        ),
        site(
            13,
            counters(2_003, 1_009, 1_985, 1_007),
            None,
            StackEnd::Complete,
            vec![
                frame(
                    0x5555_0002_0000,
                    "<alloc::string::String as core::clone::Clone>::clone",
                    PROGRAM,
                    "library/alloc/src/string.rs:2",
                ),
                frame(
                    0x5555_0002_1000,
                    "metrics::registry::Registry<K>::snapshot",
                    PROGRAM,
                    "metrics/src/registry.rs:77",
                ),
                main(),
            ],
        ),
        site(
            1,
            counters(35_812_493, 126_693, 35_812_493, 126_693),
            None,
            StackEnd::Complete,
            vec![frame(0x5555_0000_4567, "img::decode(img::Reader&)", PROGRAM, "src/decode.cc:210"), main()],
        ),
    ];
    let rates =
        Rates { allocs_per_s: 1234.5, frees_per_s: 1201.0, alloc_bytes_per_s: 532_480.0, inuse_bytes_per_s: 54_272.0 };
    let stats = vec![StatCount { stat: Stat::UnknownFree, count: 211 }, StatCount { stat: Stat::NullFree, count: 17 }];
    Snapshot { rates, stats, ..snapshot(sites) }
}

/// [`normal`] one second earlier: the parser had 131 blocks of 16 bytes less, the decoder was idle.
pub(crate) fn before_normal() -> Snapshot {
    let mut earlier = normal();
    earlier.elapsed -= Duration::from_secs(1);
    for site in &mut earlier.sites {
        match site.id {
            SiteId(2) => {
                site.counters.alloc_bytes -= 131 * 16;
                site.counters.alloc_objects -= 131;
            }
            SiteId(7) => {
                site.counters.alloc_bytes -= 53_248;
                site.counters.alloc_objects -= 13;
            }
            SiteId(11) => site.counters.free_bytes -= 1_024,
            SiteId(1) => {
                site.counters.alloc_objects -= 1_097;
                site.counters.free_objects -= 1_097;
            }
            _ => {}
        }
    }
    earlier
}

/// [`normal`] with losses.
pub(crate) fn lossy() -> Snapshot {
    let loss = vec![
        LossCount { cause: LossCause::LiveFull, count: 1_009 },
        LossCount { cause: LossCause::MissedFree, count: 13 },
    ];
    let incomplete = vec![IncompleteCount { end: StackEnd::NoRow, objects: 211 }];
    Snapshot { loss, incomplete, ..normal() }
}

/// [`normal`] after the target is gone.
pub(crate) fn exited() -> Snapshot {
    Snapshot { state: TargetState::Exited, rates: Rates::default(), ..normal() }
}

/// [`normal`] with two workers that come by some of the same call stacks, one of which has ended.
pub(crate) fn several() -> Snapshot {
    let mut several = normal();
    let of_workers: Vec<SiteSnapshot> = [(4243, 100), (4244, 200)]
        .into_iter()
        .flat_map(|(pid, first)| {
            let shared = several.sites.iter().filter(|site| [SiteId(2), SiteId(7)].contains(&site.id));
            shared.map(move |site| {
                let frames = site.stack.frames.iter().cloned();
                // Loaded elsewhere.
                let frames = frames.map(|frame| Frame { address: frame.address + (1 << 40), ..frame }).collect();
                let (alloc_bytes, alloc_objects) = (site.counters.alloc_bytes / 2, site.counters.alloc_objects / 2);
                let (free_bytes, free_objects) = if pid == 4244 { (alloc_bytes, alloc_objects) } else { (1_009, 1) };
                SiteSnapshot {
                    id: SiteId(first + site.id.0),
                    tgid: Tgid(pid),
                    counters: counters(alloc_bytes, alloc_objects, free_bytes, free_objects),
                    stack: Arc::new(Stack { frames, end: site.stack.end }),
                    ..site.clone()
                }
            })
        })
        .collect();
    several.sites.extend(of_workers);
    let process = |pid, parent: Option<u32>, ended: Option<u64>, title: &str| {
        let mut totals = BlockCounters::default();
        several.sites.iter().filter(|site| site.tgid == Tgid(pid)).for_each(|site| totals += site.counters);
        ProcessSnapshot {
            info: TargetInfo { pid: Tgid(pid), cmdline: vec![title.to_owned()], ..several.target.clone() },
            parent: parent.map(Tgid),
            state: if ended.is_some() { TargetState::Exited } else { TargetState::Running },
            began: Duration::from_secs(parent.map_or(0, |_| 3)),
            ended: ended.map(Duration::from_secs),
            unseen: Duration::from_micros(parent.map_or(0, |_| 2_503)),
            totals,
            fds: Some(u64::from(pid % 7)),
        }
    };
    let processes = vec![
        process(4242, None, None, "imgserver: master"),
        process(4243, Some(4242), None, "imgserver: worker"),
        process(4244, Some(4242), Some(131), "imgserver: worker"),
    ];
    let sum = |mut sum: BlockCounters, process: &ProcessSnapshot| {
        sum += process.totals;
        sum
    };
    let totals = processes.iter().fold(BlockCounters::default(), sum);
    Snapshot { processes, totals, ..several }
}

/// Before the first allocation.
pub(crate) fn empty() -> Snapshot {
    Snapshot { elapsed: Duration::from_millis(1_200), ..snapshot(Vec::new()) }
}

/// A target whose names attack the terminal and the layout.
pub(crate) fn hostile() -> Snapshot {
    let long = format!("ns::{}", "Template<".repeat(1_111));
    let sites = vec![
        site(
            1,
            counters(5_003, 5, 0, 0),
            Some(5_000),
            StackEnd::Complete,
            vec![
                frame(0x1001, "evil\x1b[2J\x1b]0;owned\x07name", "/tmp/\x1b[31mred.so", "src/\u{202e}cc.live:7"),
                frame(0x1002, "new\nline\r\ttab", "/tmp/a\nb", ""),
            ],
        ),
        site(
            2,
            counters(4_001, 3, 0, 0),
            Some(4_000),
            StackEnd::Complete,
            vec![frame(0x1003, &long, &long, "long.cc:1")],
        ),
        site(
            3,
            counters(3_001, 2, 0, 0),
            Some(3_000),
            StackEnd::Complete,
            vec![
                frame(0x1004, &"漢字仮名".repeat(40), "/opt/日本語/図書館.so", "源/メモリ.c:9"),
                frame(0x1005, "zero\u{200b}width\u{feff}\u{301}\u{301}", "/tmp/\u{2066}iso\u{2069}", ""),
            ],
        ),
    ];
    let mut hostile = snapshot(sites);
    hostile.target.comm = "\x1b]0;x\x07\u{202e}mm".to_owned();
    hostile.target.cmdline = vec!["\x1b[0m".to_owned(), "漢".repeat(300), String::new()];
    hostile
}

/// `count` sites, of which the first has the most.
pub(crate) fn many(count: u32) -> Snapshot {
    let sites = (0..count).map(|id| {
        let bytes = u64::from(count - id) * 16;
        let frames = vec![frame(0x5555_0000_0000 + u64::from(id), &format!("work_{id}"), PROGRAM, "src/work.c:3")];
        site(id, counters(bytes, u64::from(count - id), 0, 0), Some(1_000), StackEnd::Complete, frames)
    });
    snapshot(sites.collect())
}

/// [`normal`] when a minute has told what its sites do, in a process that runs out of memory and of descriptors.
pub(crate) fn judged() -> Snapshot {
    use crate::analyze::{
        Estimate, ProcessAnalysis,
        history::ProcessReading,
        process::{Eta, Growth, Pressure, ProcessSignal},
        verdict::{Label, Rate, Verdict},
    };
    const MIB: u64 = 1 << 20;

    let mut snapshot = normal();
    let eta = |minutes: u64| {
        let of = |minutes| Duration::from_secs(minutes * 60);
        Eta { expected: of(minutes), earliest: of(minutes * 9 / 10), latest: Some(of(minutes * 11 / 10)) }
    };
    let limit = crate::target::limits::MemoryLimit {
        kind: crate::target::limits::LimitKind::CgroupMax,
        bytes: 512 * MIB,
        used: 401 * MIB,
        cgroup: "/img.slice".to_owned(),
    };
    let per_s = Estimate { value: 13_500.0, low: 12_900.0, high: 14_200.0 };
    let resident = Growth { per_s, per_hour: per_s.scaled(3_600.0), certain: true, now: 398 * MIB };
    let out_of_memory = ProcessSignal::OutOfMemory { limit: limit.clone(), eta: eta(143) };
    let pressure = Pressure { used: 871, limit: 1_024 };
    let out_of_descriptors = ProcessSignal::OutOfDescriptors { pressure, eta: eta(37) };
    let analysis = ProcessAnalysis {
        reading: ProcessReading { rss: Some(398 * MIB), ..ProcessReading::default() },
        resident: Some(resident),
        limits: vec![limit],
        signals: vec![out_of_memory, out_of_descriptors],
        ..ProcessAnalysis::default()
    };
    snapshot.analysis = vec![(snapshot.target.pid, analysis)];
    let labels = [Label::Leaking, Label::Growing, Label::Bounded, Label::Steady, Label::StartUp, Label::Churn];
    let reasons = [
        "none of its blocks is freed: 1,021 blocks more in the last 4m 05s, at a steady rate (+46.3 MiB an hour)",
        "more and more is outstanding (+11.2 MiB an hour, ever more slowly), watched for 4m 01s",
        "it grew for 41s and has not grown in the 3m 20s since",
        "no growth in 4m 00s",
        "allocated at once, 4m 02s ago, and nothing since",
        "all of its 18 blocks have been freed",
    ];
    for (site, (label, reason)) in snapshot.sites.iter_mut().zip(labels.into_iter().zip(reasons)) {
        let grows = matches!(label, Label::Leaking | Label::Growing);
        let bytes = if label == Label::Leaking { per_s } else { per_s.scaled(0.24) };
        let mut ages = crate::analyze::survival::Ages { freed: [0; 32], live: [0; 32] };
        (ages.freed[3], ages.freed[9], ages.live[12], ages.live[21]) = (700, 318, 4, 1_017);
        site.ages = (site.counters.inuse_objects() > 0).then(|| Arc::new(ages));
        site.sizes = (site.counters.inuse_objects() > 0).then(|| Arc::new(sizes(&site.counters)));
        site.verdict = Some(Arc::new(Verdict {
            label,
            confidence: 0.93,
            reason: reason.to_owned(),
            rate: grows.then(|| Rate { bytes, objects: bytes.scaled(0.001) }),
            since: Duration::from_secs(62),
        }));
    }
    snapshot
}
