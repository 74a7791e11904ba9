//! The Snapshot as a report for people, for where there is no terminal to be interactive on.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use tracer_common::event::SiteKind;

use super::{
    FrameText, Sort,
    estimates::{estimate_mark, marked, with_errors},
    growth_words::faulted_words,
    library_runs,
    merged::{Merged, merge, owner_words, parts_words},
    mode_words::modes_words,
    sort_indices, stack_end_words,
    startup::is_startup,
    state_name, state_words,
    text_analysis::{write_analysis, write_verdict},
    text_fds::write_descriptors,
    text_growth::{write_faulted_sites, write_growth},
    units::{bytes, count, counted, duration, rate, signed_bytes},
    untrusted::{LONGEST, clean, displayable},
    words::{ending_words, kind_words, loss_words},
};
use crate::{
    aggregate::{
        BlockCounters, IncompleteCount, LossCount, Note, ProcessSnapshot, Rates, Sampled, SiteSnapshot, Snapshot,
        Suppressed, TargetInfo, Tgid,
    },
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
        writeln!(out, "Mapped meanwhile, exactly. What was touched of it is among the page faults above.")?;
    }
    if snapshot.heap_traced || mapped {
        heap_sites(snapshot, options, out)?;
    }
    match &snapshot.descriptors {
        Some(descriptors) => {
            write_descriptors(descriptors, snapshot.target.pid, snapshot.processes.len(), options, out)
        }
        None => Ok(()),
    }
}

fn heap_sites(snapshot: &Snapshot, options: &ReportOptions, out: &mut dyn Write) -> io::Result<()> {
    let processes = snapshot.processes.len();
    let merged = merge(snapshot.sites.iter().filter(|site| !site.kind.is_faulted()), processes);
    let listing = Listing::new(snapshot, &merged, options);
    for (rank, entry) in listing.shown.iter().enumerate() {
        writeln!(out)?;
        write_site(rank + 1, entry, processes, out)?;
    }
    writeln!(out)?;
    writeln!(out, "{}", listing.rest_words(options))
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
        heap_numbers(snapshot, out)?;
    } else {
        writeln!(out, "memory       not traced: started with --fds")?;
    }
    if let Some(words) = modes_words(modes) {
        writeln!(out, "mode         {words}")?;
    }
    if let Some(overhead) = overhead {
        let percent = overhead.share() * 100.0;
        writeln!(out, "overhead     {percent:.1} % of the CPU time used is spent in the allocator's probes")?;
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

fn heap_numbers(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let Snapshot { window, sites, totals, sample, rates, .. } = snapshot;
    let mark = estimate_mark(sample.is_some());
    let sampled = sample.as_ref().map(|sample| &sample.totals);
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *totals;
    let heap_sites = sites.iter().filter(|site| site.kind == SiteKind::Heap).count();
    let from = counted(heap_sites as u64, "call site", "call sites");
    writeln!(out, "outstanding  {} from {from}", inuse_words(SiteKind::Heap, totals, sampled))?;
    let allocated = sampled.map(|sampled| (sampled.alloc_bytes(), sampled.alloc_objects()));
    let freed = sampled.map(|sampled| (sampled.free_bytes(), sampled.free_objects()));
    writeln!(out, "allocated    {}", with_errors(amount(alloc_bytes, alloc_objects), allocated))?;
    writeln!(out, "freed        {}", with_errors(amount(free_bytes, free_objects), freed))?;
    write_mapped(sites, false, out)?;
    let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s } = *rates;
    writeln!(
        out,
        "rates        {mark}{} allocations/s, {mark}{} frees/s, {mark}{}/s allocated, {mark}{}/s outstanding, over the last {}",
        rate(allocs_per_s),
        rate(frees_per_s),
        signed_bytes(alloc_bytes_per_s).trim_start_matches('+'),
        signed_bytes(inuse_bytes_per_s),
        duration(*window),
    )
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

/// What is mapped, by kind: with what allocators map, or besides.
fn write_mapped(sites: &[SiteSnapshot], with_allocators: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut kinds: BTreeMap<SiteKind, BlockCounters> = BTreeMap::new();
    for site in sites.iter().filter(|site| site.kind.is_range() && site.counters.inuse_objects() > 0) {
        *kinds.entry(site.kind).or_default() += site.counters;
    }
    for (index, (kind, counters)) in kinds.into_iter().enumerate() {
        let label = if index == 0 { "mapped" } else { "" };
        let what = if with_allocators && kind == SiteKind::Mmap { "anonymous memory" } else { kind_words(kind) };
        writeln!(out, "{label:<12} {}, {what}", amount_of(kind, &counters))?;
    }
    Ok(())
}

fn command(exe: &str, cmdline: &[String], columns: usize) -> String {
    if cmdline.is_empty() {
        return clean(exe, columns).into_owned();
    }
    clean(&cmdline.join(" "), columns).into_owned()
}

fn amount(size: u64, objects: u64) -> String {
    format!("{} in {}", bytes(size), counted(objects, "object", "objects"))
}

/// What is outstanding, with its errors where it is estimated.
fn inuse_words(kind: SiteKind, counters: &BlockCounters, sampled: Option<&Sampled>) -> String {
    with_errors(amount_of(kind, counters), sampled.map(|sampled| (sampled.inuse_bytes(), sampled.inuse_objects())))
}

/// What a site holds.
fn amount_of(kind: SiteKind, counters: &BlockCounters) -> String {
    amount_of_all(kind, counters.inuse_bytes(), counters.inuse_objects())
}

fn amount_of_all(kind: SiteKind, size: u64, objects: u64) -> String {
    if kind.is_range() {
        return format!("{} in {}", bytes(size), counted(objects, "mapping", "mappings"));
    }
    amount(size, objects)
}

fn write_site(rank: usize, entry: &Merged<SiteSnapshot>, processes: usize, out: &mut dyn Write) -> io::Result<()> {
    let SiteSnapshot {
        id: _,
        tgid: _,
        kind,
        counters,
        faulted: _,
        sampled,
        oldest,
        stack,
        verdict,
        ages: _,
        sizes: _,
        suppressed,
    } = &entry.sum;
    let sampled = sampled.as_deref();
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes: _, free_objects: _ } = *counters;
    let age = oldest.map_or_else(|| "unknown".to_owned(), duration);
    let allocated = sampled.map(|sampled| (sampled.alloc_bytes(), sampled.alloc_objects()));
    let amount_allocated = with_errors(amount_of_all(*kind, alloc_bytes, alloc_objects), allocated);
    let kind_words = if kind.is_range() { format!(", {}", kind.name()) } else { String::new() };
    writeln!(
        out,
        "#{rank} {} outstanding, oldest {age}, of {} allocated ({}{kind_words})",
        inuse_words(*kind, counters, sampled),
        amount_allocated,
        owner_words(entry, processes),
    )?;
    if let Some(words) = parts_words(entry, |size| format!("{}{}", estimate_mark(sampled.is_some()), bytes(size))) {
        writeln!(out, "    {words}")?;
    }
    match verdict {
        _ if *suppressed => writeln!(out, "    suppressed")?,
        Some(verdict) => write_verdict(verdict, out)?,
        None => {}
    }
    write_stack(stack, out)
}

/// A site as text, for those who tell others of it.
pub(crate) fn site_text(site: &SiteSnapshot) -> String {
    let mut text = Vec::new();
    let BlockCounters { alloc_bytes, alloc_objects, .. } = site.counters;
    let age = site.oldest.map_or_else(|| "unknown".to_owned(), duration);
    let held = amount_of(site.kind, &site.counters);
    let allocated = amount_of_all(site.kind, alloc_bytes, alloc_objects);
    let head = match site.faulted {
        Some(faulted) => format!("{} faulted in", faulted_words(faulted)),
        None => format!("{held} outstanding, oldest {age}, of {allocated} allocated"),
    };
    let written = writeln!(text, "{head} (process {})", site.tgid.0)
        .and_then(|()| site.verdict.as_ref().map_or(Ok(()), |verdict| write_verdict(verdict, &mut text)))
        .and_then(|()| write_stack(&site.stack, &mut text));
    written.expect("writes to memory");
    String::from_utf8_lossy(&text).into_owned()
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

/// The sites to list, and what is left out.
pub(super) struct Listing<'a> {
    pub(super) shown: Vec<&'a Merged<SiteSnapshot>>,
    /// What stands before their numbers.
    mark: &'static str,
    /// Left out by `top`.
    below: BlockCounters,
    below_sites: usize,
    /// Left out because it belongs to the program's start.
    startup: BlockCounters,
    startup_sites: usize,
    /// Left out by `min_age`.
    young: BlockCounters,
    young_sites: usize,
    /// Left out because there is nothing to see.
    idle_sites: usize,
}

impl<'a> Listing<'a> {
    pub(super) fn new(snapshot: &Snapshot, merged: &'a [Merged<SiteSnapshot>], options: &ReportOptions) -> Self {
        let ReportOptions { top, sort, min_age } = *options;
        let sums: Vec<SiteSnapshot> = merged.iter().map(|entry| entry.sum.clone()).collect();
        let mut indices: Vec<usize> = (0..sums.len()).collect();
        sort_indices(&mut indices, &sums, sort, |site| site.counters.alloc_objects as f64);
        let mut listing = Self {
            shown: Vec::new(),
            mark: estimate_mark(snapshot.sample.is_some()),
            below: BlockCounters::default(),
            below_sites: 0,
            startup: BlockCounters::default(),
            startup_sites: 0,
            young: BlockCounters::default(),
            young_sites: 0,
            idle_sites: 0,
        };
        for entry in indices.into_iter().map(|index| &merged[index]) {
            let site = &entry.sum;
            // Only who asks for allocations wants to see sites that leave nothing behind.
            if site.counters.inuse_objects() == 0 && sort != Sort::Allocs {
                listing.idle_sites += 1;
            } else if is_startup(snapshot, site) {
                listing.startup += site.counters;
                listing.startup_sites += 1;
            } else if !min_age.is_zero() && site.oldest.is_none_or(|age| age < min_age) {
                listing.young += site.counters;
                listing.young_sites += 1;
            } else if listing.shown.len() < top {
                listing.shown.push(entry);
            } else {
                listing.below += site.counters;
                listing.below_sites += 1;
            }
        }
        listing
    }

    /// In a sentence, what is shown and what is not.
    pub(super) fn rest_words(&self, options: &ReportOptions) -> String {
        let Self { shown, mark, below, below_sites, startup, startup_sites, young, young_sites, idle_sites } = self;
        let sites = |number: usize| counted(number as u64, "site", "sites");
        let mut rest = Vec::new();
        if *below_sites > 0 {
            let held = marked(mark, &amount(below.inuse_bytes(), below.inuse_objects()));
            rest.push(format!("{} holding {held} (--top {})", sites(*below_sites), options.top));
        }
        if *startup_sites > 0 {
            let held = marked(mark, &amount(startup.inuse_bytes(), startup.inuse_objects()));
            let whose = "of the loader and the libraries' start, before the program's own code";
            rest.push(format!("{} {whose}, holding {held}", sites(*startup_sites)));
        }
        if *young_sites > 0 {
            let held = marked(mark, &amount(young.inuse_bytes(), young.inuse_objects()));
            let age = duration(options.min_age);
            rest.push(format!(
                "{} holding {held}, without a block known to be {age} old (--min-age)",
                sites(*young_sites)
            ));
        }
        if *idle_sites > 0 {
            rest.push(format!("{} with nothing outstanding", sites(*idle_sites)));
        }
        if rest.is_empty() {
            return match shown.len() {
                0 => "No allocation was seen.".to_owned(),
                number => format!("Shown: all {}, by {}.", sites(number), options.sort.words()),
            };
        }
        format!("Shown: {}, by {}. Not shown: {}.", sites(shown.len()), options.sort.words(), rest.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn report(snapshot: &Snapshot, options: &ReportOptions) -> String {
        let mut out = Vec::new();
        write_text(snapshot, options, &mut out).expect("writes to memory");
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn normal() {
        insta::assert_snapshot!(report(&testing::normal(), &ReportOptions::default()));
    }

    #[test]
    fn growth_is_estimated_from_page_faults() {
        insta::assert_snapshot!(report(&testing::growth(), &ReportOptions { top: 2, ..Default::default() }));
    }

    #[test]
    fn page_faults_in_place_of_blocks_say_what_was_before() {
        let text = report(&testing::growth_for_the_budget(), &ReportOptions { top: 1, ..Default::default() });
        let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with('#')).collect();
        insta::assert_snapshot!(head.join("\n"));
    }

    #[test]
    fn estimates_are_marked_and_have_their_errors() {
        insta::assert_snapshot!(report(&testing::sampled(), &ReportOptions { top: 3, ..Default::default() }));
    }

    #[test]
    fn losses_are_told_in_words() {
        insta::assert_snapshot!(report(&testing::lossy(), &ReportOptions { top: 1, ..Default::default() }));
    }

    #[test]
    fn hostile_names_are_written_out() {
        let text = report(&testing::hostile(), &ReportOptions::default());
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn empty() {
        insta::assert_snapshot!(report(&testing::empty(), &ReportOptions::default()));
    }

    #[test]
    fn the_last_line_accounts_for_what_is_left_out() {
        let options = ReportOptions { top: 1, min_age: Duration::from_secs(5), sort: Sort::Objects };
        let text = report(&testing::exited(), &options);
        assert!(text.starts_with("leaktrace: imgserver[4242], EXITED, numbers are final\n"));
        insta::assert_snapshot!(text.lines().last().expect("has lines"));
    }

    #[test]
    fn several_processes_and_what_is_the_same_in_them() {
        insta::assert_snapshot!(report(&testing::several(), &ReportOptions::default()));
    }

    #[test]
    fn who_sorts_by_allocations_sees_idle_sites() {
        let text = report(&testing::normal(), &ReportOptions { top: 1, sort: Sort::Allocs, ..Default::default() });
        assert!(
            text.contains("#1 0 B in 0 objects outstanding, oldest unknown, of 34.2 MiB in 126,693 objects"),
            "{text}"
        );
        assert!(text.contains("img::decode(img::Reader&) src/decode.cc:210 (imgserver)"));
    }
}
