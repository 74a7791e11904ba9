//! Folded stacks: a line for each call stack, the outermost frame first, `main;serve;grow 4096`. What flame graph tools,
//! speedscope and differs of profiles read.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use tracer_common::{event::SiteKind, stack::StackEnd};

use super::{
    Measure,
    names::{frame_name, process_of},
    own_memory,
};
use crate::aggregate::{SiteSnapshot, Snapshot};

/// Writes the stacks in the order of their text, each once.
pub fn write_folded(snapshot: &Snapshot, measure: &Measure<'_>, out: &mut dyn Write) -> io::Result<()> {
    folded(snapshot, measure).iter().try_for_each(|(stack, number)| writeln!(out, "{stack} {number}"))
}

/// Numbers by stack.
pub(super) fn folded(snapshot: &Snapshot, measure: &Measure<'_>) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    for site in own_memory(snapshot) {
        let number = measure.of(snapshot, site);
        if number > 0 {
            *stacks.entry(stack_of(snapshot, site)).or_default() += number;
        }
    }
    stacks
}

/// The process where there are several, the kind of memory where it is not the heap, what is missing of the stack, and
/// the frames.
fn stack_of(snapshot: &Snapshot, site: &SiteSnapshot) -> String {
    let mut stack = String::new();
    if snapshot.processes.len() > 1 {
        push(&mut stack, &process_of(snapshot, site));
    }
    if site.kind != SiteKind::Heap && !site.kind.is_faulted() {
        push(&mut stack, &format!("[{}]", site.kind.name()));
    }
    if site.stack.end != StackEnd::Complete {
        push(&mut stack, &format!("[incomplete: {}]", site.stack.end.name()));
    }
    for frame in site.stack.frames.iter().rev() {
        push(&mut stack, &frame_name(frame));
    }
    if stack.is_empty() {
        push(&mut stack, "[no stack]");
    }
    readable(stack)
}

/// A semicolon ends a frame, so those in names become colons, as `stackcollapse-perf.pl` has it.
fn push(stack: &mut String, name: &str) {
    if !stack.is_empty() {
        stack.push(';');
    }
    stack.extend(name.chars().map(|character| if character == ';' { ':' } else { character }));
}

/// A stack that nobody takes for something else: a line that begins with `#` is a comment to readers, and a last word of
/// digits would be a second number.
fn readable(mut stack: String) -> String {
    if let Some(space) = stack.rfind(' ')
        && stack[space + 1..].chars().all(|character| character.is_ascii_digit() || character == '.')
    {
        stack.replace_range(space..=space, "_");
    }
    if stack.starts_with('#') {
        stack.insert(0, '_');
    }
    stack
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        report::{
            export::By,
            testing::{self, counters, frame, site},
        },
        symbolize::Stack,
    };

    fn lines(snapshot: &Snapshot, by: By) -> String {
        let mut out = Vec::new();
        write_folded(snapshot, &Measure { by, history: None }, &mut out).expect("writes to memory");
        String::from_utf8(out).expect("is text")
    }

    fn total(snapshot: &Snapshot, by: By) -> u64 {
        folded(snapshot, &Measure { by, history: None }).values().sum()
    }

    #[test]
    fn normal() {
        insta::assert_snapshot!(lines(&testing::normal(), By::Inuse));
    }

    #[test]
    fn hostile_names_stay_within_their_lines() {
        let text = lines(&testing::hostile(), By::Objects);
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
        assert_eq!(text.lines().count(), 3);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_sum_is_the_total() {
        let snapshot = testing::normal();
        assert_eq!(total(&snapshot, By::Inuse), snapshot.totals.inuse_bytes());
        assert_eq!(total(&snapshot, By::Objects), snapshot.totals.inuse_objects());
        assert_eq!(total(&snapshot, By::Alloc), snapshot.totals.alloc_bytes);
        assert_eq!(total(&snapshot, By::Growth), snapshot.totals.inuse_bytes());
    }

    #[test]
    fn names_that_mean_something_to_readers_are_changed() {
        let folded = |functions: &[&str]| {
            let frames = functions.iter().rev().map(|name| frame(1, name, "/bin/a", "")).collect();
            let site = site(1, counters(7, 1, 0, 0), None, StackEnd::Complete, frames);
            lines(&testing::snapshot(vec![site]), By::Inuse)
        };
        assert_eq!(folded(&["main", "<[u8; 8] as Clone>::clone"]), "main;<[u8: 8] as Clone>::clone 7\n");
        assert_eq!(folded(&["main", "worker 12"]), "main;worker_12 7\n");
        assert_eq!(folded(&["worker 12", "grow"]), "worker 12;grow 7\n");
        assert_eq!(folded(&["# comment"]), "_# comment 7\n");
        assert_eq!(folded(&["main", " "]), "main;[no name] 7\n");
        assert_eq!(folded(&[]), "[no stack] 7\n");
    }

    #[test]
    fn what_is_no_heap_of_the_first_process_says_so_at_its_root() {
        let mut snapshot = testing::snapshot(vec![site(
            1,
            counters(8_192, 2, 0, 0),
            None,
            StackEnd::NoRow,
            vec![frame(1, "map", "/bin/a", "")],
        )]);
        snapshot.sites[0].kind = SiteKind::Mmap;
        assert_eq!(lines(&snapshot, By::Inuse), "[mmap];[incomplete: no_row];map 8192\n");
        snapshot.sites[0].kind = SiteKind::MmapReserved;
        assert_eq!(lines(&snapshot, By::Inuse), "", "addresses are no memory");
        snapshot.sites[0].kind = SiteKind::Heap;
        snapshot.sites[0].stack = Arc::new(Stack { frames: Vec::new(), end: StackEnd::NoRow });
        assert_eq!(lines(&snapshot, By::Inuse), "[incomplete: no_row] 8192\n");
    }
}
