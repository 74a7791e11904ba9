//! Children that come, programs that are replaced, processes that end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tracer_common::process::Image;

use super::{
    allocators::Planned,
    process::Process,
    tracing::{Tracing, note},
};
use crate::{
    aggregate::Tgid,
    event::{EventSource as _, RawEvent},
    symbolize::SharedModules,
    target::{Target, maps::ModuleMap},
};

/// Mappings that were read so shortly before an exec may be those of the program after it.
const DOUBTFUL: Duration = Duration::from_millis(100);
/// Share of one core that taking blocks out may take: it rests this many times as long as it took.
const REST: u32 = 20;

/// Blocks to be taken out: those of a process that were born before a time.
#[derive(Debug, Default)]
pub(super) struct Purges {
    gone: HashMap<u32, u64>,
    next: Option<Instant>,
}

impl Purges {
    fn add(&mut self, pid: u32, before_ns: u64) {
        let before = self.gone.entry(pid).or_default();
        *before = before_ns.max(*before);
    }
}

impl Tracing {
    /// Takes note of what happened to processes, in the order in which it did.
    pub(super) fn live_through(&mut self) -> anyhow::Result<()> {
        let lives = |event: &&RawEvent| matches!(event, RawEvent::Fork { .. } | RawEvent::Exec { .. });
        let events: Vec<RawEvent> = self.events.iter().filter(lives).cloned().collect();
        for event in events {
            match event {
                RawEvent::Fork { parent, child, image, borrows, time_ns } => {
                    let began = Image { number: image, borrows: borrows.into(), began_ns: time_ns, ..Image::default() };
                    if let Err(error) = self.forked(parent, child, began) {
                        self.lost_child(parent, child, image, time_ns, &error);
                    }
                }
                RawEvent::Exec { tgid, image, caller, time_ns } => self.replaced(tgid, image, caller, time_ns)?,
                _ => {}
            }
        }
        self.purge_in_time()
    }

    /// A child of a target is a target since its fork. Its probes come now.
    fn forked(&mut self, parent: Tgid, child: Tgid, began: Image) -> anyhow::Result<()> {
        let (pid, image, time_ns) = (child.0, began.number, began.began_ns);
        // Of its parent it has all mappings, so these name its first stacks, even if it is gone by now.
        let inherited = self.processes.get(&parent.0).map(|process| process.follower.modules());
        if let Some(inherited) = &inherited {
            self.symbolizer.add_process(child, image, Arc::clone(inherited));
        }
        self.end_former(pid, time_ns)?;
        let target = Target::open(pid)?;
        let modules = target.modules()?;
        self.session.keep_image(pid, began)?;
        self.session.update_mappings(&modules, image)?;
        self.adopt(target, modules, image, inherited, parent, time_ns)
    }

    /// Takes up a child, whose descriptors are counted already.
    fn adopt(
        &mut self,
        target: Target,
        modules: ModuleMap,
        image: u32,
        inherited: Option<SharedModules>,
        parent: Tgid,
        began_ns: u64,
    ) -> anyhow::Result<()> {
        let (pid, info) = (target.info().pid.0, target.info().clone());
        let shared: SharedModules = Arc::new(Mutex::new(modules));
        let mut process = Process::new(target, Arc::clone(&shared), Planned::default(), image);
        process.inherited = inherited;
        process.parent = Some(parent);
        let probed = process.probe(&mut self.session, self.allocators.as_mut());
        self.exits.add(&process.target)?;
        self.aggregator.processes().add(info, image, Some(parent), began_ns);
        note(probed, Tgid(pid), self.aggregator.processes(), &self.session);
        if self.session.image(pid).is_some_and(|now| now.number == image) {
            self.symbolizer.add_process(Tgid(pid), image, shared);
        }
        if let Some(fds) = &self.fds {
            fds.came(pid);
        }
        self.processes.insert(pid, process);
        log::debug!("child {pid} of {} is followed", parent.0);
        Ok(())
    }

    /// A child was gone before anybody looked.
    fn lost_child(&mut self, parent: Tgid, child: Tgid, image: u32, time_ns: u64, error: &anyhow::Error) {
        log::debug!("child {} of {} is not followed: {error:#}", child.0, parent.0);
        let info = self.processes.get(&parent.0).map(|process| process.target.info().clone());
        if let Some(info) = info {
            let info = crate::aggregate::TargetInfo { pid: child, ..info };
            self.aggregator.processes().add(info, image, Some(parent), time_ns);
            self.aggregator.processes().ended(child, self.session.now_ns());
        }
        self.session.remove_target(child.0);
        if let Some(fds) = &self.fds {
            fds.forget(child.0, self.session.now_ns());
        }
    }

    /// A process runs another program: what the old one had allocated is gone.
    fn replaced(&mut self, tgid: Tgid, image: u32, caller: u32, time_ns: u64) -> anyhow::Result<()> {
        let Some(process) = self.processes.get_mut(&tgid.0) else { return Ok(()) };
        self.purges.add(tgid.0, time_ns);
        let age = Duration::from_nanos(self.session.now_ns().saturating_sub(time_ns));
        if let Some(inherited) = process.inherited.take()
            && process.began.elapsed() < DOUBTFUL + age
        {
            self.symbolizer.add_process(tgid, process.image, inherited);
        }
        let modules = match process.target.modules().and_then(|modules| process.target.rename().map(|()| modules)) {
            Ok(modules) => modules,
            // It is gone, which is noticed elsewhere.
            Err(error) => {
                log::debug!("{error}");
                return Ok(());
            }
        };
        if caller != tgid.0 {
            // Links belong to the main thread, and that was another one.
            self.session.remove_probes(tgid.0);
            process.planned = Planned::default();
        }
        self.session.update_mappings(&modules, image)?;
        let shared: SharedModules = Arc::new(Mutex::new(modules));
        self.symbolizer.add_process(tgid, image, Arc::clone(&shared));
        process.run(shared, image);
        self.aggregator.processes().replaced(process.target.info().clone(), image, time_ns);
        log::debug!("process {} runs {} now", tgid.0, process.target.info().comm);
        let probed = process.probe(&mut self.session, self.allocators.as_mut());
        note(probed, tgid, self.aggregator.processes(), &self.session);
        Ok(())
    }

    /// Takes note of the targets that have ended. Returns whether none of those that were given is left.
    pub(super) fn take_ended(&mut self) -> anyhow::Result<bool> {
        loop {
            // Who has one of their numbers after this is another one.
            let now_ns = self.session.now_ns();
            let ended = self.exits.take().context("cannot wait for the targets")?;
            if ended.is_empty() {
                return Ok(self.processes.values().all(|process| process.parent.is_some()));
            }
            // What they had open was announced before their end.
            self.take_events()?;
            if ended.iter().any(|pid| self.processes.get(pid).is_some_and(|process| process.parent.is_some())) {
                self.session.read(self.aggregator.site_ids(), &mut self.reading)?;
            }
            for pid in ended {
                // By now its number may be another's, who came with one of the events just taken.
                if self.processes.get(&pid).is_some_and(|process| !process.target.is_alive()) {
                    self.session.remove_target(pid);
                    self.end(pid, now_ns);
                }
            }
        }
    }

    /// A process of that number comes: one that had it has ended, and nobody has noticed yet.
    fn end_former(&mut self, pid: u32, now_ns: u64) -> anyhow::Result<()> {
        if self.processes.contains_key(&pid) {
            self.session.read(self.aggregator.site_ids(), &mut self.reading)?;
            // That it is a target is by now the other one's.
            self.session.forget(pid);
            self.end(pid, now_ns);
        }
        Ok(())
    }

    /// A process has ended by then.
    fn end(&mut self, pid: u32, now_ns: u64) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.exits.remove(process.target.pidfd());
        self.aggregator.processes().ended(Tgid(pid), now_ns);
        let announced = self.at_exit.remove(&pid).unwrap_or_default();
        if process.parent.is_some() {
            // What it held is gone with it.
            self.aggregator.freeze(Tgid(pid), &self.reading);
            self.purges.add(pid, now_ns);
            self.aggregator.ranges().end(Tgid(pid));
            if let Some(fds) = &self.fds {
                fds.forget(pid, now_ns);
            }
        } else if let Some(fds) = &self.fds {
            fds.ended(pid, announced);
        }
    }

    /// Takes blocks out that are gone, unless that was done a moment ago.
    fn purge_in_time(&mut self) -> anyhow::Result<()> {
        if self.purges.next.is_none_or(|next| next <= Instant::now()) { self.purge() } else { Ok(()) }
    }

    /// Takes blocks out that are gone.
    pub(super) fn purge(&mut self) -> anyhow::Result<()> {
        if self.purges.gone.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let gone = std::mem::take(&mut self.purges.gone);
        let blocks = self.session.purge(&gone)?;
        log::debug!("{blocks} blocks of {} processes are gone, in {:?}", gone.len(), begun.elapsed());
        self.purges.next = Some(Instant::now() + begun.elapsed() * REST);
        Ok(())
    }

    /// Takes up the children that were there before.
    pub(super) fn adopt_present(&mut self) -> anyhow::Result<()> {
        let mut seen: HashSet<u32> = self.processes.keys().copied().collect();
        let mut parents: Vec<u32> = seen.iter().copied().collect();
        while let Some(parent) = parents.pop() {
            let Some(process) = self.processes.get(&parent) else { continue };
            for pid in process.target.children() {
                // One that the kernel has announced comes with its announcement.
                if !seen.insert(pid) || self.session.image(pid).is_some() {
                    continue;
                }
                if let Err(error) = self.adopt_one(pid, Tgid(parent)) {
                    log::debug!("child {pid} of {parent} is not followed: {error:#}");
                    self.session.remove_target(pid);
                } else {
                    parents.push(pid);
                }
            }
        }
        Ok(())
    }

    fn adopt_one(&mut self, pid: u32, parent: Tgid) -> anyhow::Result<()> {
        let target = Target::open(pid)?;
        let modules = target.modules()?;
        // A target first, so that its own children are followed from now on.
        self.session.add_target(pid, &crate::probe::AttachPlan::default(), &[], &modules)?;
        let now_ns = self.session.now_ns();
        self.adopt(target, modules, 0, None, parent, now_ns)
    }
}
