//! What the analysis finds: verdicts on sites, growth, limits, signals.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{maybe, number, real, span, text};
use crate::{
    aggregate::Tgid,
    analyze::{
        Estimate, ProcessAnalysis,
        history::ProcessReading,
        process::{Eta, Explanation, Growth, Part, PartKind, Pressure, ProcessSignal},
        verdict::{Label, Rate, Verdict},
    },
    target::limits::{LimitKind, MemoryLimit},
};

fn estimate() -> impl Strategy<Value = Estimate> {
    let real = || prop_oneof![real(), Just(-0.0)];
    (real(), real(), real()).prop_map(|(value, low, high)| Estimate { value, low, high })
}

pub(super) fn verdict() -> BoxedStrategy<Arc<Verdict>> {
    let label = select(vec![
        Label::Leaking,
        Label::Growing,
        Label::Bounded,
        Label::Steady,
        Label::Churn,
        Label::StartUp,
        Label::PreExisting,
    ]);
    let rate = (estimate(), estimate()).prop_map(|(bytes, objects)| Rate { bytes, objects });
    (label, 0.0..1.0_f64, text(), maybe(rate), span())
        .prop_map(|(label, confidence, reason, rate, since)| {
            Arc::new(Verdict { label, confidence, reason, rate, since })
        })
        .boxed()
}

fn growth() -> BoxedStrategy<Growth> {
    (estimate(), estimate(), any::<bool>(), any::<u64>())
        .prop_map(|(per_s, per_hour, certain, now)| Growth { per_s, per_hour, certain, now })
        .boxed()
}

fn memory_limit() -> BoxedStrategy<MemoryLimit> {
    let kind = select(vec![
        LimitKind::CgroupMax,
        LimitKind::CgroupHigh,
        LimitKind::CgroupV1,
        LimitKind::AddressSpace,
        LimitKind::Data,
        LimitKind::Machine,
    ]);
    (kind, any::<u64>(), any::<u64>(), text())
        .prop_map(|(kind, bytes, used, cgroup)| MemoryLimit { kind, bytes, used, cgroup })
        .boxed()
}

fn process_signal() -> BoxedStrategy<ProcessSignal> {
    let eta =
        || (span(), span(), maybe(span())).prop_map(|(expected, earliest, latest)| Eta { expected, earliest, latest });
    let pressure = (any::<u64>(), any::<u64>()).prop_map(|(used, limit)| Pressure { used, limit });
    prop_oneof![
        (memory_limit(), eta()).prop_map(|(limit, eta)| ProcessSignal::OutOfMemory { limit, eta }),
        (pressure, eta()).prop_map(|(pressure, eta)| ProcessSignal::OutOfDescriptors { pressure, eta }),
        (memory_limit(), any::<u8>()).prop_map(|(limit, mark)| ProcessSignal::NearMemoryLimit { limit, mark }),
        (growth(), any::<bool>(), any::<u64>()).prop_map(|(growth, resident, mark)| ProcessSignal::Growth {
            growth,
            resident,
            mark
        }),
    ]
    .boxed()
}

fn explanation() -> BoxedStrategy<Explanation> {
    let kind = select(vec![
        PartKind::Blocks,
        PartKind::BeforeAttach,
        PartKind::Mapped,
        PartKind::Files,
        PartKind::Shared,
        PartKind::LazyFree,
        PartKind::Retained,
    ]);
    let parts = vec((kind, number()).prop_map(|(kind, bytes)| Part { kind, bytes }), 0..4);
    (parts, text()).prop_map(|(parts, words)| Explanation { parts, words }).boxed()
}

pub(super) fn analysis() -> BoxedStrategy<(Tgid, ProcessAnalysis)> {
    let reading = [(); 7].map(|()| maybe(any::<u64>())).prop_map(
        |[rss, pss, cgroup, outstanding, open_fds, unknown_frees, lost]| ProcessReading {
            rss,
            pss,
            cgroup,
            outstanding,
            open_fds,
            unknown_frees,
            lost,
        },
    );
    let growths = [(); 3].map(|()| maybe(growth()));
    (any::<u32>(), reading, growths, vec(memory_limit(), 0..3), vec(process_signal(), 0..3), maybe(explanation()))
        .prop_map(|(pid, reading, [resident, outstanding, open_fds], limits, signals, explanation)| {
            let analysis = ProcessAnalysis { reading, resident, outstanding, open_fds, limits, signals, explanation };
            (Tgid(pid), analysis)
        })
        .boxed()
}
