//! Descriptors of every sort, by every call that makes or closes them: the report equals the program's own ledger, and
//! that equals what the kernel has open. The ledger's half is proved without leaktrace and without root by
//! [`the_programs_have_open_what_they_say`].

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    descriptors::{
        FdLedger, ONLY_DESCRIPTORS, Traced,
        ledger::Correcting::Anything,
        observe, proc,
        report::{FdReport, Limits, OpenFd},
        trace_and_check, trace_with,
    },
    is_long,
    leaker::{Leaker, compile},
    network::Network,
    programs,
    tracer::{Tracer, binary},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The program of that name below `leakers/descriptors`, with these arguments.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Result<Leaker> {
    Leaker::start_program(Command::new(compile(&format!("descriptors/{name}.c"))?).args(arguments))
}

/// Traces it and compares; what this kernel does not do is said, not passed over in silence.
pub(crate) fn check(name: &str, arguments: &[&str]) -> Result<Traced> {
    let traced = trace_and_check(start(name, arguments)?).with_context(|| format!("{name} {arguments:?}"))?;
    for absent in &traced.ledger.absent {
        eprintln!("not on this kernel: {absent}");
    }
    Ok(traced)
}

#[test]
fn the_programs_have_open_what_they_say() -> Result<()> {
    let programs: &[(&str, &[&str])] = &[
        ("files", &["opens", "dups", "pipes", "closes", "whole", "failures"]),
        ("sockets", &["sockets", "accepts", "connects", "rights", "interrupted"]),
        ("events", &["events", "processes", "privileged"]),
    ];
    for (name, modes) in programs {
        for mode in *modes {
            observe_alone(start(name, &[mode])?).with_context(|| format!("{name} {mode}"))?;
        }
    }
    let others: [(&str, &[&str]); 6] = [
        ("busy_calls", &["1"]),
        ("uring", &[]),
        ("children", &[]),
        ("many", &["499", "503", "2003"]),
        ("close_wait", &["13", "7"]),
        ("race", &["1"]),
    ];
    for (name, arguments) in others {
        observe_alone(start(name, arguments)?).context(name)?;
    }
    observe_alone(exec()?).context("exec")
}

fn observe_alone(mut leaker: Leaker) -> Result<()> {
    observe(&mut leaker)?;
    leaker.finish()
}

#[test]
fn files_by_every_call() -> Result<()> {
    check("files", &["opens"])?;
    Ok(())
}

#[test]
fn copies_and_what_they_replace() -> Result<()> {
    check("files", &["dups"])?;
    Ok(())
}

#[test]
fn pipes() -> Result<()> {
    check("files", &["pipes"])?;
    Ok(())
}

#[test]
fn closes_of_one_and_of_many() -> Result<()> {
    check("files", &["closes"])?;
    check("files", &["whole"])?;
    Ok(())
}

#[test]
fn calls_that_fail_open_nothing() -> Result<()> {
    check("files", &["failures"])?;
    Ok(())
}

#[test]
fn events_timers_and_memory() -> Result<()> {
    check("events", &["events"])?;
    Ok(())
}

#[test]
fn processes_and_what_is_taken_from_them() -> Result<()> {
    check("events", &["processes"])?;
    Ok(())
}

#[test]
fn what_only_root_may_have() -> Result<()> {
    check("events", &["privileged"])?;
    Ok(())
}

/// No system call returns these: their sites are those that submitted them.
#[test]
fn io_uring_opens_and_closes() -> Result<()> {
    let Traced { report, .. } = check("uring", &[])?;
    let connected = |fd: &&OpenFd| report.site(fd.connected_by).is_some_and(|site| site.has("connected_by_ring"));
    ensure!(report.fds.iter().filter(connected).count() == 2, "not two connected by the ring:\n{report}");
    Ok(())
}

#[test]
fn children_have_descriptors_of_their_own() -> Result<()> {
    check("children", &[])?;
    Ok(())
}

/// With and without frame pointers, and with the heap traced at the same time.
#[test]
fn however_it_is_compiled_and_whatever_else_is_traced() -> Result<()> {
    let program = programs::files_without_frame_pointers().compile()?;
    trace_and_check(Leaker::start_program(Command::new(&program).arg("dups"))?)?;
    let mut leaker = Leaker::start_program(Command::new(&program).arg("opens"))?;
    let tracer = Tracer::attach(leaker.pid())?;
    let ledger = observe(&mut leaker)?;
    let ended = tracer.interrupt()?;
    ledger.check(&ended.descriptors()?)?;
    // fopen and opendir allocate; five streams and two directories are open.
    let heap = ended.report()?;
    heap.check_arithmetic()?;
    ensure!(heap.totals.inuse_objects >= 7, "the heap was not traced:\n{heap}");
    leaker.finish()
}

/// A program without an allocator has descriptors all the same.
#[test]
fn a_static_program() -> Result<()> {
    trace_and_check(Leaker::start_program(Command::new(programs::static_files().compile()?).arg("dups"))?)?;
    Ok(())
}

#[test]
fn what_nobody_touches_is_from_before() -> Result<()> {
    let leaker = start("files", &["no such mode"])?;
    let Traced { ledger, report } = trace_with(leaker, &[])?;
    ledger.check(&report)?;
    ensure!(report.sites.is_empty() && report.fds.len() >= 6, "{report}");
    ensure!(report.fds.iter().all(|fd| fd.origin == "before_attach" && fd.age_s.is_none()), "{report}");
    Ok(())
}

/// `exec.c`, which becomes a static program that opens nothing.
fn exec() -> Result<Leaker> {
    Leaker::start_program(Command::new(compile("descriptors/exec.c")?).arg(programs::after_exec().compile()?))
}

/// Tracing goes on, and the report shows what the new program was left with.
#[test]
fn exec_leaves_what_is_not_marked_to_be_closed() -> Result<()> {
    let mut leaker = exec()?;
    let tracer = Tracer::attach_with(leaker.pid(), ONLY_DESCRIPTORS)?;
    let ledger = observe(&mut leaker)?;
    let report = tracer.stop_for_descriptors()?;
    ensure!(report.state == "detached", "state is {:?}", report.state);
    ledger.check(&report)?;
    leaker.finish()
}

/// The final report of a target that ends shows what was open then.
#[test]
fn the_end_of_the_target_closes_nothing_in_the_report() -> Result<()> {
    let mut leaker = start("files", &["opens"])?;
    let tracer = Tracer::attach_with(leaker.pid(), ONLY_DESCRIPTORS)?;
    let ledger = observe(&mut leaker)?;
    leaker.finish()?;
    let report = tracer.wait()?.descriptors()?;
    ensure!(report.state == "exited", "state is {:?}", report.state);
    ledger.check(&report)
}

/// Eight threads that open, close, copy and connect without any order among them. `LEAKTRACE_LONG=1` races for longer.
#[test]
fn threads_race_for_the_same_numbers() -> Result<()> {
    let seconds = if is_long() { "60" } else { "20" };
    let mut leaker = start("race", &[seconds])?;
    let tracer = Tracer::attach_with(leaker.pid(), ONLY_DESCRIPTORS)?;
    let ledger = observe(&mut leaker)?;
    let report = tracer.stop_for_descriptors()?;
    eprintln!("{seconds} s, {} calls that opened: {:?}", opened(&ledger), report.corrections);
    // Looking in the middle of it may put something right; at the end everything is.
    ledger.check_with(&report, Anything)?;
    let listed = report.fds.iter().map(|fd| (fd.fd, fd.kind.clone())).collect();
    ensure!(proc::open(leaker.pid())? == listed, "the kernel has others open:\n{report}");
    leaker.finish()
}

fn opened(ledger: &FdLedger) -> u64 {
    ledger.sites.iter().map(|site| site.opened).sum()
}

/// Raises what one process may open to `needed`, for the programs that this one starts, until it is dropped.
struct Openable {
    system: Option<String>,
    own: Rlimit,
}

impl Openable {
    const FILE: &str = "/proc/sys/fs/nr_open";

    fn raise(needed: u64) -> Result<Self> {
        let own = getrlimit(Resource::Nofile);
        let system = fs::read_to_string(Self::FILE)?;
        let system = if system.trim().parse::<u64>()? < needed {
            fs::write(Self::FILE, needed.to_string()).with_context(|| format!("cannot raise {}", Self::FILE))?;
            Some(system)
        } else {
            None
        };
        let openable = Self { system, own };
        let maximum = own.maximum.map(|maximum| maximum.max(needed));
        setrlimit(Resource::Nofile, Rlimit { current: own.current, maximum }).context("cannot raise RLIMIT_NOFILE")?;
        Ok(openable)
    }
}

impl Drop for Openable {
    fn drop(&mut self) {
        // Higher than they were is no reason to fail.
        let _ = setrlimit(Resource::Nofile, self.own);
        if let Some(system) = &self.system {
            let _ = fs::write(Self::FILE, system);
        }
    }
}

/// About half of them from before. Where root may not raise its limits (a container without `CAP_SYS_RESOURCE`), as many
/// as there may be, which is said.
#[test]
fn a_hundred_thousand_descriptors() -> Result<()> {
    const LIMIT: u64 = 111_000;

    let openable = Openable::raise(LIMIT);
    let limit = match &openable {
        Ok(_) => LIMIT,
        Err(error) => {
            let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(LIMIT).min(LIMIT);
            eprintln!("{error:#}: {hard} descriptors instead of {LIMIT}");
            hard
        }
    };
    let (before, after) = (limit / 2 - 5003, limit / 2 - 4999);
    let Traced { ledger, report } =
        check("many", &[before, after, limit].map(|number| number.to_string()).each_ref().map(String::as_str))?;
    ensure!(ledger.site("opened_late")?.open == after, "the program opened fewer");
    ensure!(report.limits.is_some_and(|limits| limits.nofile_soft == limit), "{:?}", report.limits);
    Ok(())
}

fn near_limit_marks(report: &FdReport) -> Vec<Option<u64>> {
    report.signals("near_limit").iter().map(|signal| signal.mark).collect()
}

#[test]
fn a_limit_that_is_reached_is_signalled() -> Result<()> {
    let Traced { report, .. } = check("many", &["11", "0", "211"])?;
    ensure!(near_limit_marks(&report) == [Some(95)], "{report}");
    let Some(Limits { nofile_soft, open, .. }) = report.limits else { anyhow::bail!("no limits:\n{report}") };
    // A descriptor above the limit, from before the limit was set, counts as well.
    ensure!(nofile_soft == 211 && open >= 211, "{:?}", report.limits);
    Ok(())
}

#[test]
fn marks_before_the_limit() -> Result<()> {
    // Those that it is started with come on top, and are few: counted before the limits are chosen.
    let idle = start("many", &["11", "1", "1009"])?;
    let inherited = proc::open(idle.pid())?.len() - 11;
    observe_alone(idle)?;
    for (open, mark) in [(789, None), (811, Some(80)), (947, Some(80)), (953, Some(95))] {
        let after = open - 11 - inherited;
        let Traced { report, .. } = check("many", &["11", &after.to_string(), "1000"])?;
        let marks = near_limit_marks(&report);
        ensure!(marks == mark.into_iter().map(Some).collect::<Vec<_>>(), "{open} of 1000: {marks:?}\n{report}");
    }
    Ok(())
}

/// Without the right to enter the target's network, its connections have no details, which is said; all else is exact.
#[test]
fn a_network_that_may_not_be_entered() -> Result<()> {
    let network = Network::new()?;
    let mut command = Command::new(compile("descriptors/sockets.c")?);
    network.enter(&mut command)?;
    let mut leaker = Leaker::start_program(command.arg("connects"))?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all,+bpf,+perfmon,+sys_ptrace", "--"]).arg(binary()?);
    let tracer = Tracer::attach_command(&mut command, leaker.pid(), ONLY_DESCRIPTORS)?;
    let ledger = observe(&mut leaker)?;
    let report = tracer.stop_for_descriptors()?;
    ledger.check(&report)?;
    let said = report.limitations.iter().any(|text| text.to_lowercase().contains("network"));
    ensure!(said, "it does not say that it could not look into the network:\n{report}");
    ensure!(report.fds.iter().all(|fd| fd.recv_queue.is_none()), "from where?\n{report}");
    leaker.finish()
}

/// With the right, they are those of the target's network, not of leaktrace's.
#[test]
fn a_network_of_the_targets_own() -> Result<()> {
    let network = Network::new()?;
    let mut command = Command::new(compile("descriptors/sockets.c")?);
    network.enter(&mut command)?;
    let Traced { report, .. } = trace_and_check(Leaker::start_program(command.arg("connects"))?)?;
    super::sockets::expect_connections(&report)?;
    ensure!(report.limitations.is_empty(), "{:?}", report.limitations);
    Ok(())
}
