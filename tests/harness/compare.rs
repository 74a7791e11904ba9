//! Two accounts of the stacks from which a program called its allocators, leaktrace's and gdb's, return address by
//! return address.
//!
//! What is not compared follows from three rules, and is counted:
//! - gdb's pseudo-frames of inlined functions and tail calls have no return address;
//! - leaktrace keeps [`MAX_FRAMES`] frames, so deeper stacks are compared to there;
//! - where code has no call-frame information, gdb guesses from its prologue, and a stack is compared up to and with the
//!   first frame in such code. Whether it has is said by readelf, of the frame's address, not by either walk's result.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write,
};

use crate::{
    gdb::{GdbFrame, Seen},
    modules::{Described, Modules},
    report::{Report, Site},
};

/// Frames that leaktrace keeps, as perf and the kernel do.
pub const MAX_FRAMES: usize = 127;

/// How alike the two accounts must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Both runs made the same calls: the same stacks with the same numbers of calls.
    Same,
    /// gdb looked at a part of what leaktrace saw: each of its stacks is one of leaktrace's.
    Part,
}

/// What code without call-frame information is to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undescribed {
    /// Its first frame is the last one compared.
    Ends,
    /// gdb was told that it keeps frame pointers. Where it is made at run time, its addresses differ between runs, and
    /// only that there is a frame is compared.
    HasFramePointers,
}

/// Two runs of a program.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// Its files, at the same addresses in both.
    pub modules: &'a Modules,
    /// Where they have call-frame information.
    pub described: &'a Described,
    /// What leaktrace saw of one.
    pub report: &'a Report,
    /// What gdb saw of the other.
    pub seen: &'a Seen,
    /// See there.
    pub agreement: Agreement,
    /// See there.
    pub undescribed: Undescribed,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Calls that gdb saw.
    pub calls: u64,
    /// Different stacks among them, as far as they are compared.
    pub stacks: usize,
    /// Frames of these.
    pub frames: usize,
    /// Those of the stacks that leaktrace has too.
    pub equal: usize,
    /// Those that it has not, or with another number of calls, or only because it could not go on; and stacks that
    /// only leaktrace has, where there should be none.
    pub different: usize,
    /// Stacks that are deeper than leaktrace keeps.
    pub deep: usize,
    /// Stacks with code that has no call-frame information.
    pub undescribed: usize,
    /// The functions that have none.
    pub undescribed_functions: BTreeSet<String>,
    /// All differences, in full.
    pub differences: Vec<String>,
}

/// Stacks by the part of them that is compared.
type Account<T> = BTreeMap<Vec<u64>, T>;

#[derive(Default)]
struct ByGdb<'a> {
    calls: u64,
    frames: &'a [GdbFrame],
    end: &'a str,
}

#[derive(Default)]
struct ByLeaktrace<'a> {
    calls: u64,
    site: Option<&'a Site>,
    /// Whether the walk could have gone no further.
    whole: bool,
}

impl Runs<'_> {
    /// Compares them.
    pub fn compare(&self) -> Comparison {
        let signal_frames = self.seen.signal_frames();
        let mut result = Comparison { calls: self.seen.calls, ..Comparison::default() };
        let mut by_gdb: Account<ByGdb<'_>> = BTreeMap::new();
        for stack in &self.seen.stacks {
            let pcs: Vec<u64> = stack.frames.iter().map(|frame| frame.pc).collect();
            let (key, undescribed) = self.compared(&pcs, &signal_frames);
            if let Some(index) = undescribed {
                let frame = &stack.frames[index];
                let name =
                    if self.modules.hold(frame.pc) { frame.name.as_deref() } else { Some("code made at run time") };
                result.undescribed_functions.insert(name.unwrap_or("a function without a name").to_owned());
            }
            let known = by_gdb.entry(key).or_insert_with(|| {
                result.deep += usize::from(pcs.len() > MAX_FRAMES);
                result.undescribed += usize::from(undescribed.is_some());
                ByGdb { calls: 0, frames: &stack.frames, end: &stack.end }
            });
            known.calls += stack.calls;
        }
        let mut by_leaktrace: Account<ByLeaktrace<'_>> = BTreeMap::new();
        for site in &self.report.sites {
            let (key, undescribed) = self.compared(&return_addresses(site), &signal_frames);
            let known = by_leaktrace.entry(key).or_default();
            known.calls += site.counters.alloc_objects;
            known.site = Some(site);
            let cut_by_rule = undescribed.is_some() && self.undescribed == Undescribed::Ends;
            known.whole = cut_by_rule || ["complete", "depth"].contains(&site.stack.as_str());
        }
        self.match_up(&by_gdb, &by_leaktrace, &mut result);
        result
    }

    /// The part of a stack that is compared, and the index of its first frame in undescribed code.
    fn compared(&self, stack: &[u64], signal_frames: &HashSet<u64>) -> (Vec<u64>, Option<usize>) {
        let stack = &stack[..stack.len().min(MAX_FRAMES)];
        let undescribed = stack.iter().enumerate().position(|(index, pc)| {
            // What a signal interrupted goes on at its own address; all others were left by the call before.
            let interrupted = index > 0 && signal_frames.contains(&stack[index - 1]);
            let look = if interrupted { *pc } else { pc.wrapping_sub(1) };
            !signal_frames.contains(pc) && !self.described.contains(look)
        });
        match (self.undescribed, undescribed) {
            (Undescribed::Ends, Some(index)) => (stack[..=index].to_vec(), undescribed),
            (Undescribed::Ends, None) => (stack.to_vec(), undescribed),
            (Undescribed::HasFramePointers, _) => {
                (stack.iter().map(|pc| if self.modules.hold(*pc) { *pc } else { 0 }).collect(), undescribed)
            }
        }
    }

    fn match_up(&self, by_gdb: &Account<ByGdb<'_>>, by_leaktrace: &Account<ByLeaktrace<'_>>, result: &mut Comparison) {
        for (key, gdb) in by_gdb {
            result.stacks += 1;
            result.frames += key.len();
            let same = by_leaktrace.get(key);
            let what = match same {
                None => "gdb's stack is none of leaktrace's".to_owned(),
                Some(leaktrace) if !leaktrace.whole => "leaktrace could not go on".to_owned(),
                Some(leaktrace) if self.agreement == Agreement::Same && leaktrace.calls != gdb.calls => {
                    format!("{} calls by gdb, {} by leaktrace", gdb.calls, leaktrace.calls)
                }
                Some(_) => {
                    result.equal += 1;
                    continue;
                }
            };
            let closest =
                same.or_else(|| by_leaktrace.iter().max_by_key(|(other, _)| common(key, other)).map(|(_, l)| l));
            result.differences.push(side_by_side(&what, gdb, closest.and_then(|leaktrace| leaktrace.site)));
        }
        if self.agreement == Agreement::Same {
            for leaktrace in by_leaktrace.iter().filter(|(key, _)| !by_gdb.contains_key(*key)).map(|(_, l)| l) {
                result.differences.push(side_by_side("only leaktrace has it", &ByGdb::default(), leaktrace.site));
            }
        }
        result.different = result.differences.len();
    }
}

/// The frames that are on the stack: an inlined one repeats the next one's address.
fn return_addresses(site: &Site) -> Vec<u64> {
    site.frames.iter().filter(|frame| !frame.inlined).map(|frame| frame.address).collect()
}

/// Frames that two stacks share at their beginnings.
fn common(one: &[u64], other: &[u64]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn side_by_side(what: &str, gdb: &ByGdb<'_>, site: Option<&Site>) -> String {
    let mut text = format!("{what}\n");
    let frames: Vec<_> =
        site.map(|site| site.frames.iter().filter(|frame| !frame.inlined).collect()).unwrap_or_default();
    for index in 0..gdb.frames.len().max(frames.len()) {
        let (left, right) = (gdb.frames.get(index), frames.get(index));
        let mark = if left.map(|frame| frame.pc) == right.map(|frame| frame.address) { ' ' } else { '!' };
        let left = left.map(|frame| format!("{:#x} {}", frame.pc, frame.name.as_deref().unwrap_or("?")));
        let right = right.map(|frame| format!("{:#x} {}", frame.address, frame.function.as_deref().unwrap_or("?")));
        let dash = || "-".to_owned();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {mark} {index:3} {:60} {}", left.unwrap_or_else(dash), right.unwrap_or_else(dash));
    }
    let end = site.map_or("not there", |site| site.stack.as_str());
    let calls = site.map_or(0, |site| site.counters.alloc_objects);
    let _ = writeln!(text, "    ends: gdb {:?} after {} calls, leaktrace {end:?} after {calls}", gdb.end, gdb.calls);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        gdb::GdbStack,
        report::{Counters, Frame, Target},
    };

    /// Where these tests have call-frame information; their stacks' outermost frames are at [`START`].
    const DESCRIBED: (u64, u64) = (100, 1000);
    const START: u64 = 900;

    fn site(calls: u64, stack: &str, addresses: &[u64]) -> Site {
        let frame = |&address| Frame {
            function: None,
            module: None,
            file: None,
            line: None,
            inlined: false,
            address,
            reason: Some("pending".to_owned()),
        };
        let frames = addresses.iter().map(frame).collect();
        let counters = Counters { alloc_objects: calls, ..Counters::default() };
        Site {
            id: 0,
            kind: String::new(),
            tgid: 1,
            counters,
            oldest_age_s: None,
            startup: false,
            stack: stack.to_owned(),
            frames,
        }
    }

    fn stack(calls: u64, pcs: &[u64]) -> GdbStack {
        let frames = pcs.iter().map(|&pc| GdbFrame { pc, name: None, signal: pc == 7 }).collect();
        GdbStack { calls, frames, end: "outermost".to_owned() }
    }

    fn compare(agreement: Agreement, sites: Vec<Site>, stacks: Vec<GdbStack>) -> Comparison {
        let report = Report {
            ranges: Vec::new(),
            schema: String::new(),
            target: Target { pid: 1, comm: String::new(), exe: String::new(), cmdline: Vec::new() },
            processes: Vec::new(),
            state: String::new(),
            started: serde_json::Value::Null,
            elapsed_s: 0.0,
            sites,
            totals: Counters::default(),
            loss: BTreeMap::new(),
            stats: BTreeMap::new(),
            probes: Vec::new(),
        };
        let seen = Seen { calls: 0, nested: 0, inlined: 0, tail_calls: 0, stacks };
        let modules = Modules::of(std::process::id()).expect("we live");
        let described = Described(vec![DESCRIBED]);
        let (modules, described, undescribed) = (&modules, &described, Undescribed::Ends);
        Runs { modules, described, report: &report, seen: &seen, agreement, undescribed }.compare()
    }

    #[test]
    fn the_same_stacks_are_equal() {
        let sites = vec![site(2, "complete", &[200, 300, START]), site(1, "complete", &[200, START])];
        let stacks = vec![stack(1, &[200, START]), stack(2, &[200, 300, START])];
        let result = compare(Agreement::Same, sites, stacks);
        assert_eq!((result.stacks, result.equal, result.different, result.frames), (2, 2, 0, 5));
    }

    #[test]
    fn every_difference_is_found() {
        let right = || site(2, "complete", &[200, 300, START]);
        let differences = |agreement, site: Vec<Site>| {
            let result = compare(agreement, site, vec![stack(2, &[200, 300, START])]);
            assert_eq!(result.different, result.differences.len());
            result.different
        };
        assert_eq!(differences(Agreement::Same, vec![right()]), 0);
        // Another frame, one too few, one too many: one stack is missing, and there is one that should not be.
        assert_eq!(differences(Agreement::Same, vec![site(2, "complete", &[200, 301, START])]), 2);
        assert_eq!(differences(Agreement::Same, vec![site(2, "complete", &[200, 300])]), 2);
        assert_eq!(differences(Agreement::Same, vec![site(2, "complete", &[200, 300, 400, START])]), 2);
        assert_eq!(differences(Agreement::Part, vec![site(2, "complete", &[200, 301, START])]), 1);
        assert_eq!(differences(Agreement::Same, Vec::new()), 1);
        // Another number of calls, which does not count when gdb saw but a part.
        assert_eq!(differences(Agreement::Same, vec![site(3, "complete", &[200, 300, START])]), 1);
        assert_eq!(differences(Agreement::Part, vec![site(3, "complete", &[200, 300, START])]), 0);
        // A stack more.
        assert_eq!(differences(Agreement::Same, vec![right(), site(1, "complete", &[200, START])]), 1);
        assert_eq!(differences(Agreement::Part, vec![right(), site(1, "complete", &[200, START])]), 0);
        // The right frames, but a walk that broke off.
        assert_eq!(differences(Agreement::Same, vec![site(2, "no_row", &[200, 300, START])]), 1);
    }

    #[test]
    fn behind_undescribed_code_nothing_is_compared() {
        // 1000 is the return address of a call that is the last instruction described; 1001 is behind it.
        let sites = vec![site(3, "frame_pointer", &[200, 1000, 1001, 400]), site(1, "no_row", &[100])];
        let stacks = vec![stack(1, &[200, 1000, 1001, 500]), stack(2, &[200, 1000, 1001]), stack(1, &[100, START])];
        let result = compare(Agreement::Same, sites, stacks);
        assert_eq!((result.stacks, result.equal, result.different, result.undescribed), (2, 2, 0, 2));
        assert_eq!(result.frames, 4);
        let result = compare(Agreement::Same, vec![site(1, "no_row", &[200, 1001])], vec![stack(1, &[200, 1002])]);
        assert_eq!(result.different, 2);
    }

    #[test]
    fn what_a_signal_interrupted_is_looked_up_where_it_is() {
        // 7 is a signal frame, known to gdb without being described; 100 is the first byte described.
        let interrupted = [200, 7, 100, START];
        let result = compare(Agreement::Same, vec![site(1, "complete", &interrupted)], vec![stack(1, &interrupted)]);
        assert_eq!((result.equal, result.undescribed, result.frames), (1, 0, 4));
    }

    #[test]
    fn deep_stacks_are_compared_to_the_cut() {
        let deep: Vec<u64> = (200..200 + 130).chain([START]).collect();
        let cut = |frames| vec![site(1, "depth", &deep[..frames])];
        let result = compare(Agreement::Same, cut(MAX_FRAMES), vec![stack(1, &deep)]);
        assert_eq!((result.equal, result.deep, result.frames), (1, 1, MAX_FRAMES));
        assert_eq!(compare(Agreement::Same, cut(MAX_FRAMES - 1), vec![stack(1, &deep)]).different, 2);
    }
}
