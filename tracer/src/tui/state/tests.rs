//! Keys of the whole dashboard and the tabs of descriptors and peers, without a screen.

use super::*;
use crate::{
    aggregate::{Direction, Origin, TargetState},
    report::testing,
};

fn state(snapshot: Snapshot) -> State {
    let mut state = State::new(Some(Sort::Inuse), Duration::ZERO);
    state.update(Arc::new(snapshot));
    state
}

fn on(tab: Tab, snapshot: Snapshot) -> State {
    let mut state = state(snapshot);
    state.apply(Action::Show(tab));
    state
}

fn origins(state: &State) -> Vec<Origin> {
    state.fds.browser.visible().map(|(_, (origin, _))| *origin).collect()
}

fn origin(state: &State) -> Origin {
    *state.fds.browser.selected().expect("a selection").0
}

fn sites(ids: &[u32]) -> Vec<Origin> {
    ids.iter().map(|&id| Origin::Site(SiteId(id))).collect()
}

/// `testing::normal_fds`, with so many more descriptors of site 41 that it comes first.
fn search_on_top() -> Snapshot {
    let mut snapshot = testing::normal_fds();
    let descriptors = snapshot.descriptors.as_mut().expect("traced");
    descriptors.sites.iter_mut().find(|site| site.id == SiteId(41)).expect("is there").opened += 100;
    descriptors.peers.iter_mut().find(|peer| peer.service == Some("redis")).expect("is there").open += 100;
    snapshot
}

#[test]
fn tabs_are_shown_by_number_and_in_turn() {
    let mut state = state(testing::normal_fds());
    assert_eq!(state.tab, Tab::Leaks);
    for tab in [Tab::Peers, Tab::Descriptors, Tab::Leaks] {
        state.apply(Action::Show(tab));
        assert_eq!(state.tab, tab);
    }
    for tab in [Tab::Descriptors, Tab::Peers, Tab::Timeline, Tab::Flame, Tab::Health, Tab::Leaks] {
        state.apply(Action::NextTab);
        assert_eq!(state.tab, tab);
    }
    for tab in [Tab::Health, Tab::Flame, Tab::Timeline, Tab::Peers, Tab::Descriptors, Tab::Leaks] {
        state.apply(Action::PreviousTab);
        assert_eq!(state.tab, tab);
    }
    state.apply(Action::Help);
    state.apply(Action::NextTab);
    assert_eq!(state.tab, Tab::Leaks, "the help has the keys");
}

#[test]
fn each_tab_keeps_its_own_place_focus_and_order() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    state.apply(Action::Down);
    state.apply(Action::SwitchFocus);
    state.apply(Action::NextSort);
    state.apply(Action::Show(Tab::Peers));
    assert_eq!((state.peers.browser.row(), state.focus(), state.peers.sort), (0, Focus::List, PeerSort::Open));
    state.apply(Action::Show(Tab::Leaks));
    assert_eq!((state.leaks.browser.row(), state.focus(), state.leaks.sort), (0, Focus::List, Column::Inuse));
    state.apply(Action::Show(Tab::Descriptors));
    assert_eq!(
        (origin(&state), state.focus(), state.fds.sort),
        (Origin::Site(SiteId(23)), Focus::Detail, FdSort::Opened)
    );
}

#[test]
fn what_no_site_opened_comes_last_and_only_if_there_is_any() {
    let state = on(Tab::Descriptors, testing::normal_fds());
    let mut expected = sites(&[17, 23, 19, 29, 31, 41, 37]);
    expected.extend([Origin::BeforeAttach, Origin::Unseen]);
    assert_eq!(origins(&state), expected);
    assert_eq!((state.fds.open(Origin::BeforeAttach), state.fds.open(Origin::Unseen)), (8, 2));
    let state = on(Tab::Descriptors, testing::many_fds(100));
    assert_eq!(state.fds.browser.len(), 97);
}

#[test]
fn descriptors_are_sorted_by_one_column_after_the_other() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    state.apply(Action::NextSort);
    assert_eq!(origins(&state)[..3], sites(&[19, 37, 23]));
    state.apply(Action::NextSort);
    assert_eq!(origins(&state)[..3], sites(&[17, 31, 23]));
    state.apply(Action::NextSort);
    assert_eq!(state.fds.sort, FdSort::Open);
}

#[test]
fn a_chosen_row_stays_selected_and_the_top_one_does_not() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    state.update(Arc::new(search_on_top()));
    assert_eq!(origin(&state), Origin::Site(SiteId(41)));
    state.apply(Action::End);
    state.apply(Action::Up);
    assert_eq!(origin(&state), Origin::BeforeAttach);
    state.update(Arc::new(testing::normal_fds()));
    assert_eq!(origin(&state), Origin::BeforeAttach);
    state.apply(Action::NextSort);
    assert_eq!(origin(&state), Origin::BeforeAttach);

    state.apply(Action::Show(Tab::Peers));
    state.apply(Action::Down);
    let selected = |state: &State| state.peers.browser.selected().map(|(key, _)| key.clone());
    let chosen = selected(&state);
    assert_eq!(chosen.as_ref().map(|(direction, _)| *direction), Some(Direction::Inbound));
    state.update(Arc::new(search_on_top()));
    assert_eq!((selected(&state), state.peers.browser.row()), (chosen, 2));
}

#[test]
fn peers_are_sorted_by_one_column_after_the_other() {
    let mut state = on(Tab::Peers, testing::normal_fds());
    let order = |state: &State| state.peers.browser.visible().map(|(_, (_, index))| index).collect::<Vec<_>>();
    assert_eq!(order(&state), [0, 1, 2, 3, 4]);
    state.apply(Action::NextSort);
    assert_eq!(order(&state), [1, 0, 2, 3, 4]);
    state.apply(Action::NextSort);
    assert_eq!((state.peers.sort, order(&state)), (PeerSort::OpenedPerMin, vec![1, 0, 2, 4, 3]));
    state.apply(Action::NextSort);
    assert_eq!(order(&state), [0, 1, 4, 2, 3]);
}

#[test]
fn a_group_lists_the_oldest_first_and_knows_what_its_columns_need() {
    let snapshot = testing::normal_fds();
    let open = &snapshot.descriptors.as_ref().expect("traced").open;
    let state = state(snapshot.clone());
    let group = |id| state.fds.group(Origin::Site(SiteId(id))).expect("has descriptors");
    let clients = group(19);
    assert!(clients.fds.is_sorted_by_key(|&index| std::cmp::Reverse(open[index].age)));
    assert_eq!((clients.fds.len(), clients.kind_columns, clients.state_columns), (17, 3, 11));
    assert!(clients.queues && clients.idle && !clients.processes);
    let files = group(23);
    assert_eq!((files.state_columns, files.queues, files.idle), (0, false, false));
    assert!(state.fds.group(Origin::Site(SiteId(37))).is_none());
}

#[test]
fn the_sites_on_screen_are_those_to_name_first() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    let ids = |state: &State| state.visible_sites().iter().map(|id| id.0).collect::<Vec<_>>();
    state.fds.browser.fit(2);
    state.apply(Action::Down);
    assert_eq!(ids(&state), [23, 17, 19], "two rows, and what signals name");
    state.apply(Action::Show(Tab::Peers));
    assert_eq!(ids(&state), [17]);
    state.apply(Action::End);
    assert_eq!(ids(&state), [41, 43]);
    state.apply(Action::Show(Tab::Leaks));
    assert_eq!(ids(&state), [7, 2, 11, 3, 5, 13, 1, 17, 23, 19, 29, 31, 41], "and those that may be related");
}

#[test]
fn who_connected_is_named_with_what_it_connected() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    state.apply(Action::End);
    for _ in 0..3 {
        state.apply(Action::Up);
    }
    assert_eq!(origin(&state), Origin::Site(SiteId(41)));
    assert!(state.visible_sites().contains(&SiteId(43)));
    let rows = state.fds.browser.visible();
    assert!(
        !rows.map(|(_, (origin, _))| *origin).any(|origin| origin == Origin::Site(SiteId(43))),
        "it opened nothing"
    );
}

#[test]
fn without_memory_the_descriptors_come_first_until_a_key_says_otherwise() {
    let mut state = state(testing::fds_alone());
    assert_eq!(state.tab, Tab::Descriptors);
    state.apply(Action::Show(Tab::Leaks));
    state.update(Arc::new(testing::fds_alone()));
    assert_eq!(state.tab, Tab::Leaks);
}

#[test]
fn keys_do_nothing_where_there_is_nothing() {
    for snapshot in [testing::normal(), testing::no_fds()] {
        for tab in Tab::ALL {
            let mut state = on(tab, Snapshot { sites: Vec::new(), ..snapshot.clone() });
            for action in [Action::Down, Action::End, Action::PageDown, Action::SwitchFocus, Action::NextSort] {
                assert_eq!(state.apply(action), Flow::Continue);
            }
            assert!(state.visible_sites().is_empty());
        }
    }
}

#[test]
fn descriptors_that_are_no_longer_traced_are_no_longer_shown() {
    let mut state = on(Tab::Descriptors, testing::normal_fds());
    state.update(Arc::new(testing::normal()));
    assert!(origins(&state).is_empty() && state.fds.notices.is_empty() && state.peers.browser.len() == 0);
}

#[test]
fn escape_closes_the_help_before_it_quits_and_control_c_does_not_wait() {
    let mut state = state(testing::exited());
    assert_eq!(state.snapshot.as_ref().map(|snapshot| snapshot.state.clone()), Some(TargetState::Exited));
    state.apply(Action::Help);
    assert_eq!(state.apply(Action::Back), Flow::Continue);
    assert!(state.help.is_none());
    assert_eq!(state.apply(Action::Back), Flow::Quit);
    state.apply(Action::Help);
    assert_eq!(state.apply(Action::Quit), Flow::Quit);
}

#[test]
fn a_message_lasts_until_the_next_key() {
    let mut state = state(testing::normal());
    state.status = Some("saved".to_owned());
    state.update(Arc::new(testing::normal()));
    assert!(state.status.is_some());
    state.apply(Action::Down);
    assert!(state.status.is_none());
}
