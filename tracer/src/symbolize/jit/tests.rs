use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    symbolize::{
        Frame, SharedModules,
        tests::{modules, parse, stack},
    },
    target::{
        Root,
        fixture::{self, Held},
    },
};

/// Answers the first line with the address of executable memory, unmaps it on the second.
const JIT: &str = r#"
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    char line[64];
    void *code = 0;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (code) {
            munmap(code, 4096);
        } else {
            code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        printf("%p\n", code);
        fflush(stdout);
    }
}
"#;

/// A process with its own root, and no map yet.
struct Fixture {
    dir: tempfile::TempDir,
    names: JitNames,
}

impl Fixture {
    fn new(pids: &[u32]) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("tmp")).expect("directory");
        let me = rustix::process::geteuid().as_raw();
        let names = JitNames::new(Arc::new(Owner::fake(Root::at(dir.path()), pids, &[me])));
        Self { dir, names }
    }

    fn path(&self, pid: u32) -> PathBuf {
        self.dir.path().join(format!("tmp/perf-{pid}.map"))
    }

    /// Each address's name after another look at the map.
    fn names<const N: usize>(&mut self, addresses: [u64; N]) -> [Result<String, NoSymbol>; N] {
        self.names.refresh();
        addresses.map(|address| self.names.look_up(address)?.function.map(|name| name.to_string()))
    }
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).create(true).open(path).expect("open");
    file.write_all(text.as_bytes()).expect("write");
}

fn ok(name: &str) -> Result<String, NoSymbol> {
    Ok(name.to_owned())
}

const NOT_COVERED: Result<String, NoSymbol> = Err(NoSymbol::NotCovered);
const ANONYMOUS: Result<String, NoSymbol> = Err(NoSymbol::Anonymous);

#[test]
fn a_map_is_followed_while_it_grows() {
    let mut fixture = Fixture::new(&[7]);
    let path = fixture.path(7);
    assert_eq!(fixture.names([0x1000]), [ANONYMOUS], "there is no map yet");
    append(&path, "1000 10 first\ngarbage\n\n1010 10 sec");
    assert_eq!(fixture.names([0xfff, 0x1000, 0x100f, 0x1010]), [NOT_COVERED, ok("first"), ok("first"), NOT_COVERED]);
    append(&path, "ond\n1004 4 third\n");
    assert_eq!(fixture.names([0x1003, 0x1004, 0x1008, 0x1010]), ["first", "third", "first", "second"].map(ok));
    let long = "x".repeat(200_000);
    append(&path, &format!("2000 10 {long}\n3000 10 behind it\n"));
    let [cut, next] = fixture.names([0x2000, 0x3000]);
    assert!(cut.is_ok_and(|name| name.starts_with("xxx") && name.ends_with('…')));
    assert_eq!(next, ok("behind it"));
    std::fs::remove_file(&path).expect("remove");
    assert_eq!(fixture.names([0x3000]), [ok("behind it")], "what was read stays");
}

#[test]
fn a_map_written_anew_is_read_anew() {
    let mut fixture = Fixture::new(&[7]);
    let path = fixture.path(7);
    let wait = |fixture: &mut Fixture, expected: [Result<String, NoSymbol>; 2]| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while fixture.names([0x1000, 0x2000]) != expected {
            assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", fixture.names([0x1000, 0x2000]));
            std::thread::yield_now();
        }
    };
    append(&path, "1000 10 a\n1000 10 b\n");
    wait(&mut fixture, [ok("b"), NOT_COVERED]);
    // Shorter, longer, and another file.
    std::fs::write(&path, "1000 10 c\n").expect("write");
    wait(&mut fixture, [ok("c"), NOT_COVERED]);
    std::fs::write(&path, "2000 10 d\n2000 10 e\n3000 1 f\n").expect("write");
    wait(&mut fixture, [NOT_COVERED, ok("e")]);
    let other = fixture.dir.path().join("other");
    append(&other, "2000 10 d\n2000 10 e\n3000 1 f\n1000 10 g\n");
    std::fs::rename(other, &path).expect("rename");
    wait(&mut fixture, [ok("g"), ok("e")]);
}

#[test]
fn what_was_overwritten_meanwhile_has_no_name() {
    let mut fixture = Fixture::new(&[7]);
    let path = fixture.path(7);
    append(&path, "1000 10 first\n");
    assert_eq!(fixture.names([0x1000]), [ok("first")]);
    std::fs::write(&path, "4000 10 first\n").expect("write");
    assert_eq!(fixture.names.look_up(0x1000), Err(NoSymbol::NotCovered), "not looked at again, yet not wrong");
}

#[test]
fn the_processs_own_count_of_pids_goes_first() {
    let mut fixture = Fixture::new(&[7, 4007]);
    append(&fixture.path(4007), "1000 10 outer\n");
    assert_eq!(fixture.names([0x1000]), [ok("outer")]);
    let mut fixture = Fixture::new(&[7, 4007]);
    append(&fixture.path(4007), "1000 10 outer\n");
    append(&fixture.path(7), "1000 10 inner\n");
    assert_eq!(fixture.names([0x1000]), [ok("inner")]);
}

#[test]
fn links_and_other_things_are_no_maps() {
    let mut fixture = Fixture::new(&[7]);
    let real = fixture.dir.path().join("tmp/real");
    append(&real, "1000 10 first\n");
    std::os::unix::fs::symlink("real", fixture.path(7)).expect("symlink");
    assert_eq!(fixture.names([0x1000]), [ANONYMOUS]);
    assert!(fixture.names.warned_of_file);
    std::fs::remove_file(fixture.path(7)).expect("remove");
    std::fs::create_dir(fixture.path(7)).expect("directory");
    assert_eq!(fixture.names([0x1000]), [ANONYMOUS]);
    std::fs::remove_dir(fixture.path(7)).expect("remove");
    std::fs::rename(real, fixture.path(7)).expect("rename");
    assert_eq!(fixture.names([0x1000]), [ok("first")]);
}

#[test]
fn a_huge_map_is_read_to_its_limit() {
    let mut fixture = Fixture::new(&[7]);
    let path = fixture.path(7);
    append(&path, "1000 10 first\n");
    // Sparse: a line of zeros, too long to be one.
    File::options().write(true).open(&path).expect("open").set_len(513 << 20).expect("set length");
    append(&path, "\n2000 10 behind\n");
    assert_eq!(fixture.names([0x1000, 0x2000]), [ok("first"), NOT_COVERED]);
    assert!(fixture.names.warned_of_limit);
}

/// A process's real map, gone with its test.
struct RealMap(PathBuf);

impl Drop for RealMap {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn memory_of_a_process_is_named_by_its_map_even_after_its_end() {
    let dir = tempfile::tempdir().expect("temp dir");
    let program = dir.path().join("jit");
    fixture::compile("jit.c", JIT, &program, &[]);
    let mut held = Held::start(&program);
    let map = RealMap(format!("/tmp/perf-{}.map", held.pid()).into());
    std::fs::remove_file(&map.0).ok();
    let start = parse(&held.say("map"));
    let before = modules(held.pid());
    let at = |modules: &SharedModules, address| -> Frame {
        let [frame] = stack(modules, &[address]).frames.try_into().expect("one frame");
        assert_eq!((frame.address, &frame.module, frame.module_offset), (address, &None, None));
        frame
    };
    assert_eq!(at(&before, start + 0x14).function, Err(NoSymbol::Anonymous));
    append(&map.0, &format!("{start:x} 10 py::first:/a.py\n{:x} 4 JS:~second /b.js:7:2\n", start + 0x10));
    held.say("unmap");
    let after = modules(held.pid());
    held.end();
    for (modules, uncovered) in [(before, NoSymbol::NotCovered), (after, NoSymbol::Unmapped)] {
        // A return address behind a function's last byte is that function's.
        let frame = at(&modules, start + 0x10);
        assert_eq!((frame.function.as_deref(), frame.file.as_deref()), (Ok("py::first"), Some("/a.py")));
        let frame = at(&modules, start + 0x14);
        let source = (frame.file.as_deref(), frame.line);
        assert_eq!((frame.function.as_deref(), source), (Ok("JS:~second"), (Some("/b.js"), Some(7))));
        assert_eq!(at(&modules, start + 0x15).function, Err(uncovered));
    }
}
