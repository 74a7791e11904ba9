//! Where the descriptors stand, in a line above the table.

use ratatui::text::{Line, Span};

use crate::{
    aggregate::{Corrections, Descriptors, FdLimits, Origin, Peer},
    report::{
        fd_words::share_words,
        units::{count, counted, duration},
    },
    tui::{state::Fds, theme::Theme, widgets::fitting},
};

/// For the tab of descriptors.
pub(in crate::tui) fn descriptors(descriptors: &Descriptors, fds: &Fds, theme: Theme, width: u16) -> Line<'static> {
    let sites = &descriptors.sites;
    let mut stand = vec![Span::raw(format!("{} since attach", count(descriptors.open_since_attach())))];
    for (origin, words) in [(Origin::BeforeAttach, "before"), (Origin::Unseen, "unseen")] {
        let open = fds.open(origin);
        if open > 0 {
            stand.push(Span::raw(format!("{} {words}", count(open))));
        }
    }
    let opened = sites.iter().map(|site| site.opened).sum();
    let closed = sites.iter().map(|site| site.closed).sum();
    stand.extend([Span::raw(format!("{} opened", count(opened))), Span::raw(format!("{} closed", count(closed)))]);
    stand.push(match descriptors.looked {
        Some(span) => Span::raw(format!("looked {} ago", duration(span))),
        None => Span::styled("not looked yet", theme.dim()),
    });
    stand.extend(corrected(descriptors.corrections, theme));
    fitting(stand, width)
}

/// For the tab of peers.
pub(in crate::tui) fn peers(descriptors: &Descriptors, theme: Theme, width: u16) -> Line<'static> {
    let peers = &descriptors.peers;
    let sum = |of: fn(&Peer) -> u64| peers.iter().map(of).fold(0, u64::saturating_add);
    let mut connections = vec![
        Span::raw(counted(peers.len() as u64, "peer", "peers")),
        Span::raw(counted(sum(|peer| peer.open), "connection", "connections")),
    ];
    let hung_up = sum(|peer| peer.close_wait);
    if hung_up > 0 {
        connections.push(Span::styled(format!("{} in CLOSE_WAIT", count(hung_up)), theme.warning()));
    }
    let idle = count(sum(|peer| peer.idle));
    connections.push(Span::raw(format!("{idle} idle over {}", duration(descriptors.stale))));
    fitting(connections, width)
}

/// Only what was put right, after how much that is; zero is the rule.
fn corrected(corrections: Corrections, theme: Theme) -> Vec<Span<'static>> {
    let Corrections { unseen_closes, unseen_opens, replaced } = corrections;
    let causes = [("unseen closes", unseen_closes), ("unseen opens", unseen_opens), ("replaced", replaced)];
    let total: u64 = causes.iter().map(|(_, number)| number).sum();
    let all = [("corrected", total)].into_iter().chain(causes).filter(|&(_, number)| number > 0);
    all.map(|(words, number)| Span::styled(format!("{words} {}", count(number)), theme.incomplete())).collect()
}

/// How near the limit is.
pub(in crate::tui) fn limit(descriptors: &Descriptors, theme: Theme) -> Span<'static> {
    match &descriptors.limits {
        Some(limits) => {
            let FdLimits { nofile_soft, nofile_hard: _, open } = *limits;
            let words = format!("descriptors {}/{}, {}", count(open), count(nofile_soft), share_words(limits));
            Span::styled(words, theme.share(limits.share()))
        }
        None => Span::styled(format!("descriptors {}", count(descriptors.open.len() as u64)), theme.bold()),
    }
}
