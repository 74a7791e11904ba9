//! From OpenMetrics, which `prometheus-client` writes, to the text format that every reader of metrics knows: promtool, older
//! scrapers, people. They differ in what a counter's family is called, and in the last line.

/// The same families and numbers.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            // Its help comes first, and is written when it is known what it is the help of.
            let (name, kind) = family.split_once(' ').unwrap_or((family, ""));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let words = help.strip_prefix("# HELP ").and_then(|help| help.strip_prefix(name)).unwrap_or_default();
            out.extend(["# HELP ", name, suffix, words, "\n# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# ") {
            // A number without labels needs no braces.
            match line.split_once('{') {
                Some((name, rest)) if rest.starts_with("} ") => out.extend([name, &rest[1..], "\n"]),
                _ => out.extend([line, "\n"]),
            }
        }
    }
    out
}
