//! The Snapshot as a report for people, for where there is no terminal to be interactive on.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{
    FrameText, Sort,
    estimates::{estimate_mark, marked},
    library_runs,
    mode_words::{calls_words, modes_words},
    stack_end_words, state_name, state_words,
    text_analysis::write_analysis,
    text_fds::write_descriptors,
    text_growth::{write_faulted_sites, write_growth},
    text_heap::{write_heap_numbers, write_heap_sites, write_mapped},
    units::{amount, count, counted, duration},
    untrusted::{LONGEST, clean, displayable},
    words::{ending_words, loss_words},
};
use crate::{
    aggregate::{IncompleteCount, LossCount, Note, ProcessSnapshot, Snapshot, Suppressed, TargetInfo, Tgid},
    symbolize::Stack,
};

/// Lines of a stack. Runs of library frames take one; JSON has them all.
const FRAMES: usize = 32;
/// Processes that are listed.
const PROCESSES: usize = 32;
/// Columns of the command line that are shown.
const CMDLINE_COLUMNS: usize = 160;
/// The same, of one of several processes. Servers tell their workers apart there.
const TITLE_COLUMNS: usize = 48;

/// What a report lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// How many sites.
    pub top: usize,
    /// In which order.
    pub sort: Sort,
    /// Only sites with a block that has been outstanding at least this long; zero for all.
    pub min_age: Duration,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { top: 20, sort: Sort::default(), min_age: Duration::ZERO }
    }
}

/// Writes the report: the heap's part, then that of the descriptors if they are traced. Each ends with what it does not
/// show.
pub fn write_text(snapshot: &Snapshot, options: &ReportOptions, out: &mut dyn Write) -> io::Result<()> {
    header(snapshot, out)?;
    if let Some(faults) = &snapshot.growth {
        write_faulted_sites(snapshot, faults, options, out)?;
    }
    let mapped = snapshot.growth.is_some() && snapshot.sites.iter().any(|site| site.kind.is_range());
    if mapped {
        writeln!(out)?;
        let how =
            if snapshot.modes.calls.is_some() { "while system calls were looked at" } else { "meanwhile, exactly" };
        writeln!(out, "Mapped {how}. What was touched of it is among the page faults above.")?;
    }
    if snapshot.heap_traced || mapped {
        write_heap_sites(snapshot, options, out)?;
    }
    match &snapshot.descriptors {
        Some(descriptors) => {
            write_descriptors(descriptors, snapshot.target.pid, snapshot.processes.len(), options, out)
        }
        None => Ok(()),
    }
}

fn header(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let Snapshot {
        started,
        elapsed,
        window: _,
        target,
        processes,
        state,
        ending,
        analysis: _,
        suppressions,
        notes,
        heap_traced,
        growth,
        modes,
        sites: _,
        totals: _,
        sample,
        rates: _,
        loss,
        incomplete,
        stats: _,
        probes: _,
        features: _,
        own_cost: _,
        overhead,
        descriptors: _,
    } = snapshot;
    let TargetInfo { pid, comm, exe, cmdline } = target;
    let state = match ending {
        Some(ending) => format!("EXITED {}, numbers are final", ending_words(*ending)),
        None => state_words(state).to_owned(),
    };
    writeln!(out, "leaktrace: {}[{}], {state}", displayable(comm), pid.0)?;
    writeln!(out, "command      {}", command(exe, cmdline, CMDLINE_COLUMNS))?;
    let mark = estimate_mark(sample.is_some());
    write_processes(processes, mark, out)?;
    let since = started.strftime("%Y-%m-%d %H:%M:%S UTC");
    writeln!(out, "traced       {} since {since}", duration(*elapsed))?;
    if let Some(faults) = growth {
        write_growth(snapshot, faults, out)?;
        write_mapped(&snapshot.sites, true, out)?;
    } else if *heap_traced {
        write_heap_numbers(snapshot, out)?;
    } else {
        writeln!(out, "memory       not traced: started with --fds")?;
    }
    if let Some(words) = modes_words(modes) {
        writeln!(out, "mode         {words}")?;
    }
    if let Some(words) = calls_words(modes) {
        writeln!(out, "calls        {words}")?;
    }
    if let Some(overhead) = overhead {
        let percent = overhead.share() * 100.0;
        writeln!(out, "overhead     {percent:.1} % of the CPU time used is spent in probes")?;
    }
    for Note { what, pids } in notes {
        let whose = match (pids.as_slice(), processes.len()) {
            ([], _) => String::new(),
            ([Tgid(pid)], 2..) => format!("process {pid}: "),
            (pids, 2..) => format!("{} processes: ", pids.len()),
            _ => String::new(),
        };
        writeln!(out, "note         {whose}{what}")?;
    }
    write_analysis(snapshot, out)?;
    for Suppressed { pattern, sites, inuse_bytes, inuse_objects } in suppressions {
        let held = marked(mark, &amount(*inuse_bytes, *inuse_objects));
        writeln!(out, "suppressed   {held} of {} by leak:{}", counted(*sites, "site", "sites"), displayable(pattern))?;
    }
    if loss.is_empty() {
        writeln!(out, "loss         none")?;
    }
    for (index, &LossCount { cause, count: lost }) in loss.iter().enumerate() {
        let label = if index == 0 { "LOSS" } else { "" };
        writeln!(out, "{label:<12} {} {} [{}]", count(lost), loss_words(cause), cause.name())?;
    }
    for (index, &IncompleteCount { end, objects }) in incomplete.iter().enumerate() {
        let label = if index == 0 { "stacks" } else { "" };
        let words = stack_end_words(end).unwrap_or_default();
        writeln!(out, "{label:<12} of {} not whole: {words} [{}]", counted(objects, "object", "objects"), end.name())?;
    }
    Ok(())
}

/// One line for each process, when there are several.
fn write_processes(processes: &[ProcessSnapshot], mark: &str, out: &mut dyn Write) -> io::Result<()> {
    if processes.len() < 2 {
        return match processes.first() {
            Some(ProcessSnapshot { unseen, .. }) if !unseen.is_zero() => {
                let unseen = unseen.as_secs_f64() * 1e3;
                writeln!(out, "unseen       {unseen:.1} ms, from an exec to the probes for the new program")
            }
            _ => Ok(()),
        };
    }
    for (index, process) in processes.iter().take(PROCESSES).enumerate() {
        let ProcessSnapshot { info, parent, state, began: _, ended, unseen, totals, fds } = process;
        let label = if index == 0 { "processes" } else { "" };
        let held = marked(mark, &amount(totals.inuse_bytes(), totals.inuse_objects()));
        let fds = fds.map(|fds| format!(", {}", counted(fds, "descriptor", "descriptors"))).unwrap_or_default();
        let ended = ended.map(|ended| format!(" after {}", duration(ended))).unwrap_or_default();
        let parent = parent.map(|Tgid(pid)| format!(" of {pid}")).unwrap_or_default();
        let unseen =
            if unseen.is_zero() { String::new() } else { format!(", {:.1} ms unseen", unseen.as_secs_f64() * 1e3) };
        let (comm, pid, state) = (displayable(&info.comm), info.pid.0, state_name(state));
        let what = command(&info.exe, &info.cmdline, TITLE_COLUMNS);
        writeln!(out, "{label:<12} {comm}[{pid}]{parent} {state}{ended}, {held}{fds}{unseen} ({what})")?;
    }
    if processes.len() > PROCESSES {
        writeln!(out, "{:<12} … {} more", "", processes.len() - PROCESSES)?;
    }
    Ok(())
}

fn command(exe: &str, cmdline: &[String], columns: usize) -> String {
    if cmdline.is_empty() {
        return clean(exe, columns).into_owned();
    }
    clean(&cmdline.join(" "), columns).into_owned()
}

pub(super) fn write_stack(stack: &Stack, out: &mut dyn Write) -> io::Result<()> {
    let frames = &stack.frames;
    let mut runs = library_runs(stack).into_iter().peekable();
    let (mut index, mut lines) = (0, 0);
    while index < frames.len() && lines < FRAMES {
        let text = FrameText::new(&frames[index], LONGEST);
        match runs.next_if(|run| run.start == index) {
            Some(run) => {
                writeln!(out, "    … {} and {} more library frames", text.name, run.len() - 1)?;
                index = run.end;
            }
            None => {
                writeln!(out, "    {text}")?;
                index += 1;
            }
        }
        lines += 1;
    }
    if index < frames.len() {
        writeln!(out, "    … {} more", frames.len() - index)?;
    }
    match stack_end_words(stack.end) {
        Some(words) => writeln!(out, "    [incomplete stack: {words}]"),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
