//! A flame graph as one SVG file that needs nothing else; in a browser it can be searched and zoomed into.

use std::io::{self, Write};

use inferno::flamegraph::{
    Options,
    color::{BasicPalette, Palette},
    from_lines,
};

use super::{Measure, folded::folded, names::target_name, taken};
use crate::{
    aggregate::Snapshot,
    report::units::{bytes, counted, duration},
};

/// Writes the graph. What has no width at a hundredth of a percent of the whole is left out by it.
pub fn write_flame_graph(snapshot: &Snapshot, measure: &Measure<'_>, out: &mut dyn Write) -> io::Result<()> {
    draw(snapshot, measure, true, out)
}

/// The graph as a part of a page: without script, and what belongs to a file of its own.
pub(super) fn inline_flame_graph(snapshot: &Snapshot, measure: &Measure<'_>) -> io::Result<String> {
    let mut drawn = Vec::new();
    draw(snapshot, measure, false, &mut drawn)?;
    let drawn = String::from_utf8(drawn).map_err(io::Error::other)?;
    let (_, image) = drawn.split_once("<svg").ok_or_else(|| io::Error::other("inferno drew no SVG"))?;
    let image = image.replacen(r#" onload="init(evt)""#, "", 1);
    // Before it there is nothing of the target's: only the colours, and comments without content.
    let image = match image.split_once("<script").map(|(head, tail)| (head, tail.split_once("</script>"))) {
        Some((head, Some((_, tail)))) => format!("{head}{tail}"),
        _ => image,
    };
    Ok(format!("<svg{image}"))
}

fn draw(snapshot: &Snapshot, measure: &Measure<'_>, script: bool, out: &mut dyn Write) -> io::Result<()> {
    let stacks = folded(snapshot, measure);
    let total: u64 = stacks.values().sum();
    let title = format!("{}: {}", target_name(snapshot), measure.words(snapshot));
    if total == 0 {
        return nothing(&title, out);
    }
    let lines: Vec<String> = stacks.iter().map(|(stack, number)| format!("{stack} {number}")).collect();
    let mut options = Options::default();
    options.subtitle = Some(subtitle(snapshot, measure, total));
    options.title = title;
    options.count_name = measure.unit().to_owned();
    options.colors = Palette::Basic(BasicPalette::Mem);
    // The same function has the same colour in every graph.
    options.deterministic = true;
    options.no_javascript = !script;
    from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// How much it is, and when.
fn subtitle(snapshot: &Snapshot, measure: &Measure<'_>, total: u64) -> String {
    let amount = if measure.unit() == "bytes" { bytes(total) } else { counted(total, "object", "objects") };
    let when = taken(snapshot).strftime("%Y-%m-%d %H:%M:%S UTC");
    let lost: u64 = snapshot.loss.iter().map(|loss| loss.count).sum();
    let loss = if lost == 0 { String::new() } else { format!(", LOSS: {}", counted(lost, "event", "events")) };
    format!("{amount} at {when}, traced for {}{loss}", duration(snapshot.elapsed))
}

/// inferno calls it an error when there is nothing to draw.
fn nothing(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = super::html::escaped(title);
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="60" viewBox="0 0 1200 60"><text x="600" y="35" text-anchor="middle" font-family="monospace">{title}: nothing</text></svg>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{export::By, testing};

    fn graph(snapshot: &Snapshot, by: By) -> String {
        let mut out = Vec::new();
        write_flame_graph(snapshot, &Measure { by, history: None }, &mut out).expect("draws");
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn it_says_whose_what_when_and_how_much() {
        let text = graph(&testing::lossy(), By::Inuse);
        assert!(text.contains("imgserver[4242]: bytes outstanding</text>"), "{text}");
        let subtitle = "13.0 MiB at 2026-03-01 09:34:05 UTC, traced for 4m 05s, LOSS: 1,022 events</text>";
        assert!(text.contains(subtitle), "{text}");
        assert!(text.contains("<title>main (13,426,713 bytes"), "{text}");
        assert_eq!(text, graph(&testing::lossy(), By::Inuse), "the same is drawn the same");
    }

    #[test]
    fn it_needs_nothing_from_elsewhere() {
        let text = graph(&testing::normal(), By::Inuse);
        assert!(!["href=\"http", "src=", "url(http", "@import"].iter().any(|link| text.contains(link)));
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let mut snapshot = testing::empty();
        snapshot.target.comm = "a<b>".to_owned();
        assert!(
            graph(&snapshot, By::Growth)
                .contains("a&lt;b&gt;[4242]: growth of outstanding bytes since attach: nothing")
        );
    }

    #[test]
    fn markup_in_names_stays_text() {
        let mut snapshot = testing::hostile();
        snapshot.target.comm = "<script>".to_owned();
        let text = graph(&snapshot, By::Inuse);
        assert_eq!(text.matches("<script").count(), 1, "its own");
        let inline = inline_flame_graph(&snapshot, &Measure::default()).expect("draws");
        assert!(!inline.contains("<script") && !inline.contains("onload") && !inline.contains("<!DOCTYPE"), "{inline}");
        assert!(inline.starts_with("<svg ") && inline.ends_with("</svg>"));
    }
}
