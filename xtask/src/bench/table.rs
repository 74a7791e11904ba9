//! Medians, and tables of them.

use serde::Serialize;

/// The middle of a set of measurements, and how far apart they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` where nothing was measured.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }

    /// The median, and the lowest and the highest in parentheses.
    pub(super) fn show(&self) -> String {
        format!("{} ({}–{})", number(self.median), number(self.min), number(self.max))
    }
}

/// The median alone.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

/// A number to three digits or so: with a decimal when small, with separators when large.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 9.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows under a header: the first column to the left, the others to the right.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(Spread::of(&[7.0, 1.0, 3.0]), Some(Spread { median: 3.0, min: 1.0, max: 7.0 }));
        assert_eq!(median(&[4.0, 1.0, 3.0, 100.0]), Some(3.5));
        assert_eq!(median(&[2.0]), Some(2.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        assert_eq!(median(&[10.0, 11.0, 12.0, 11.0, 90_000.0]), Some(11.0));
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_are_worth() {
        let shown = [5.061, 9.96, 12.4, 999.6, 12_276.2, 1_234_567.0, -3.21, -12_276.2].map(number);
        assert_eq!(shown, ["5.1", "10", "12", "1,000", "12,276", "1,234,567", "-3.2", "-12,276"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["variant", "ns/pair", ""]);
        table.row(["untraced".to_owned(), Spread { median: 5.0, min: 4.9, max: 5.1 }.show(), String::new()]);
        table.row(["bpftrace".to_owned(), "12,276".to_owned(), "x".to_owned()]);
        let lines = ["variant         ns/pair", "untraced  5.0 (4.9–5.1)", "bpftrace         12,276  x", ""];
        assert_eq!(table.render(), lines.join("\n"));
    }
}
