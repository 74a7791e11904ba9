//! The comparison of our table of descriptors with the kernel's own. Pure: looks go in, what is open comes out.
//!
//! A difference may be a system call on its way: another thread's close has taken the file out and has not returned yet.
//! So only what two looks in a row find is wrong, and is put right.

use std::collections::{BTreeMap, HashMap};

use tracer_common::fd::{FdKey, FdRecord, KernelFd, NO_SITE, flags_call, stamp, word_site, word_stamp};

use super::{Corrections, Origin, SiteId};
use crate::event::FdLook;

/// A descriptor that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRecord {
    /// Process and number.
    pub key: FdKey,
    /// The kernel's file, as an identity; 0 where it cannot be known.
    pub file: u64,
    /// Its inode number; 0 where it cannot be known.
    pub inode: u64,
    /// How it came to be.
    pub origin: Origin,
    /// When it was opened.
    pub born_ns: Option<u64>,
    /// The call stack that connected it.
    pub connected_by: Option<SiteId>,
    /// Its file's type and permissions, as in `st_mode`; 0 where they cannot be known.
    pub mode: u32,
    /// The system call that opened it, by its number; `None` where there is no record of it.
    pub call: Option<u32>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is open, by process and number.
    pub open: Vec<OpenRecord>,
    /// Records that are wrong, with the word they had: to be taken out.
    pub wrong: Vec<(FdKey, u64)>,
}

/// A difference that one look found: the word of our record, 0 for none, and the kernel's file, 0 for none.
type Difference = (u64, u64);

/// The kernel's file, and its inode's number: another file may be at the address of one that was closed.
type Identity = (u64, u64);

/// What is remembered from look to look.
#[derive(Clone, Debug, Default)]
pub struct FdTables {
    begun: bool,
    /// Open since before the attach, with their files.
    before: HashMap<FdKey, Identity>,
    /// Opened unseen, with their files.
    unseen: HashMap<FdKey, Identity>,
    differences: HashMap<FdKey, Difference>,
    corrections: Corrections,
}

impl FdTables {
    /// What was put right since the first look.
    pub fn corrections(&self) -> Corrections {
        self.corrections
    }

    /// Compares the tables of a look. The first one says what was open before the attach.
    pub fn compare(&mut self, look: &FdLook) -> Comparison {
        let mut records: BTreeMap<(u32, u32), FdRecord> =
            look.records.iter().map(|(key, record)| ((key.tgid, key.fd), *record)).collect();
        let Some(kernel) = &look.kernel else {
            return Comparison {
                open: records.iter().map(|(key, record)| of_record(key_of(*key), record, None)).collect(),
                wrong: Vec::new(),
            };
        };
        let first = !std::mem::replace(&mut self.begun, true);
        let mut found = Comparison::default();
        let mut differences = HashMap::new();
        let mut still_before = HashMap::with_capacity(self.before.len());
        let mut still_unseen = HashMap::with_capacity(self.unseen.len());
        for open in kernel {
            let key = FdKey { tgid: open.tgid, fd: open.fd };
            let identity = (open.file, open.inode);
            let record = records.remove(&(open.tgid, open.fd));
            let origin = match record {
                Some(record) if is_of(&record, open) || record.born_ns >= look.time_ns => {
                    found.open.push(of_record(key, &record, Some(open)));
                    continue;
                }
                None if first || self.before.get(&key) == Some(&identity) => {
                    still_before.insert(key, identity);
                    Origin::BeforeAttach
                }
                record => {
                    let word = record.map_or(0, |record| record.word);
                    if self.unseen.get(&key) == Some(&identity) {
                        still_unseen.insert(key, identity);
                    } else if self.differences.get(&key) == Some(&(word, open.file)) {
                        if word == 0 {
                            self.corrections.unseen_opens += 1;
                        } else {
                            self.corrections.replaced += 1;
                            found.wrong.push((key, word));
                        }
                        still_unseen.insert(key, identity);
                    } else {
                        differences.insert(key, (word, open.file));
                    }
                    Origin::Unseen
                }
            };
            found.open.push(OpenRecord {
                key,
                file: open.file,
                inode: open.inode,
                origin,
                born_ns: None,
                connected_by: None,
                mode: open.mode,
                call: None,
            });
        }
        // What is left is not open.
        for ((tgid, fd), record) in records {
            if record.born_ns >= look.time_ns {
                continue;
            }
            let key = FdKey { tgid, fd };
            if self.differences.get(&key) == Some(&(record.word, 0)) {
                self.corrections.unseen_closes += 1;
                found.wrong.push((key, record.word));
            } else {
                differences.insert(key, (record.word, 0));
            }
        }
        (self.before, self.unseen, self.differences) = (still_before, still_unseen, differences);
        found
    }
}

fn key_of((tgid, fd): (u32, u32)) -> FdKey {
    FdKey { tgid, fd }
}

/// Whether a record is that of a file. Without an identity its number has to do; a record that was read while it was
/// written tells nothing by its other fields. While nobody looks at system calls, another file may get the number of one that was
/// closed, and its address.
fn is_of(record: &FdRecord, open: &KernelFd) -> bool {
    let torn = word_stamp(record.word) != stamp(record.born_ns);
    let is_unknown = torn || record.file == 0 || open.file == 0;
    is_unknown || record.file == open.file && (record.inode == 0 || record.inode == open.inode)
}

fn of_record(key: FdKey, record: &FdRecord, open: Option<&KernelFd>) -> OpenRecord {
    let site = word_site(record.word);
    let before = site == NO_SITE;
    let connected_by =
        (record.connect_site != NO_SITE && record.connect_site != site).then_some(SiteId(record.connect_site));
    OpenRecord {
        key,
        file: open.map_or(record.file, |open| open.file),
        inode: open.map_or(0, |open| open.inode),
        origin: if before { Origin::BeforeAttach } else { Origin::Site(SiteId(site)) },
        born_ns: (!before).then_some(record.born_ns),
        connected_by,
        mode: open.map_or(0, |open| open.mode),
        call: (!before).then(|| flags_call(record.flags)),
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::fd::word;

    use super::*;

    const TGID: u32 = 41;

    fn kernel(fd: u32, file: u64) -> KernelFd {
        KernelFd { tgid: TGID, fd, file, inode: file * 10, mode: 0, reserved: 0 }
    }

    fn record(fd: u32, file: u64, site: u32, born_ns: u64) -> (FdKey, FdRecord) {
        let record =
            FdRecord { word: word(site, born_ns), born_ns, file, flags: 0, connect_site: NO_SITE, inode: file * 10 };
        (FdKey { tgid: TGID, fd }, record)
    }

    fn look(time_ns: u64, kernel: &[KernelFd], records: &[(FdKey, FdRecord)]) -> FdLook {
        FdLook { time_ns, kernel: Some(kernel.to_vec()), records: records.to_vec() }
    }

    fn origins(comparison: &Comparison) -> Vec<(u32, Origin)> {
        comparison.open.iter().map(|open| (open.key.fd, open.origin)).collect()
    }

    #[test]
    fn what_is_open_at_the_first_look_was_open_before() {
        let mut tables = FdTables::default();
        let opened = record(5, 50, 7, 100);
        let found = tables.compare(&look(1_000, &[kernel(3, 30), kernel(5, 50)], &[opened]));
        assert_eq!(origins(&found), [(3, Origin::BeforeAttach), (5, Origin::Site(SiteId(7)))]);
        let found = tables.compare(&look(2_000, &[kernel(3, 30)], &[]));
        assert_eq!(origins(&found), [(3, Origin::BeforeAttach)]);
        assert_eq!(tables.corrections(), Corrections::default());
    }

    #[test]
    fn another_file_at_the_same_address_is_another_one() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[kernel(3, 30)], &[]));
        // It was closed before anyone looked.
        let opened = record(5, 50, 7, 1_100);
        let again = |fd, file| KernelFd { inode: 7_919, ..kernel(fd, file) };
        let now = [again(3, 30), again(5, 50)];
        assert_eq!(tables.compare(&look(2_000, &now, &[opened])).wrong, []);
        let found = tables.compare(&look(3_000, &now, &[opened]));
        assert_eq!(found.wrong, [(opened.0, opened.1.word)]);
        assert_eq!(origins(&found), [(3, Origin::Unseen), (5, Origin::Unseen)]);
        let found = tables.compare(&look(4_000, &now, &[]));
        assert_eq!(origins(&found), [(3, Origin::Unseen), (5, Origin::Unseen)]);
        assert_eq!(tables.corrections(), Corrections { unseen_opens: 1, replaced: 1, ..Corrections::default() });
        // A record of its own is of the new one.
        let mut mine = record(5, 50, 7, 4_500);
        mine.1.inode = 7_919;
        let found = tables.compare(&look(5_000, &now, &[mine]));
        assert_eq!(origins(&found)[1], (5, Origin::Site(SiteId(7))));
    }

    #[test]
    fn a_number_that_means_another_file_is_not_from_before() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[kernel(3, 30)], &[]));
        let found = tables.compare(&look(2_000, &[kernel(3, 31)], &[]));
        assert_eq!(origins(&found), [(3, Origin::Unseen)]);
        assert_eq!(tables.corrections().unseen_opens, 0, "it may be on its way");
        tables.compare(&look(3_000, &[kernel(3, 31)], &[]));
        tables.compare(&look(4_000, &[kernel(3, 31)], &[]));
        assert_eq!(tables.corrections(), Corrections { unseen_opens: 1, ..Corrections::default() });
    }

    #[test]
    fn a_record_without_a_file_is_taken_out_when_two_looks_agree() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[], &[]));
        let gone = record(5, 50, 7, 1_500);
        assert_eq!(tables.compare(&look(2_000, &[], &[gone])), Comparison::default());
        let found = tables.compare(&look(3_000, &[], &[gone]));
        assert_eq!(found.wrong, [(gone.0, gone.1.word)]);
        assert_eq!(tables.corrections(), Corrections { unseen_closes: 1, ..Corrections::default() });
    }

    #[test]
    fn a_record_that_changes_between_looks_is_left_alone() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[], &[]));
        tables.compare(&look(2_000, &[], &[record(5, 50, 7, 1_500)]));
        let found = tables.compare(&look(3_000, &[], &[record(5, 50, 7, 2_500)]));
        assert_eq!(found.wrong, []);
    }

    #[test]
    fn what_was_opened_after_the_look_began_is_no_difference() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[], &[]));
        for time in [2_000, 2_001] {
            let found =
                tables.compare(&look(time, &[kernel(5, 51)], &[record(5, 50, 7, 2_500), record(6, 60, 7, 2_500)]));
            assert_eq!(found.wrong, []);
            assert_eq!(origins(&found), [(5, Origin::Site(SiteId(7)))]);
        }
    }

    #[test]
    fn a_record_of_another_file_is_replaced() {
        let mut tables = FdTables::default();
        tables.compare(&look(1_000, &[], &[]));
        let stale = record(5, 50, 7, 1_500);
        tables.compare(&look(2_000, &[kernel(5, 51)], &[stale]));
        let found = tables.compare(&look(3_000, &[kernel(5, 51)], &[stale]));
        assert_eq!((origins(&found), found.wrong), (vec![(5, Origin::Unseen)], vec![(stale.0, stale.1.word)]));
        assert_eq!(tables.corrections(), Corrections { replaced: 1, ..Corrections::default() });
        // It was counted; it is not counted again.
        tables.compare(&look(4_000, &[kernel(5, 51)], &[]));
        tables.compare(&look(5_000, &[kernel(5, 51)], &[]));
        assert_eq!(tables.corrections(), Corrections { replaced: 1, ..Corrections::default() });
    }

    #[test]
    fn without_the_kernels_table_the_records_are_all_there_is() {
        let mut tables = FdTables::default();
        let before = record(3, 30, NO_SITE, 100);
        let look = FdLook { time_ns: 1_000, kernel: None, records: vec![record(5, 50, 7, 100), before] };
        let found = tables.compare(&look);
        assert_eq!(origins(&found), [(3, Origin::BeforeAttach), (5, Origin::Site(SiteId(7)))]);
    }
}
