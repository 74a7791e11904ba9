//! The report as one page that can be sent to somebody: totals, call sites with their stacks and their growth, the flame
//! graph, descriptors and peers.
//!
//! It has no script and asks for nothing from anywhere, and its Content-Security-Policy says so to the browser: what
//! slipped through [`markup`] would still not run.

mod chart;
mod descriptors;
mod markup;
mod sites;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub(super) use self::markup::escaped;
use self::markup::{Markup, Picture};
use super::{Measure, flame::inline_flame_graph, names::target_name, taken};
use crate::{
    aggregate::{BlockCounters, LossCount, PageFaults, Rates, Snapshot, Suppressed},
    report::{
        ReportOptions,
        growth_words::{NOTE, balance_words, since_words, total_words},
        mode_words::{calls_words, modes_words},
        stack_end_words, state_words,
        text_analysis::{WARNING, analysis_lines},
        units::{bytes, count, counted, duration, rate, signed_bytes},
        words::loss_words,
    },
};

const HEAD: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; ",
    "base-uri 'none'; form-action 'none'\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta name=\"referrer\" content=\"no-referrer\">\n",
    // Otherwise a browser asks for one.
    "<link rel=\"icon\" href=\"data:,\">\n<style>\n",
    include_str!("page.css"),
    "</style>\n"
);

/// Writes the page. `measure` is what the flame graph shows; its history is also that of the charts, which are left out
/// without one.
pub fn write_html(
    snapshot: &Snapshot,
    options: &ReportOptions,
    measure: &Measure<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = Markup::default();
    page.raw(HEAD).element("title", &format!("leaktrace: {}", target_name(snapshot))).raw("\n</head>\n<body>\n");
    header(snapshot, &mut page);
    if snapshot.has_memory() {
        match &snapshot.growth {
            Some(faults) => growth(faults, &mut page),
            None => totals(snapshot, &mut page),
        }
        if let Some(words) = modes_words(&snapshot.modes) {
            page.element("p", &format!("Followed: {words}."));
        }
        page.raw("<h2>Flame graph</h2>\n<div class=\"flame wide\">");
        page.picture(&Picture(inline_flame_graph(snapshot, measure)?)).raw("</div>\n");
        sites::write(snapshot, options, measure.history, &mut page);
    }
    if let Some(words) = calls_words(&snapshot.modes) {
        page.element("p", &format!("To keep to the limit, {words}."));
    }
    if let Some(descriptors) = &snapshot.descriptors {
        descriptors::write(descriptors, options, &mut page);
    }
    page.raw("<footer>").text(&format!("leaktrace {}", env!("CARGO_PKG_VERSION"))).raw("</footer>\n</body>\n</html>\n");
    out.write_all(page.into_string().as_bytes())
}

/// What page faults say.
fn growth(faults: &PageFaults, page: &mut Markup) {
    page.element("p", &format!("Faulted in: {}{}.", total_words(faults), since_words(faults)));
    if let Some(words) = balance_words(faults) {
        page.element("p", &format!("{words}."));
    }
    page.classed("p", "dim", NOTE);
}

fn header(snapshot: &Snapshot, page: &mut Markup) {
    let Snapshot { started, elapsed, target, processes, state, notes, suppressions, loss, incomplete, .. } = snapshot;
    page.element("h1", &target_name(snapshot));
    let command = if target.cmdline.is_empty() { target.exe.clone() } else { target.cmdline.join(" ") };
    page.raw("<p class=\"dim\"><code>").text(&command).raw("</code></p>\n");
    let (since, until) = (started.strftime("%Y-%m-%d %H:%M:%S"), taken(snapshot).strftime("%Y-%m-%d %H:%M:%S UTC"));
    page.element("p", &format!("{}. Traced for {}, {since} to {until}.", state_words(state), duration(*elapsed)));
    if processes.len() > 1 {
        page.raw("<ul>\n");
        for process in processes {
            let totals = &process.totals;
            let held = counted(totals.inuse_objects(), "object", "objects");
            let name = super::names::process_name(&process.info);
            page.element("li", &format!("{name}: {} outstanding in {held}", bytes(totals.inuse_bytes())));
        }
        page.raw("</ul>\n");
    }
    for note in notes {
        page.element("p", &note.what);
    }
    for (label, words) in analysis_lines(snapshot) {
        page.classed("p", if label == WARNING { "bad" } else { "dim" }, &format!("{label}: {words}"));
    }
    for Suppressed { pattern, sites, inuse_bytes, inuse_objects } in suppressions {
        let held = format!("{} in {}", bytes(*inuse_bytes), counted(*inuse_objects, "object", "objects"));
        let of = counted(*sites, "site", "sites");
        page.classed("p", "dim", &format!("suppressed: {held} of {of} by leak:{pattern}"));
    }
    for &LossCount { cause, count: lost } in loss {
        page.classed("p", "bad", &format!("LOSS: {} {}", count(lost), loss_words(cause)));
    }
    for part in incomplete {
        let words = stack_end_words(part.end).unwrap_or_default();
        let objects = counted(part.objects, "object", "objects");
        page.element("p", &format!("The stacks of {objects} are not whole: {words}."));
    }
}

fn totals(snapshot: &Snapshot, page: &mut Markup) {
    let Snapshot { totals, sample, rates, window, .. } = snapshot;
    let mark = if sample.is_some() { "~" } else { "" };
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *totals;
    let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s: _, inuse_bytes_per_s } = *rates;
    let objects = |number| format!("{mark}{}", counted(number, "object", "objects"));
    let pairs = format!("{mark}{} allocations/s, {mark}{} frees/s", rate(allocs_per_s), rate(frees_per_s));
    let cards = [
        ("Outstanding", format!("{mark}{}", bytes(totals.inuse_bytes())), objects(totals.inuse_objects())),
        ("Allocated", format!("{mark}{}", bytes(alloc_bytes)), objects(alloc_objects)),
        ("Freed", format!("{mark}{}", bytes(free_bytes)), objects(free_objects)),
        (
            "Change",
            format!("{mark}{}/s", signed_bytes(inuse_bytes_per_s)),
            format!("{pairs}, over the last {}", duration(*window)),
        ),
    ];
    page.raw("<ul class=\"cards\">\n");
    for (title, value, more) in cards {
        page.raw("<li>").raw(title).element("b", &value).classed("span", "dim", &more).raw("</li>\n");
    }
    page.raw("</ul>\n");
}
