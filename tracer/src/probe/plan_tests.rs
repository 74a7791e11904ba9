use super::*;

fn mapped(names: [&str; 2]) -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| names.iter().any(|name| path.contains(name)));
    std::fs::read(path.expect("mapped in the test")).expect("its file")
}

fn libc() -> Vec<u8> {
    mapped(["/libc.so", "/libc-2"])
}

fn plan(data: &[u8], named: &[&str]) -> (AttachPlan, Findings) {
    let mut planner = Planner::default();
    let findings = planner.add_module(3, data, None, named).expect("an ELF file");
    (planner.finish(), findings)
}

#[test]
fn libc_gives_an_entry_for_each_function_and_a_return_for_each_that_allocates() {
    let (plan, findings) = plan(&libc(), &[]);
    assert_eq!(findings.allocators, [(Family::Glibc, String::new())]);
    let entries: Vec<_> = plan.points.iter().filter(|p| p.kind == ProbeKind::Entry).collect();
    let returns: Vec<_> = plan.points.iter().filter(|p| p.kind == ProbeKind::Return).collect();
    for symbol in
        ["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "valloc", "pvalloc"]
    {
        let find = |points: &[&AttachPoint]| points.iter().find(|p| &*p.symbol == symbol).map(|p| p.file_offset);
        let entry = find(&entries).unwrap_or_else(|| panic!("no entry for {symbol}"));
        assert_eq!(Some(entry), find(&returns), "one breakpoint must serve both");
    }
    assert!(entries.iter().all(|p| p.module == 3));
    assert_eq!(entries.iter().filter(|p| &*p.symbol == "free").count(), 1);
    assert!(!returns.iter().any(|p| &*p.symbol == "free"));
    assert!(!plan.points.iter().any(|p| p.kind == ProbeKind::Exit), "nothing of C throws");
    let first_entry = plan.points.iter().position(|p| p.kind == ProbeKind::Entry).expect("entries");
    assert!(plan.points[first_entry..].iter().all(|p| p.kind == ProbeKind::Entry), "returns come first");
}

#[test]
fn libc_s_hot_functions_are_cheap() {
    let (plan, _) = plan(&libc(), &[]);
    for symbol in ["malloc", "calloc", "realloc", "free"] {
        let point = plan.points.iter().find(|p| &*p.symbol == symbol).expect(symbol);
        assert_eq!(point.cost, Cost::Emulated, "{symbol}");
    }
}

#[test]
fn no_file_and_a_file_without_malloc_add_nothing() {
    let mut planner = Planner::default();
    assert!(matches!(planner.add_module(0, &b"\x7fELF"[..], None, &[]), Err(PlanError::NotElf(_))));
    let own = std::fs::read("/proc/self/exe").expect("own executable");
    let findings = planner.add_module(0, &own[..], None, &[]).expect("an ELF file");
    assert!(findings.allocators.is_empty() && !findings.is_static, "{findings:?}");
    let error = planner.add_module(0, &own[..], None, &["no_such_"]).expect_err("no such allocator");
    assert!(error.to_string().contains("no_such_malloc"), "{error}");
    assert!(planner.finish().points.is_empty());
}

#[test]
fn a_truncated_libc_is_refused_or_gives_less_but_never_panics() {
    let libc = libc();
    for len in (0..libc.len()).step_by(libc.len() / 97) {
        let _ = Planner::default().add_module(0, &libc[..len], None, &[]);
    }
}

/// `operator new` under a name of its own: what may throw is probed at its ends, and the throwing itself.
#[test]
fn what_may_throw_has_exits_and_no_return_probe() {
    const SOURCE: &str = r#"
        #include <new>
        #include <cstdlib>
        static char pool[1 << 16]; static size_t used;
        extern "C" void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return used < sizeof pool ? p : nullptr; }
        extern "C" void free(void *p) { (void)p; }
        __attribute__((noinline)) static void *again(size_t n) { if (void *p = malloc(n)) return p; throw std::bad_alloc(); }
        __attribute__((noipa)) void *operator new(size_t n) { if (used + n < 4096) return malloc(n); return again(n); }
        void *operator new[](size_t n) { return operator new(n); }
        void operator delete(void *p) noexcept { free(p); }
        void operator delete(void *p, size_t) noexcept { free(p); }
        extern "C" void __cxa_throw(void *, void *, void (*)(void *)) { abort(); }
        int main() { delete new int; }
    "#;
    let dir = tempfile::tempdir().expect("temp dir");
    let program = dir.path().join("pool");
    crate::target::fixture::compile("pool.cc", SOURCE, &program, &["-O2", "-w"]);
    let (plan, findings) = plan(&std::fs::read(&program).expect("read"), &[]);
    let of = |symbol: &str, kind| plan.points.iter().filter(|p| &*p.symbol == symbol && p.kind == kind).count();
    assert_eq!(findings.allocators, [(Family::Unknown, String::new())]);
    assert_eq!(of("_Znwm", ProbeKind::Entry), 1);
    assert_eq!(of("_Znwm", ProbeKind::Return), 0);
    assert!(of("_Znwm", ProbeKind::Exit) >= 1, "{findings:?}");
    assert_eq!(of("__cxa_throw", ProbeKind::Entry), 1);
    let outcome = |symbol: &str| &findings.functions.iter().find(|f| f.symbol == symbol).expect(symbol).outcome;
    assert_eq!(*outcome("_Znam"), Outcome::Forwards("_Znwm".into()), "{findings:?}");
    assert!(matches!(outcome("_ZdlPv"), Outcome::Forwards(_) | Outcome::Alias(_) | Outcome::Probed { .. }));
    let exits: Vec<_> = plan.points.iter().filter(|p| p.kind == ProbeKind::Exit).map(|p| p.file_offset).collect();
    let bytes = std::fs::read(&program).expect("read");
    assert!(exits.iter().all(|&at| bytes[at as usize] == 0xc3), "each is a ret");

    let (mut known, mut again, mut thrown) = (Planner::default(), Planner::default(), Planner::default());
    known.add_module(0, &bytes[..], None, &[]).expect("an ELF file");
    again.add_planned(3, &known);
    assert_eq!(again.finish(), plan, "a module that was looked through before has the same probes");
    thrown.add_throws(3, &known);
    assert!(thrown.is_empty() && thrown.uses(3) && !thrown.may_throw());
    let thrown = thrown.finish_with(true).points;
    assert!(matches!(&thrown[..], [point] if &*point.symbol == "__cxa_throw" && point.module == 3), "{thrown:?}");
}

/// A stripped program's symbols come from its debug file, or from `.gnu_debugdata`.
#[test]
fn symbols_come_from_wherever_they_are() {
    const SOURCE: &str = r#"
        #include <stddef.h>
        __attribute__((noipa)) static void *_x_malloc(size_t n) { return (void *)n; }
        __attribute__((noipa)) static void _x_free(void *p) { (void)p; }
        int main(void) { _x_free(_x_malloc(0)); return 0; }
    "#;
    use crate::target::fixture::{compile, run};
    use std::process::Command;
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name);
    compile("x.c", SOURCE, &at("whole"), &["-O1"]);
    run(Command::new("objcopy").arg("--strip-all").arg(at("whole")).arg(at("stripped")));
    let read = |name: &str| std::fs::read(at(name)).expect("read");
    let (whole, stripped) = (read("whole"), read("stripped"));
    let points = |data: &[u8], separate: Option<&[u8]>| {
        let mut planner = Planner::default();
        planner.add_module(0, data, separate, &["_x_"]).map(|findings| (planner.finish().points, findings.symbols))
    };
    let (expected, tables) = points(&whole, None).expect("its own symbols");
    assert!(expected.len() == 3 && tables.contains(&".symtab"), "{expected:?} {tables:?}");
    assert!(points(&stripped, None).is_err());
    let (separate, tables) = points(&stripped, Some(&whole)).expect("the debug file's symbols");
    assert!(separate == expected && tables.contains(&"debug file"), "{tables:?}");
    let mut packed = Vec::new();
    lzma_rs::xz_compress(&mut &whole[..], &mut packed).expect("pack");
    std::fs::write(at("packed"), packed).expect("write");
    let section = format!(".gnu_debugdata={}", at("packed").display());
    run(Command::new("objcopy").arg("--add-section").arg(section).arg(at("stripped")).arg(at("mini")));
    let (mini, tables) = points(&read("mini"), None).expect("the packed symbols");
    assert!(mini == expected && tables.contains(&".gnu_debugdata"), "{tables:?}");
}
