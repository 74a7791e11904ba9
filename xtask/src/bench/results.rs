//! The table of the comparison. In: runs, by workload, tool and round. Out: Markdown.

use super::table::{Spread, number};

/// What one run of a workload under a tool came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// Operations per second.
    pub(super) rate: f64,
    /// Of the program and the tool together, at most.
    pub(super) bytes: f64,
}

/// All rounds of a workload under a tool.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) workload: &'static str,
    pub(super) tool: &'static str,
    /// By round; none where it could not be run.
    pub(super) runs: Vec<Option<Run>>,
    /// How many of the planted leaks its report names; none where nothing was planted, or where it was not asked.
    pub(super) named: Option<usize>,
    /// Why there are no figures.
    pub(super) failure: Option<String>,
}

/// Everything that was measured, in the order of the table. The first line of each workload is the untraced one.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) lines: Vec<Line>,
    pub(super) planted: usize,
    /// The tool that the added cost is compared with.
    pub(super) reference: &'static str,
}

const HEADER: [&str; 6] =
    ["workload", "tool", "slowdown", "added time, of bpftrace's", "memory added", "planted leaks named"];
const NONE: &str = "–";

impl Results {
    pub(super) fn markdown(&self) -> String {
        let mut text = row(&HEADER.map(str::to_owned));
        text += &row(&HEADER.map(|name| if name == "workload" || name == "tool" { ":--" } else { "--:" }.to_owned()));
        for line in &self.lines {
            text += &row(&self.cells(line));
        }
        let failures = self.lines.iter().filter_map(|line| {
            let reason = line.failure.as_ref()?;
            Some(format!("- {}, {}: {}\n", line.workload, line.tool, one_line(reason)))
        });
        let failures: String = failures.collect();
        if failures.is_empty() { text } else { text + "\nWhere there is a dash for a figure:\n\n" + &failures }
    }

    fn cells(&self, line: &Line) -> [String; 6] {
        let untraced = self.first_of(line.workload);
        let is_untraced = untraced.is_some_and(|untraced| untraced.tool == line.tool);
        let shown = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
        if is_untraced {
            let rate = of_rounds(line, |run, _| Some(run.rate));
            let bytes = of_rounds(line, |run, _| Some(run.bytes));
            return [
                line.workload.to_owned(),
                line.tool.to_owned(),
                shown(rate.map(|rate| format!("1 ({}/s)", number(rate.median)))),
                String::new(),
                shown(bytes.map(|bytes| format!("({} in all)", mebibytes(bytes.median)))),
                String::new(),
            ];
        }
        let base = |round: usize| untraced.and_then(|line| line.runs.get(round).copied().flatten());
        let slowdown = |run: Run, round: usize| Some(base(round)?.rate / run.rate);
        let reference = self.lines.iter().find(|other| other.workload == line.workload && other.tool == self.reference);
        let of_reference = |run: Run, round: usize| {
            let reference = reference?.runs.get(round).copied().flatten()?;
            let added = slowdown(reference, round)? - 1.0;
            // Where the reference costs nothing that can be seen, there is nothing to have a share of.
            (added > 0.01).then_some((slowdown(run, round)? - 1.0) / added)
        };
        let named = line.named.map(|named| format!("{named} of {}", self.planted));
        [
            String::new(),
            line.tool.to_owned(),
            shown(of_rounds(line, slowdown).map(times)),
            shown(of_rounds(line, of_reference).map(|share| format!("{:.3}", share.median))),
            shown(of_rounds(line, |run, round| Some(run.bytes - base(round)?.bytes)).map(|b| mebibytes(b.median))),
            shown(named),
        ]
    }

    fn first_of(&self, workload: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.workload == workload)
    }
}

/// The spread of what the rounds come to, one by one.
fn of_rounds(line: &Line, value: impl Fn(Run, usize) -> Option<f64>) -> Option<Spread> {
    let values = line.runs.iter().enumerate().filter_map(|(round, run)| value((*run)?, round));
    Spread::of(&values.collect::<Vec<_>>())
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A ratio, and how far apart the rounds are.
fn times(spread: Spread) -> String {
    let show = |value: f64| if value < 9.95 { format!("{value:.2}") } else { number(value) };
    let Spread { median, min, max } = spread;
    if min < max { format!("{} ({}–{})", show(median), show(min), show(max)) } else { show(median) }
}

fn mebibytes(bytes: f64) -> String {
    format!("{} MiB", number(bytes / f64::from(1 << 20)))
}

/// The first line of an error, in a list.
fn one_line(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: &'static str, rates: &[Option<f64>], mebibytes: f64, named: Option<usize>) -> Line {
        let run = |rate: &Option<f64>| rate.map(|rate| Run { rate, bytes: mebibytes * f64::from(1 << 20) });
        Line { workload: "pairs", tool, runs: rates.iter().map(run).collect(), named, failure: None }
    }

    #[test]
    fn ratios_are_within_a_round() {
        let results = Results {
            lines: vec![
                line("untraced", &[Some(1000.0), Some(500.0)], 10.0, None),
                line("leaktrace", &[Some(500.0), Some(250.0)], 73.0, Some(3)),
                line("bpftrace", &[Some(100.0), Some(50.0)], 110.0, Some(2)),
            ],
            planted: 3,
            reference: "bpftrace",
        };
        let text = results.markdown();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[2], "| pairs | untraced | 1 (750/s) |  | (10 MiB in all) |  |");
        assert_eq!(rows[3], "|  | leaktrace | 2.00 | 0.111 | 63 MiB | 3 of 3 |");
        assert_eq!(rows[4], "|  | bpftrace | 10 | 1.000 | 100 MiB | 2 of 3 |");
        assert_eq!(rows.len(), 5);
    }

    #[test]
    fn what_failed_is_a_dash_and_a_reason() {
        let mut failed = line("valgrind", &[None, None], 0.0, None);
        failed.failure = Some("it ended: signal 11\nmore of it".to_owned());
        let lines = vec![line("untraced", &[Some(2.0), Some(2.0)], 10.0, None), failed];
        let text = Results { lines, planted: 3, reference: "bpftrace" }.markdown();
        assert!(text.contains("|  | valgrind | – | – | – | – |\n"), "{text}");
        assert!(
            text.ends_with("Where there is a dash for a figure:\n\n- pairs, valgrind: it ended: signal 11\n"),
            "{text}"
        );
    }

    #[test]
    fn rounds_that_differ_show_their_range() {
        assert_eq!(times(Spread { median: 1.5, min: 1.25, max: 12.0 }), "1.50 (1.25–12)");
        assert_eq!(times(Spread { median: 1.5, min: 1.5, max: 1.5 }), "1.50");
    }
}
