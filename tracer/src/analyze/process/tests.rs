use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    analyze::testing::Random,
    target::limits::{LimitKind, MemoryLimit},
};

const MIB: u64 = 1 << 20;

/// RSS over a minute: from `begin`, `per_s` more each second, and noise.
fn windows(begin: f64, per_s: f64, noise: f64, seed: u64) -> Vec<ProcessWindow> {
    let mut random = Random::new(seed);
    (0..=60u32)
        .map(|second| {
            let rss = begin + per_s * f64::from(second) + noise * random.normal();
            let last = ProcessReading { rss: Some(rss.max(0.0) as u64), ..ProcessReading::default() };
            ProcessWindow { at: Duration::from_secs(second.into()), last, low: last, high: last }
        })
        .collect()
}

fn rss(windows: &[ProcessWindow]) -> Growth {
    growth(windows, |reading| reading.rss).expect("a growth")
}

fn limit(kind: LimitKind, bytes: u64, used: u64) -> MemoryLimit {
    MemoryLimit { kind, bytes, used, cgroup: String::new() }
}

#[test]
fn growth_and_the_time_left_are_near_the_truth_after_a_minute() {
    let mut covered = 0;
    for seed in 0..100 {
        let growth = rss(&windows(1e8, 5e5, 2e5, seed));
        assert!((growth.per_s.value / 5e5 - 1.0).abs() < 0.1 && growth.certain, "{growth:?}");
        let eta = eta(&growth, 1_000_000_000).expect("it grows");
        let truth = (1e9 - growth.now as f64) / 5e5;
        assert!((eta.expected.as_secs_f64() / truth - 1.0).abs() < 0.1, "{eta:?}, not {truth}");
        let latest = eta.latest.expect("it certainly grows");
        covered += u32::from(eta.earliest.as_secs_f64() <= truth && truth <= latest.as_secs_f64());
        assert!(eta.earliest <= eta.expected && eta.expected <= latest);
    }
    assert!(covered >= 85, "{covered} of 100");
}

#[test]
fn nothing_is_foretold_of_what_does_not_grow() {
    for (per_s, noise) in [(0.0, 0.0), (0.0, 1e6), (-1e5, 1e4)] {
        let flat = rss(&windows(1e8, per_s, noise, 3));
        assert_eq!((flat.certain, eta(&flat, u64::MAX)), (false, None), "{flat:?}");
    }
    assert_eq!(growth(&[], |reading| reading.rss), None);
    assert_eq!(growth(&windows(1e8, 1.0, 0.0, 1), |reading| reading.pss), None);
    // Centuries are no time.
    assert_eq!(eta(&rss(&windows(1e8, 10.0, 0.0, 1)), 1 << 50), None);
    // It is there already.
    let reached = eta(&rss(&windows(1e8, 1e5, 0.0, 1)), 1_000).expect("it grows");
    assert_eq!(reached.expected, Duration::ZERO);
}

#[test]
fn growth_has_two_marks() {
    for (per_hour, mark) in
        [(49e6, None), (51e6, Some(50_000_000)), (99e6, Some(50_000_000)), (101e6, Some(100_000_000))]
    {
        let growing = rss(&windows(1e8, per_hour / 3_600.0, 0.0, 1));
        let signals = signals(&[], Some(&growing), None, None);
        let marked = signals.iter().find_map(|signal| match signal {
            ProcessSignal::Growth { mark, resident: true, .. } => Some(*mark),
            _ => None,
        });
        assert_eq!(marked, mark, "{per_hour}");
    }
}

#[test]
fn shares_of_a_limit_have_two_marks() {
    for (used, mark) in [(0, None), (699, None), (700, Some(70)), (849, Some(70)), (850, Some(85)), (2_000, Some(85))] {
        assert_eq!(Pressure { used, limit: 1_000 }.mark(), mark, "{used}");
    }
    assert_eq!(Pressure { used: 0, limit: 0 }.mark(), Some(85));
}

#[test]
fn the_most_urgent_comes_first() {
    let growing = rss(&windows(1e8, 1e6, 0.0, 1));
    let limits = [
        limit(LimitKind::CgroupHigh, 900 * MIB, 850 * MIB),
        limit(LimitKind::CgroupMax, 1_000 * MIB, 720 * MIB),
        limit(LimitKind::Machine, 16_000 * MIB, 4_000 * MIB),
    ];
    let fds = growth(&windows(600.0, 3.0, 0.0, 1), |reading| reading.rss).expect("a growth");
    let signals = signals(&limits, Some(&growing), None, Some((&fds, 1_024)));
    let [memory, descriptors, near, grows] = signals.as_slice() else { panic!("{signals:?}") };
    // memory.high does not end it.
    let seconds = (280 * MIB) / 1_000_000;
    assert!(
        matches!(memory, ProcessSignal::OutOfMemory { limit, eta }
        if *limit == limits[1] && eta.expected.as_secs().abs_diff(seconds) <= 1),
        "{memory:?}"
    );
    assert!(
        matches!(descriptors, ProcessSignal::OutOfDescriptors { eta, .. }
        if eta.expected.as_secs().abs_diff((1_024 - 780) / 3) <= 1),
        "{descriptors:?}"
    );
    assert!(matches!(near, ProcessSignal::NearMemoryLimit { limit, mark: 85 } if *limit == limits[0]), "{near:?}");
    assert!(matches!(grows, ProcessSignal::Growth { mark: 100_000_000, resident: true, .. }), "{grows:?}");
}

#[test]
fn runtimes_are_known_by_their_names() {
    for (comm, names, expected) in [
        ("node", &["node"][..], Some(Runtime::V8)),
        ("MainThread", &["libnode.so.115"], Some(Runtime::V8)),
        ("server", &["server", ".go.buildinfo"], Some(Runtime::Go)),
        ("java", &["java", "libjvm.so"], Some(Runtime::Jvm)),
        ("gunicorn", &["python3.12"], Some(Runtime::Python)),
        ("puma 6", &["libruby-3.1.so.3.1"], Some(Runtime::Ruby)),
        ("nginx", &["nginx", "libc.so.6"], None),
    ] {
        assert_eq!(runtime(comm, names.iter().copied()), expected, "{comm}");
    }
}

#[test]
fn the_rest_of_resident_memory_is_explained() {
    let memory = ResidentMemory {
        rss: 1_000 * MIB,
        anonymous: 900 * MIB,
        outstanding: 100 * MIB,
        blocks: 1_000,
        mapped: 550 * MIB,
        page_cache: Some(300 * MIB),
        runtime: Some(Runtime::V8),
        ..ResidentMemory::default()
    };
    let explanation = explain(&memory);
    let kinds: Vec<PartKind> = explanation.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [PartKind::Mapped, PartKind::Retained, PartKind::Blocks, PartKind::Files]);
    assert_eq!(
        explanation.words,
        "1000.0 MiB are resident. 550.0 MiB were mapped by V8 or for threads: objects of the language are not blocks of an \
         allocator; look at them with its own tools. 250.0 MiB are no blocks: freed, and kept by the allocator or in holes \
         between blocks. Part of it may be the runtime's. 100.0 MiB are outstanding in 1,000 blocks that were traced. 100.0 MiB \
         are pages of files (code, libraries, mapped data), which the kernel can drop. 300.0 MiB of page cache are charged to \
         the cgroup besides; the kernel drops them before it runs out."
    );
    // Attached late to a program without a runtime: what there was is not called retained.
    let late = ResidentMemory { mapped: 0, runtime: None, at_attach: 780 * MIB, ..memory };
    let kinds: Vec<PartKind> = explain(&late).parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds[0], PartKind::BeforeAttach);
}

proptest! {
    #[test]
    fn parts_add_up_to_what_is_resident(figures in prop::array::uniform9(any::<u64>()), shift in prop::array::uniform9(0u32..64)) {
        let of = |index: usize| figures[index] >> shift[index];
        let memory = ResidentMemory {
            rss: of(0), anonymous: of(1), shared: of(2), swap: of(3), lazy_free: of(4), mapped: of(5), outstanding: of(6),
            blocks: of(7), at_attach: of(8), page_cache: None, runtime: None,
        };
        let explanation = explain(&memory);
        prop_assert_eq!(explanation.parts.iter().map(|part| u128::from(part.bytes)).sum::<u128>(), u128::from(memory.rss));
        prop_assert!(explanation.parts.windows(2).all(|pair| pair[0].bytes >= pair[1].bytes));
    }
}
