//! The flame graph without a screen.

use super::*;
use crate::{
    report::testing::{self, counters, frame, site},
    symbolize::{NoSymbol, Stack},
};
use tracer_common::stack::StackEnd;

fn shown(snapshot: &Snapshot) -> Flame {
    let mut flame = Flame { stale: true, ..Flame::default() };
    flame.refresh(snapshot, &Trails::default(), false);
    flame.lay_out(100, 20);
    press(&mut flame, &[Action::Home]);
    flame
}

/// Sites of these stacks, from the outermost frame on, with so many bytes each in as many blocks.
fn stacks(stacks: &[(&[&str], u64)]) -> Snapshot {
    let sites = stacks.iter().enumerate().map(|(id, (names, bytes))| {
        let frames = names.iter().rev().map(|name| frame(1, name, "/bin/a", "")).collect();
        site(id as u32, counters(*bytes, 1, 0, 0), None, StackEnd::Complete, frames)
    });
    testing::snapshot(sites.collect())
}

fn server() -> Snapshot {
    stacks(&[(&["main", "serve", "read"], 53), (&["main", "serve", "parse"], 31), (&["main", "load"], 16)])
}

fn press(flame: &mut Flame, actions: &[Action]) -> String {
    for action in actions {
        flame.apply(*action);
        flame.lay_out(100, 20);
    }
    flame.name(flame.selected()).to_owned()
}

fn cells(flame: &Flame) -> Vec<(usize, u16, u16, &str)> {
    let name = |cell: &Cell| cell.node.map_or("…", |node| flame.name(node));
    flame.cells().iter().map(|cell| (cell.row, cell.left, cell.width, name(cell))).collect()
}

#[test]
fn frames_are_as_wide_as_their_share_and_the_largest_comes_first() {
    let flame = shown(&server());
    let expected = [
        (0, 0, 100, "all"),
        (1, 0, 100, "main"),
        (2, 0, 84, "serve"),
        (2, 84, 16, "load"),
        (3, 0, 53, "read"),
        (3, 53, 31, "parse"),
    ];
    assert_eq!(cells(&flame), expected);
}

#[test]
fn until_a_key_says_otherwise_it_is_where_most_comes_by() {
    let mut flame = Flame { stale: true, ..Flame::default() };
    flame.refresh(&server(), &Trails::default(), false);
    assert_eq!(flame.name(flame.selected()), "read");
    let mut next = server();
    next.sites.iter_mut().filter(|site| site.id == SiteId(1)).for_each(|site| site.counters.alloc_bytes += 1_009);
    flame.update();
    flame.refresh(&next, &Trails::default(), false);
    assert_eq!(flame.name(flame.selected()), "parse");
    flame.apply(Action::Up);
    flame.update();
    flame.refresh(&server(), &Trails::default(), false);
    assert_eq!(flame.name(flame.selected()), "serve");
    flame.measure_beside(false);
    assert_eq!(flame.measure, FlameMeasure::Objects);
}

#[test]
fn keys_go_along_and_across_the_graph() {
    let mut flame = shown(&server());
    assert_eq!(press(&mut flame, &[Action::Down; 3]), "read");
    assert_eq!(press(&mut flame, &[Action::Right, Action::Right]), "parse");
    assert_eq!(press(&mut flame, &[Action::Up, Action::Right]), "load");
    assert_eq!(press(&mut flame, &[Action::Down]), "load", "it called nothing");
    assert_eq!(press(&mut flame, &[Action::Left, Action::End]), "read");
    assert_eq!(press(&mut flame, &[Action::PageUp]), "all");
}

#[test]
fn zooming_makes_a_frame_as_wide_as_all_and_leads_back() {
    let mut flame = shown(&server());
    press(&mut flame, &[Action::Down, Action::Down, Action::Enter]);
    let wide =
        [(0, 0, 100, "all"), (1, 0, 100, "main"), (2, 0, 100, "serve"), (3, 0, 63, "read"), (3, 63, 37, "parse")];
    assert_eq!(cells(&flame), wide);
    press(&mut flame, &[Action::Down, Action::Enter, Action::Backspace]);
    assert_eq!(flame.zoomed().map(|node| flame.name(node)), Some("serve"), "one step");
    press(&mut flame, &[Action::Up]);
    assert!(flame.escape(), "it was zoomed in");
    assert_eq!((flame.zoomed(), flame.escape()), (None, false));
    press(&mut flame, &[Action::Enter, Action::Up]);
    assert_eq!(flame.zoomed().map(|node| flame.name(node)), Some("main"), "further out is seen");
}

#[test]
fn a_selection_outlives_numbers_names_and_measures() {
    let mut flame = shown(&server());
    press(&mut flame, &[Action::Down, Action::Down, Action::Right]);
    let mut next = server();
    next.sites.iter_mut().for_each(|site| site.counters.alloc_bytes += 1_009);
    flame.update();
    flame.refresh(&next, &Trails::default(), false);
    assert_eq!((flame.name(flame.selected()), flame.value(flame.selected())), ("load", 1_025));
    flame.measure_beside(true);
    flame.measure_beside(true);
    flame.refresh(&next, &Trails::default(), false);
    assert_eq!((flame.measure, flame.total(), flame.name(flame.selected())), (FlameMeasure::Objects, 3, "load"));
    // Its site is freed.
    next.sites.retain(|site| site.id != SiteId(2));
    flame.update();
    flame.refresh(&next, &Trails::default(), false);
    assert_eq!(flame.name(flame.selected()), "main");
}

#[test]
fn names_take_the_place_of_addresses() {
    let mut pending = stacks(&[(&["main"], 7)]);
    let frames = vec![testing::unnamed(0x1000, None, NoSymbol::Pending)];
    pending.sites[0].stack = Arc::new(Stack { frames, end: StackEnd::Complete });
    let mut flame = shown(&pending);
    assert_eq!(press(&mut flame, &[Action::Down]), "0x1000");
    flame.update();
    flame.refresh(&stacks(&[(&["main"], 7)]), &Trails::default(), false);
    flame.lay_out(100, 20);
    assert_eq!(cells(&flame), [(0, 0, 100, "all"), (1, 0, 100, "main")]);
    assert_eq!(flame.name(flame.selected()), "all");
}

#[test]
fn what_matches_is_counted_once() {
    let mut flame = shown(&stacks(&[(&["main", "parse", "parse_value"], 53), (&["main", "load"], 47)]));
    flame.search("PARSE");
    assert_eq!(flame.found().map(|found| (found.len(), found.value)), Some((0, 0)), "capitals are meant");
    flame.search("parse");
    assert_eq!(flame.found().map(|found| (found.len(), found.value)), Some((2, 53)));
    assert!(flame.escape() && flame.found().is_none());
}

#[test]
fn what_is_too_small_is_counted_and_the_largest_are_named_first() {
    let mut flame = shown(&testing::many(10_000));
    let rest = flame.cells().last().copied().expect("a row");
    assert_eq!((rest.node, rest.rest, rest.left, rest.width), (None, 10_000, 0, 100));
    let sites = flame.visible_sites();
    assert_eq!((sites.len(), sites[0], sites[199]), (NAMED_FIRST, SiteId(0), SiteId(199)));
    flame.update();
    flame.refresh(&testing::empty(), &Trails::default(), false);
    assert!(flame.visible_sites().is_empty() && flame.total() == 0);
}

#[test]
fn growth_is_that_of_the_last_minute() {
    let (mut trails, mut snapshot) = (Trails::default(), server());
    for second in 0..100 {
        snapshot.elapsed = Duration::from_secs(second);
        let grows = snapshot.sites.iter_mut().find(|site| site.id == SiteId(1)).expect("is there");
        grows.counters.alloc_bytes = 31 + second * 13;
        trails.push(&snapshot);
    }
    let mut flame = shown(&snapshot);
    flame.measure_beside(true);
    flame.refresh(&snapshot, &trails, false);
    assert_eq!((flame.measure, flame.total()), (FlameMeasure::Growth, 60 * 13));
}

#[test]
fn a_deep_stack_is_scrolled_to_the_selected_frame() {
    let names: Vec<String> = (0..60).map(|depth| format!("f{depth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut flame = shown(&stacks(&[(&names, 7)]));
    assert_eq!(press(&mut flame, &[Action::End]), "f59");
    assert_eq!(flame.rows(), 41..61);
    assert_eq!(flame.cells().len(), 20);
    press(&mut flame, &[Action::Home]);
    assert_eq!(flame.rows(), 0..20);
}

#[test]
fn runs_of_library_frames_are_one_until_all_are_wanted() {
    let ways: [(&[&str], u64); 3] = [
        (&["std::rt", "std::start", "std::run", "main", "alloc::grow", "alloc::raw", "alloc::alloc"], 53),
        (&["std::rt", "std::run", "std::call", "std::once", "main", "read", "alloc::alloc"], 31),
        (&["std::rt", "std::start", "idle"], 16),
    ];
    let snapshot = stacks(&ways);
    let mut flame = shown(&snapshot);
    let names = |flame: &Flame| -> Vec<String> {
        cells(flame).iter().map(|(row, _, width, name)| format!("{row} {name} {width}")).collect()
    };
    let folded = [
        "0 all 100",
        "1 … std 84",
        "1 std::rt 16",
        "2 main 84",
        "2 std::start 16",
        "3 … alloc 53",
        "3 read 31",
        "3 idle 16",
        "4 alloc::alloc 31",
    ];
    assert_eq!(names(&flame), folded);
    flame.refresh(&snapshot, &Trails::default(), true);
    flame.lay_out(100, 20);
    assert_eq!(names(&flame)[..2], ["0 all 100", "1 std::rt 100"]);
    flame.refresh(&snapshot, &Trails::default(), false);
    flame.lay_out(100, 20);
    assert_eq!(names(&flame), folded);
}
