//! Keeps what looking at system calls costs below a share of CPU time.
//!
//! While a program looks at them, every call of every process of the machine takes longer. So the limit holds twice: for what
//! the targets' calls cost beside the targets' CPU time, and for all calls beside what the machine does. Where there are
//! too many, they are looked at for a part of the time: what is opened in between is found in the kernel's table, without
//! its call stack.

use std::time::{Duration, Instant};

use super::duty::{MARGIN, NEGLIGIBLE, draw, duty_of};
use crate::aggregate::Duty;

/// How long they are looked at before it is judged what that costs.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Time between looks at the cost while they are looked at all the time.
const LOOK: Duration = Duration::from_secs(1);
/// How much of what was measured before counts beside the next measurement.
const FADING: f64 = 0.8;
/// So many times as much as they cost must be free, and in so many windows on end, before they are looked at all the time again.
const ROOM: f64 = 1.5;
const SETTLED: u32 = 8;

/// What looking may cost, as shares of CPU time, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CallLimits {
    /// Of the targets' own.
    pub(super) targets: f64,
    /// Of the whole machine's; without end, if the others do not count.
    pub(super) machine: f64,
}

/// What was done until now, in seconds of CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CallWork {
    /// By looking at the targets' system calls, and at all of the machine.
    pub(super) targets_calls: f64,
    pub(super) all_calls: f64,
    /// By the targets, and by the whole machine.
    pub(super) targets: f64,
    pub(super) machine: f64,
}

/// Since when it is counted what looking costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    begun: Instant,
    /// What the machine had done by then.
    machine: f64,
}

impl Account {
    pub(super) fn open(now: Instant, work: &CallWork) -> Self {
        Self { begun: now, machine: work.machine }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Wait,
    /// Look at no system call.
    Rest,
    /// Look at them again.
    Resume,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Staying,
    Open(Duty),
    Closed(Duty),
}

/// A sum of late, and of how many seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Late(f64, f64);

impl Late {
    fn add(&mut self, amount: f64, seconds: f64) {
        *self = Self(self.0 * FADING + amount, self.1 * FADING + seconds);
    }

    fn per_second(self) -> f64 {
        if self.1 > 0.0 { self.0 / self.1 } else { 0.0 }
    }
}

/// Decides.
#[derive(Debug)]
pub(super) struct CallTurns {
    limits: CallLimits,
    account: Account,
    phase: Phase,
    since: Instant,
    before: CallWork,
    until: Instant,
    /// While they are looked at.
    targets_calls: Late,
    all_calls: Late,
    /// All the time.
    targets: Late,
    machine: Late,
    /// Windows with room on end.
    roomy: u32,
    random: fastrand::Rng,
}

impl CallTurns {
    /// Begins, with system calls looked at.
    pub(super) fn new(
        limits: CallLimits,
        account: Account,
        now: Instant,
        before: CallWork,
        random: fastrand::Rng,
    ) -> Self {
        let late = Late::default();
        Self {
            limits,
            account,
            phase: Phase::Staying,
            since: now,
            before,
            until: now + FIRST_LOOK,
            targets_calls: late,
            all_calls: late,
            targets: late,
            machine: late,
            roomy: 0,
            random,
        }
    }

    /// Whether there may be something to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// For how much of the time they are looked at, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        match self.phase {
            Phase::Staying => 1.0,
            Phase::Open(duty) | Phase::Closed(duty) => duty.share(),
        }
    }

    /// The share of the targets' CPU time that it takes.
    pub(super) fn cost(&self) -> f64 {
        self.targets_calls.per_second() * self.share() / self.targets.per_second().max(NEGLIGIBLE)
    }

    /// Decides what to do.
    pub(super) fn step(&mut self, now: Instant, work: CallWork) -> Turn {
        let seconds = (now - self.since).as_secs_f64().max(1e-3);
        let before = std::mem::replace(&mut self.before, work);
        self.since = now;
        self.targets.add(work.targets - before.targets, seconds);
        self.machine.add(work.machine - before.machine, seconds);
        if let Phase::Closed(duty) = self.phase {
            if self.is_overdrawn(now, &work) {
                self.until = now + draw(&mut self.random, duty.off.as_secs_f64());
                return Turn::Wait;
            }
            self.phase = Phase::Open(duty);
            self.until = now + draw(&mut self.random, duty.on.as_secs_f64());
            return Turn::Resume;
        }
        self.targets_calls.add(work.targets_calls - before.targets_calls, seconds);
        self.all_calls.add(work.all_calls - before.all_calls, seconds);
        let affordable = self.affordable();
        if self.phase == Phase::Staying {
            self.until = now + LOOK;
            // What was planned to be below the limit by a margin may be anywhere below it.
            return if affordable >= 1.0 { Turn::Wait } else { self.close(now, affordable) };
        }
        self.roomy = if affordable >= ROOM { self.roomy + 1 } else { 0 };
        if self.roomy >= SETTLED {
            (self.phase, self.roomy, self.until) = (Phase::Staying, 0, now + LOOK);
            return Turn::Wait;
        }
        self.close(now, affordable)
    }

    /// For how much of the time they may be looked at.
    fn affordable(&self) -> f64 {
        let share =
            |limit: f64, of: Late, calls: Late| allowed(limit, of.per_second(), 1.0) / calls.per_second().max(1e-9);
        let CallLimits { targets, machine } = self.limits;
        share(targets, self.targets, self.targets_calls).min(share(machine, self.machine, self.all_calls))
    }

    /// Whether looking has cost more until now than it may.
    fn is_overdrawn(&self, now: Instant, work: &CallWork) -> bool {
        let Account { begun, machine: machine_before } = self.account;
        let seconds = (now - begun).as_secs_f64();
        let CallLimits { targets, machine } = self.limits;
        work.targets_calls > allowed(targets, work.targets, seconds)
            || work.all_calls > allowed(machine, work.machine - machine_before, seconds)
    }

    fn close(&mut self, now: Instant, affordable: f64) -> Turn {
        let duty = duty_of(affordable * MARGIN);
        self.phase = Phase::Closed(duty);
        self.until = now + draw(&mut self.random, duty.off.as_secs_f64());
        Turn::Rest
    }
}

/// What looking may take beside so much work in so many seconds. What takes next to nothing is no burden.
fn allowed(limit: f64, work: f64, seconds: f64) -> f64 {
    if limit.is_infinite() { limit } else { (limit * work).max(NEGLIGIBLE * seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through `seconds` of a load: so many seconds of CPU time per second by the targets' calls, all calls, the targets
    /// and the machine. Returns what was done, and the share of the time that calls were looked at.
    fn go(turns: &mut CallTurns, now: &mut Instant, load: CallWork, seconds: u32) -> (CallWork, f64) {
        let (mut work, mut looks) = (turns.before, turns.phase == Phase::Staying);
        let (begun, mut looked) = (work, 0_u32);
        for _ in 0..seconds * 100 {
            *now += Duration::from_millis(10);
            work.targets += load.targets / 100.0;
            work.machine += load.machine / 100.0;
            if looks {
                work.targets_calls += load.targets_calls / 100.0;
                work.all_calls += load.all_calls / 100.0;
                looked += 1;
            }
            if turns.is_due(*now) {
                match turns.step(*now, work) {
                    Turn::Wait => {}
                    Turn::Rest => looks = false,
                    Turn::Resume => looks = true,
                }
            }
        }
        turns.before = work;
        let done = CallWork {
            targets_calls: work.targets_calls - begun.targets_calls,
            all_calls: work.all_calls - begun.all_calls,
            targets: work.targets - begun.targets,
            machine: work.machine - begun.machine,
        };
        (done, f64::from(looked) / f64::from(seconds * 100))
    }

    fn load(targets_calls: f64, all_calls: f64, targets: f64, machine: f64) -> CallWork {
        CallWork { targets_calls, all_calls, targets, machine }
    }

    fn begin(limits: CallLimits, now: Instant, before: CallWork, seed: u64) -> CallTurns {
        CallTurns::new(limits, Account::open(now, &before), now, before, fastrand::Rng::with_seed(seed))
    }

    const BOTH: CallLimits = CallLimits { targets: 0.01, machine: 0.01 };

    #[test]
    fn the_limit_holds_for_the_targets_and_for_the_machine() {
        let mut now = Instant::now();
        for (seed, case) in [(17, load(0.04, 0.04, 0.8, 1.9)), (23, load(0.001, 0.12, 0.8, 1.9))] {
            let mut turns = begin(BOTH, now, CallWork::default(), seed);
            let (done, looked) = go(&mut turns, &mut now, case, 1_200);
            assert!(done.targets_calls <= 0.01 * done.targets && done.all_calls <= 0.01 * done.machine, "{done:?}");
            assert!(looked > 0.03, "{looked} of {case:?}");
            assert!(turns.cost() <= 0.01, "{turns:?}");
        }
    }

    #[test]
    fn what_was_spent_before_there_was_a_limit_is_saved() {
        let (mut now, before) = (Instant::now(), CallWork { targets_calls: 0.4, ..CallWork::default() });
        let mut turns = begin(BOTH, now, before, 37);
        go(&mut turns, &mut now, load(0.04, 0.04, 0.8, 1.9), 40);
        // But for the look that is under way.
        let CallWork { targets_calls, targets, .. } = turns.before;
        assert!(targets_calls <= 0.4 + 0.25 * 0.04 + 0.01, "{targets_calls}");
        go(&mut turns, &mut now, load(0.04, 0.04, 0.8, 1.9), 80);
        let CallWork { targets_calls, targets: later, .. } = turns.before;
        assert!(targets < later && targets_calls > 0.6 && targets_calls <= 0.01 * later * 1.03, "{targets_calls}");
    }

    #[test]
    fn the_account_goes_on_where_turns_begin_anew() {
        let mut now = Instant::now();
        let mut turns = begin(BOTH, now, CallWork::default(), 41);
        go(&mut turns, &mut now, load(0.04, 0.04, 0.8, 1.9), 3_600);
        // A child has loaded its program.
        let mut turns = CallTurns::new(BOTH, turns.account, now, turns.before, fastrand::Rng::with_seed(43));
        go(&mut turns, &mut now, load(0.04, 0.04, 0.8, 1.9), 60);
        let (_, looked) = go(&mut turns, &mut now, load(0.04, 0.04, 0.8, 1.9), 60);
        assert!(looked > 0.05, "{looked}");
    }

    #[test]
    fn what_others_pay_need_not_count() {
        let mut now = Instant::now();
        let limits = CallLimits { machine: f64::INFINITY, ..BOTH };
        let mut turns = begin(limits, now, CallWork::default(), 31);
        // Nor does an idle machine keep from anything.
        assert_eq!(go(&mut turns, &mut now, load(0.002, 0.5, 0.8, 1.9), 60).1, 1.0);
        assert_eq!(go(&mut turns, &mut now, load(0.0, 0.0, 0.0, 0.0), 60).1, 1.0);
    }

    #[test]
    fn what_costs_little_is_looked_at_all_the_time_and_again_when_the_load_has_fallen() {
        let mut now = Instant::now();
        let mut turns = begin(BOTH, now, CallWork::default(), 29);
        assert_eq!(go(&mut turns, &mut now, load(0.002, 0.003, 0.8, 1.9), 60).1, 1.0);
        // Beside an idle target, too.
        assert_eq!(go(&mut turns, &mut now, load(0.0005, 0.0008, 0.001, 0.002), 60).1, 1.0);
        assert!(go(&mut turns, &mut now, load(0.1, 0.1, 0.8, 1.9), 120).1 < 0.2);
        go(&mut turns, &mut now, load(0.002, 0.003, 0.8, 1.9), 120);
        assert_eq!(go(&mut turns, &mut now, load(0.002, 0.003, 0.8, 1.9), 60).1, 1.0, "{turns:?}");
    }
}
