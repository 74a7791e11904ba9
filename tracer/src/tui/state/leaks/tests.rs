//! Selection, scrolling and changes, without a screen.

use std::sync::Arc;

use super::*;
use crate::{
    report::{Sort, testing},
    tui::{
        input::{Action, Flow},
        state::{Scroll, State, browser::SIDE_STEP},
    },
};

fn state(snapshot: Snapshot) -> State {
    let mut state = State::new(Some(Sort::Inuse), Duration::ZERO);
    state.update(Arc::new(snapshot));
    state
}

fn selected(state: &State) -> u32 {
    state.leaks.browser.selected().map(|(key, _)| number(key)).expect("a selection")
}

fn number(key: &RowKey) -> u32 {
    let RowKey::Site(id) = key else { panic!("a group") };
    id.0
}

fn shown(state: &State) -> Vec<u32> {
    state.leaks.browser.visible().map(|(_, (key, _))| number(key)).collect()
}

/// `testing::many`, with the bytes of the sites reversed.
fn reversed(count: u32) -> Snapshot {
    let mut snapshot = testing::many(count);
    for site in &mut snapshot.sites {
        site.counters.alloc_bytes = u64::from(site.id.0 + 1) * 16;
    }
    let elapsed = snapshot.elapsed + Duration::from_secs(1);
    Snapshot { elapsed, ..testing::snapshot(snapshot.sites) }
}

#[test]
fn until_the_user_moves_the_top_site_is_selected() {
    let mut state = state(testing::many(5));
    assert_eq!(selected(&state), 0);
    state.update(Arc::new(reversed(5)));
    assert_eq!(selected(&state), 4);
}

#[test]
fn the_selection_follows_the_chosen_site() {
    let mut state = state(testing::many(5));
    state.apply(Action::Down);
    assert_eq!((selected(&state), state.leaks.browser.row()), (1, 1));
    state.update(Arc::new(reversed(5)));
    assert_eq!((selected(&state), state.leaks.browser.row()), (1, 3));
    state.apply(Action::Reverse);
    assert_eq!((selected(&state), state.leaks.browser.row()), (1, 1));
    state.apply(Action::Reverse);
    state.apply(Action::Home);
    state.update(Arc::new(testing::many(5)));
    assert_eq!(selected(&state), 0);
}

#[test]
fn going_to_the_stack_pane_chooses_its_site() {
    let mut state = state(testing::many(5));
    state.apply(Action::SwitchFocus);
    state.update(Arc::new(reversed(5)));
    assert_eq!((selected(&state), state.leaks.browser.row()), (0, 4));
}

#[test]
fn the_selection_stays_within_the_list_and_the_page_around_it() {
    let mut state = state(testing::many(100));
    state.leaks.browser.fit(10);
    state.apply(Action::Up);
    assert_eq!(state.leaks.browser.row(), 0);
    state.apply(Action::PageDown);
    state.leaks.browser.fit(10);
    assert_eq!((state.leaks.browser.row(), shown(&state)), (10, (1..11).collect()));
    state.apply(Action::End);
    state.apply(Action::Down);
    state.leaks.browser.fit(10);
    assert_eq!((state.leaks.browser.row(), shown(&state)), (99, (90..100).collect()));
    state.leaks.browser.fit(20);
    assert_eq!(shown(&state), (80..100).collect::<Vec<_>>());
    state.apply(Action::PageUp);
    state.leaks.browser.fit(20);
    assert_eq!((state.leaks.browser.row(), shown(&state)), (79, (79..99).collect()));
    assert_eq!(state.visible_sites().len(), 20);
    state.leaks.browser.fit(0);
    assert!(shown(&state).is_empty());
}

#[test]
fn keys_on_an_empty_dashboard_do_nothing() {
    let mut state = State::new(Some(Sort::Inuse), Duration::ZERO);
    for snapshot in [None, Some(testing::empty())] {
        if let Some(snapshot) = snapshot {
            state.update(Arc::new(snapshot));
        }
        for action in [Action::Down, Action::End, Action::PageDown, Action::SwitchFocus, Action::NextSort] {
            assert_eq!(state.apply(action), Flow::Continue);
            state.leaks.browser.fit(10);
        }
        assert!(state.leaks.browser.selected().is_none());
        assert!(state.visible_sites().is_empty());
    }
}

#[test]
fn visible_sites_begin_with_the_selected_one() {
    let mut state = state(testing::many(5));
    state.leaks.browser.fit(3);
    state.apply(Action::Down);
    assert_eq!(state.visible_sites(), [1, 0, 2].map(SiteId));
}

/// That of a site, in the Snapshot that is shown.
fn change(state: &State, id: u32) -> Option<Change> {
    let snapshot = state.snapshot.as_ref()?;
    state.leaks.change(snapshot.sites.iter().find(|site| site.id.0 == id)?)
}

#[test]
fn changes_are_over_the_time_between_two_snapshots() {
    let mut state = state(testing::before_normal());
    assert_eq!(change(&state, 2), None);
    state.update(Arc::new(testing::normal()));
    let parser = Change { inuse_bytes_per_s: 131.0 * 16.0, allocs_per_s: 131.0 };
    assert_eq!(change(&state, 2), Some(parser));
    assert_eq!(change(&state, 1), Some(Change { inuse_bytes_per_s: 0.0, allocs_per_s: 1_097.0 }));
    assert_eq!(change(&state, 11).map(|change| change.inuse_bytes_per_s), Some(-1_024.0));
    // The same moment again, with more symbols.
    state.update(Arc::new(testing::normal()));
    assert_eq!(change(&state, 2), Some(parser));
    // Two seconds later, because a snapshot was skipped.
    let mut later = testing::normal();
    later.elapsed += Duration::from_secs(2);
    later.sites[1].counters.alloc_objects += 14;
    state.update(Arc::new(later));
    assert_eq!(change(&state, 2).map(|change| change.allocs_per_s), Some(7.0));
}

#[test]
fn a_site_that_is_new_changed_by_all_it_has() {
    let mut state = state(testing::many(1));
    let mut next = testing::many(2);
    next.elapsed += Duration::from_secs(1);
    state.update(Arc::new(next));
    assert_eq!(change(&state, 1), Some(Change { inuse_bytes_per_s: 16.0, allocs_per_s: 1.0 }));
}

#[test]
fn the_sort_by_rate_uses_the_change_once_there_is_one() {
    let mut state = state(testing::before_normal());
    while state.leaks.sort != Column::AllocRate {
        state.apply(Action::NextSort);
    }
    assert_eq!(shown(&state)[0], 1);
    let mut next = testing::before_normal();
    next.elapsed += Duration::from_secs(1);
    next.sites[1].counters.alloc_objects += 13;
    let busiest = next.sites[1].id.0;
    state.update(Arc::new(next));
    assert_eq!(shown(&state)[0], busiest);
}

#[test]
fn young_sites_are_left_out_and_counted() {
    let mut state = State::new(Some(Sort::Inuse), Duration::from_secs(5));
    state.update(Arc::new(testing::normal()));
    assert_eq!((shown(&state), state.leaks.young), (vec![7, 2, 11], 4));
}

#[test]
fn a_chosen_site_that_disappears_leaves_the_selection_in_place() {
    let mut state = State::new(Some(Sort::Inuse), Duration::from_secs(5));
    state.update(Arc::new(testing::normal()));
    state.apply(Action::Down);
    let mut next = testing::normal();
    next.sites[1].oldest = None;
    state.update(Arc::new(next));
    assert_eq!((selected(&state), state.leaks.browser.row()), (11, 1));
}

#[test]
fn another_stack_begins_at_its_top() {
    let mut state = state(testing::many(5));
    state.apply(Action::SwitchFocus);
    state.apply(Action::Down);
    state.apply(Action::Right);
    assert_eq!((state.leaks.browser.detail.top, state.leaks.browser.detail.left), (1, SIDE_STEP));
    state.update(Arc::new(reversed(5)));
    assert_eq!(state.leaks.browser.detail.top, 1);
    state.apply(Action::SwitchFocus);
    state.apply(Action::Up);
    assert_eq!((state.leaks.browser.detail.top, state.leaks.browser.detail.left), (0, 0));
}

#[test]
fn scrolling_ends_with_the_last_page() {
    let mut scroll = Scroll::default();
    scroll.apply(Action::End);
    scroll.apply(Action::Down);
    scroll.bound(30, 10);
    assert_eq!(scroll.top, 20);
    scroll.apply(Action::PageUp);
    assert_eq!(scroll.top, 10);
    scroll.bound(5, 10);
    assert_eq!(scroll.top, 0);
}
