use std::{io::Read as _, sync::Arc};

use flate2::read::GzDecoder;
use prost::Message as _;
use tracer_common::event::SiteKind;

use super::*;
use crate::{
    aggregate::Tgid,
    report::testing::{self, counters, frame, site},
    symbolize::{Frame, Stack},
};

fn written(snapshot: &Snapshot) -> Profile {
    let mut out = Vec::new();
    write_pprof(snapshot, By::Inuse, &mut out).expect("writes to memory");
    let mut bytes = Vec::new();
    GzDecoder::new(out.as_slice()).read_to_end(&mut bytes).expect("is compressed");
    Profile::decode(bytes.as_slice()).expect("is a profile")
}

impl Profile {
    fn text(&self, index: i64) -> &str {
        &self.string_table[usize::try_from(index).expect("an index")]
    }

    fn total(&self, of: &str) -> i64 {
        let index = self.sample_type.iter().position(|value| self.text(value.r#type) == of).expect("a sample type");
        self.sample.iter().map(|sample| sample.value[index]).sum()
    }

    /// Frames of a sample, a location in each inner list.
    fn stack(&self, sample: usize) -> Vec<Vec<String>> {
        let location = |id: &u64| {
            let location = self.location.iter().find(|location| location.id == *id).expect("its location");
            let line = |line: &message::Line| {
                let function = self.function.iter().find(|function| function.id == line.function_id).expect("it");
                format!("{} {}:{}", self.text(function.name), self.text(function.filename), line.line)
            };
            location.line.iter().map(line).collect()
        };
        self.sample[sample].location_id.iter().map(location).collect()
    }
}

#[test]
fn sums_are_the_totals() {
    let snapshot = testing::normal();
    let (profile, totals) = (written(&snapshot), snapshot.totals);
    assert_eq!(profile.total("alloc_objects").cast_unsigned(), totals.alloc_objects);
    assert_eq!(profile.total("alloc_space").cast_unsigned(), totals.alloc_bytes);
    assert_eq!(profile.total("inuse_objects").cast_unsigned(), totals.inuse_objects());
    assert_eq!(profile.total("inuse_space").cast_unsigned(), totals.inuse_bytes());
    assert_eq!(profile.text(profile.default_sample_type), "inuse_space");
    assert_eq!((profile.time_nanos, profile.duration_nanos), (1_772_357_400_000_000_000, 245_500_000_000));
}

#[test]
fn page_faults_are_a_profile_of_their_own() {
    let profile = written(&testing::growth());
    assert_eq!(profile.sample_type.len(), 2);
    assert_eq!((profile.total("faults"), profile.period), (2_557 * 97, 97));
    assert_eq!(profile.total("faulted"), 2_557 * 97 * 4096, "what was mapped is no second time in it");
    assert_eq!(profile.text(profile.default_sample_type), "faulted");
}

#[test]
fn an_address_is_a_location_with_what_is_inlined_there() {
    let profile = written(&testing::normal());
    let expected: [&[&str]; 4] = [
        &["operator new(unsigned long) :0"],
        &[
            "img::Pool::grow(unsigned long) src/pool.cc:88",
            "img::Cache::insert(std::string const&, img::Image) src/cache.cc:142",
        ],
        &["main src/main.cc:31"],
        &[],
    ];
    assert_eq!(profile.stack(0), expected[..3]);
    let unnamed = profile.stack(3);
    assert_eq!(unnamed[0], ["filter.so+0x2468 :0"]);
}

#[test]
fn references_hold_and_the_program_is_the_first_mapping() {
    let mut snapshot = testing::normal();
    let mut stack = (*snapshot.sites[0].stack).clone();
    stack.frames[0].build_id = Some("c0ffee".into());
    snapshot.sites[0].stack = Arc::new(stack);
    let profile = written(&snapshot);
    assert_eq!(profile.string_table[0], "");
    assert!(profile.mapping.iter().map(|mapping| mapping.id).eq(1..=profile.mapping.len() as u64));
    assert!(profile.function.iter().map(|function| function.id).eq(1..=profile.function.len() as u64));
    assert!(profile.location.iter().map(|location| location.id).eq(1..=profile.location.len() as u64));
    assert_eq!(profile.text(profile.mapping[0].filename), "/usr/bin/imgserver");
    for location in profile.location.iter().filter(|location| location.mapping_id != 0) {
        let mapping = &profile.mapping[location.mapping_id as usize - 1];
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address), "{location:?} {mapping:?}");
    }
    let with_id = profile.mapping.iter().filter(|mapping| mapping.build_id != 0);
    let ids: Vec<_> = with_id.map(|mapping| (profile.text(mapping.filename), profile.text(mapping.build_id))).collect();
    assert_eq!(ids, [("/usr/lib/libstdc++.so.6", "c0ffee")]);
}

#[test]
fn labels_say_whose_and_what() {
    let mut snapshot = testing::snapshot(vec![
        site(1, counters(31, 3, 0, 0), None, StackEnd::Complete, vec![frame(1, "a", "/bin/a", "")]),
        site(2, counters(17, 2, 0, 0), None, StackEnd::Depth, Vec::new()),
        site(3, counters(13, 1, 0, 0), None, StackEnd::Complete, vec![Frame::pending(5)]),
    ]);
    snapshot.sites[0].kind = SiteKind::Mmap;
    snapshot.sites[1].tgid = Tgid(4_243);
    snapshot.sites[2].kind = SiteKind::MmapReserved;
    let profile = written(&snapshot);
    assert_eq!(profile.sample.len(), 2, "addresses without access are no memory");
    let labels = |sample: usize| -> Vec<(&str, &str, i64)> {
        let labels = profile.sample[sample].label.iter();
        labels.map(|label| (profile.text(label.key), profile.text(label.str), label.num)).collect()
    };
    assert_eq!(labels(0), [("tgid", "", 4_242), ("kind", "mmap", 0)]);
    assert_eq!(labels(1), [("tgid", "", 4_243), ("kind", "heap", 0), ("incomplete", "depth", 0)]);
    assert_eq!(profile.stack(1), [["[no stack] :0"]]);
}

#[test]
fn texts_of_the_target_are_displayable() {
    let mut snapshot = testing::hostile();
    snapshot.sites[0].stack =
        Arc::new(Stack { frames: vec![frame(1, "\x1b[2J", "/tmp/\u{202e}", "\x07.c:1")], end: StackEnd::Complete });
    let profile = written(&snapshot);
    assert!(!profile.string_table.iter().any(|text| text.chars().any(char::is_control) || text.contains('\u{202e}')));
}

#[test]
fn what_was_lost_is_said_in_a_comment() {
    let profile = written(&testing::lossy());
    let comments: Vec<&str> = profile.comment.iter().map(|&index| profile.text(index)).collect();
    assert!(comments[0].ends_with(": imgserver[4242]"), "{comments:?}");
    assert!(comments[2].starts_with("LOSS: 1,009 blocks not counted"), "{comments:?}");
}
