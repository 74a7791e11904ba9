//! Sampling while it goes on: makes room in the table of blocks when it fills up, and says what each count stands for.
//!
//! When 80 % of the hash map are taken, the rate doubles, by the programs themselves or from here. Then nobody puts blocks
//! in or takes blocks out that are no longer tracked, once the programs that were running have ended; so those can be
//! taken out one by one.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tracer_common::sampling::{SampleState, first_mark, next_mark};

use super::{
    BpfError,
    purge::{BlockMaps, Ended, Purger, Words},
};
use crate::{
    aggregate::{Raised, SampleRate, SampledFrees},
    clock::monotonic_ns,
};

/// How often the table is looked at. The programs can help themselves for much longer.
const INTERVAL: Duration = Duration::from_millis(50);
/// The same of a small table.
const SHORTEST: Duration = Duration::from_millis(1);
/// Where larger blocks are more likely to be tracked, few are larger than this.
const LARGE_BLOCK: u64 = 4096;
/// How long programs that were running may take to end where the kernel does not say.
const GRACE: Duration = Duration::from_millis(100);

// Words of a `SampleControl`.
const STATE: usize = 0;
const MARK: usize = 1;
const LIMIT: usize = 2;
const WINDOW: usize = 3;
const OPENED: usize = 4;
const WORDS: usize = 6;

/// Keeps the table of blocks from filling up.
#[derive(Debug)]
pub(super) struct Sampler {
    control: Words,
    /// Blocks are chosen by their birth when not all are tracked, because the programs can make use of that.
    by_birth: bool,
    /// Blocks in the hash map.
    live_count: Words,
    /// Held by whoever takes blocks out.
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    maps: BlockMaps,
    /// Mapped when there is something to take out: it is many pages.
    purger: Option<Purger>,
    /// What the hash map was last thinned out for.
    thinned: SampleState,
    /// What all blocks in both tables are tracked by.
    settled: SampleState,
    raised: Vec<Raised>,
}

impl Sampler {
    /// Begins at this rate.
    pub(super) fn new(
        control: BorrowedFd<'_>,
        maps: BlockMaps,
        rate: SampleRate,
        by_birth: bool,
        limit: u32,
    ) -> Result<Self, BpfError> {
        let control = Words::new("SAMPLE", control, WORDS)?;
        let (settled, limit) = (state_of(rate, by_birth), u64::from(limit));
        control.word(LIMIT).store(limit, Ordering::Relaxed);
        control.word(MARK).store(first_mark(limit), Ordering::Relaxed);
        control.word(STATE).store(settled.0, Ordering::Release);
        let live_count = Words::new("LIVE_COUNT", maps.live_count.as_fd(), 1)?;
        let table = Table { maps, purger: None, thinned: settled, settled, raised: Vec::new() };
        Ok(Self { control, by_birth, live_count, table: Mutex::new(table) })
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By which blocks are tracked when they are.
    pub(super) fn state(&self) -> SampleState {
        SampleState(self.control.word(STATE).load(Ordering::Acquire)).opened()
    }

    /// Changes the word that the programs and other threads change, too.
    fn change(&self, to: impl Fn(SampleState) -> SampleState) {
        let word = self.control.word(STATE);
        let update = |state| Some(to(SampleState(state)).0);
        let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
    }

    /// Tracks nothing from here on. Returns once no program is running that still does.
    pub(super) fn close(&self) {
        self.change(SampleState::closed);
        wait_for_programs();
    }

    /// Tracks blocks again. What was born before may have been freed meanwhile.
    pub(super) fn open(&self) {
        self.control.word(OPENED).store(monotonic_ns(), Ordering::Relaxed);
        self.control.word(WINDOW).fetch_add(1, Ordering::Release);
        self.change(SampleState::opened);
    }

    /// Tracks one block in so many at most.
    pub(super) fn thin_to(&self, rate: u32) {
        let thinned = state_of(SampleRate::Blocks(rate), self.by_birth);
        self.change(|state| if !state.is_by_size() && state.rate() < rate { thinned } else { state });
    }

    /// Forgets all blocks, as if they never had been, while nothing is tracked.
    pub(super) fn forget_all(&self) -> Result<u64, BpfError> {
        self.table().purger()?.take_out(Ended::Never, |_| true)
    }

    /// Takes out the blocks of these processes that were born before a time each, and counts them as freed.
    pub(super) fn purge(&self, gone: &HashMap<u32, u64>) -> Result<u64, BpfError> {
        let mut table = self.table();
        let freed = Ended::Freed(table.settled);
        table.purger()?.take_out(freed, |block| gone.get(&block.tgid).is_some_and(|before| block.born_ns < *before))
    }

    /// Brings the tables to the present rate. Returns what the blocks in them stand for, and when the rate rose.
    pub(super) fn settle(&self) -> Result<(SampleState, Vec<Raised>), BpfError> {
        loop {
            self.make_room()?;
            let state = {
                let table = self.table();
                if table.settled == table.thinned {
                    return Ok((table.settled, table.raised.clone()));
                }
                table.thinned
            };
            wait_for_programs();
            self.table().settle(state)?;
        }
    }

    /// Thins out the hash map if the rate has risen, and doubles it if the mark is passed. This need not wait for programs
    /// that are running: whoever deletes a block counts it.
    fn make_room(&self) -> Result<(), BpfError> {
        let mut table = self.table();
        let limit = self.control.word(LIMIT).load(Ordering::Relaxed);
        loop {
            let mark = self.control.word(MARK).load(Ordering::Relaxed);
            if self.in_hash_map() > mark {
                self.raise(mark, limit);
            }
            let state = self.state();
            if state == table.thinned {
                return Ok(());
            }
            table.raised.push(Raised { rate: SampleRate::of(state), time_ns: monotonic_ns() });
            table.purger()?.thin_out(|block| !block.is_kept(state))?;
            table.thinned = state;
            if self.in_hash_map() <= first_mark(limit) {
                self.control.word(MARK).store(first_mark(limit), Ordering::Relaxed);
            }
        }
    }

    /// How long it takes to fill what room there is, at a million allocations a second, within bounds.
    fn until_next_look(&self) -> Duration {
        let room = self.control.word(LIMIT).load(Ordering::Relaxed).saturating_sub(self.in_hash_map());
        let allocations = room.saturating_mul(self.state().weight(LARGE_BLOCK));
        Duration::from_nanos(allocations.saturating_mul(250)).clamp(SHORTEST, INTERVAL)
    }

    /// What was freed of the blocks of the first sites while not all blocks were tracked.
    pub(super) fn frees(&self, sites: usize) -> Result<Vec<SampledFrees>, BpfError> {
        Ok(self.table().purger()?.frees(sites))
    }

    fn in_hash_map(&self) -> u64 {
        self.live_count.word(0).load(Ordering::Relaxed)
    }

    /// As the programs do: each mark is passed once.
    fn raise(&self, mark: u64, limit: u64) {
        let (next, now) = (next_mark(mark, limit) + 1, self.state());
        let passed = self.control.word(MARK).compare_exchange(mark, next, Ordering::AcqRel, Ordering::Relaxed);
        if passed.is_ok() && !now.is_at_most() {
            self.change(|state| if state.opened() == now { state.doubled() } else { state });
        }
    }

    /// Looks after the table until the session ends.
    pub(super) fn watch(self: &Arc<Self>, stopped: Receiver<()>) -> std::io::Result<()> {
        let sampler = Arc::clone(self);
        let work = move || {
            while stopped.recv_timeout(sampler.until_next_look()) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = sampler.make_room() {
                    log::warn!("the table of blocks cannot be thinned out: {error}");
                    return;
                }
            }
        };
        std::thread::Builder::new().name("sampling".into()).spawn(work).map(drop)
    }
}

/// How the programs go by a rate.
fn state_of(rate: SampleRate, by_birth: bool) -> SampleState {
    match rate {
        SampleRate::Bytes(bytes) => SampleState::of_bytes(bytes),
        SampleRate::Blocks(blocks) if by_birth && blocks > 1 => SampleState::of(blocks).by_birth(),
        SampleRate::Blocks(blocks) => SampleState::of(blocks),
    }
}

impl Table {
    fn purger(&mut self) -> Result<&Purger, BpfError> {
        let purger = match self.purger.take() {
            Some(purger) => purger,
            None => Purger::new(&self.maps)?,
        };
        Ok(self.purger.insert(purger))
    }

    /// Takes out what is no longer tracked.
    fn settle(&mut self, state: SampleState) -> Result<(), BpfError> {
        let begun = Instant::now();
        let forgotten = self.purger()?.take_out(Ended::Never, |block| !block.is_kept(state))?;
        let rate = SampleRate::of(state).short();
        log::debug!("sampling {rate}: {forgotten} more blocks forgotten in {:?}", begun.elapsed());
        self.settled = state;
        Ok(())
    }
}

/// Waits until every program that is running now has ended: they run in what RCU calls a critical section, and
/// membarrier(2) of this kind waits for all of these.
fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: i64 = 1;
    // SAFETY: a system call without pointers.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        std::thread::sleep(GRACE);
    }
}
