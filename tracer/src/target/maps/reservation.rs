//! Where code without a file will be before long.
//!
//! Engines reserve a range of addresses for their code and take pages of it as they compile: V8 256 KiB at a time, each
//! with a header and a guard page, the JVM as its three heaps grow. What touches such code without a gap is counted as
//! code already, so that a stack through code that was made since the last look does not end there.
//!
//! Only memory that can hold no data is taken for such a reservation (no access), with small pieces in its midst: headers
//! of chunks, and pages that are being written.

use super::line::MapsLine;

/// Code is no further from the rest of it than a near call reaches.
const REACH: u64 = 1 << 31;
/// Memory with data in the midst of a reservation: V8's headers have 8 KiB, SpiderMonkey writes to 64 KiB at a time. An
/// arena of glibc's has 132 KiB at least.
const PIECE: u64 = 64 << 10;

/// What a mapping is to a reservation of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Code without a file.
    Code,
    /// Memory without a file or access.
    NoAccess,
    /// A little memory without a file, that holds data or code being written.
    Piece,
    /// More of it.
    Data,
    /// Never a part of one.
    Other,
}

impl Span {
    /// What a line of maps is. `is_code`: executable memory without a file.
    pub(super) fn of(line: &MapsLine<'_>, is_code: bool) -> Self {
        let [read, write, _, private] = line.permissions;
        match (read, write, private) {
            _ if is_code => Self::Code,
            _ if line.is_executable() || line.inode != 0 || !line.name.is_empty() => Self::Other,
            (b'-', b'-', b'p') => Self::NoAccess,
            (_, _, b'p') if line.end - line.start <= PIECE => Self::Piece,
            (_, b'w', b'p') => Self::Data,
            _ => Self::Other,
        }
    }
}

/// The parts of reservations that are not code yet: disjoint, ascending. In: all mappings, ascending.
pub(super) fn reserved(spans: &[(u64, u64, Span)]) -> Vec<(u64, u64)> {
    let touch = |left: usize| spans.get(left).zip(spans.get(left + 1)).is_some_and(|(left, right)| left.1 == right.0);
    let holds = |index: usize| matches!(spans[index].2, Span::Code | Span::NoAccess);
    let mut is_within: Vec<bool> = Vec::with_capacity(spans.len());
    for (index, (_, _, span)) in spans.iter().enumerate() {
        // What it touches on the left.
        let left = index.checked_sub(1).filter(|left| touch(*left));
        is_within.push(match span {
            Span::Code => true,
            // Data grows into what lies behind it.
            Span::NoAccess => left.is_none_or(|left| is_within[left] || spans[left].2 == Span::Other),
            Span::Piece => left.is_some_and(|left| is_within[left] && holds(left)) && touch(index) && holds(index + 1),
            Span::Data | Span::Other => false,
        });
    }
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let mut begin = 0;
    while begin < spans.len() {
        let mut end = begin + 1;
        if is_within[begin] {
            while end < spans.len() && touch(end - 1) && is_within[end] {
                end += 1;
            }
            add_parts(&spans[begin..end], &mut parts);
        }
        begin = end;
    }
    parts
}

/// Adds what is not code of one reservation.
fn add_parts(reservation: &[(u64, u64, Span)], parts: &mut Vec<(u64, u64)>) {
    let is_code = |(_, _, span): &&(u64, u64, Span)| *span == Span::Code;
    let (Some(first), Some(last)) = (reservation.iter().find(is_code), reservation.iter().rfind(is_code)) else {
        return;
    };
    let (low, high) = (first.0.saturating_sub(REACH), last.1.saturating_add(REACH));
    for (start, end, span) in reservation {
        let (start, end) = ((*start).max(low), (*end).min(high));
        if *span == Span::Code || start >= end {
            continue;
        }
        match parts.last_mut() {
            Some(part) if part.1 == start => part.1 = end,
            _ => parts.push((start, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reserved_in(maps: &str) -> Vec<(u64, u64)> {
        let spans: Vec<_> = maps
            .lines()
            .map(|line| {
                let line = MapsLine::parse(line.trim_start().as_bytes()).expect("a line of maps");
                let is_code = line.is_executable() && line.name.is_empty();
                (line.start, line.end, Span::of(&line, is_code))
            })
            .collect();
        reserved(&spans)
    }

    /// Node 20 with two chunks of code, and its own code that it moved into the range.
    #[test]
    fn v8_takes_chunks_out_of_its_range() {
        let maps = "7fafc2000000-7fafc37c0000 rw-p 00000000 00:00 0
            7fafc37c0000-7fafc37c2000 rw-p 00000000 00:00 0
            7fafc37c2000-7fafc37c3000 ---p 00000000 00:00 0
            7fafc37c3000-7fafc37ff000 rwxp 00000000 00:00 0
            7fafc37ff000-7fafc3800000 ---p 00000000 00:00 0
            7fafc3800000-7fafc3802000 rw-p 00000000 00:00 0
            7fafc3802000-7fafc3803000 ---p 00000000 00:00 0
            7fafc3803000-7fafc383f000 rwxp 00000000 00:00 0
            7fafc383f000-7fafe3600000 ---p 00000000 00:00 0
            7fafe3600000-7fafe3792000 r-xp 014c4000 fe:00 247584                     /usr/bin/node
            7fafe3792000-7fafe37c0000 ---p 00000000 00:00 0 ";
        let parts = [(0x7faf_c37f_f000, 0x7faf_c380_3000), (0x7faf_c383_f000, 0x7faf_e360_0000)];
        assert_eq!(reserved_in(maps), parts);
    }

    /// OpenJDK 17: three heaps of code in one reservation. Its file of classes follows.
    #[test]
    fn the_jvms_heaps_of_code_grow() {
        let maps = "7fc9c081a000-7fc9c08f8000 rw-p 00000000 00:00 0
            7fc9c1400000-7fc9c1670000 rwxp 00000000 00:00 0
            7fc9c1670000-7fc9c8938000 ---p 00000000 00:00 0
            7fc9c8938000-7fc9c8ba8000 rwxp 00000000 00:00 0
            7fc9c8ba8000-7fc9c8ec7000 ---p 00000000 00:00 0
            7fc9c8ec7000-7fc9c9137000 rwxp 00000000 00:00 0
            7fc9c9137000-7fc9d0400000 ---p 00000000 00:00 0
            7fc9d0400000-7fc9d7eb2000 r--s 00000000 fe:00 315148                     /usr/lib/modules";
        let parts = [
            (0x7fc9_c167_0000, 0x7fc9_c893_8000),
            (0x7fc9_c8ba_8000, 0x7fc9_c8ec_7000),
            (0x7fc9_c913_7000, 0x7fc9_d040_0000),
        ];
        assert_eq!(reserved_in(maps), parts);
    }

    #[test]
    fn nothing_but_reservations_is_counted_in() {
        // An arena of CPython's trampolines among its memory.
        assert_eq!(
            reserved_in("10000-50000 rw-p 0 00:00 0\n50000-60000 r-xp 0 00:00 0\n60000-90000 rw-p 0 00:00 0"),
            []
        );
        // A little data at the edge.
        assert_eq!(
            reserved_in("4e000-50000 rw-p 0 00:00 0\n50000-60000 r-xp 0 00:00 0\n60000-62000 rw-p 0 00:00 0"),
            []
        );
        // A stack and its guard; an arena of glibc's behind a reservation.
        let thread = "50000-60000 r-xp 0 00:00 0\n60000-61000 ---p 0 00:00 0\n61000-861000 rw-p 0 00:00 0";
        assert_eq!(reserved_in(thread), [(0x60000, 0x61000)]);
        let arena = "3ff0000-4000000 rwxp 0 00:00 0\n4000000-4021000 rw-p 0 00:00 0\n4021000-8000000 ---p 0 00:00 0";
        assert_eq!(reserved_in(arena), []);
        // Node 24: its range is code from the beginning, below is an arena.
        let arena = "8000000-87c3000 rw-p 0 00:00 0\n87c3000-c000000 ---p 0 00:00 0\nc000000-1c000000 rwxp 0 00:00 0";
        assert_eq!(reserved_in(arena), []);
        for other in [
            "rw-p 0 00:00 0 [heap]",
            "---p 0 00:00 0 [stack]",
            "---p 0 fe:00 7 /a",
            "---s 0 00:00 0",
            "r-xp 0 00:00 0 [vdso]",
        ] {
            assert_eq!(reserved_in(&format!("50000-60000 r-xp 0 00:00 0\n60000-61000 {other}")), [], "{other}");
        }
        // A gap; a reservation of no code's.
        assert_eq!(reserved_in("50000-60000 r-xp 0 00:00 0\n61000-62000 ---p 0 00:00 0"), []);
        assert_eq!(
            reserved_in("50000-60000 ---p 0 00:00 0\n60000-62000 rw-p 0 00:00 0\n62000-64000 ---p 0 00:00 0"),
            []
        );
    }

    #[test]
    fn a_page_that_is_written_stays_code() {
        let maps = "50000-60000 r-xp 0 00:00 0\n60000-70000 rw-p 0 00:00 0\n70000-80000 r-xp 0 00:00 0";
        assert_eq!(reserved_in(maps), [(0x60000, 0x70000)]);
    }

    #[test]
    fn a_reservation_ends_where_code_cannot_reach() {
        let maps = "100000000000-200000000000 ---p 0 00:00 0\n200000000000-200000010000 rwxp 0 00:00 0
            200000010000-300000000000 ---p 0 00:00 0";
        let parts = [(0x1fff_8000_0000, 0x2000_0000_0000), (0x2000_0001_0000, 0x2000_8001_0000)];
        assert_eq!(reserved_in(maps), parts);
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_of_memory_without_code(
            kinds in prop::collection::vec((0usize..5, 1u64..40, prop::bool::ANY), 0..40),
        ) {
            let mut at = 0x1000;
            let mut spans = Vec::new();
            for (kind, pages, gap) in kinds {
                let kind = [Span::Code, Span::NoAccess, Span::Piece, Span::Data, Span::Other][kind];
                at += u64::from(gap) * 0x1000;
                spans.push((at, at + pages * 0x1000, kind));
                at += pages * 0x1000;
            }
            let parts = reserved(&spans);
            prop_assert!(parts.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (start, end) in parts {
                let within = spans.iter().filter(|span| span.0 < end && start < span.1);
                let mut reach = start;
                for span in within {
                    prop_assert!(matches!(span.2, Span::NoAccess | Span::Piece));
                    prop_assert!(span.0 <= reach);
                    reach = span.1;
                }
                prop_assert_eq!(reach, end);
                prop_assert!(spans.iter().any(|span| span.2 == Span::Code));
            }
        }
    }
}
