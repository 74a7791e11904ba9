//! Strategies for Snapshots of a run: the same few sites, descriptors and peers in all of them, with any numbers. They are
//! boxed, because a thread's stack has no room for all of them at once.

mod analysis;
mod descriptors;

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    sampling::SKETCH,
    stack::StackEnd,
};

use self::{
    analysis::{analysis, verdict},
    descriptors::descriptors,
};
use crate::{
    aggregate::{
        BlockCounters, Ending, Faulted, Feature, IncompleteCount, LossCount, Mode, ModeSince, Modes, Note, Overhead,
        OwnCost, PageFaults, ProbeStatus, ProcessFaults, ProcessSnapshot, Rates, Resident, SampleRate, Sampled,
        Sampling, SiteId, SiteSnapshot, Snapshot, Spread, StatCount, Suppressed, TargetInfo, TargetState, Tgid, Turns,
        Weighed,
    },
    analyze::{
        sizes::{SizeBucket, Sizes},
        survival::Ages,
    },
    symbolize::{Frame, NoSymbol, Stack},
};

/// Sites of the heap have ids below, those of descriptors from here on.
const FD_SITES: u32 = 8;

/// Up to 70 years, so that the age of something may be more than the time since the attach.
fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..100_000_u64).prop_map(Duration::from_millis),
        (0..u64::MAX / 8).prop_map(Duration::from_nanos),
    ]
}

fn maybe<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    option::of(strategy)
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), -1e12..1e12_f64, Just(f64::MAX), Just(f64::MIN_POSITIVE)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]{1,3}", ".{0,12}"]
}

fn number() -> impl Strategy<Value = u64> {
    // The sum over a window must be a number, too.
    prop_oneof![0..8_u64, 0..1_u64 << 54]
}

fn counters() -> impl Strategy<Value = BlockCounters> {
    (number(), number(), number(), number()).prop_map(|(alloc_bytes, alloc_objects, free_bytes, free_objects)| {
        BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects }
    })
}

fn frame() -> BoxedStrategy<Frame> {
    let reason = select(&NoSymbol::ALL[..]);
    let function = prop_oneof![text().prop_map(|name| Ok(name.into())), reason.prop_map(Err)];
    let string = || maybe(text().prop_map(Arc::from));
    (number(), function, string(), maybe(number()), string(), string(), maybe(any::<u32>()), any::<bool>())
        .prop_map(|(address, function, module, module_offset, build_id, file, line, inlined)| Frame {
            address,
            function,
            module,
            module_offset,
            build_id,
            file,
            line,
            inlined,
        })
        .boxed()
}

/// A stack; those of a run have their frames in common.
pub(crate) fn stack() -> BoxedStrategy<Arc<Stack>> {
    (vec(frame(), 0..5), select(StackEnd::ALL)).prop_map(|(frames, end)| Arc::new(Stack { frames, end })).boxed()
}

fn target() -> impl Strategy<Value = TargetInfo> {
    (any::<u32>(), text(), text(), vec(text(), 0..3)).prop_map(|(pid, comm, exe, cmdline)| TargetInfo {
        pid: Tgid(pid),
        comm,
        exe,
        cmdline,
    })
}

fn state() -> impl Strategy<Value = TargetState> {
    select(vec![TargetState::Running, TargetState::Exited, TargetState::Detached])
}

fn process() -> BoxedStrategy<ProcessSnapshot> {
    let times = (span(), maybe(span()), span());
    (target(), maybe(any::<u32>()), state(), times, counters(), maybe(number()))
        .prop_map(|(info, parent, state, (began, ended, unseen), totals, fds)| ProcessSnapshot {
            info,
            parent: parent.map(Tgid),
            state,
            began,
            ended,
            unseen,
            totals,
            fds,
        })
        .boxed()
}

fn site() -> BoxedStrategy<SiteSnapshot> {
    let kinds = SiteKind::ALL.iter().copied().filter(|kind| *kind != SiteKind::Fd);
    let kind = select(kinds.collect::<Vec<_>>());
    let judged = (maybe(verdict()), maybe(ages()), maybe(sizes()), maybe(sampled()));
    (0..FD_SITES, any::<u32>(), kind, counters(), maybe(span()), stack(), judged, any::<bool>())
        .prop_map(|(id, tgid, kind, counters, oldest, stack, (verdict, ages, sizes, sampled), suppressed)| {
            SiteSnapshot {
                id: SiteId(id),
                tgid: Tgid(tgid),
                kind,
                // What page faults say is made up with the whole.
                faulted: None,
                counters,
                sampled: sampled.map(Box::new),
                oldest,
                stack,
                verdict,
                ages,
                sizes,
                suppressed,
            }
        })
        .boxed()
}

fn sampled() -> BoxedStrategy<Sampled> {
    let sketch = || prop_oneof![Just([0.0; SKETCH]), proptest::array::uniform8(real())];
    let weighed = || (real(), real(), real()).prop_map(|(sum, squares, variance)| Weighed { sum, squares, variance });
    let weighed = (weighed(), weighed());
    (1..=u32::MAX, number(), number(), weighed, sketch(), sketch(), counters(), maybe(spread()))
        .prop_map(|(rate, objects, bytes, weighed, freed_bytes, freed_objects, estimated, spread)| Sampled {
            rate,
            objects,
            bytes,
            weighed_objects: weighed.0,
            weighed_bytes: weighed.1,
            freed_bytes,
            freed_objects,
            estimated,
            spread,
        })
        .boxed()
}

fn spread() -> impl Strategy<Value = Spread> {
    (number(), real(), real(), real(), real()).prop_map(
        |(windows, inuse_bytes, inuse_objects, free_bytes, free_objects)| Spread {
            windows,
            inuse_bytes,
            inuse_objects,
            free_bytes,
            free_objects,
        },
    )
}

fn sampling() -> BoxedStrategy<Sampling> {
    let turns = (real(), span(), number()).prop_map(|(share, since, windows)| Turns { share, since, windows });
    (sampled(), maybe(1..=u32::MAX), vec((span(), 1..=u32::MAX), 0..3), maybe(turns))
        .prop_map(|(totals, bytes, raised, turns)| {
            let rate = bytes.map_or(SampleRate::Blocks(totals.rate), SampleRate::Bytes);
            let raised = raised.into_iter().map(|(at, to)| (at, rate.with(to))).collect();
            Sampling { rate, raised, totals, turns }
        })
        .boxed()
}

fn ages() -> BoxedStrategy<Arc<Ages>> {
    let sparse = || proptest::collection::vec((0..32_usize, 0..1_u64 << 40), 0..5);
    let buckets = |counts: Vec<(usize, u64)>| {
        let mut buckets = [0; 32];
        counts.into_iter().for_each(|(bucket, count)| buckets[bucket] = count);
        buckets
    };
    let ages = move |(freed, live)| Arc::new(Ages { freed: buckets(freed), live: buckets(live) });
    (sparse(), sparse()).prop_map(ages).boxed()
}

fn sizes() -> BoxedStrategy<Arc<Sizes>> {
    let bucket = (0..=64_u8, any::<u64>(), any::<u64>());
    let sizes = |buckets: Vec<(u8, u64, u64)>| {
        let mut sizes = Sizes::default();
        for bucket in buckets.into_iter().filter_map(|(bits, objects, bytes)| SizeBucket::new(bits, objects, bytes)) {
            sizes.add_all(bucket);
        }
        Arc::new(sizes)
    };
    proptest::collection::vec(bucket, 0..5).prop_map(sizes).boxed()
}

fn suppressed() -> impl Strategy<Value = Suppressed> {
    (text(), number(), number(), number()).prop_map(|(pattern, sites, inuse_bytes, inuse_objects)| Suppressed {
        pattern,
        sites,
        inuse_bytes,
        inuse_objects,
    })
}

fn note() -> impl Strategy<Value = Note> {
    (text(), vec(any::<u32>(), 0..3))
        .prop_map(|(what, pids)| Note { what: what.into(), pids: pids.into_iter().map(Tgid).collect() })
}

fn probe() -> impl Strategy<Value = ProbeStatus> {
    (text(), text(), number(), select(vec!["entry", "return", "exit"]), number(), maybe(span()))
        .prop_map(|(module, symbol, offset, kind, hits, cost)| ProbeStatus { module, symbol, offset, kind, hits, cost })
}

fn feature() -> impl Strategy<Value = Feature> {
    (text(), text(), any::<bool>()).prop_map(|(name, used, best)| Feature {
        name: name.into(),
        used: used.into(),
        best,
    })
}

fn own_cost() -> impl Strategy<Value = OwnCost> {
    (span(), number()).prop_map(|(cpu, resident)| OwnCost { cpu, resident })
}

fn overhead() -> impl Strategy<Value = Overhead> {
    (span(), span(), maybe(real())).prop_map(|(probes, cpu, limit)| Overhead { probes, cpu, limit })
}

fn counts<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = Vec<(T, u64)>> {
    vec((select(all), number()), 0..3)
}

fn page_faults() -> impl Strategy<Value = PageFaults> {
    let resident = (0..1_u64 << 45, 0..1_u64 << 45).prop_map(|(at_attach, now)| Resident { at_attach, now });
    let process = (any::<u32>(), 0..1_u64 << 30, maybe(resident));
    (1..1_000_u64, span(), vec(process, 0..3)).prop_map(|(period, since, processes)| {
        let process = |(tgid, samples, resident)| ProcessFaults {
            tgid: Tgid(tgid),
            faulted: Faulted { samples, period },
            resident,
        };
        PageFaults { period, since, processes: processes.into_iter().map(process).collect() }
    })
}

fn modes() -> impl Strategy<Value = Modes> {
    let mode = prop_oneof![
        Just(Mode::Hits),
        Just(Mode::All),
        any::<u32>().prop_map(|rate| Mode::Sampled(SampleRate::Blocks(rate))),
        any::<u32>().prop_map(|rate| Mode::Sampled(SampleRate::Bytes(rate))),
        real().prop_map(Mode::Windows),
        Just(Mode::PageFaults),
    ];
    let latest = vec((span(), mode).prop_map(|(since, mode)| ModeSince { since, mode }), 1..=Modes::KEPT);
    maybe((latest, number(), maybe(real())).prop_map(|(latest, earlier, calls)| Modes { latest, earlier, calls }))
        .prop_map(Option::unwrap_or_default)
}

/// A Snapshot as the aggregator makes them.
pub(crate) fn snapshot() -> BoxedStrategy<Snapshot> {
    let ending = prop_oneof![any::<i32>().prop_map(Ending::Code), any::<i32>().prop_map(Ending::Signal)];
    let begun = (-1_000_000_000_000..200_000_000_000_000_i64, target());
    let about = (begun, state(), maybe(ending), any::<bool>(), maybe(page_faults()), modes());
    let lists = (vec(process(), 0..3), vec(note(), 0..3), vec(site(), 0..8), vec(probe(), 0..3));
    let counted = (counts(LossCause::ALL), counts(StackEnd::ALL), counts(Stat::ALL));
    let rates = (real(), real(), real(), real());
    let found = (vec(analysis(), 0..3), vec(suppressed(), 0..3), vec(feature(), 0..3), maybe(own_cost()));
    let costs = (maybe(sampling()), maybe(overhead()));
    (about, span(), span(), lists, counters(), rates, counted, maybe(descriptors()), found, costs)
        .prop_map(
            |(
                ((started, target), state, ending, heap_traced, growth, modes),
                elapsed,
                window,
                (processes, notes, mut sites, probes),
                totals,
                (allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s),
                (loss, incomplete, stats),
                descriptors,
                (analysis, suppressions, features, own_cost),
                (sample, overhead),
            )| {
                sites.sort_by_key(|site| site.id);
                sites.dedup_by_key(|site| site.id);
                sites.sort_by_key(SiteSnapshot::order);
                if let Some(PageFaults { period, .. }) = growth {
                    for site in sites.iter_mut().filter(|site| site.kind.is_faulted()) {
                        site.faulted = Some(Faulted { samples: site.counters.alloc_objects, period });
                    }
                }
                Snapshot {
                    started: jiff::Timestamp::from_millisecond(started).expect("within the years 1938 to 8307"),
                    elapsed,
                    window,
                    target,
                    processes,
                    state,
                    ending,
                    analysis,
                    suppressions,
                    notes,
                    heap_traced,
                    growth,
                    modes,
                    sites,
                    totals,
                    sample,
                    rates: Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s },
                    loss: loss.into_iter().map(|(cause, count)| LossCount { cause, count }).collect(),
                    incomplete: incomplete.into_iter().map(|(end, objects)| IncompleteCount { end, objects }).collect(),
                    stats: stats.into_iter().map(|(stat, count)| StatCount { stat, count }).collect(),
                    probes,
                    features,
                    own_cost,
                    overhead,
                    descriptors,
                }
            },
        )
        .boxed()
}

/// A few Snapshots, in the order of their times.
pub(crate) fn run() -> impl Strategy<Value = Vec<Snapshot>> {
    vec(snapshot(), 1..5).prop_map(|mut run| {
        run.sort_by_key(|snapshot| snapshot.elapsed);
        run
    })
}
