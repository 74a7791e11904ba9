//! A source that plays back what another source gave, from JSON lines.
//!
//! One line is one step: the events polled and the counters read after them. Probes, their hits and what sampling needs are not kept.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracer_common::{
    counter::{LossCause, Stat},
    event::SiteKind,
    fd::KernelFd,
    stack::StackEnd,
};

use super::{
    raw::{Connection, RawEvent, SiteStack, Turn},
    source::{EventSource, Reading, SourceError},
};
use crate::aggregate::{BlockCounters, Endpoint, Fd, LossCount, RangeChange, RangeTurn, SiteId, StatCount, Tgid};

#[derive(Debug, Serialize, Deserialize)]
struct Step {
    now_ns: u64,
    events: Vec<Event>,
    /// By site: bytes and objects allocated, bytes and objects freed.
    counters: Vec<[u64; 4]>,
    /// By site: page faults that were looked at.
    #[serde(default)]
    faults: Vec<u64>,
    loss: Vec<(u32, u64)>,
    stats: Vec<(u32, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Site {
        id: u32,
        tgid: u32,
        #[serde(default)]
        image: u32,
        kind: u32,
        end: u32,
        frames: Vec<u64>,
        exact: [u64; 2],
    },
    Exit {
        tgid: u32,
    },
    Exec {
        tgid: u32,
        image: u32,
        caller: u32,
        time_ns: u64,
    },
    Fork {
        parent: u32,
        child: u32,
        image: u32,
        borrows: bool,
        time_ns: u64,
    },
    Connect {
        at: At,
        site: u32,
        sock: u64,
        inet: Option<SocketAddr>,
        unix: Option<String>,
    },
    Accept {
        at: At,
        site: u32,
        listener: u32,
    },
    Close {
        at: At,
    },
    Established {
        sock: u64,
        latency_ns: u64,
    },
    Mapped {
        tgid: u32,
    },
    FdAtExit {
        tgid: u32,
        fd: u32,
        file: u64,
        inode: u64,
        mode: u32,
    },
    Stopped {
        tgid: u32,
    },
    Range {
        tgid: u32,
        tid: u32,
        time_ns: u64,
        turn: RangeTurn,
    },
}

/// Which connection, and when.
#[derive(Debug, Serialize, Deserialize)]
struct At {
    tgid: u32,
    fd: u32,
    file: u64,
    time_ns: u64,
}

impl At {
    fn with(self, turn: Turn) -> RawEvent {
        let Self { tgid, fd, file, time_ns } = self;
        RawEvent::Connection(Connection { tgid: Tgid(tgid), fd: Fd(fd), file, time_ns, turn })
    }
}

/// Plays back a file of steps. When they are used up, the last counters stay.
#[derive(Debug)]
pub struct Replay<R> {
    lines: io::Lines<R>,
    current: Reading,
}

impl<R: BufRead> Replay<R> {
    /// Plays back from a reader.
    pub fn new(input: R) -> Self {
        Self { lines: input.lines(), current: Reading::default() }
    }

    fn step(line: &str) -> Result<(Vec<RawEvent>, Reading), SourceError> {
        let Step { now_ns, events, counters, faults, loss, stats } =
            serde_json::from_str(line).map_err(|error| SourceError::Read(format!("replay: {error}")))?;
        let events = events.into_iter().map(RawEvent::try_from).collect::<Result<_, _>>()?;
        let counters = counters
            .into_iter()
            .map(|[alloc_bytes, alloc_objects, free_bytes, free_objects]| BlockCounters {
                alloc_bytes,
                alloc_objects,
                free_bytes,
                free_objects,
            })
            .collect();
        let loss = loss
            .into_iter()
            .map(|(cause, count)| Ok(LossCount { cause: LossCause::try_from(cause)?, count }))
            .collect::<Result<_, super::DecodeError>>()?;
        let stats = stats
            .into_iter()
            .map(|(stat, count)| Ok(StatCount { stat: Stat::try_from(stat)?, count }))
            .collect::<Result<_, super::DecodeError>>()?;
        Ok((
            events,
            Reading { now_ns, faults, counters, sample: None, loss, stats, cpu: None, calls: None, probes: Vec::new() },
        ))
    }
}

impl TryFrom<Event> for RawEvent {
    type Error = super::DecodeError;

    fn try_from(event: Event) -> Result<Self, Self::Error> {
        Ok(match event {
            Event::Site { id, tgid, image, kind, end, frames, exact } => Self::NewSite(SiteStack {
                id: SiteId(id),
                tgid: Tgid(tgid),
                image,
                kind: SiteKind::try_from(kind)?,
                frames: frames.into(),
                end: StackEnd::try_from(end)?,
                exact: u128::from(exact[0]) | u128::from(exact[1]) << 64,
            }),
            Event::Exit { tgid } => Self::Exit { tgid: Tgid(tgid) },
            Event::Exec { tgid, image, caller, time_ns } => Self::Exec { tgid: Tgid(tgid), image, caller, time_ns },
            Event::Fork { parent, child, image, borrows, time_ns } => {
                Self::Fork { parent: Tgid(parent), child: Tgid(child), image, borrows, time_ns }
            }
            Event::Connect { at, site, sock, inet, unix } => {
                let to = inet.map(Endpoint::Inet).or(unix.map(|path| Endpoint::Unix(path.into())));
                at.with(Turn::Connected { site: SiteId(site), sock, to })
            }
            Event::Accept { at, site, listener } => {
                at.with(Turn::Accepted { site: SiteId(site), listener: Fd(listener) })
            }
            Event::Close { at } => at.with(Turn::Closed),
            Event::Established { sock, latency_ns } => {
                Self::Established { sock, latency: Duration::from_nanos(latency_ns) }
            }
            Event::FdAtExit { tgid, fd, file, inode, mode } => {
                Self::FdAtExit(KernelFd { tgid, fd, file, inode, mode, reserved: 0 })
            }
            Event::Range { tgid, tid, time_ns, turn } => {
                Self::Range(RangeChange { tgid: Tgid(tgid), tid, time_ns, turn })
            }
            Event::Stopped { tgid } => Self::Stopped { tgid: Tgid(tgid) },
            Event::Mapped { tgid } => Self::Mapped { tgid: Tgid(tgid) },
        })
    }
}

impl From<&RawEvent> for Event {
    fn from(event: &RawEvent) -> Self {
        match event {
            RawEvent::NewSite(SiteStack { id, tgid, image, kind, frames, end, exact }) => Self::Site {
                id: id.0,
                tgid: tgid.0,
                image: *image,
                kind: kind.code(),
                end: end.code(),
                frames: frames.to_vec(),
                exact: [*exact as u64, (exact >> 64) as u64],
            },
            RawEvent::Exit { tgid } => Self::Exit { tgid: tgid.0 },
            RawEvent::Exec { tgid, image, caller, time_ns } => {
                Self::Exec { tgid: tgid.0, image: *image, caller: *caller, time_ns: *time_ns }
            }
            RawEvent::Fork { parent, child, image, borrows, time_ns } => {
                Self::Fork { parent: parent.0, child: child.0, image: *image, borrows: *borrows, time_ns: *time_ns }
            }
            RawEvent::Connection(Connection { tgid, fd, file, time_ns, turn }) => {
                let at = At { tgid: tgid.0, fd: fd.0, file: *file, time_ns: *time_ns };
                match turn {
                    Turn::Connected { site, sock, to } => {
                        let (inet, unix) = match to {
                            Some(Endpoint::Inet(address)) => (Some(*address), None),
                            Some(Endpoint::Unix(path)) => (None, Some(path.to_string())),
                            None => (None, None),
                        };
                        Self::Connect { at, site: site.0, sock: *sock, inet, unix }
                    }
                    Turn::Accepted { site, listener } => Self::Accept { at, site: site.0, listener: listener.0 },
                    Turn::Closed => Self::Close { at },
                }
            }
            RawEvent::Established { sock, latency } => {
                Self::Established { sock: *sock, latency_ns: latency.as_nanos() as u64 }
            }
            RawEvent::FdAtExit(KernelFd { tgid, fd, file, inode, mode, reserved: _ }) => {
                Self::FdAtExit { tgid: *tgid, fd: *fd, file: *file, inode: *inode, mode: *mode }
            }
            RawEvent::Range(RangeChange { tgid, tid, time_ns, turn }) => {
                Self::Range { tgid: tgid.0, tid: *tid, time_ns: *time_ns, turn: *turn }
            }
            RawEvent::Stopped { tgid } => Self::Stopped { tgid: tgid.0 },
            RawEvent::Mapped { tgid } => Self::Mapped { tgid: tgid.0 },
        }
    }
}

/// Appends one step to a file that [`Replay`] plays back.
///
/// # Errors
/// When writing fails.
pub fn write_step(out: &mut impl Write, events: &[RawEvent], reading: &Reading) -> io::Result<()> {
    let Reading { now_ns, faults, counters, sample: _, loss, stats, cpu: _, calls: _, probes: _ } = reading;
    let step = Step {
        faults: faults.clone(),
        now_ns: *now_ns,
        events: events.iter().map(Event::from).collect(),
        counters: counters.iter().map(|c| [c.alloc_bytes, c.alloc_objects, c.free_bytes, c.free_objects]).collect(),
        loss: loss.iter().map(|l| (l.cause.code(), l.count)).collect(),
        stats: stats.iter().map(|s| (s.stat.code(), s.count)).collect(),
    };
    serde_json::to_writer(&mut *out, &step)?;
    out.write_all(b"\n")
}

impl<R: BufRead> EventSource for Replay<R> {
    fn read(&mut self, sites: usize, reading: &mut Reading) -> Result<(), SourceError> {
        reading.clone_from(&self.current);
        reading.counters.truncate(sites);
        Ok(())
    }

    fn poll(&mut self, events: &mut Vec<RawEvent>) -> Result<(), SourceError> {
        if let Some(line) = self.lines.next() {
            let line = line.map_err(|error| SourceError::Read(format!("replay: {error}")))?;
            let (more, reading) = Self::step(&line)?;
            events.extend(more);
            self.current = reading;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_played_back() {
        let site = RawEvent::NewSite(SiteStack {
            id: SiteId(0),
            tgid: Tgid(7),
            image: 3,
            kind: SiteKind::Heap,
            frames: [0x11, 0x13].into(),
            end: StackEnd::Complete,
            exact: 1 << 100 | 3,
        });
        let counters = BlockCounters { alloc_bytes: 101, alloc_objects: 7, free_bytes: 11, free_objects: 1 };
        let first = Reading {
            sample: None,
            cpu: None,
            now_ns: 1_000,
            counters: vec![counters],
            faults: vec![13],
            loss: vec![LossCount { cause: LossCause::LiveFull, count: 3 }],
            stats: vec![StatCount { stat: Stat::NullFree, count: 5 }],
            calls: None,
            probes: Vec::new(),
        };
        let mut file = Vec::new();
        write_step(&mut file, std::slice::from_ref(&site), &first).expect("writing to memory");
        write_step(&mut file, &[RawEvent::Exit { tgid: Tgid(7) }], &first).expect("writing to memory");

        let mut replay = Replay::new(&file[..]);
        let (mut events, mut reading) = (Vec::new(), Reading::default());
        replay.poll(&mut events).expect("first step");
        replay.read(1, &mut reading).expect("first step");
        assert_eq!((&events[..], &reading), (&[site][..], &first));
        events.clear();
        replay.poll(&mut events).expect("second step");
        assert_eq!(events, [RawEvent::Exit { tgid: Tgid(7) }]);
        events.clear();
        replay.poll(&mut events).expect("the end is no error");
        replay.read(1, &mut reading).expect("the end is no error");
        assert_eq!((events.len(), &reading), (0, &first));
    }

    #[test]
    fn a_broken_line_is_an_error() {
        for line in [
            "{",
            r#"{"now_ns":1,"events":[{"Site":{"id":0,"tgid":1,"kind":99,"end":0,"frames":[],"exact":[0,0]}}],"counters":[],"loss":[],"stats":[]}"#,
        ] {
            assert!(Replay::new(line.as_bytes()).poll(&mut Vec::new()).is_err(), "{line}");
        }
    }
}
