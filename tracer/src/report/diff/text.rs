//! The difference for people.

use std::io::{self, Write};

use tracer_common::event::SiteKind;

use super::{Change, Diff, Difference, Held, Side, Sums};
use crate::report::{
    text::write_stack,
    units::{bytes, count, counted, duration},
    untrusted::displayable,
};

/// Writes the `top` largest changes.
///
/// # Errors
/// Those of `out`.
pub fn write_diff_text(diff: &Diff, before: &Side, after: &Side, top: usize, out: &mut dyn Write) -> io::Result<()> {
    for (label, side) in [("before", before), ("after", after)] {
        let Side { source, comm, pid, started, elapsed, heap: _, growth: _, fds: _, sites: _ } = side;
        let started = match started.parse::<jiff::Timestamp>() {
            Ok(time) => time.strftime("%F %T UTC").to_string(),
            Err(_) => started.clone(),
        };
        let (comm, started, source) = (displayable(comm), displayable(&started), displayable(source));
        writeln!(out, "{label:<12} {comm}[{}], {} traced since {started}, {source}", pid.0, duration(*elapsed))?;
    }
    for (kind, Sums { before, after }) in &diff.sums {
        let (label, unit) = words(*kind);
        writeln!(
            out,
            "{label:<12} {} -> {}, {}",
            held(*before, unit),
            held(*after, unit),
            change(*before, *after, unit)
        )?;
    }
    let counts = Change::ALL.map(|change| format!("{} {}", count(diff.count(change) as u64), change.name()));
    writeln!(out, "call sites   {}, {} the same", counts.join(", "), count(diff.same as u64))?;
    for note in &diff.notes {
        writeln!(out, "note         {note}")?;
    }
    for (rank, site) in diff.sites.iter().take(top).enumerate() {
        writeln!(out)?;
        write_site(rank + 1, site, out)?;
    }
    writeln!(out)?;
    match diff.sites.len() {
        0 => writeln!(out, "No call site holds more or less than before."),
        all if all > top => writeln!(
            out,
            "Shown: {}, by how much they changed. Not shown: {} (--top {top}).",
            counted(top as u64, "call site", "call sites"),
            counted((all - top) as u64, "call site", "call sites"),
        ),
        all => writeln!(out, "Shown: all {} that changed.", counted(all as u64, "call site", "call sites")),
    }
}

fn write_site(rank: usize, site: &Difference, out: &mut dyn Write) -> io::Result<()> {
    let Difference { change: what, kind, before, after, stack } = site;
    let (_, unit) = words(*kind);
    let kind = if kind.is_range() { format!(" ({})", kind.name()) } else { String::new() };
    let (name, difference) = (what.name(), change(*before, *after, unit));
    writeln!(out, "#{rank} {name} {difference}: {} -> {}{kind}", held(*before, unit), held(*after, unit))?;
    write_stack(stack, out)
}

/// What things of a kind are called.
#[derive(Clone, Copy)]
struct Unit {
    one: &'static str,
    many: &'static str,
    has_bytes: bool,
}

fn words(kind: SiteKind) -> (&'static str, Unit) {
    let mapping = Unit { one: "mapping", many: "mappings", has_bytes: true };
    match kind {
        SiteKind::Heap => ("heap", Unit { one: "object", many: "objects", has_bytes: true }),
        SiteKind::Fd => ("descriptors", Unit { one: "descriptor", many: "descriptors", has_bytes: false }),
        SiteKind::Mmap => ("mmap", mapping),
        SiteKind::MmapShared => ("mmap_shared", mapping),
        SiteKind::MmapFile => ("mmap_file", mapping),
        SiteKind::MmapStack => ("mmap_stack", mapping),
        SiteKind::MmapReserved => ("mmap_reserved", mapping),
        SiteKind::PageFault => ("page_fault", Unit { one: "page", many: "pages", has_bytes: true }),
    }
}

fn held(held: Held, unit: Unit) -> String {
    let Held { bytes: size, objects } = held;
    match unit {
        _ if held.is_nothing() => "nothing".to_owned(),
        Unit { one, many, has_bytes: true } => format!("{} in {}", bytes(size), counted(objects, one, many)),
        Unit { one, many, has_bytes: false } => counted(objects, one, many),
    }
}

fn change(before: Held, after: Held, unit: Unit) -> String {
    let sign = |before: u64, after: u64| match after.cmp(&before) {
        std::cmp::Ordering::Less => "-",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "+",
    };
    let Unit { one, many, has_bytes } = unit;
    let objects = counted(before.objects.abs_diff(after.objects), one, many);
    let objects = format!("{}{objects}", sign(before.objects, after.objects));
    if !has_bytes {
        return objects;
    }
    let size = bytes(before.bytes.abs_diff(after.bytes));
    format!("{}{size}, {objects}", sign(before.bytes, after.bytes))
}
