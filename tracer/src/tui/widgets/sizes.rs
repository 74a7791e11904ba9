//! How large a site's outstanding blocks are: in a line, or as a histogram where there is room.

use ratatui::text::{Line, Span};

use super::{fitting, lifetimes::percent, sparkline::bar};
use crate::{
    analyze::sizes::{SizeBucket, Sizes},
    report::units::{bytes, count, counted},
    tui::theme::Theme,
};

/// Below this a histogram says no more than the line.
const LEAST_ROWS: usize = 3;
/// Columns of the longest bar.
const BAR: usize = 24;
/// Parts of a character, from an eighth on.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// In at most `rows` lines, or in one when that says as much. Nothing when no block is outstanding.
pub(super) fn lines(sizes: &Sizes, rows: usize, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let buckets = sizes.buckets();
    let Some(largest) = buckets.iter().copied().max_by_key(|bucket| bucket.bytes) else { return Vec::new() };
    let all: u64 = buckets.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.bytes));
    match buckets {
        [one] => vec![fitting(vec![alike(one).into()], width)],
        _ if rows < LEAST_ROWS => vec![line(buckets, &largest, all, theme, width)],
        _ => histogram(buckets, rows, largest.bytes, theme, width),
    }
}

fn alike(bucket: &SizeBucket) -> String {
    let mean = bytes(bucket.bytes / bucket.objects.max(1));
    format!("blocks of {}, {mean} on average", range(bucket))
}

/// One character for each doubling of the size, as high as its share of the bytes.
fn line(buckets: &[SizeBucket], largest: &SizeBucket, all: u64, theme: Theme, width: u16) -> Line<'static> {
    let (first, last) = (buckets[0].bits(), buckets[buckets.len() - 1].bits());
    let share = |bits: u8| {
        let bucket = buckets.iter().find(|bucket| bucket.bits() == bits);
        bucket.map(|bucket| bucket.bytes as f64 / largest.bytes.max(1) as f64)
    };
    let bars: String = (first..=last).map(|bits| share(bits).map_or(' ', bar)).collect();
    let span = format!("blocks of {} to {}", least(&buckets[0]), most(&buckets[buckets.len() - 1]));
    let part = largest.bytes as f64 / all.max(1) as f64;
    let mode = format!("{} of the bytes in {} of {}", percent(part), count(largest.objects), range(largest));
    fitting(vec![Span::styled(bars, theme.bold()), span.into(), mode.into()], width)
}

/// The sizes with the most bytes, in the order of sizes; what there is no room for is one line.
fn histogram(buckets: &[SizeBucket], rows: usize, most: u64, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let mut shown: Vec<&SizeBucket> = buckets.iter().collect();
    shown.sort_by_key(|bucket| std::cmp::Reverse(bucket.bytes));
    let left = shown.split_off(if shown.len() > rows { rows - 1 } else { shown.len() });
    shown.sort_by_key(|bucket| bucket.bits());
    let label = shown.iter().map(|bucket| range(bucket).len()).max().unwrap_or(0);
    let row = |bucket: &&SizeBucket| {
        let bar = across(bucket.bytes as f64 / most.max(1) as f64);
        fitting(
            vec![
                format!("{:>label$}", range(bucket)).into(),
                Span::styled(format!("{bar:<BAR$}"), theme.bold()),
                format!("{:>10}", bytes(bucket.bytes)).into(),
                counted(bucket.objects, "object", "objects").into(),
            ],
            width,
        )
    };
    let mut lines: Vec<Line<'static>> = shown.iter().map(row).collect();
    if !left.is_empty() {
        let sum = |of: fn(&SizeBucket) -> u64| left.iter().fold(0_u64, |sum, bucket| sum.saturating_add(of(bucket)));
        let objects = counted(sum(|bucket| bucket.objects), "object", "objects");
        let words = format!("{:>label$}  other sizes: {}, {objects}", "…", bytes(sum(|bucket| bucket.bytes)));
        lines.push(Line::styled(words, theme.dim()));
    }
    lines
}

/// A bar from left to right. What is there at all has a part of a character.
fn across(share: f64) -> String {
    let parts = ((share * (BAR * PARTS.len()) as f64) as usize).max(1);
    let (whole, rest) = (parts / PARTS.len(), parts % PARTS.len());
    let rest = if rest > 0 { Some(PARTS[rest - 1]) } else { None };
    std::iter::repeat_n('█', whole).chain(rest).collect()
}

/// The sizes of a bucket, in words; from a KiB on, the end is the next one's beginning.
fn range(bucket: &SizeBucket) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (least, most) = bucket.sizes().into_inner();
    match bucket.bits() {
        0 | 1 => format!("{least} B"),
        2..=10 => format!("{least} to {most} B"),
        bits => {
            let step = usize::from(bits - 1) / 10;
            let low = least >> (step * 10);
            format!("{low} to {} {}", count(low * 2), UNITS[step])
        }
    }
}

fn least(bucket: &SizeBucket) -> String {
    bytes(*bucket.sizes().start())
}

fn most(bucket: &SizeBucket) -> String {
    bytes(bucket.sizes().end().saturating_add(u64::from(bucket.bits() > 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(sizes: &[(u64, u64)], rows: usize) -> Vec<String> {
        let mut all = Sizes::default();
        for (size, objects) in sizes {
            (0..*objects).for_each(|_| all.add(*size));
        }
        lines(&all, rows, Theme::new(false), 100).iter().map(|line| line.to_string().trim_end().to_owned()).collect()
    }

    #[test]
    fn one_size_is_said_and_several_are_drawn() {
        assert!(words(&[], 9).is_empty());
        assert_eq!(words(&[(96, 7)], 9), ["blocks of 64 to 127 B, 96 B on average"]);
        let several = [(16, 3), (1_500, 11), (400, 2)];
        let line = "▁   ▁ █  blocks of 16 B to 2.0 KiB  95% of the bytes in 11 of 1 to 2 KiB";
        assert_eq!(words(&several, 2), [line]);
        let histogram = words(&several, 3);
        assert_eq!(histogram.len(), 3, "{histogram:?}");
        assert!(histogram[2].starts_with("  1 to 2 KiB  ████████████████████████"), "{histogram:?}");
    }

    #[test]
    fn what_has_no_line_is_summed_up() {
        let histogram = words(&[(16, 3), (70, 2), (300, 1), (5_000, 1)], 3);
        assert_eq!(histogram.len(), 3);
        assert!(histogram[2].ends_with("other sizes: 188 B, 5 objects"), "{histogram:?}");
    }

    #[test]
    fn the_ends_of_buckets_have_the_units_that_fit() {
        let words = |bits| SizeBucket::new(bits, 1, 1).map(|bucket| range(&bucket)).unwrap_or_default();
        assert_eq!([0, 1, 2, 10, 11].map(words), ["0 B", "1 B", "2 to 3 B", "512 to 1023 B", "1 to 2 KiB"]);
        assert_eq!([20, 21, 64].map(words), ["512 to 1,024 KiB", "1 to 2 MiB", "8 to 16 EiB"]);
    }
}
