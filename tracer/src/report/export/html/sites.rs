//! The table of call sites.

use super::{
    chart::{LARGE, SMALL, chart},
    markup::Markup,
};
use crate::{
    aggregate::{SiteSnapshot, Snapshot},
    analyze::{
        history::{History, SitePoint},
        verdict::Label,
    },
    report::{
        FrameText, ReportOptions,
        fd_words::call_site_words,
        growth_words::faulted_words,
        listing::Listing,
        merged::{Merged, merge, owner_words, parts_words},
        stack_end_words,
        text_analysis::verdict_words,
        units::{bytes, count, duration},
        untrusted::LONGEST,
    },
    symbolize::Stack,
};

/// A site with what its row shows besides.
struct Row<'a> {
    site: &'a SiteSnapshot,
    /// The site, and those of other processes that are the same.
    entry: &'a Merged<SiteSnapshot>,
    /// All processes.
    processes: usize,
    points: Vec<SitePoint>,
}

/// A column of the table. Whatever else is known of a site is one more of these.
struct Column {
    title: &'static str,
    /// The start of its cells.
    cell: &'static str,
    is_shown: fn(&Snapshot, Option<&History>) -> bool,
    write: fn(&Row<'_>, &mut Markup),
}

const TEXT: &str = "<td>";
const NUMBER: &str = "<td class=\"number\">";

fn always(_: &Snapshot, _: Option<&History>) -> bool {
    true
}

fn of_blocks(snapshot: &Snapshot, _: Option<&History>) -> bool {
    snapshot.growth.is_none()
}

const COLUMNS: &[Column] = &[
    Column {
        title: "Faulted in",
        cell: NUMBER,
        is_shown: |snapshot, _| snapshot.growth.is_some(),
        write: |row, page| {
            page.text(&row.site.faulted.map_or_else(String::new, faulted_words));
        },
    },
    Column {
        title: "Outstanding",
        cell: NUMBER,
        is_shown: of_blocks,
        write: |row, page| {
            page.text(&bytes(row.site.counters.inuse_bytes()));
        },
    },
    Column {
        title: "Objects",
        cell: NUMBER,
        is_shown: of_blocks,
        write: |row, page| {
            page.text(&count(row.site.counters.inuse_objects()));
        },
    },
    Column {
        title: "Growth",
        cell: TEXT,
        is_shown: |_, history| history.is_some(),
        write: |row, page| {
            chart(&row.points, SMALL).iter().for_each(|chart| {
                page.picture(chart);
            });
        },
    },
    Column {
        title: "Verdict",
        cell: TEXT,
        is_shown: |snapshot, _| snapshot.sites.iter().any(|site| site.verdict.is_some() || site.suppressed),
        write: |row, page| {
            let verdict = row.site.verdict.as_deref().map(|verdict| verdict.label);
            match verdict {
                _ if row.site.suppressed => page.classed("span", "dim", "suppressed"),
                Some(Label::Leaking) => page.classed("span", "bad", Label::Leaking.name()),
                Some(label) => page.text(label.name()),
                None => page,
            };
        },
    },
    Column {
        title: "Allocated",
        cell: NUMBER,
        is_shown: of_blocks,
        write: |row, page| {
            page.text(&bytes(row.site.counters.alloc_bytes));
        },
    },
    Column {
        title: "Oldest",
        cell: NUMBER,
        is_shown: of_blocks,
        write: |row, page| {
            page.text(&row.site.oldest.map_or_else(|| "unknown".to_owned(), duration));
        },
    },
    Column {
        title: "Whose",
        cell: TEXT,
        is_shown: |snapshot, _| snapshot.processes.len() > 1,
        write: |row, page| {
            page.text(&owner_words(row.entry, row.processes));
        },
    },
    Column { title: "Call site", cell: TEXT, is_shown: always, write: write_call_site },
];

pub(super) fn write(snapshot: &Snapshot, options: &ReportOptions, history: Option<&History>, page: &mut Markup) {
    let processes = snapshot.processes.len();
    let merged =
        merge(snapshot.sites.iter().filter(|site| snapshot.growth.is_none() || site.kind.is_faulted()), processes);
    let listing = Listing::new(snapshot, &merged, options);
    page.raw("<h2>Call sites</h2>\n");
    if !listing.shown.is_empty() {
        let columns = || COLUMNS.iter().filter(|column| (column.is_shown)(snapshot, history));
        page.raw("<div class=\"wide\"><table>\n<thead><tr>");
        for column in columns() {
            page.raw(if column.cell == NUMBER { "<th class=\"number\">" } else { "<th>" })
                .raw(column.title)
                .raw("</th>");
        }
        page.raw("</tr></thead>\n<tbody>\n");
        for entry in &listing.shown {
            let points = history.map(|history| points(history, entry, snapshot)).unwrap_or_default();
            let row = Row { site: &entry.sum, entry, processes, points };
            page.raw("<tr>");
            for column in columns() {
                page.raw(column.cell);
                (column.write)(&row, page);
                page.raw("</td>");
            }
            page.raw("</tr>\n");
        }
        page.raw("</tbody></table></div>\n");
    }
    page.classed("p", "dim", &listing.rest_words(options));
}

/// The history of an entry: that of its parts together.
fn points(history: &History, entry: &Merged<SiteSnapshot>, snapshot: &Snapshot) -> Vec<SitePoint> {
    let mut parts = entry.parts.iter().map(|part| history.site(part.id, snapshot.elapsed));
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        for (sum, point) in sum.iter_mut().zip(part) {
            sum.counters += point.counters;
            // Their extremes may be of different moments, but are no further apart.
            sum.bytes = (sum.bytes.0 + point.bytes.0, sum.bytes.1 + point.bytes.1);
        }
    }
    sum
}

fn write_call_site(row: &Row<'_>, page: &mut Markup) {
    let Row { site, entry, processes, points } = row;
    page.raw("<details><summary>").text(&call_site_words(&site.stack)).raw("</summary>\n");
    let is_heap = !site.kind.is_range() && !site.kind.is_faulted();
    let kind = if is_heap { String::new() } else { format!(", {}", site.kind.name()) };
    page.classed("p", "dim", &format!("{}{kind}", owner_words(entry, *processes)));
    if let Some(words) = parts_words(entry, bytes) {
        page.classed("p", "dim", &words);
    }
    if let Some(verdict) = &site.verdict {
        page.element("p", &verdict_words(verdict));
    }
    if let Some(chart) = chart(points, LARGE) {
        page.picture(&chart);
    }
    write_stack(&site.stack, page);
    page.raw("</details>");
}

/// All frames, the innermost first.
pub(super) fn write_stack(stack: &Stack, page: &mut Markup) {
    page.raw("<ol>\n");
    for frame in &stack.frames {
        let FrameText { name, place, note } = FrameText::new(frame, LONGEST);
        page.raw("<li>").text(&name);
        for part in [place, note] {
            if !part.is_empty() {
                page.classed("span", "dim", &part);
            }
        }
        page.raw("</li>\n");
    }
    page.raw("</ol>\n");
    if let Some(words) = stack_end_words(stack.end) {
        page.classed("p", "dim", &format!("The stack is not whole: {words}."));
    }
}
