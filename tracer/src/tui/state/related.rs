//! Descriptors that the program opened below the function which allocates, or the other way round: a handler that forgets
//! its connection often leaks the buffer and the socket.

use std::collections::HashSet;

use super::fds::Group;
use crate::{
    aggregate::{Descriptors, Origin, SiteId, SiteSnapshot},
    report::{call_site, short_name},
    symbolize::{Frame, Stack},
};

/// Sites of descriptors that are asked to be named, because only names tell that a function is the same.
const NAMED: usize = 256;

/// Descriptors that have a function in common with a site.
#[derive(Debug)]
pub(in crate::tui) struct Related {
    /// Where it opened most of them.
    pub(in crate::tui) origin: Origin,
    /// The function, untrusted.
    pub(in crate::tui) function: String,
    pub(in crate::tui) group: Group,
}

/// What is related to one site, which is found out once for each Snapshot.
#[derive(Debug, Default)]
pub(in crate::tui) struct RelatedTo(Option<(SiteId, Option<Related>)>);

impl RelatedTo {
    /// There are other descriptors now.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Those of this site; `None` when there are none.
    pub(in crate::tui) fn find(&mut self, site: &SiteSnapshot, descriptors: Option<&Descriptors>) -> Option<&Related> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != site.id) {
            self.0 = Some((site.id, descriptors.and_then(|descriptors| Related::new(site, descriptors))));
        }
        self.0.as_ref().and_then(|(_, related)| related.as_ref())
    }
}

impl Related {
    fn new(site: &SiteSnapshot, descriptors: &Descriptors) -> Option<Self> {
        let theirs = descriptors.sites.iter().filter(|opened| opened.tgid == site.tgid && opened.open() > 0);
        let sites: Vec<_> =
            theirs.filter_map(|opened| Some((opened.id, in_common(&site.stack, &opened.stack)?))).collect();
        // They come in the order of how many they have open.
        let (most, function) = sites.first()?;
        let function = short_name(function).to_owned();
        let ids: HashSet<SiteId> = sites.iter().map(|(id, _)| *id).collect();
        let is_theirs = |origin: Origin| matches!(origin, Origin::Site(id) if ids.contains(&id));
        let group = Group::of(&descriptors.open, is_theirs);
        (!group.fds.is_empty()).then_some(Self { origin: Origin::Site(*most), function, group })
    }
}

/// The sites to be named so that relations are found.
pub(super) fn to_name(descriptors: Option<&Descriptors>) -> impl Iterator<Item = SiteId> {
    let sites = descriptors.into_iter().flat_map(|descriptors| &descriptors.sites);
    sites.filter(|site| site.open() > 0).take(NAMED).map(|site| site.id)
}

/// The function in which one of the two stacks has its call site, and which the other one comes through.
fn in_common<'a>(memory: &'a Stack, descriptor: &'a Stack) -> Option<&'a str> {
    let (allocates, opens) = (call_site(memory)?, call_site(descriptor)?);
    if is_same(allocates, opens) {
        return name(allocates);
    }
    let through = |stack: &Stack, frame: &Frame| stack.frames.iter().any(|other| is_same(frame, other));
    // All of a program is below its main function.
    let is_shared = |stack: &Stack, frame: &Frame| !is_main(frame) && through(stack, frame);
    match () {
        () if is_shared(descriptor, allocates) => name(allocates),
        () if is_shared(memory, opens) => name(opens),
        () => None,
    }
}

fn name(frame: &Frame) -> Option<&str> {
    frame.function.as_deref().ok()
}

fn is_same(a: &Frame, b: &Frame) -> bool {
    name(a).is_some() && name(a) == name(b) && a.module == b.module
}

fn is_main(frame: &Frame) -> bool {
    name(frame).is_some_and(|name| name == "main" || name.ends_with("::main"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::report::testing::{self, counters, frame, site};

    /// What is related when memory is allocated below these functions and descriptors are opened below those, the innermost first.
    fn related(memory: &[&str], opened: &[&str]) -> Option<Related> {
        let stack = |names: &[&str]| names.iter().map(|name| frame(1, name, "/bin/a", "")).collect();
        let site = site(1_009, counters(64, 1, 0, 0), None, StackEnd::Complete, stack(memory));
        let mut descriptors = testing::normal_fds().descriptors.expect("traced");
        let first = descriptors.open.iter().find_map(|fd| match fd.origin {
            Origin::Site(id) => Some(id),
            Origin::BeforeAttach | Origin::Unseen => None,
        });
        descriptors.sites.retain(|site| Some(site.id) == first);
        descriptors.sites[0].stack = Arc::new(Stack { frames: stack(opened), end: StackEnd::Complete });
        RelatedTo::default().find(&site, Some(&descriptors))?;
        Related::new(&site, &descriptors)
    }

    #[test]
    fn a_function_through_which_both_come_relates_them() {
        let function = |memory: &[&str], opened: &[&str]| related(memory, opened).map(|related| related.function);
        let both = |function: &str| Some(function.to_owned());
        assert_eq!(function(&["handle", "main"], &["handle", "main"]), both("handle"));
        assert_eq!(function(&["handle", "main"], &["connect_to", "handle", "main"]), both("handle"));
        assert_eq!(function(&["parse", "handle", "main"], &["handle", "main"]), both("handle"));
        assert_eq!(function(&["parse", "main"], &["connect_to", "handle", "main"]), None);
        assert_eq!(function(&["main"], &["connect_to", "main"]), None);
        assert_eq!(function(&["main"], &["main"]), both("main"));
    }

    #[test]
    fn what_is_related_is_open_and_of_the_site() {
        let related = related(&["handle"], &["handle"]).expect("a function in common");
        assert!(!related.group.fds.is_empty() && !related.group.kinds.is_empty());
    }
}
