//! Codes in words: what a loss, an unfinished stack, a missing symbol or the target's state means to a reader.

use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    stack::StackEnd,
};

use crate::{
    aggregate::{Ending, TargetState},
    symbolize::NoSymbol,
};

/// What was lost, after a count; with the option that prevents it where there is one.
pub(crate) fn loss_words(cause: LossCause) -> &'static str {
    match cause {
        LossCause::LiveFull => "blocks not counted, the table of outstanding blocks was full (raise --max-live)",
        LossCause::SitesFull => "blocks not counted, the table of call sites was full",
        LossCause::EventsFull => "blocks not counted, the event buffer was full when their call site was new",
        LossCause::ThreadsFull => "calls not counted, the table of threads was full",
        LossCause::MissedFree => "frees missed, found out when their address was allocated again",
        LossCause::AbandonedCall => "allocator calls that never returned, their blocks are unknown",
        LossCause::ReadFault => "blocks not counted, their address could not be read from the target's memory",
        LossCause::RestoreFailed => "blocks counted as freed although the realloc that took them failed",
        LossCause::LifecycleLost => "exit or exec events lost",
        LossCause::FdsFull => "descriptors without a call site, the table of descriptors was full",
        LossCause::SocketEventLost => "connections missing in the counters of peers, the event buffer was full",
        LossCause::RangeLost => {
            "changes of the mappings lost, the event buffer was full: what was mapped is not counted"
        }
        LossCause::FaultLost => {
            "page faults not counted, the table of call sites or the event buffer was full; each stands for many"
        }
        LossCause::TargetsFull => "children not followed, the table of processes was full",
        LossCause::FdReadFault => {
            "descriptors without a call site, their number could not be read from the target's memory"
        }
    }
}

/// What to do about a loss, and how far the numbers hold.
pub(crate) fn loss_advice(cause: LossCause) -> &'static str {
    match cause {
        LossCause::LiveFull => "Totals are too low since then. Start again with a larger --max-live.",
        LossCause::SitesFull => "Sites known before stay exact; new ones are missing. Trace for a shorter time.",
        LossCause::EventsFull => "The machine was busy at that moment. Totals are too low by these blocks.",
        LossCause::ThreadsFull => "More threads than leaktrace has room for. Trace fewer processes at once.",
        LossCause::MissedFree => "Sites may show blocks that were freed, until their address is used again.",
        LossCause::AbandonedCall => "A thread was killed, or jumped out of the allocator. Few of these do no harm.",
        LossCause::ReadFault => "Memory that was swapped out, mostly. Totals are too low by these blocks.",
        LossCause::RestoreFailed => "Their sites show too little. Start again with a larger --max-live.",
        LossCause::LifecycleLost => "A process that ended or was replaced may be shown as it was. Start again.",
        LossCause::FdsFull => "They are shown as open, without who opened them. Start again.",
        LossCause::SocketEventLost => "Open connections are exact; the counters of peers are too low.",
        LossCause::RangeLost => "What is mapped now is looked at again; what was mapped in between is missing.",
        LossCause::FaultLost => "What is shown as faulted in is too low by these. Trace for a shorter time.",
        LossCause::TargetsFull => "Trace fewer processes at once, or without --follow-forks.",
        LossCause::FdReadFault => "They are shown as open, without who opened them.",
    }
}

/// What was seen that is no loss, after a count.
pub(crate) fn stat_words(stat: Stat) -> &'static str {
    match stat {
        Stat::NestedCall => "allocator calls inside another one, counted once",
        Stat::FailedCall => "allocations that failed",
        Stat::UnknownFree => "frees of blocks that are not known, from before the attach mostly",
        Stat::NullFree => "calls of free(NULL)",
        Stat::Foreign => "hits by processes that share a traced file and are not traced",
        Stat::UnmatchedReturn => "returns of calls that were under way when the probes went in",
        Stat::UntimedConnect => "connections without a latency, too many at once",
    }
}

/// How a program ended, after "EXITED".
pub(super) fn ending_words(ending: Ending) -> String {
    match ending {
        Ending::Code(code) => format!("with code {code}"),
        Ending::Signal(signal) => match rustix::process::Signal::from_named_raw(signal) {
            Some(named) => format!("by signal {signal} ({named:?})"),
            None => format!("by signal {signal}"),
        },
    }
}

/// What a kind of mappings is.
pub(super) fn kind_words(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::Heap => "of the heap",
        SiteKind::Fd => "for descriptors",
        SiteKind::Mmap => "anonymous memory that no allocator asked for",
        SiteKind::MmapShared => "anonymous memory shared with children",
        SiteKind::MmapFile => "files",
        SiteKind::MmapStack => "stacks of threads",
        SiteKind::MmapReserved => "addresses without access",
        SiteKind::PageFault => "touched for the first time",
    }
}

/// Why a stack has no more frames; `None` when it is complete.
pub(crate) fn stack_end_words(end: StackEnd) -> Option<&'static str> {
    match end {
        StackEnd::Complete => None,
        StackEnd::Depth => Some("deeper frames were not taken"),
        StackEnd::NoMapping => Some("the next address is in no known mapping"),
        StackEnd::NoRow => Some("no unwind information here"),
        StackEnd::UnsupportedRule => Some("unwind information here is not supported"),
        StackEnd::ReadFault => Some("the stack could not be read further"),
        StackEnd::FramePointer => Some("the frame pointer leads no further"),
    }
}

/// Why there is no function name.
pub(crate) fn no_symbol_words(reason: NoSymbol) -> &'static str {
    match reason {
        NoSymbol::Pending => "not looked up yet",
        NoSymbol::Unmapped => "in no mapping",
        NoSymbol::Anonymous => "memory without a file",
        NoSymbol::ModuleUnreadable => "module unreadable",
        NoSymbol::Stripped => "module has no symbols",
        NoSymbol::NotCovered => "between symbols",
    }
}

/// The state's name in JSON.
pub(crate) fn state_name(state: &TargetState) -> &'static str {
    match state {
        TargetState::Running => "running",
        TargetState::Exited => "exited",
        TargetState::Detached => "detached",
    }
}

/// The state for people.
pub(crate) fn state_words(state: &TargetState) -> &'static str {
    match state {
        TargetState::Running => "running",
        TargetState::Exited => "EXITED, numbers are final",
        TargetState::Detached => "DETACHED, numbers are final",
    }
}
