//! The thread that names stacks, and the two bounded queues to it and back.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Frame, NoSymbol, QueueFull, Request, Stack, Symbolize, guard::contain, queue::Queue, resolver::Resolver};
use crate::{
    aggregate::{SiteId, Tgid},
    target::maps::ModuleMap,
};

/// Requests that wait at most.
const REQUESTS: usize = 4096;
/// Answers that wait at most; the thread stops until they are taken.
const ANSWERS: usize = 4096;
/// DWARF parsers recurse; the pages are only taken when used.
const STACK_BYTES: usize = 32 << 20;

/// The modules of a process, shared with whoever else refreshes them. The symbolizer refreshes them too, when it meets
/// an address in none of them; [`ModuleMap::generation`] tells the others.
pub type SharedModules = Arc<Mutex<ModuleMap>>;

/// Why there are no names.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizerError {
    /// The thread could not be started.
    #[error("cannot start the symbolizer's thread: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[from] io::Error),
}

/// Names stacks on a thread of its own, for any number of processes.
#[derive(Debug)]
pub struct Symbolizer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Work came, room for answers was made, or it is over.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    requests: Queue,
    answers: VecDeque<(SiteId, Arc<Stack>)>,
    processes: HashMap<(Tgid, u32), SharedModules>,
    /// A stack is being named.
    busy: bool,
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Symbolizer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn() -> Result<Self, SymbolizerError> {
        Self::with_capacity(REQUESTS, ANSWERS)
    }

    fn with_capacity(requests: usize, answers: usize) -> Result<Self, SymbolizerError> {
        let state = State {
            requests: Queue::new(requests),
            answers: VecDeque::new(),
            processes: HashMap::new(),
            busy: false,
            over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("symbolizer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&worker, answers))?;
        Ok(Self { shared })
    }

    /// Makes the modules of an image of a process known. Frames of unknown ones are unmapped.
    pub fn add_process(&self, tgid: Tgid, image: u32, modules: SharedModules) {
        self.shared.lock().processes.insert((tgid, image), modules);
    }

    /// Forgets a process. What is still queued for it gets no names.
    pub fn remove_process(&self, tgid: Tgid, image: u32) {
        self.shared.lock().processes.remove(&(tgid, image));
    }

    /// Stacks that wait for their names, with the one that is getting its own.
    pub fn backlog(&self) -> usize {
        let state = self.shared.lock();
        state.requests.len() + usize::from(state.busy)
    }
}

impl Symbolize for Symbolizer {
    fn request(&self, request: Request) -> Result<(), QueueFull> {
        self.shared.lock().requests.push(request)?;
        self.shared.changed.notify_one();
        Ok(())
    }

    fn drain(&self) -> Vec<(SiteId, Arc<Stack>)> {
        let answers = std::mem::take(&mut self.shared.lock().answers);
        if !answers.is_empty() {
            // There is room for more.
            self.shared.changed.notify_one();
        }
        answers.into()
    }
}

impl Drop for Symbolizer {
    /// Ends the thread after the stack it is at. Does not wait: a hostile file may keep it for long.
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_one();
    }
}

fn work(shared: &Shared, answers_max: usize) {
    let mut resolver = Resolver::new();
    loop {
        let mut state = shared.lock();
        let (request, modules) = loop {
            if state.over {
                return;
            }
            if state.answers.len() < answers_max
                && let Some(request) = state.requests.pop()
            {
                let modules = state.processes.get(&(request.tgid, request.image)).map(Arc::clone);
                state.busy = true;
                break (request, modules);
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let stack = contain(|| resolver.stack(&request, modules.as_ref())).unwrap_or_else(|_| {
            resolver = Resolver::new();
            let nameless = |&address| Frame { function: Err(NoSymbol::ModuleUnreadable), ..Frame::pending(address) };
            Stack { frames: request.frames.iter().map(nameless).collect(), end: request.end }
        });
        let mut state = shared.lock();
        state.answers.push_back((request.site, Arc::new(stack)));
        state.busy = false;
    }
}
