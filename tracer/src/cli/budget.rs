//! Keeps what tracing costs the targets below a share of their CPU time.
//!
//! First nothing is tracked, and the probes' hits say what they would cost. Then all blocks are tracked for as long as that
//! stays below the limit; if it does not, one block in [`THINNED`], where that is enough; else the probes are out for most of
//! the time. They come and go at random, because what is estimated rests on that (`aggregate::windows`), and stay out
//! for longer when they have cost too much until now.
//!
//! Where there is no room for windows that would show anything, the probes go, and page faults are followed. A load may
//! fall: so the probes come back for a look now and then, as soon as the time without them has paid for it, and only
//! to count hits.

use std::time::{Duration, Instant};

use super::duty::{LEAST_SHARE, MARGIN, NEGLIGIBLE, draw, duty_of, quantized};
use crate::aggregate::Duty;

/// Tracked blocks of the sampled way: one in this many.
pub(super) const THINNED: u32 = 64;
/// How long hits are counted before anything is tracked.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Time between looks while the probes stay.
const LOOK: Duration = Duration::from_secs(1);
/// Until then the cost of a probe must be known.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whoever asks every 10 ms is late by half of that, in the mean.
const LATE: Duration = Duration::from_millis(5);
/// Taking the probes out takes this long.
const LEAVING: f64 = 0.1;
/// The smallest share of the time for which the probes are worth it. A window takes 0.1 s, so below this they come more
/// seldom than every 26 s: the few that an error needs take minutes, and a site that leaks ten blocks a second is
/// in each with one block. Page faults show all of that time.
const USEFUL_SHARE: f64 = 1.0 / 256.0;
/// The share of the time from which on the probes come back, by what they cost while nothing is tracked: tracking costs about
/// twice that.
const RETURN_SHARE: f64 = 2.0 * USEFUL_SHARE;
/// Where page faults are followed, it is looked again after this long, and after twice as long each time that nothing has
/// changed.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(960)];
/// The same when the processes do less than half of what they did, which can be seen without probes.
const CALMER: (f64, Duration) = (0.5, Duration::from_secs(5));
/// So many windows say whether a smaller share is better, and a larger one: in a window of 0.1 s a process that works in bursts
/// does nothing or ten times what it does in the mean, and another share forgets what was seen under this one. Meanwhile the
/// account keeps the limit.
const SETTLED: [u32; 2] = [8, 24];
/// A share that is so many times too large is changed at once.
const ABSURD: f64 = 32.0;
/// Whoever comes back to page faults within so many times the wait for the last look has looked in vain.
const IN_VAIN: u32 = 8;
/// What is saved up for so many seconds may be spent at once.
const AHEAD: f64 = 10.0;
/// How much of what was measured before counts beside the next measurement, and beside the next window.
const FADING: f64 = 0.7;
const WINDOW_FADING: f64 = 0.95;

/// What was done until now, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// By the probes, in the targets.
    pub(super) probes: f64,
    /// What it would have been, had no block been tracked.
    pub(super) idle: f64,
    /// CPU time of the targets, with that.
    pub(super) cpu: f64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Track all blocks.
    Track,
    /// Track one block in [`THINNED`].
    Thin,
    /// Take the probes out.
    Rest {
        /// By this much they had been out for longer than the share of the time would have it.
        longer: Duration,
        /// From now on another share of the time holds.
        duty: Option<Duty>,
    },
    /// Put the probes back.
    Resume,
    /// Take the probes out, and follow page faults.
    Grow,
    /// Put the probes back, and track nothing.
    Look,
    /// Take them out again.
    Leave,
    /// Follow page faults no more: the probes are there. Track blocks for this share of the time from now on, all of it if it
    /// has no end.
    Back(Duty),
    /// What the probes cost cannot be told.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing is known yet.
    Beginning,
    /// Counting hits.
    Counting,
    /// The probes stay.
    Staying,
    /// In a window.
    Open(Duty),
    /// Between windows.
    Closed(Duty),
    /// Page faults are followed.
    Growing,
    /// The same, with the probes back to count hits.
    Looking,
}

/// What is known while page faults are followed.
#[derive(Debug)]
struct Growing {
    /// When that began, and the work done by then.
    since: Instant,
    before: Work,
    /// When it was looked last, and how long until the next time.
    looked: Instant,
    patience: Duration,
    /// What hits took per second then.
    idle: f64,
    /// The targets' own work per second: of late, and the most of it since that look.
    own: Option<f64>,
    busiest: f64,
}

impl Growing {
    /// Takes what the targets do by themselves.
    fn take(&mut self, own: f64) {
        let smooth = self.own.map_or(own, |before| before * FADING + own * (1.0 - FADING));
        (self.own, self.busiest) = (Some(smooth), self.busiest.max(smooth));
    }

    /// How much they do beside the most that they did, from 0 to 1.
    fn business(&self) -> f64 {
        if self.busiest > 0.0 { self.own.unwrap_or(0.0) / self.busiest } else { 1.0 }
    }

    /// Whether it is worth a look, and paid for by the time without probes.
    fn wants_look(&self, limit: f64, now: Instant, work: &Work) -> bool {
        let (calmer, soon) = CALMER;
        let waited = now - self.looked;
        let is_time = waited >= self.patience || waited >= soon && self.business() < calmer;
        let price = self.idle * self.business() * (FIRST_LOOK.as_secs_f64() + LEAVING);
        let elapsed = (now - self.since).as_secs_f64();
        let saved = (limit * (work.cpu - self.before.cpu)).max(NEGLIGIBLE * elapsed);
        is_time && work.probes - self.before.probes + price <= saved
    }

    /// It was looked in vain.
    fn wait_longer(&mut self, now: Instant, idle: f64) {
        let patience = (self.patience * 2).min(LOOK_AGAIN[1]);
        (self.looked, self.patience, self.idle) = (now, patience, idle);
        self.busiest = self.own.unwrap_or(0.0);
    }
}

/// Decides.
#[derive(Debug)]
pub(super) struct Budget {
    /// Of the CPU time, from 0 to 1.
    limit: f64,
    /// Blocks are sampled already.
    sampled: bool,
    /// Page faults can be followed, as far as is known.
    may_grow: bool,
    phase: Phase,
    begun: Instant,
    /// When the phase began, and the work done by then.
    since: Instant,
    before: Work,
    until: Instant,
    /// The targets' own work per second.
    own: f64,
    /// What the last windows cost, and how long they were.
    cost: (f64, f64),
    /// How long it took to put the probes back.
    returning: Duration,
    /// How much longer they were out than was planned, because they had cost too much.
    longer: Duration,
    /// Windows under the present share.
    windows: u32,
    /// While page faults are followed, and of the last time that they were.
    growing: Option<Growing>,
    random: fastrand::Rng,
}

impl Budget {
    /// Begins, with nothing tracked.
    pub(super) fn new(limit: f64, sampled: bool, now: Instant, random: fastrand::Rng) -> Self {
        let (phase, before) = (Phase::Beginning, Work::default());
        Self {
            limit,
            sampled,
            may_grow: true,
            phase,
            begun: now,
            since: now,
            before,
            until: now,
            own: 0.0,
            cost: (0.0, 0.0),
            windows: 0,
            growing: None,
            longer: Duration::ZERO,
            returning: Duration::ZERO,
            random,
        }
    }

    /// The probes may cost another share from now on.
    pub(super) fn limit_to(&mut self, limit: f64) {
        self.limit = limit;
    }

    /// Whether there may be something to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Decides what to do. `work` is `None` while it is not known what the probes cost.
    pub(super) fn step(&mut self, now: Instant, work: Option<Work>) -> Step {
        let Some(work) = work else {
            self.until = now + FIRST_LOOK;
            return if now - self.begun > PATIENCE { Step::GiveUp } else { Step::Wait };
        };
        let seconds = (now - self.since).as_secs_f64().max(1e-3);
        let per_second = |of: fn(&Work) -> f64| ((of(&work) - of(&self.before)) / seconds).max(0.0);
        let (probes, idle, cpu) = (per_second(|w| w.probes), per_second(|w| w.idle), per_second(|w| w.cpu));
        let own = (cpu - probes).max(0.0);
        match self.phase {
            Phase::Beginning => {
                // Hits were counted before as well.
                (self.phase, self.since, self.before) = (Phase::Counting, now, work);
                self.until = now + FIRST_LOOK;
                Step::Wait
            }
            Phase::Counting => {
                self.own = own;
                // Nothing is tracked, so this is the least that it costs.
                let least = self.share_of_time(idle, own);
                if least < 1.0 { self.turns(now, work, least, idle) } else { self.stay(now, work, Step::Track) }
            }
            Phase::Staying => {
                self.own = own;
                let affordable = self.share_of_time(probes, own);
                if affordable >= MARGIN {
                    // What was planned to be below the limit by a margin may be anywhere below it.
                    return self.stay(now, work, Step::Wait);
                }
                if !self.sampled && self.share_of_time(idle, own) >= 1.0 {
                    self.sampled = true;
                    return self.stay(now, work, Step::Thin);
                }
                self.turns(now, work, affordable, idle)
            }
            Phase::Open(duty) => {
                self.cost = (self.cost.0 * WINDOW_FADING + probes * seconds, self.cost.1 * WINDOW_FADING + seconds);
                let affordable = self.share_of_time(self.cost.0 / self.cost.1, self.own);
                let (share, wanted) = (duty.share(), quantized(affordable));
                // Another share begins anew, so it is not taken lightly.
                self.windows += 1;
                let falls = affordable < share * MARGIN && wanted < share && self.windows >= SETTLED[0];
                let rises = wanted >= 4.0 * share && self.windows >= SETTLED[1];
                if affordable < share / ABSURD || falls || rises {
                    return if wanted >= 1.0 {
                        self.stay(now, work, Step::Back(Duty::ALWAYS))
                    } else if share > RETURN_SHARE {
                        // Before the probes are given up, many windows of the smallest share are looked at.
                        self.turns(now, work, affordable.max(USEFUL_SHARE), idle)
                    } else {
                        self.turns(now, work, affordable, idle)
                    };
                }
                let longer = std::mem::take(&mut self.longer);
                self.close(now, work, duty);
                Step::Rest { longer, duty: None }
            }
            Phase::Closed(duty) => {
                self.own = self.own * FADING + own * (1.0 - FADING);
                // Until they are out they cost something.
                self.cost.0 += probes * seconds;
                // By now the probes may have cost this much.
                let elapsed = (now - self.begun).as_secs_f64();
                if work.probes > (self.limit * work.cpu).max(NEGLIGIBLE * elapsed) + self.own * self.limit * AHEAD {
                    let longer = self.draw(duty.off.as_secs_f64());
                    (self.until, self.longer) = (now + longer, self.longer + longer);
                    (self.since, self.before) = (now, work);
                    return Step::Wait;
                }
                (self.phase, self.since, self.before) = (Phase::Open(duty), now, work);
                Step::Resume
            }
            Phase::Growing => {
                (self.since, self.before, self.until) = (now, work, now + LOOK);
                let Some(growing) = &mut self.growing else { return Step::Wait };
                growing.take(own);
                if !growing.wants_look(self.limit, now, &work) {
                    return Step::Wait;
                }
                self.phase = Phase::Looking;
                Step::Look
            }
            Phase::Looking => {
                let affordable = self.share_of_time(idle, own);
                if affordable < RETURN_SHARE {
                    (self.phase, self.since, self.before, self.until) = (Phase::Growing, now, work, now + LOOK);
                    self.growing.iter_mut().for_each(|growing| growing.wait_longer(now, idle));
                    return Step::Leave;
                }
                self.own = own;
                self.growing.iter_mut().for_each(|growing| growing.looked = now);
                if affordable >= 1.0 {
                    return self.stay(now, work, Step::Back(Duty::ALWAYS));
                }
                let duty = duty_of(affordable);
                self.begin(now, work, duty);
                Step::Back(duty)
            }
        }
    }

    /// The probes are back, and blocks are tracked, or hits counted.
    pub(super) fn resumed(&mut self, now: Instant) {
        match self.phase {
            Phase::Open(duty) => {
                self.returning = now - self.since;
                self.until = now + self.draw(duty.on.as_secs_f64()).saturating_sub(LATE);
            }
            Phase::Looking => self.until = now + FIRST_LOOK,
            _ => {}
        }
    }

    /// Page faults cannot be followed here, and the probes are out. Blocks are tracked for as little of the time as may be:
    /// as of [`Step::Rest`].
    pub(super) fn refuse_growth(&mut self, now: Instant) -> (Duration, Duty) {
        (self.may_grow, self.growing) = (false, None);
        let (longer, work, duty) = (self.take_longer(), self.before, duty_of(LEAST_SHARE));
        self.begin(now, work, duty);
        (longer, duty)
    }

    /// Whether the probes stay, and blocks are tracked all the time.
    pub(super) fn is_staying(&self) -> bool {
        self.phase == Phase::Staying
    }

    /// Whether blocks are tracked right now: what that has shown is not in the estimates yet, where there are windows.
    pub(super) fn is_tracking(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::Staying)
    }

    /// How much longer than planned tracking was off before this window.
    pub(super) fn take_longer(&mut self) -> Duration {
        std::mem::take(&mut self.longer)
    }

    /// The share of the time that the probes may be there when they take `probes` of a second's `own` work. What takes next to
    /// nothing is no burden, however little the process does.
    fn share_of_time(&self, probes: f64, own: f64) -> f64 {
        MARGIN * (self.limit * own / (1.0 - self.limit)).max(NEGLIGIBLE) / probes.max(1e-9)
    }

    fn stay(&mut self, now: Instant, work: Work, step: Step) -> Step {
        (self.phase, self.since, self.before) = (Phase::Staying, now, work);
        self.until = now + LOOK;
        step
    }

    fn turns(&mut self, now: Instant, work: Work, affordable: f64, idle: f64) -> Step {
        if affordable < USEFUL_SHARE && self.may_grow {
            return self.grow(now, work, idle);
        }
        let longer = self.take_longer();
        let duty = duty_of(affordable);
        self.begin(now, work, duty);
        Step::Rest { longer, duty: Some(duty) }
    }

    /// Another share of the time holds from now on.
    fn begin(&mut self, now: Instant, work: Work, duty: Duty) {
        (self.cost, self.windows) = ((0.0, 0.0), 0);
        self.close(now, work, duty);
    }

    fn grow(&mut self, now: Instant, work: Work, idle: f64) -> Step {
        // Whoever comes back soon has looked in vain.
        let patience = self.growing.as_ref().map_or(LOOK_AGAIN[0], |last| {
            if now - last.looked < last.patience * IN_VAIN {
                (last.patience * 2).min(LOOK_AGAIN[1])
            } else {
                LOOK_AGAIN[0]
            }
        });
        let (own, busiest) = (None, 0.0);
        self.growing = Some(Growing { since: now, before: work, looked: now, patience, idle, own, busiest });
        (self.phase, self.since, self.before, self.until) = (Phase::Growing, now, work, now + LOOK);
        Step::Grow
    }

    fn close(&mut self, now: Instant, work: Work, duty: Duty) {
        (self.phase, self.since, self.before) = (Phase::Closed(duty), now, work);
        let off = duty.off.as_secs_f64();
        let off = Duration::from_secs_f64(LEAVING.min(off)) + self.draw((off - LEAVING).max(0.0));
        self.until = now + off.saturating_sub(LATE + self.returning);
    }

    fn draw(&mut self, mean: f64) -> Duration {
        draw(&mut self.random, mean)
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
