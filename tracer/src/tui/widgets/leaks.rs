//! What all sites hold together, in a line above the table.

use ratatui::text::{Line, Span};

use super::fitting;
use crate::{
    aggregate::Snapshot,
    analyze::verdict::Label,
    report::{
        estimate_mark,
        growth_words::{faulted_words, resident_words},
        units::{bytes, count, counted, duration, signed_bytes},
        untrusted::clean,
    },
    tui::{state::Leaks, theme::Theme},
};

/// Columns of the words that are looked for.
const WORDS: usize = 24;

pub(in crate::tui) fn summary(snapshot: &Snapshot, leaks: &Leaks, theme: Theme, width: u16) -> Line<'static> {
    let Snapshot { totals, sample, rates, sites, growth, .. } = snapshot;
    let mark = estimate_mark(sample.is_some());
    let change = rates.inuse_bytes_per_s;
    let mut segments = match growth {
        Some(faults) => {
            let mut segments =
                vec![Span::styled(format!("{} faulted in", faulted_words(faults.faulted())), theme.bold())];
            segments.extend(resident_words(faults).map(Span::raw));
            segments
        }
        None => vec![
            Span::styled(format!("{mark}{} outstanding", bytes(totals.inuse_bytes())), theme.bold()),
            Span::raw(format!("{mark}{}", counted(totals.inuse_objects(), "object", "objects"))),
            Span::styled(format!("{mark}{}/s", signed_bytes(change)), theme.change(change)),
        ],
    };
    for label in [Label::Leaking, Label::Growing] {
        let judged = sites.iter().filter(|site| !site.suppressed).filter_map(|site| site.verdict.as_ref());
        let found = judged.filter(|verdict| verdict.label == label).count() as u64;
        if found > 0 {
            segments.push(Span::styled(format!("{} {}", count(found), label.name()), theme.verdict(label)));
        }
    }
    if !leaks.filter.is_empty() {
        let words = clean(&leaks.filter, WORDS);
        let left_out = format!("with \"{words}\", {} hidden", count(leaks.filtered as u64));
        segments.push(Span::styled(left_out, theme.incomplete()));
    }
    if let Some(baseline) = &leaks.baseline {
        segments.push(Span::styled(format!("baseline at {}", duration(baseline.at)), theme.incomplete()));
    }
    fitting(segments, width)
}
