//! The growth of a site as a small line chart: outstanding bytes over the time since attach, from zero up.

use std::{fmt::Write as _, time::Duration};

use super::markup::Picture;
use crate::{
    analyze::history::SitePoint,
    report::units::{bytes, duration},
};

/// Measures of a chart, in pixels as long as it is not scaled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
    /// With the largest value and the span written on it.
    pub(super) labelled: bool,
}

/// In a row of the table.
pub(super) const SMALL: Size = Size { width: 140.0, height: 28.0, labelled: false };
/// Beside a stack.
pub(super) const LARGE: Size = Size { width: 640.0, height: 140.0, labelled: true };

/// Room for the labels.
const MARGIN: f64 = 16.0;

/// The chart of these points; `None` when there is no line to draw. The band is between the least and the most in each window.
pub(super) fn chart(points: &[SitePoint], Size { width, height, labelled }: Size) -> Option<Picture> {
    let (first, last) = (points.first()?.at, points.last()?.at);
    let most = points.iter().map(|point| point.bytes.1).max()?;
    if last <= first || most == 0 {
        return None;
    }
    let (top, bottom) = if labelled { (MARGIN, height - MARGIN) } else { (1.0, height - 1.0) };
    let x = |at: Duration| (at - first).as_secs_f64() / (last - first).as_secs_f64() * width;
    let y = |value: u64| bottom - value as f64 / most as f64 * (bottom - top);
    let line = |of: fn(&SitePoint) -> u64, points: &mut dyn Iterator<Item = &SitePoint>| {
        let mut line = String::new();
        for point in points {
            let _ = write!(line, "{:.1},{:.1} ", x(point.at), y(of(point)));
        }
        line
    };
    let mut svg = format!(r#"<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}">"#);
    let band = line(|point| point.bytes.1, &mut points.iter()) + &line(|point| point.bytes.0, &mut points.iter().rev());
    let inuse = line(|point| point.counters.inuse_bytes(), &mut points.iter());
    let _ = write!(svg, r#"<polygon points="{}"/><polyline points="{}"/>"#, band.trim_end(), inuse.trim_end());
    if labelled {
        let (most, first, last) = (bytes(most), duration(first), duration(last));
        let _ = write!(
            svg,
            r#"<line x1="0" x2="{width}" y1="{bottom}" y2="{bottom}"/><text x="0" y="11">{most}</text><text x="0" y="{height}">{first}</text><text x="{width}" y="{height}" text-anchor="end">{last}</text>"#
        );
    }
    svg.push_str("</svg>");
    Some(Picture(svg))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::counters;

    fn point(second: u64, bytes: u64) -> SitePoint {
        SitePoint {
            at: Duration::from_secs(second),
            counters: counters(bytes, 1, 0, 0),
            bytes: (bytes / 2, bytes),
            objects: (1, 1),
        }
    }

    #[test]
    fn time_goes_right_and_bytes_go_up() {
        let Picture(svg) = chart(&[point(0, 0), point(5, 512), point(10, 1_024)], SMALL).expect("a line");
        assert!(svg.contains(r#"<polyline points="0.0,27.0 70.0,14.0 140.0,1.0"/>"#), "{svg}");
        assert!(
            svg.contains(r#"<polygon points="0.0,27.0 70.0,14.0 140.0,1.0 140.0,14.0 70.0,20.5 0.0,27.0"/>"#),
            "{svg}"
        );
        let Picture(svg) = chart(&[point(0, 0), point(10, 1_024)], LARGE).expect("a line");
        assert!(svg.contains(">1.0 KiB</text>") && svg.contains(">10s</text>"), "{svg}");
    }

    #[test]
    fn a_moment_or_nothing_at_all_is_no_line() {
        assert!(chart(&[], SMALL).is_none());
        assert!(chart(&[point(3, 7)], SMALL).is_none());
        assert!(chart(&[point(0, 0), point(9, 0)], SMALL).is_none());
    }
}
