use proptest::prelude::*;

use super::*;

const TGID: Tgid = Tgid(41);
const MIB: u64 = 1 << 20;

fn change(tid: u32, time_ns: u64, turn: RangeTurn) -> RangeChange {
    RangeChange { tgid: TGID, tid, time_ns, turn }
}

fn mapped(start: u64, len: u64, site: u32) -> RangeTurn {
    RangeTurn::Mapped { start, len, site: Some(SiteId(site)) }
}

fn ranges(turns: &[RangeTurn]) -> Ranges {
    let mut ranges = Ranges::default();
    ranges.begin(TGID, Some(0x1000));
    for (turn, time) in turns.iter().zip(1..) {
        ranges.apply(change(1, time, *turn));
    }
    ranges
}

fn of(ranges: &Ranges, site: u32) -> [u64; 4] {
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = ranges.counters(SiteId(site));
    [alloc_bytes, alloc_objects, free_bytes, free_objects]
}

#[test]
fn a_hole_splits_a_mapping_which_ends_with_its_last_piece() {
    let start = 16 * MIB;
    let hole = RangeTurn::Unmapped { start: start + MIB, len: MIB };
    let turns = [mapped(start, 3 * MIB, 7), hole];
    assert_eq!(of(&ranges(&turns), 7), [3 * MIB, 1, MIB, 0]);
    let rest = RangeTurn::Unmapped { start, len: 3 * MIB };
    assert_eq!(of(&ranges(&[turns[0], turns[1], rest]), 7), [3 * MIB, 1, 3 * MIB, 1]);
}

#[test]
fn lengths_are_in_pages_and_what_is_mapped_over_is_gone() {
    let turns = [mapped(MIB, 1, 3), mapped(MIB, 4097, 5)];
    assert_eq!(of(&ranges(&turns), 3), [4096, 1, 4096, 1]);
    assert_eq!(of(&ranges(&turns), 5), [8192, 1, 0, 0]);
}

#[test]
fn what_moves_keeps_its_site_and_what_is_added_is_the_movers() {
    let moved = RangeTurn::Remapped {
        old_start: MIB,
        old_len: 2 * MIB,
        start: 64 * MIB,
        len: 5 * MIB,
        flags: 1,
        site: Some(SiteId(9)),
    };
    let ranges = ranges(&[mapped(MIB, 2 * MIB, 8), moved, RangeTurn::Unmapped { start: 64 * MIB, len: MIB }]);
    assert_eq!(of(&ranges, 8), [2 * MIB, 1, MIB, 0]);
    assert_eq!(of(&ranges, 9), [3 * MIB, 1, 0, 0]);
}

#[test]
fn shrinking_in_place_and_leaving_the_old_range() {
    let shrunk = RangeTurn::Remapped { old_start: MIB, old_len: 2 * MIB, start: MIB, len: MIB, flags: 0, site: None };
    assert_eq!(of(&ranges(&[mapped(MIB, 2 * MIB, 8), shrunk]), 8), [2 * MIB, 1, MIB, 0]);
    let left =
        RangeTurn::Remapped { old_start: MIB, old_len: MIB, start: 8 * MIB, len: MIB, flags: 5, site: Some(SiteId(9)) };
    let ranges = ranges(&[mapped(MIB, MIB, 8), left]);
    assert_eq!((of(&ranges, 8), of(&ranges, 9)), ([MIB, 1, 0, 0], [MIB, 1, 0, 0]));
}

#[test]
fn the_data_segment_grows_by_whoever_moves_its_end() {
    let end = |end, site: Option<u32>| RangeTurn::BreakMoved { end, site: site.map(SiteId) };
    let ranges = ranges(&[end(0x1800, Some(2)), end(0x9000, None), end(0xa000, Some(3)), end(0x1400, Some(2))]);
    assert_eq!(of(&ranges, 2), [0x800, 1, 0x400, 0]);
    assert_eq!(of(&ranges, 3), [0x1000, 1, 0x1000, 1]);
}

#[test]
fn a_late_word_of_an_earlier_unmapping_is_put_right_by_the_mappings() {
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, 1_000, mapped(MIB, MIB, 4)));
    ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: MIB }));
    assert_eq!(of(&ranges, 4), [MIB, 1, MIB, 1]);
    assert!(ranges.is_in_doubt(TGID));
    ranges.compare(TGID, &[0..4096, MIB..3 * MIB], 3_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([MIB, 1, 0, 0], 1));
    assert!(!ranges.is_in_doubt(TGID));
}

#[test]
fn what_is_unmapped_after_the_mappings_were_read_is_not_put_back() {
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, 1_000, mapped(MIB, MIB, 4)));
    ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: MIB }));
    ranges.apply(change(3, 4_000, RangeTurn::Unmapped { start: MIB, len: MIB }));
    ranges.compare(TGID, &[0..4096, MIB..3 * MIB], 3_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([MIB, 1, MIB, 1], 0));
    assert!(ranges.is_in_doubt(TGID), "until it is looked again");
    ranges.compare(TGID, &[], 5_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([MIB, 1, MIB, 1], 0));
    assert!(!ranges.is_in_doubt(TGID));
}

#[test]
fn what_is_mapped_over_is_in_doubt_no_more_but_for_what_is_left_of_it() {
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, 1_000, mapped(MIB, 4 * MIB, 4)));
    ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: 4 * MIB }));
    // An allocator's own.
    ranges.apply(change(3, 3_000, RangeTurn::Mapped { start: 2 * MIB, len: MIB, site: None }));
    ranges.compare(TGID, std::slice::from_ref(&(MIB..5 * MIB)), 4_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([4 * MIB, 1, MIB, 0], 2));
}

#[test]
fn what_is_resized_or_moved_had_not_been_unmapped() {
    for start in [MIB, 64 * MIB] {
        let mut ranges = ranges(&[]);
        ranges.apply(change(1, 1_000, mapped(MIB, 2 * MIB, 4)));
        ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: 2 * MIB }));
        let turn = RangeTurn::Remapped {
            old_start: MIB,
            old_len: 2 * MIB,
            start,
            len: 4 * MIB,
            flags: 1,
            site: Some(SiteId(5)),
        };
        ranges.apply(change(1, 3_000, turn));
        ranges.compare(TGID, std::slice::from_ref(&(start..start + 4 * MIB)), 4_000);
        assert_eq!((of(&ranges, 4), of(&ranges, 5)), ([2 * MIB, 1, 0, 0], [2 * MIB, 1, 0, 0]), "at {start:#x}");
        assert!(!ranges.is_in_doubt(TGID));
    }
}

#[test]
fn what_is_left_of_a_mapping_in_doubt_is_put_back() {
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, 1_000, mapped(MIB, 4 * MIB, 4)));
    ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: 4 * MIB }));
    ranges.apply(change(1, 3_000, RangeTurn::Unmapped { start: MIB, len: MIB }));
    ranges.compare(TGID, std::slice::from_ref(&(2 * MIB..5 * MIB)), 4_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([4 * MIB, 1, MIB, 0], 1));
}

#[test]
fn a_mapping_that_is_put_back_has_not_died_at_any_age() {
    const MS: u64 = 1_000_000;
    let deaths = |ranges: &Ranges| ranges.deaths[&SiteId(4)];
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, MS, mapped(MIB, 2 * MIB, 4)));
    ranges.apply(change(2, 2 * MS, RangeTurn::Unmapped { start: MIB, len: MIB }));
    ranges.apply(change(1, 90 * MS, RangeTurn::Unmapped { start: 2 * MIB, len: MIB }));
    assert_eq!(deaths(&ranges).iter().sum::<u64>(), 1);
    ranges.compare(TGID, std::slice::from_ref(&(MIB..2 * MIB)), 95 * MS);
    assert_eq!((of(&ranges, 4), deaths(&ranges)), ([2 * MIB, 1, MIB, 0], [0; AGE_BUCKETS]));
}

#[test]
fn what_the_allocator_makes_of_the_data_segment_is_not_what_was_there() {
    let mut ranges = ranges(&[]);
    let to = |end, site: Option<u32>| RangeTurn::BreakMoved { end, site: site.map(SiteId) };
    ranges.apply(change(1, 1_000, to(MIB, Some(4))));
    let grown = MIB - 0x1000;
    ranges.apply(change(2, 2_000, to(0x1000, None)));
    ranges.apply(change(2, 3_000, to(2 * MIB, None)));
    ranges.compare(TGID, std::slice::from_ref(&(0..2 * MIB)), 4_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([grown, 1, grown, 1], 0));
}

#[test]
fn a_real_unmapping_stays_and_an_unseen_one_is_noticed() {
    let mut ranges = ranges(&[mapped(MIB, MIB, 4), mapped(4 * MIB, 4 * MIB, 5)]);
    ranges.apply(change(2, 2_000, RangeTurn::Unmapped { start: MIB, len: MIB }));
    let left = 5 * MIB..6 * MIB;
    ranges.compare(TGID, std::slice::from_ref(&left), 3_000);
    assert_eq!(of(&ranges, 4), [MIB, 1, MIB, 1]);
    assert_eq!(of(&ranges, 5), [4 * MIB, 1, 3 * MIB, 0]);
    assert_eq!(ranges.corrections(), 2, "before and behind what is left");
}

#[test]
fn what_is_mapped_while_the_mappings_are_read_is_left_alone() {
    let mut ranges = ranges(&[]);
    ranges.apply(change(1, 5_000, mapped(MIB, MIB, 4)));
    ranges.compare(TGID, &[], 4_000);
    assert_eq!((of(&ranges, 4), ranges.corrections()), ([MIB, 1, 0, 0], 0));
}

/// Pages of the address space that the random calls use.
const PAGES: u64 = 24;

/// One call: sort, first page, pages, target page, pages there.
fn call() -> impl Strategy<Value = (u8, u64, u64, u64, u64)> {
    (0..4_u8, 0..PAGES, 1..8_u64, 0..PAGES, 1..8_u64)
}

proptest! {
    /// A model that knows the site of each page, as the kernel does.
    #[test]
    fn ranges_agree_with_a_page_table(calls in proptest::collection::vec(call(), 1..64)) {
        let mut pages: HashMap<u64, u32> = HashMap::new();
        let mut ranges = Ranges::default();
        for ((sort, first, count, to, more), site) in calls.into_iter().zip(0_u32..) {
            let (start, len) = (first * PAGE, count * PAGE);
            let turn = match sort {
                0 | 1 => {
                    pages.extend((first..first + count).map(|page| (page, site)));
                    mapped(start, len, site)
                }
                2 => {
                    pages.retain(|page, _| !(first..first + count).contains(page));
                    RangeTurn::Unmapped { start, len }
                }
                _ => {
                    // The kernel refuses ranges that overlap, unless the place stays.
                    let to = if to < first + count && first < to + more { first } else { to };
                    let moved: Vec<_> =
                        (0..count.min(more)).filter_map(|page| Some((page, pages.remove(&(first + page))?))).collect();
                    pages.retain(|page, _| !(first..first + count).contains(page));
                    pages.retain(|page, _| !(to..to + more).contains(page));
                    pages.extend(moved.into_iter().map(|(page, site)| (to + page, site)));
                    pages.extend((count..more).map(|page| (to + page, site)));
                    let site = (more > count).then_some(SiteId(site));
                    RangeTurn::Remapped { old_start: start, old_len: len, start: to * PAGE, len: more * PAGE, flags: 3, site }
                }
            };
            ranges.apply(change(1, u64::from(site), turn));
        }
        let mut bytes: HashMap<u32, u64> = HashMap::new();
        for site in pages.values() {
            *bytes.entry(*site).or_default() += PAGE;
        }
        for site in 0..64 {
            let counters = ranges.counters(SiteId(site));
            prop_assert_eq!(counters.inuse_bytes(), bytes.get(&site).copied().unwrap_or(0));
            prop_assert_eq!(counters.inuse_objects() > 0, counters.inuse_bytes() > 0);
        }
    }
}

#[test]
fn what_nobody_follows_is_as_if_it_never_had_been() {
    let start = 16 * MIB;
    let mut ranges = ranges(&[mapped(start, 3 * MIB, 7), RangeTurn::Unmapped { start, len: MIB }]);
    ranges.lose();
    assert_eq!(of(&ranges, 7), [MIB, 0, MIB, 0]);
    // Where the data segment ended is not known any more: the next one who moves it has not added all that came meanwhile.
    ranges.apply(change(1, 3, RangeTurn::BreakMoved { end: 9 * MIB, site: Some(SiteId(11)) }));
    ranges.apply(change(1, 4, RangeTurn::BreakMoved { end: 10 * MIB, site: Some(SiteId(11)) }));
    assert_eq!(of(&ranges, 11), [MIB, 1, 0, 0]);
}
