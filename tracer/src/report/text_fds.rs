//! The descriptors' part of the text report: where things stand, the call sites, and to whom connections lead.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    ReportOptions, Sort,
    fd_words::{
        concerns, connected_by_words, connecting_elsewhere, correction_words, fd_words, kinds_words, peer_words,
        places_words, share_words, signal_meaning, signal_words,
    },
    merged::{Merged, merge, owner_words, parts_words},
    text::write_stack,
    text_analysis::write_verdict,
    units::{UNKNOWN, count, counted, duration, latency, rate},
    untrusted::{columns, displayable},
};
use crate::aggregate::{Descriptors, Direction, FdKind, FdLimits, FdSite, OpenFd, Origin, Peer, SiteId, Tgid};

/// Descriptors that are listed for a signal.
const CONCERNED: usize = 5;
/// Columns of a peer's name in the table.
const PEER: usize = 64;

pub(super) fn write_descriptors(
    descriptors: &Descriptors,
    target: Tgid,
    processes: usize,
    options: &ReportOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out)?;
    header(descriptors, target, out)?;
    sites(descriptors, processes, options, out)?;
    peers(descriptors, options.top, out)
}

fn line(label: &str, words: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{label:<12} {words}")
}

/// A paragraph of lines; the label stands before the first.
fn labelled(label: &str, lines: impl IntoIterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    lines.into_iter().enumerate().try_for_each(|(index, words)| line(if index == 0 { label } else { "" }, &words, out))
}

fn header(descriptors: &Descriptors, target: Tgid, out: &mut dyn Write) -> io::Result<()> {
    let Descriptors { sites, open, looked, peers: _, limits, signals, corrections, limitations, stale } = descriptors;
    let stand = match limits {
        Some(limits) => {
            let FdLimits { nofile_soft, nofile_hard, open } = *limits;
            let raise = if nofile_hard > nofile_soft {
                format!("; the target may raise it to {}", count(nofile_hard))
            } else {
                String::new()
            };
            let (all, limit) = (descriptors.open.len() as u64, count(nofile_soft));
            if open == all {
                format!("{} open, {} of the limit of {limit}{raise}", count(open), share_words(limits))
            } else {
                // Of several processes, the one that is nearest to its limit.
                let (all, open) = (count(all), count(open));
                format!("{all} open; one process has {open}, {} of its limit of {limit}{raise}", share_words(limits))
            }
        }
        None => format!("{} open", count(open.len() as u64)),
    };
    line("descriptors", &stand, out)?;
    let (opened, closed) =
        sites.iter().fold((0, 0), |(opened, closed), site| (opened + site.opened, closed + site.closed));
    let from = counted(descriptors.opening_sites().count() as u64, "call site", "call sites");
    let held = count(descriptors.open_since_attach());
    line(
        "opened",
        &format!("{} since attach, {} of them closed, {held} open, from {from}", count(opened), count(closed)),
        out,
    )?;
    for (label, origin) in [("before", Origin::BeforeAttach), ("unseen", Origin::Unseen)] {
        let kinds = kinds_of(open.iter().filter(|fd| fd.origin == origin));
        if !kinds.is_empty() {
            let number = count(kinds.iter().map(|&(_, number)| number).sum());
            let how =
                if origin == Origin::BeforeAttach { "since before the attach" } else { "that came in a way not seen" };
            line(label, &format!("{number} open {how}: {}", kinds_words(&kinds)), out)?;
        }
    }
    for signal in signals {
        let words = format!("{} ({}) [{}]", signal_words(signal, descriptors), signal_meaning(signal), signal.name());
        line("SIGNAL", &words, out)?;
        let mut concerned: Vec<&OpenFd> = open.iter().filter(|fd| concerns(signal, fd, *stale)).collect();
        concerned.sort_by_key(|fd| Reverse(fd.age));
        let words = concerned.iter().take(CONCERNED).map(|fd| concerned_words(fd, descriptors, target));
        labelled("", words, out)?;
        if concerned.len() > CONCERNED {
            line("", &format!("  … {} more", count((concerned.len() - CONCERNED) as u64)), out)?;
        }
    }
    match looked {
        Some(span) => line("looked", &format!("{} ago at what is open", duration(*span)), out)?,
        None => line("looked", "not yet at what is open", out)?,
    }
    labelled("corrected", correction_words(*corrections), out)?;
    labelled("limitation", limitations.iter().map(|words| displayable(words).into_owned()), out)
}

/// Descriptors by kind, the commonest first.
fn kinds_of<'a>(fds: impl Iterator<Item = &'a OpenFd>) -> Vec<(FdKind, u64)> {
    let mut kinds = BTreeMap::new();
    fds.for_each(|fd| *kinds.entry(fd.kind).or_insert(0) += 1);
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|&(_, number)| Reverse(number));
    kinds
}

fn concerned_words(fd: &OpenFd, descriptors: &Descriptors, target: Tgid) -> String {
    let process = if fd.tgid == target { String::new() } else { format!(" of process {}", fd.tgid.0) };
    let mut words = format!("  fd {}{process}, {}, {}", fd.fd.0, fd.kind.name(), fd_words(fd, false));
    let socket = fd.socket.as_deref();
    for (what, span) in [
        ("open for", fd.age),
        ("hung up for", socket.and_then(|socket| socket.close_wait)),
        ("idle for", socket.and_then(|socket| socket.idle)),
    ] {
        if let Some(span) = span {
            words += &format!(", {what} {}", duration(span));
        }
    }
    let connected: Vec<_> = socket.and_then(|socket| socket.connected_by).into_iter().map(|id| (id, 1)).collect();
    let opened = if let Origin::Site(id) = fd.origin { Some(id) } else { None };
    let elsewhere = connecting_elsewhere(descriptors, opened, &connected);
    if let Some(by) = connected_by_words(descriptors, &elsewhere) {
        words += &format!(", {by}");
    }
    words
}

fn sites(descriptors: &Descriptors, processes: usize, options: &ReportOptions, out: &mut dyn Write) -> io::Result<()> {
    let ReportOptions { top, sort, min_age: _ } = *options;
    let mut sites = merge(descriptors.opening_sites(), processes);
    let by = match sort {
        Sort::Inuse | Sort::Objects => {
            sites.sort_by_key(|site| Reverse(site.sum.open()));
            "descriptors open"
        }
        Sort::Allocs => {
            sites.sort_by_key(|site| Reverse(site.sum.opened));
            "descriptors opened"
        }
        Sort::Oldest => {
            sites.sort_by_key(|site| Reverse(site.sum.oldest));
            "oldest descriptor"
        }
    };
    let all = sites.len();
    // As with blocks: only who asks for what was opened wants to see sites that leave nothing behind.
    sites.retain(|site| site.sum.open() > 0 || sort == Sort::Allocs);
    let idle = all - sites.len();
    let shown = sites.len().min(top);
    let connected = connected_by(&descriptors.open);
    for (rank, site) in sites[..shown].iter().enumerate() {
        writeln!(out)?;
        write_site(rank + 1, site, processes, out)?;
        let ids = || site.parts.iter().map(|part| part.id);
        let connected: Vec<_> = ids().filter_map(|id| connected.get(&id)).flatten().copied().collect();
        let elsewhere = connecting_elsewhere(descriptors, ids(), &connected);
        if let Some(by) = connected_by_words(descriptors, &elsewhere) {
            writeln!(out, "    {by}")?;
        }
    }
    let number = |number: usize| counted(number as u64, "descriptor site", "descriptor sites");
    let mut rest = Vec::new();
    if shown < sites.len() {
        let held = sites[shown..].iter().map(|site| site.sum.open()).sum();
        let held = counted(held, "descriptor", "descriptors");
        rest.push(format!("{} holding {held} (--top {top})", number(sites.len() - shown)));
    }
    if idle > 0 {
        rest.push(format!("{} with nothing open", number(idle)));
    }
    writeln!(out)?;
    match (all, rest.is_empty()) {
        (0, _) => writeln!(out, "No descriptor was opened since the attach."),
        (_, true) => writeln!(out, "Shown: all {}, by {by}.", number(shown)),
        (_, false) => writeln!(out, "Shown: {}, by {by}. Not shown: {}.", number(shown), rest.join("; ")),
    }
}

/// Who connected what each site opened, where that is another site; the commonest first.
fn connected_by(open: &[OpenFd]) -> BTreeMap<SiteId, Vec<(SiteId, u64)>> {
    let mut pairs = BTreeMap::new();
    for fd in open {
        if let (Origin::Site(id), Some(by)) = (fd.origin, fd.socket.as_ref().and_then(|socket| socket.connected_by)) {
            *pairs.entry((id, by)).or_insert(0) += 1;
        }
    }
    let mut counts: BTreeMap<SiteId, Vec<(SiteId, u64)>> = BTreeMap::new();
    pairs.into_iter().for_each(|((id, by), number)| counts.entry(id).or_default().push((by, number)));
    counts.values_mut().for_each(|counts| counts.sort_by_key(|&(_, number)| Reverse(number)));
    counts
}

fn write_site(rank: usize, entry: &Merged<FdSite>, processes: usize, out: &mut dyn Write) -> io::Result<()> {
    let FdSite { id: _, tgid: _, opened, closed, oldest, kinds, stack, verdict } = &entry.sum;
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds_words(kinds)) };
    writeln!(
        out,
        "fd #{rank} {}{kinds}, oldest {}, of {} opened, {} of them closed ({})",
        counted(entry.sum.open(), "descriptor open", "descriptors open"),
        oldest.map_or_else(|| "unknown".to_owned(), duration),
        count(*opened),
        count(*closed),
        owner_words(entry, processes),
    )?;
    if let Some(words) = parts_words(entry, count) {
        writeln!(out, "    {words}")?;
    }
    verdict.as_ref().map_or(Ok(()), |verdict| write_verdict(verdict, out))?;
    write_stack(stack, out)
}

const HEADINGS: [&str; 9] =
    ["PEER", "DIR", "OPEN", "IDLE", "CLOSE_WAIT", "OLDEST", "OPENED/MIN", "CLOSED/MIN", "CONNECT"];
/// Of the last column, which is as wide as it is.
const OPENED_BY: &str = "OPENED BY";

fn peers(descriptors: &Descriptors, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let peers = &descriptors.peers;
    if peers.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let shown = &peers[..peers.len().min(top)];
    let rows: Vec<[String; 9]> = shown.iter().map(peer_row).collect();
    let headings = HEADINGS.map(str::to_owned);
    let table = || std::iter::once(&headings).chain(&rows);
    let widths: [usize; 9] =
        std::array::from_fn(|column| table().map(|row| columns(&row[column])).max().unwrap_or_default());
    let opened_by = std::iter::once(OPENED_BY.to_owned()).chain(shown.iter().map(|peer| opened_by(peer, descriptors)));
    for (row, opened_by) in table().zip(opened_by) {
        let [peer, direction, numbers @ ..] = row;
        write!(out, "{peer}{}  {direction:<width$}", " ".repeat(widths[0] - columns(peer)), width = widths[1])?;
        for (cell, width) in numbers.iter().zip(&widths[2..]) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out, "  {opened_by}")?;
    }
    if shown.len() < peers.len() {
        let left = counted((peers.len() - shown.len()) as u64, "peer", "peers");
        let open = peers[shown.len()..].iter().map(|peer| peer.open).sum();
        writeln!(out, "Not shown: {left} with {} (--top {top}).", counted(open, "connection", "connections"))?;
    }
    Ok(())
}

/// The call sites of most of the connections.
fn opened_by(peer: &Peer, descriptors: &Descriptors) -> String {
    let mut words = match &places_words(descriptors, &peer.sites)[..] {
        [] => UNKNOWN.to_owned(),
        [(words, _)] => words.clone(),
        [(words, number), others @ ..] => {
            format!("{words} ({}), {} more", count(*number), count(others.len() as u64))
        }
    };
    let elsewhere = connecting_elsewhere(descriptors, peer.sites.iter().map(|(id, _)| *id), &peer.connected_by);
    if let Some(by) = connected_by_words(descriptors, &elsewhere) {
        words += &format!("; {by}");
    }
    words
}

fn peer_row(peer: &Peer) -> [String; 9] {
    let direction = match peer.direction {
        Direction::Outbound => "out",
        Direction::Inbound => "in",
    };
    let span = |span: Option<_>, words: fn(_) -> String| span.map_or_else(|| UNKNOWN.to_owned(), words);
    [
        peer_words(&peer.endpoint, peer.service, PEER),
        direction.to_owned(),
        count(peer.open),
        count(peer.idle),
        count(peer.close_wait),
        span(peer.oldest, duration),
        rate(peer.opened_per_min),
        rate(peer.closed_per_min),
        span(peer.connect_latency, latency),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{
        aggregate::Snapshot,
        report::{ReportOptions, Sort, testing, write_text},
    };

    /// What comes after the heap's part.
    fn report(snapshot: Snapshot, options: &ReportOptions) -> String {
        let mut out = Vec::new();
        // The heap's part has tests of its own.
        write_text(&Snapshot { sites: Vec::new(), ..snapshot }, options, &mut out).expect("writes to memory");
        let text = String::from_utf8(out).expect("is text");
        let (_, descriptors) = text.split_once("No allocation was seen.\n\n").expect("a part for descriptors");
        descriptors.to_owned()
    }

    #[test]
    fn normal() {
        insta::assert_snapshot!(report(testing::normal_fds(), &ReportOptions::default()));
    }

    #[test]
    fn without_memory_there_is_nothing_about_blocks() {
        let mut out = Vec::new();
        let snapshot = Snapshot { heap_traced: false, sites: Vec::new(), ..testing::normal_fds() };
        write_text(&snapshot, &ReportOptions::default(), &mut out).expect("writes to memory");
        let text = String::from_utf8(out).expect("is text");
        assert!(text.contains("\nmemory       not traced: started with --fds\nloss         none\n"), "{text}");
        for words in ["outstanding", "allocat", "freed"] {
            assert!(!text.contains(words), "{words} in:\n{text}");
        }
    }

    #[test]
    fn empty() {
        insta::assert_snapshot!(report(testing::no_fds(), &ReportOptions::default()));
    }

    #[test]
    fn hostile_names_are_written_out() {
        let text = report(testing::hostile_fds(), &ReportOptions::default());
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
        assert!(text.lines().all(|line| line.len() < 2_000), "floods");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_top_sites_and_peers_say_what_they_leave_out() {
        let text = report(testing::normal_fds(), &ReportOptions { top: 2, sort: Sort::Oldest, ..Default::default() });
        assert!(text.contains(
            "\nShown: 2 descriptor sites, by oldest descriptor. Not shown: 4 descriptor sites holding 56 descriptors \
             (--top 2); 1 descriptor site with nothing open.\n"
        ), "{text}");
        assert!(text.ends_with("Not shown: 3 peers with 13 connections (--top 2).\n"), "{text}");
        let busy = report(testing::normal_fds(), &ReportOptions { sort: Sort::Allocs, ..Default::default() });
        assert!(
            busy.contains("fd #2 0 descriptors open, oldest unknown, of 1,301 opened, 1,301 of them closed (site 37)")
        );
    }
}
