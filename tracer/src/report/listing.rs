//! Which of the heap's sites a report lists, and in words what it leaves out.

use super::{
    ReportOptions, Sort,
    estimates::{estimate_mark, marked},
    merged::Merged,
    sort_indices,
    startup::is_startup,
    units::{amount, counted, duration},
};
use crate::{
    aggregate::{BlockCounters, SiteSnapshot, Snapshot},
    analyze::verdict::Label,
};

/// The sites to list, and what is left out.
pub(super) struct Listing<'a> {
    pub(super) shown: Vec<&'a Merged<SiteSnapshot>>,
    /// What stands before their numbers.
    mark: &'static str,
    /// Left out by `top`.
    below: BlockCounters,
    below_sites: usize,
    /// Left out because it belongs to the program's start.
    startup: BlockCounters,
    startup_sites: usize,
    /// Left out by `min_age`.
    young: BlockCounters,
    young_sites: usize,
    /// Left out because there is nothing to see.
    idle_sites: usize,
}

impl<'a> Listing<'a> {
    pub(super) fn new(snapshot: &Snapshot, merged: &'a [Merged<SiteSnapshot>], options: &ReportOptions) -> Self {
        let ReportOptions { top, sort, min_age } = *options;
        let sums: Vec<SiteSnapshot> = merged.iter().map(|entry| entry.sum.clone()).collect();
        let mut indices: Vec<usize> = (0..sums.len()).collect();
        sort_indices(&mut indices, &sums, sort, |site| site.counters.alloc_objects as f64);
        let mut listing = Self {
            shown: Vec::new(),
            mark: estimate_mark(snapshot.sample.is_some()),
            below: BlockCounters::default(),
            below_sites: 0,
            startup: BlockCounters::default(),
            startup_sites: 0,
            young: BlockCounters::default(),
            young_sites: 0,
            idle_sites: 0,
        };
        for entry in indices.into_iter().map(|index| &merged[index]) {
            let site = &entry.sum;
            // Only who asks for allocations wants to see sites that leave nothing behind. What leaks does, seen or not.
            let leaks = site.verdict.as_ref().is_some_and(|verdict| verdict.label == Label::Leaking);
            if site.counters.inuse_objects() == 0 && sort != Sort::Allocs && !leaks {
                listing.idle_sites += 1;
            } else if is_startup(snapshot, site) {
                listing.startup += site.counters;
                listing.startup_sites += 1;
            } else if !min_age.is_zero() && site.oldest.is_none_or(|age| age < min_age) {
                listing.young += site.counters;
                listing.young_sites += 1;
            } else if listing.shown.len() < top {
                listing.shown.push(entry);
            } else {
                listing.below += site.counters;
                listing.below_sites += 1;
            }
        }
        listing
    }

    /// In a sentence, what is shown and what is not.
    pub(super) fn rest_words(&self, options: &ReportOptions) -> String {
        let Self { shown, mark, below, below_sites, startup, startup_sites, young, young_sites, idle_sites } = self;
        let sites = |number: usize| counted(number as u64, "site", "sites");
        let mut rest = Vec::new();
        if *below_sites > 0 {
            let held = marked(mark, &amount(below.inuse_bytes(), below.inuse_objects()));
            rest.push(format!("{} holding {held} (--top {})", sites(*below_sites), options.top));
        }
        if *startup_sites > 0 {
            let held = marked(mark, &amount(startup.inuse_bytes(), startup.inuse_objects()));
            let whose = "of the loader and the libraries' start, before the program's own code";
            rest.push(format!("{} {whose}, holding {held}", sites(*startup_sites)));
        }
        if *young_sites > 0 {
            let held = marked(mark, &amount(young.inuse_bytes(), young.inuse_objects()));
            let age = duration(options.min_age);
            rest.push(format!(
                "{} holding {held}, without a block known to be {age} old (--min-age)",
                sites(*young_sites)
            ));
        }
        if *idle_sites > 0 {
            rest.push(format!("{} with nothing outstanding", sites(*idle_sites)));
        }
        if rest.is_empty() {
            return match shown.len() {
                0 => "No allocation was seen.".to_owned(),
                number => format!("Shown: all {}, by {}.", sites(number), options.sort.words()),
            };
        }
        format!("Shown: {}, by {}. Not shown: {}.", sites(shown.len()), options.sort.words(), rest.join("; "))
    }
}
