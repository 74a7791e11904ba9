//! Hostile recordings: windows or an error, and views of what there is, without a panic and within limits.
//!
//! An input is a file. Checksums and compression would let hardly a mutation through, so the mutator changes what is in
//! the frames, and makes a file of it again, as docs/recording.md describes it. Recordings make good seeds.
#![no_main]

use std::{io::Cursor, sync::Arc};

use leaktrace::{
    analyze::Rule,
    record::{MAGIC, Recording},
    report::{
        ReportOptions, Suppressions,
        diff::{Side, diff, write_diff_json, write_diff_text},
        write_json, write_text,
    },
    tui::{App, AppOptions, Recorded},
};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use ratatui::{Terminal, backend::TestBackend};

/// Windows that are looked at.
const WINDOWS: usize = 8;
/// Bytes of a frame's header.
const HEADER: usize = 28;
/// Bytes of the file's header, when leaktrace 0.1.0 wrote it.
const BEGIN: usize = 25;

fuzz_target!(|data: &[u8]| {
    let Ok(mut recording) = Recording::open(Cursor::new(data)) else { return };
    let windows = recording.windows();
    let rule: Rule = "leaking>0".parse().expect("a rule");
    let suppressions = Suppressions::parse("leak:a*b").expect("a suppression");
    let mut app = App::new(AppOptions::default());
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("there is memory");
    let mut first: Option<Side> = None;
    // The last ones first, as views do.
    for window in (0..windows).rev().take(WINDOWS) {
        let Ok(read) = recording.window(window) else { continue };
        let mut snapshot = read.snapshot;
        let mut out = Vec::new();
        write_json(&snapshot, &mut out).expect("memory takes everything");
        write_text(&snapshot, &ReportOptions::default(), &mut out).expect("memory takes everything");
        let _ = rule.check(&snapshot);
        suppressions.apply(&mut snapshot);
        let side = Side::new("window".to_owned(), &snapshot);
        let before = first.get_or_insert_with(|| side.clone());
        let different = diff(before, &side);
        write_diff_json(&different, before, &side, &mut out).expect("memory takes everything");
        write_diff_text(&different, before, &side, 20, &mut out).expect("memory takes everything");
        let recorded = Recorded { window: window + 1, windows, time: snapshot.started };
        app.jump(None, Arc::new(snapshot), recorded);
        terminal.draw(|frame| app.draw(frame)).expect("draws");
    }
});

/// A frame: its kind and what it holds, unpacked.
type Frame = (u32, Vec<u8>);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut frames = unpack(&data[..size]);
    // Now and then the file itself.
    if frames.is_empty() || seed % 16 == 0 {
        frames.push((3, Vec::new()));
        if seed % 32 == 0 {
            return fuzzer_mutate(data, size, max_size);
        }
    }
    let chosen = seed as usize / 16 % frames.len();
    let (kind, raw) = &mut frames[chosen];
    if seed % 11 == 0 {
        *kind = 1 + seed / 11 % 4;
    }
    let len = raw.len();
    raw.resize(len.max(64) * 2, 0);
    let room = raw.len();
    let len = fuzzer_mutate(raw, len, room);
    raw.truncate(len);
    let file = pack(&frames);
    match data.get_mut(..file.len()).filter(|_| file.len() <= max_size) {
        Some(place) => {
            place.copy_from_slice(&file);
            file.len()
        }
        None => size,
    }
});

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

fn unpack(file: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = match word(file, 12) {
        Some(len) if file.starts_with(&MAGIC) => 20 + len,
        _ => return frames,
    };
    while let (Some(kind), Some(packed), Some(raw)) = (word(file, at), word(file, at + 4), word(file, at + 8)) {
        let Some(bytes) = file.get(at + HEADER..).and_then(|rest| rest.get(..packed)) else { break };
        let Ok(raw) = zstd::bulk::decompress(bytes, raw.min(1 << 20)) else { break };
        frames.push((kind as u32, raw));
        at += HEADER + packed;
    }
    frames
}

fn pack(frames: &[Frame]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(5_u32.to_le_bytes());
    file.extend(b"0.1.0");
    file.extend(crc32fast::hash(&file).to_le_bytes());
    assert_eq!(file.len(), BEGIN);
    for (kind, raw) in frames {
        let packed = zstd::bulk::compress(raw, 1).expect("there is memory");
        let begin = file.len();
        for word in [*kind, packed.len() as u32, raw.len() as u32, crc32fast::hash(&packed)] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u64.to_le_bytes());
        file.extend(crc32fast::hash(&file[begin..]).to_le_bytes());
        file.extend(packed);
    }
    file
}
