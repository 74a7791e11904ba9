//! Counters the programs keep about themselves: what was lost, by cause, and what was seen besides.

use crate::wire_enum;

wire_enum! {
    /// Why an event could not be accounted for. Anything but zero means that the tables understate or overstate by
    /// that many events; every view shows it.
    pub enum LossCause {
        /// The table of outstanding blocks was full: the block is in no counter.
        LiveFull = 0 => "live_table_full",
        /// No free site id: the block is in no counter.
        SitesFull = 1 => "site_table_full",
        /// The event ring buffer was full when a new site had to be announced: the block is in no counter.
        EventsFull = 2 => "event_ring_full",
        /// The table of threads was full: the call is in no counter.
        ThreadsFull = 3 => "thread_table_full",
        /// A block appeared at an address that still held one, so a free was missed. The old block was counted as
        /// freed when this was noticed.
        MissedFree = 4 => "missed_free",
        /// An allocator call never returned to its caller (longjmp, a killed probe): its block, if any, is unknown.
        AbandonedCall = 5 => "abandoned_call",
        /// The result of the call could not be read from the target's memory (posix_memalign).
        ReadFault = 6 => "read_fault",
        /// A block taken out of the table for a realloc that then failed could not be put back: counted as freed.
        RestoreFailed = 7 => "restore_failed",
        /// A lifecycle event did not fit into the ring buffer.
        LifecycleLost = 8 => "lifecycle_event_lost",
        /// The table of descriptors was full: the descriptor has no call stack.
        FdsFull = 9 => "fd_table_full",
        /// The event ring buffer was full when a connection had to be announced: the peers' counters miss it.
        SocketEventLost = 10 => "socket_event_lost",
        /// The descriptors that a call returned could not be read from the target's memory.
        FdReadFault = 11 => "fd_read_fault",
        /// The table of traced processes was full: a child is not followed.
        TargetsFull = 20 => "process_table_full",
        /// A change of the mappings could not be announced: the event ring buffer or the table of sites was full. The next
        /// look at the mappings takes out what is gone; what was mapped then is in no counter.
        RangeLost = 24 => "range_lost",
        /// The table of sites or the event ring buffer was full when a page fault was looked at: what it stands for is in
        /// no counter.
        FaultLost = 32 => "fault_lost",
    }
}

wire_enum! {
    /// Things worth knowing that are not losses.
    pub enum Stat {
        /// Allocator calls made inside another allocator call of the same thread (counted once, by the outer one).
        NestedCall = 0 => "nested_calls",
        /// Allocations that failed.
        FailedCall = 1 => "failed_calls",
        /// Frees of an address that is not in the table: blocks from before the attach, mostly.
        UnknownFree = 2 => "unknown_frees",
        /// `free(NULL)`.
        NullFree = 3 => "null_frees",
        /// Hits by processes that are not traced but share a traced text (vfork children).
        Foreign = 4 => "foreign_hits",
        /// Returns with no call on record: calls that were under way when the probes went in.
        UnmatchedReturn = 5 => "unmatched_returns",
        /// Connections whose connect was being timed when there was no room for another: they have no latency.
        UntimedConnect = 6 => "untimed_connects",
    }
}

/// Slots in the loss array.
pub const LOSS_SLOTS: u32 = 64;
/// Slots in the statistics array.
pub const STAT_SLOTS: u32 = 64;
const _: () = assert!(LossCause::ALL.len() <= LOSS_SLOTS as usize && Stat::ALL.len() <= STAT_SLOTS as usize);
