//! The probes and how often they were hit, the most first.

use std::cmp::Reverse;

use ratatui::text::{Line, Span};

use crate::{
    aggregate::{ProbeStatus, Snapshot},
    report::{
        basename,
        units::short_count,
        untrusted::{clean, columns},
    },
    tui::theme::Theme,
};

const HITS: usize = 9;
const KIND: usize = 10;

/// The list, of which each line can be made without the others. Its first line is a heading.
pub(super) struct Probes<'a> {
    probes: Vec<&'a ProbeStatus>,
    width: usize,
}

impl<'a> Probes<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, width: usize) -> Self {
        let mut probes: Vec<&ProbeStatus> = snapshot.probes.iter().collect();
        probes.sort_by_key(|probe| (Reverse(probe.hits), &probe.module, &probe.symbol, probe.offset));
        Self { probes, width }
    }

    pub(super) fn len(&self) -> usize {
        self.probes.len() + 1
    }

    pub(super) fn line(&self, line: usize, theme: Theme) -> Line<'static> {
        let Some(line) = line.checked_sub(1) else {
            if self.probes.is_empty() {
                return Line::raw("  none: memory is not traced, or nothing to probe was found");
            }
            return Line::styled(format!("{:>HITS$} {:<KIND$} FUNCTION", "HITS", "AT"), theme.heading());
        };
        let Some(ProbeStatus { module, symbol, offset, kind, hits, cost: _ }) = self.probes.get(line).copied() else {
            return Line::default();
        };
        let room = self.width.saturating_sub(HITS + KIND + 2);
        let offset = if *offset == 0 { String::new() } else { format!("+{offset:#x}") };
        let name = clean(symbol, (room * 2 / 3).saturating_sub(offset.len())).into_owned();
        let place = room.saturating_sub(columns(&name) + offset.len() + 1);
        // A probe that is never hit is where nothing happens, or in the wrong place.
        let style = if *hits == 0 { theme.dim() } else { theme.bold() };
        Line::from(vec![
            Span::styled(format!("{:>HITS$} ", short_count(*hits)), style),
            Span::raw(format!("{kind:<KIND$} ")),
            Span::raw(name),
            Span::styled(offset, theme.dim()),
            Span::styled(format!(" {}", clean(basename(module), place)), theme.dim()),
        ])
    }
}
