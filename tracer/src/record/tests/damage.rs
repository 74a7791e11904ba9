//! What is cut off, damaged or newer.

use std::io::Cursor;

use proptest::prelude::*;

use super::{named, open, record, runs, text};
use crate::{
    record::{
        End, RecordError, Recording, format,
        rows::{RowKey, write_record},
    },
    report::testing,
};

/// Reads all that there is, whatever it says.
fn read_all(bytes: Vec<u8>) -> Result<usize, RecordError> {
    let mut recording = Recording::open(Cursor::new(bytes))?;
    let windows = recording.windows();
    for window in 0..windows {
        let snapshot = recording.window(window)?.snapshot;
        let mut out = Vec::new();
        crate::report::write_json(&snapshot, &mut out)?;
        crate::report::write_text(&snapshot, &crate::report::ReportOptions::default(), &mut out)?;
    }
    Ok(windows)
}

fn error(bytes: Vec<u8>) -> RecordError {
    Recording::open(Cursor::new(bytes)).expect_err("it is no recording")
}

#[test]
fn a_recording_that_is_cut_off_anywhere_has_the_windows_before() {
    let run = [testing::before_normal(), testing::normal(), testing::normal_fds()];
    let (bytes, ends) = record(&run);
    for len in 0..bytes.len() {
        let cut = bytes[..len].to_vec();
        let whole = ends.iter().filter(|end| **end <= len).count();
        if whole == 0 {
            assert!(matches!(error(cut), RecordError::Empty | RecordError::NotARecording), "{len} bytes");
            continue;
        }
        // Names of a window that is not there hold for those that are.
        let expected = named(&run[..whole]);
        let mut recording = open(&cut);
        assert_eq!(recording.windows(), whole, "{len} of {} bytes", bytes.len());
        assert!(!matches!(recording.end(), End::Damaged { .. }), "{len} bytes: {:?}", recording.end());
        let last = recording.window(whole - 1).expect("reads").snapshot;
        if len == ends[whole - 1] {
            assert_eq!(recording.end(), End::Complete);
            assert_eq!(text(&last), text(&expected[whole - 1]));
        } else {
            assert_eq!(last.totals, expected[whole - 1].totals);
        }
    }
}

#[test]
fn an_empty_file_and_other_files_are_told_apart() {
    assert!(matches!(error(Vec::new()), RecordError::NotARecording));
    assert!(matches!(error(b"{\"schema\": \"leaktrace/1\"}".to_vec()), RecordError::NotARecording));
    assert!(matches!(error(format::header("0.1.0")), RecordError::Empty));
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let mut bytes = format::header_of(format::FORMAT + 1, "9.8.7");
    bytes.extend(b"whatever comes then");
    let own = env!("CARGO_PKG_VERSION");
    let error = error(bytes).to_string();
    for word in ["leaktrace 9.8.7", "format 2", &format!("this leaktrace {own}"), "up to 1"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

/// A file of these frames, whose checksums are right.
fn file(frames: &[(format::FrameKind, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = format::header("0.1.0");
    let mut packer = format::Packer::new().expect("there is memory");
    for (kind, raw) in frames {
        packer.pack(*kind, std::time::Duration::ZERO, raw, &mut bytes).expect("packs");
    }
    bytes
}

/// The rows of a whole window.
fn window() -> Vec<u8> {
    let mut raw = Vec::new();
    let rows = crate::record::model::to_rows(&testing::normal_fds(), 0);
    crate::record::rows::Rows::default().changes(&rows, &mut raw);
    raw
}

#[test]
fn frames_and_rows_of_a_later_leaktrace_are_passed_over() {
    let mut rows = window();
    write_record(RowKey { kind: 1_009, key: u64::MAX }, Some(b"\xff\xff what is this"), &mut rows);
    let bytes = file(&[(format::FrameKind::Unknown, vec![7; 101]), (format::FrameKind::Whole, rows)]);
    let window = open(&bytes).window(0).expect("reads");
    assert_eq!(window.unknown, 0);
    assert_eq!(window.snapshot.totals, testing::normal_fds().totals);
}

#[test]
fn fields_of_a_later_leaktrace_are_passed_over_and_losses_it_alone_knows_are_counted() {
    let mut rows = crate::record::rows::Rows::default();
    let mut raw = Vec::new();
    for record in crate::record::rows::records(&window()) {
        let (key, row) = record.expect("was just written");
        let mut row = row.expect("is there").to_vec();
        // Field 1000: a text.
        prost::encoding::string::encode(1_000, &"what is this".to_owned(), &mut row);
        write_record(key, Some(&row), &mut raw);
    }
    rows = rows.changed(&raw).expect("are in order");
    raw.clear();
    // A cause of loss that nobody knows, as the fields of a count: 1 and 2.
    let (mut cause, mut with_cause) = (Vec::new(), Vec::new());
    prost::encoding::uint32::encode(1, &4_242, &mut cause);
    prost::encoding::uint64::encode(2, &13, &mut cause);
    write_record(RowKey { kind: 5, key: 0 }, Some(&cause), &mut with_cause);
    let rows = rows.changed(&with_cause).expect("are in order");
    crate::record::rows::Rows::default().changes(&rows, &mut raw);
    let window = open(&file(&[(format::FrameKind::Whole, raw)])).window(0).expect("reads");
    assert_eq!(window.unknown, 1);
    assert_eq!(window.snapshot.totals, testing::normal_fds().totals);
}

#[test]
fn a_recording_that_begins_in_the_middle_is_damaged() {
    let bytes = file(&[(format::FrameKind::Changes, window())]);
    assert!(matches!(error(bytes), RecordError::Damaged { .. }));
}

#[test]
fn lengths_that_are_not_there_are_not_believed() {
    // Tables and windows in which every length and number is as large as can be.
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for kind in [1, 2, 3, 10, 22] {
        let mut raw = vec![kind];
        raw.extend([1]);
        raw.extend(most);
        raw.extend([7; 64]);
        let tables = file(&[(format::FrameKind::Tables, raw.clone()), (format::FrameKind::Whole, window())]);
        assert!(matches!(error(tables), RecordError::Damaged { .. }));
        let window = file(&[(format::FrameKind::Whole, raw)]);
        assert!(matches!(open(&window).window(0), Err(RecordError::Damaged { .. })));
    }
    // A stack of frames that do not exist, a string out of turn.
    for (kind, row) in [(3, &b"\x08\x00\x12\x01\x07"[..]), (1, b"text")] {
        let mut raw = Vec::new();
        write_record(RowKey { kind, key: 101 }, Some(row), &mut raw);
        assert!(matches!(error(file(&[(format::FrameKind::Tables, raw)])), RecordError::Damaged { .. }));
    }
}

/// The largest file of one window that fits, of one row of lists or of many empty ones: some kilobytes.
#[test]
fn what_is_small_when_packed_does_not_become_more_than_a_reader_can_hold() {
    let most = crate::record::limits::RAW_BYTES as usize;
    // Kinds: of processes with arguments, of analyses with limits, of sites of descriptors with kinds.
    for (kind, tag) in [(3, 0x22), (12, 0x32), (21, 0x2a)] {
        let row: Vec<u8> = [tag, 0].repeat(most / 2 - 100);
        let mut raw = Vec::new();
        write_record(RowKey { kind, key: 1 }, Some(&row), &mut raw);
        let bytes = file(&[(format::FrameKind::Whole, raw)]);
        assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
        assert!(open(&bytes).window(0).is_err());
    }
    let mut raw = Vec::new();
    for key in 0..crate::record::limits::ROWS as u64 + 1 {
        write_record(RowKey { kind: 22, key }, Some(&[]), &mut raw);
    }
    assert!(open(&file(&[(format::FrameKind::Whole, raw)])).window(0).is_err());
    let beyond = vec![0; most + 1];
    assert!(
        format::Packer::new()
            .expect("there is memory")
            .pack(format::FrameKind::Whole, Default::default(), &beyond, &mut Vec::new())
            .is_err()
    );
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        run in runs::run(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let (mut bytes, _) = record(&run);
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = read_all(bytes);
    }

    #[test]
    fn damaged_rows_with_right_checksums_never_panic(
        rows in prop::collection::vec((0..30_u32, any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        tables in prop::collection::vec((0..5_u32, 0..5_u64, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
    ) {
        let raw = |mut rows: Vec<(u32, u64, Vec<u8>)>| {
            rows.sort();
            let mut raw = Vec::new();
            for (kind, key, row) in rows {
                write_record(RowKey { kind, key }, Some(&row), &mut raw);
            }
            raw
        };
        let mut whole = window();
        for (index, byte) in damage {
            let index = index.index(whole.len());
            whole[index] = byte;
        }
        let frames = [
            (format::FrameKind::Tables, raw(tables)),
            (format::FrameKind::Whole, whole),
            (format::FrameKind::Changes, raw(rows)),
        ];
        let _ = read_all(file(&frames[1..]));
        let _ = read_all(file(&frames));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_all([format::header("0.1.0"), bytes].concat());
    }
}
