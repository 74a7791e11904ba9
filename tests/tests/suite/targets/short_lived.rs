//! Children that are gone before anybody can look at them, and pids that come again at once.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    leaker::{Leaker, compile},
    ledger::{Match::Innermost, Scope::ListedSites},
    tracer::Tracer,
};

const FOLLOWING: &[&str] = &["--follow-forks", "-v", "--duration", "600s"];

#[test]
fn children_that_are_gone_at_once() -> Result<()> {
    const CHILDREN: usize = 211 + 31;

    let mut leaker = Leaker::start("short_lived.c")?;
    let master = leaker.pid();
    let tracer = Tracer::attach_with(master, FOLLOWING)?;
    let ledger = leaker.release()?;
    let ended = tracer.interrupt()?;
    leaker.finish()?;
    let report = ended.report()?;
    ledger.check(&report, Innermost, ListedSites)?;
    let children = || report.processes.iter().filter(|process| process.pid != master);
    ensure!(children().count() == CHILDREN, "{} children", children().count());
    for child in children() {
        ensure!(child.parent == Some(master) && child.state == "exited", "{child:?}");
        // What one was seen to allocate is known, and so is that it was not seen all the time.
        ensure!(child.counters.alloc_objects <= 13 && child.unseen_s > 0.0, "{child:?}");
    }
    let fds = ended.descriptors()?;
    fds.check_arithmetic()?;
    let of_children = fds.sites.iter().filter(|site| site.has("child_open"));
    let (opened, open) = of_children.fold((0, 0), |(opened, open), site| (opened + site.opened, open + site.open));
    ensure!((opened, open) == (211 * 3 + 31, 0), "children opened {opened}, of which {open} are open:\n{fds}");
    Ok(())
}

#[test]
fn a_pid_that_comes_again_at_once() -> Result<()> {
    let mut leaker = Leaker::start_program(Command::new(compile("short_lived.c")?).arg("same"))?;
    let mut tracer = Tracer::attach_with(leaker.pid(), FOLLOWING)?;
    leaker.say("go")?;
    let line = leaker.answer()?;
    let last: u32 = line.strip_prefix("last ").with_context(|| line.clone())?.parse()?;
    for _ in 0..7 {
        tracer.wait_for_line(&format!("child {last} of "))?;
    }
    leaker.say("go")?;
    let ledger = leaker.ledger()?;
    let ended = tracer.interrupt()?;
    leaker.finish()?;
    let report = ended.report()?;
    ledger.check(&report, Innermost, ListedSites)?;
    let of_that_number: Vec<_> = report.processes.iter().filter(|process| process.pid == last).collect();
    let (former, [latest]) = of_that_number.split_at(6) else { anyhow::bail!("{of_that_number:?}") };
    ensure!(former.iter().all(|process| process.state == "exited"), "{former:?}");
    ensure!(latest.state == "detached" && latest.counters.inuse_objects == 101, "{latest:?}");
    let fds = ended.descriptors()?;
    fds.check_arithmetic()?;
    let open = fds.fds.iter().filter(|fd| fds.site(fd.site).is_some_and(|site| site.has("last_open")));
    ensure!(open.filter(|fd| fd.tgid == last).count() == 11, "{fds}");
    let stale = fds.sites.iter().filter(|site| site.has("child_open") && site.open > 0).count();
    ensure!(stale == 0 && fds.corrections == Default::default(), "{fds}");
    Ok(())
}
