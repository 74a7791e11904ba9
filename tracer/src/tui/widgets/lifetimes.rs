//! How long a site's blocks live, in a line.

use ratatui::text::{Line, Span};

use super::{fitting, sparkline::bar};
use crate::{
    analyze::survival::{Ages, Median},
    report::units::latency,
    tui::theme::Theme,
};

/// The interval of the shares.
const CONFIDENCE: f64 = 0.95;

/// The survival curve, one character for each doubling of age, with what it comes to. `None` when nothing is known.
pub(super) fn line(ages: &Ages, theme: Theme, width: u16) -> Option<Line<'static>> {
    let survival = ages.survival(CONFIDENCE);
    let steps = survival.steps();
    let last = steps.last()?;
    let curve: String = steps.iter().map(|step| bar(step.share.value)).collect();
    let share = last.share;
    let mut segments = vec![
        Span::styled(curve, theme.bold()),
        Span::raw(format!("{} outlive {}", percent(share.value), latency(last.age))),
        Span::styled(format!("({} to {})", percent(share.low), percent(share.high)), theme.dim()),
    ];
    if let Some(Median::Between(_, to)) = survival.median() {
        segments.push(Span::raw(format!("half are freed within {}", latency(to))));
    }
    Some(fitting(segments, width))
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 1.0 { format!("{percent:.2}%") } else { format!("{percent:.0}%") }
}
