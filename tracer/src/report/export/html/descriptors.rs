//! Descriptors: what is wrong, who opened those that are open, and to whom connections lead.

use super::{markup::Markup, sites::write_stack};
use crate::{
    aggregate::{Descriptors, Origin},
    report::{
        ReportOptions,
        fd_words::{call_site_words, kinds_words, peer_words, share_words, signal_words},
        units::{UNKNOWN, count, duration, rate},
        untrusted::LONGEST,
    },
};

pub(super) fn write(descriptors: &Descriptors, options: &ReportOptions, page: &mut Markup) {
    page.raw("<h2>Descriptors</h2>\n");
    let of = |origin| count(descriptors.open.iter().filter(|fd| fd.origin == origin).count() as u64);
    let limit = descriptors
        .limits
        .map(|limits| format!(" ({} of the limit of {})", share_words(&limits), count(limits.nofile_soft)));
    page.element(
        "p",
        &format!(
            "{} open{}: {} since attach, {} before, {} in a way not seen.",
            count(descriptors.open.len() as u64),
            limit.unwrap_or_default(),
            count(descriptors.open_since_attach()),
            of(Origin::BeforeAttach),
            of(Origin::Unseen),
        ),
    );
    for signal in &descriptors.signals {
        page.classed("p", "bad", &signal_words(signal, descriptors));
    }
    for words in &descriptors.limitations {
        page.classed("p", "dim", words);
    }
    sites(descriptors, options, page);
    peers(descriptors, options, page);
}

fn sites(descriptors: &Descriptors, options: &ReportOptions, page: &mut Markup) {
    let mut sites = descriptors.opening_sites().peekable();
    if sites.peek().is_none() {
        return;
    }
    head(&[("Open", true), ("Opened", true), ("Closed", true), ("Oldest", true), ("Kinds", false)], "Call site", page);
    for site in sites.by_ref().take(options.top) {
        let oldest = site.oldest.map_or_else(|| UNKNOWN.to_owned(), duration);
        page.raw("<tr>");
        for number in [count(site.open()), count(site.opened), count(site.closed), oldest] {
            page.classed("td", "number", &number);
        }
        page.element("td", &kinds_words(&site.kinds));
        page.raw("<td><details><summary>").text(&call_site_words(&site.stack)).raw("</summary>\n");
        write_stack(&site.stack, page);
        page.raw("</details></td></tr>\n");
    }
    page.raw("</tbody></table></div>\n");
    more(sites.count(), page);
}

fn peers(descriptors: &Descriptors, options: &ReportOptions, page: &mut Markup) {
    if descriptors.peers.is_empty() {
        return;
    }
    page.raw("<h2>Peers</h2>\n");
    head(
        &[("Open", true), ("Idle", true), ("Hung up", true), ("Opened/min", true), ("Closed/min", true), ("", false)],
        "Peer",
        page,
    );
    for peer in descriptors.peers.iter().take(options.top) {
        page.raw("<tr>");
        let numbers = [
            count(peer.open),
            count(peer.idle),
            count(peer.close_wait),
            rate(peer.opened_per_min),
            rate(peer.closed_per_min),
        ];
        for number in numbers {
            page.classed("td", "number", &number);
        }
        page.element("td", peer.direction.name());
        page.element("td", &peer_words(&peer.endpoint, peer.service, LONGEST)).raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
    more(descriptors.peers.len().saturating_sub(options.top), page);
}

fn head(columns: &[(&'static str, bool)], last: &'static str, page: &mut Markup) {
    page.raw("<div class=\"wide\"><table>\n<thead><tr>");
    for &(title, is_number) in columns.iter().chain([&(last, false)]) {
        page.raw(if is_number { "<th class=\"number\">" } else { "<th>" }).raw(title).raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>\n");
}

fn more(number: usize, page: &mut Markup) {
    if number > 0 {
        page.classed("p", "dim", &format!("{} more are not shown (--top).", count(number as u64)));
    }
}
