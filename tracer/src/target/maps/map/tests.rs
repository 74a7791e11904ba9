use std::{os::unix::fs::MetadataExt as _, process::Command};

use super::*;
use crate::target::fixture::{self, Held};

fn anonymous(start: u64, end: u64) -> Mapping {
    Mapping { start, end, file_offset: 0x100, kind: MappingKind::Anonymous(None) }
}

#[test]
fn what_is_not_covered_stays() {
    let parts = |others: &[Mapping]| {
        let mut parts = Vec::new();
        uncovered(&anonymous(10, 50), others, |part| parts.push((part.start, part.end, part.file_offset)));
        parts
    };
    assert_eq!(parts(&[]), [(10, 50, 0x100)]);
    assert_eq!(parts(&[anonymous(0, 10), anonymous(50, 60)]), [(10, 50, 0x100)]);
    assert_eq!(parts(&[anonymous(5, 12), anonymous(20, 30)]), [(12, 20, 0x102), (30, 50, 0x114)]);
    assert_eq!(parts(&[anonymous(10, 50)]), []);
    assert_eq!(parts(&[anonymous(0, 90)]), []);
}

#[test]
fn a_process_maps_what_it_runs() {
    let map = ModuleMap::read(std::process::id()).expect("own maps");
    let here = a_process_maps_what_it_runs as fn() as usize as u64;
    let (module, _) = map.find(here).expect("this function is in a module");
    let exe = std::env::current_exe().expect("exe");
    assert_eq!(&**module.path(), exe.to_str().expect("utf8"));
    assert!(!module.is_deleted());
    let meta = module.file().expect("open").metadata().expect("metadata");
    assert_eq!(meta.ino(), std::fs::metadata(exe).expect("metadata").ino());

    let vdso = map.modules().find(|module| &**module.path() == "[vdso]").expect("x86-64 has a vdso");
    assert!(vdso.file().is_some());
    assert!(matches!(map.locate(8), Place::Unmapped));
    assert!(map.mappings().windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn hostile_names_lead_to_their_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    for name in ["with space", "line\nfeed", "literal\\012escape", "living (deleted)", "] [vdso]"] {
        let path = dir.path().join(name);
        fixture::compile("hold.c", fixture::HOLD, &path, &["-g"]);
        let held = Held::start(&path);
        let map = ModuleMap::read(held.pid()).expect("maps");
        let inode = std::fs::metadata(&path).expect("metadata").ino();
        let module = map.modules().find(|module| module.inode() == inode).expect(name);
        assert!(!module.is_deleted(), "{name}");
        assert!(module.path().ends_with(&name.replace('\n', "\\012")), "{}", module.path());
        assert_eq!(module.identity().expect("open").inode, inode, "{name}");
    }
}

#[test]
fn a_deleted_program_is_still_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("program");
    fixture::compile("hold.c", fixture::HOLD, &path, &[]);
    let held = Held::start(&path);
    std::fs::remove_file(&path).expect("remove");
    let map = ModuleMap::read(held.pid()).expect("maps");
    let module = map.modules().find(|module| **module.path() == *path.to_str().expect("utf8")).expect("found");
    assert!(module.is_deleted());
    assert!(module.file().is_some());
}

#[test]
fn an_unloaded_library_stays_findable_until_something_takes_its_place() {
    let dir = tempfile::tempdir().expect("temp dir");
    let library = dir.path().join("libplugin.so");
    fixture::compile("plugin.c", "int plugin(void) { return 7; }", &library, &["-shared", "-fPIC"]);
    let program = dir.path().join("loader");
    fixture::compile("loader.c", LOADER, &program, &["-ldl"]);
    let mut held = Held::start_with(Command::new(&program).arg(&library));

    let mut map = ModuleMap::read(held.pid()).expect("maps");
    let before = map.generation();
    let address = held.say("load");
    let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).expect("an address");
    assert!(map.find(address).is_none());
    let changes = map.refresh().expect("refresh");
    assert!(changes.mappings_changed && map.generation() > before);
    assert!(changes.added.iter().any(|module| module.path().ends_with("/libplugin.so")));
    let (module, offset) = map.find(address).map(|(module, offset)| (Arc::clone(module), offset)).expect("loaded");

    held.say("unload");
    assert!(map.refresh().expect("refresh").mappings_changed);
    let (kept, kept_offset) = map.find(address).expect("still findable");
    assert!(Arc::ptr_eq(kept, &module) && kept_offset == offset);
    assert!(!map.mappings().iter().any(|mapping| mapping.start <= address && address < mapping.end));

    // Executable memory without a file, at the same place.
    held.say("cover");
    map.refresh().expect("refresh");
    assert!(matches!(map.locate(address), Place::Anonymous(None)));
    assert!(!map.refresh().expect("refresh").mappings_changed);

    held.end();
    assert!(matches!(map.refresh(), Err(TargetError::NoSuchProcess { .. })));
    assert!(matches!(map.locate(address), Place::Anonymous(None)), "what was known stays");
}

#[test]
fn many_mappings_are_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let program = dir.path().join("mapper");
    fixture::compile("mapper.c", MAPPER, &program, &[]);
    let mut held = Held::start(&program);
    let made: usize = held.say("map").parse().expect("a count");
    assert!(made > 50_000, "{made}");
    let map = ModuleMap::read(held.pid()).expect("maps");
    assert!(map.mappings().len() >= made / 2, "{}", map.mappings().len());
}

const LOADER: &str = r#"
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
int main(int argc, char **argv) {
    char line[64];
    void *handle = 0, *symbol = 0;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (line[0] == 'l') {
            handle = dlopen(argv[1], RTLD_NOW);
            symbol = dlsym(handle, "plugin");
            printf("%p\n", symbol);
        } else if (line[0] == 'u') {
            printf("%d\n", dlclose(handle));
        } else {
            void *page = (void *)((uintptr_t)symbol & ~0xfffULL);
            printf("%d\n", mmap(page, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
        }
        fflush(stdout);
    }
}
"#;

/// Maps pages with alternating rights, so that none can be merged, up to the limit of 65530 mappings.
const MAPPER: &str = r#"
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const int pages = 60000;
        char *base = mmap(0, pages * 4096L, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int made = 0;
        for (; made < pages; made++)
            if (mprotect(base + made * 4096L, 4096, made % 2 ? PROT_READ | PROT_EXEC : PROT_READ)) break;
        printf("%d\n", made);
        fflush(stdout);
    }
}
"#;
