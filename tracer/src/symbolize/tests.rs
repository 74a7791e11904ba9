//! Real programs, compiled here, run, and named by their addresses.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use object::{Object as _, ObjectSymbol as _};
use tracer_common::stack::StackEnd;

use super::{module::ModuleSymbols, resolver::Resolver, *};
use crate::{
    aggregate::{SiteId, Tgid},
    target::{
        Root,
        fixture::{self, Held, run},
        maps::{Module, ModuleMap},
    },
};

/// Answers each line with the return address of a call in `inner`, which is inlined into `middle`, which is inlined
/// into `checkout`. The tests know the line numbers.
const SHOP: &str = r#"#include <cstdio>
namespace shop {
__attribute__((noipa)) void *here() { return __builtin_return_address(0); }
struct Cart {
    int items;
    __attribute__((always_inline)) inline void *inner(int count) {
        void *address = here();
        items += count;
        return address;
    }
    __attribute__((always_inline)) inline void *middle(int count) {
        void *address = inner(count + 1);
        items ^= count;
        return address;
    }
};
__attribute__((noipa)) void *checkout(Cart &cart) {
    void *address = cart.middle(3);
    cart.items++;
    return address;
}
}
int main() {
    char line[64];
    shop::Cart cart = {};
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%p\n", shop::checkout(cart));
        fflush(stdout);
    }
}
"#;

struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn compile(options: &[&str]) -> Self {
        let shop = Self { dir: tempfile::tempdir().expect("temp dir") };
        fixture::compile("shop.cc", SHOP, &shop.path("shop"), &[&["-O2", "-g"], options].concat());
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Splits the debug information of `shop` off into a file of that name and strips the rest.
    fn split_into(&self, debug: &str) {
        run(Command::new("objcopy").arg("--only-keep-debug").args([self.path("shop"), self.path(debug)]));
        self.strip();
    }

    fn strip(&self) {
        run(Command::new("strip").arg(self.path("shop")));
    }

    fn link_to(&self, debug: &str) {
        let option = format!("--add-gnu-debuglink={}", self.path(debug).display());
        run(Command::new("objcopy").arg(option).arg(self.path("shop")));
    }

    fn module(&self) -> Module {
        let path = self.path("shop");
        Module::of_file(path.to_str().expect("utf8"), File::open(&path).expect("open"))
    }

    /// The frames of the call in `inner`.
    fn frames(&self) -> Vec<Frame> {
        let mut held = Held::start(&self.path("shop"));
        let address = call(&mut held);
        let modules = modules(held.pid());
        held.end();
        stack(&modules, &[address]).frames
    }

    /// All three functions, with their lines.
    fn assert_named(&self, frames: &[Frame]) {
        let source = self.path("shop.cc");
        let expected = [
            ("shop::Cart::inner(int)", 7, true),
            ("shop::Cart::middle(int)", 12, true),
            ("shop::checkout(shop::Cart&)", 18, false),
        ];
        assert_eq!(frames.len(), expected.len(), "{frames:#?}");
        for (frame, (function, line, inlined)) in frames.iter().zip(expected) {
            assert_eq!(frame.function.as_deref(), Ok(function));
            assert_eq!(frame.file.as_deref(), source.to_str(), "{function}");
            assert_eq!((frame.line, frame.inlined), (Some(line), inlined), "{function}");
            assert_eq!(frame.module.as_deref(), self.path("shop").to_str());
            assert_eq!(frame.address, frames[0].address);
            assert_eq!(frame.module_offset, frames[0].module_offset);
        }
    }
}

pub(super) fn modules(pid: u32) -> SharedModules {
    Arc::new(Mutex::new(ModuleMap::read(pid).expect("maps")))
}

fn call(held: &mut Held) -> u64 {
    parse(&held.say("call"))
}

pub(super) fn parse(hex: &str) -> u64 {
    u64::from_str_radix(hex.trim().trim_start_matches("0x"), 16).expect("an address")
}

fn request(frames: &[u64]) -> Request {
    Request {
        site: SiteId(5),
        tgid: Tgid(std::process::id()),
        image: 0,
        frames: Arc::from(frames),
        exact: ExactFrames::NONE,
        end: StackEnd::Complete,
        priority: Priority::Visible,
    }
}

pub(super) fn stack(modules: &SharedModules, frames: &[u64]) -> Stack {
    Resolver::new().stack(&request(frames), Some(modules))
}

#[test]
fn a_call_is_named_with_what_was_inlined_around_it() {
    let shop = Shop::compile(&[]);
    let frames = shop.frames();
    shop.assert_named(&frames);
    // The offset is what binutils count with.
    let offset = frames[0].module_offset.expect("in a module");
    let symbols = run(Command::new("nm").arg("-S").arg(shop.path("shop")));
    let line = symbols.lines().find(|line| line.ends_with("checkoutERNS_4CartE")).expect("checkout");
    let columns: Vec<&str> = line.split(' ').collect();
    let start = parse(columns[0]);
    assert!((start..start + parse(columns[1])).contains(&offset), "{offset:#x} {line}");
}

#[test]
fn fixed_addresses_and_old_debug_information_work_alike() {
    for options in [&["-no-pie"][..], &["-gdwarf-4"], &["-gz"], &["-Wl,-z,noseparate-code"]] {
        let shop = Shop::compile(options);
        shop.assert_named(&shop.frames());
    }
}

#[test]
fn a_stripped_program_says_so_unless_its_dynamic_symbols_cover() {
    let shop = Shop::compile(&[]);
    shop.strip();
    let [frame] = shop.frames().try_into().expect("one frame");
    assert_eq!(frame.function, Err(NoSymbol::Stripped));
    assert_eq!(frame.module.as_deref(), shop.path("shop").to_str());
    assert!(frame.module_offset.is_some());

    let shop = Shop::compile(&["-rdynamic"]);
    shop.strip();
    let [frame] = shop.frames().try_into().expect("one frame");
    assert_eq!(frame.function.as_deref(), Ok("shop::checkout(shop::Cart&)"));
    assert_eq!((frame.file, frame.line), (None, None));
}

#[test]
fn without_debug_information_the_symbol_table_names() {
    let shop = Shop::compile(&[]);
    run(Command::new("strip").arg("--strip-debug").arg(shop.path("shop")));
    let [frame] = shop.frames().try_into().expect("one frame");
    assert_eq!(frame.function.as_deref(), Ok("shop::checkout(shop::Cart&)"));
    assert_eq!(frame.file, None);
}

#[test]
fn a_debug_file_is_found_by_its_link() {
    for build_id in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let shop = Shop::compile(&[build_id]);
        shop.split_into("shop.debug");
        shop.link_to("shop.debug");
        shop.assert_named(&shop.frames());

        std::fs::create_dir(shop.path(".debug")).expect("directory");
        std::fs::rename(shop.path("shop.debug"), shop.path(".debug/shop.debug")).expect("rename");
        shop.assert_named(&shop.frames());
    }
}

#[test]
fn a_debug_file_of_another_build_is_not_used() {
    for build_id in ["-Wl,--build-id=sha1", "-Wl,--build-id=none"] {
        let shop = Shop::compile(&[build_id]);
        shop.split_into("shop.debug");
        shop.link_to("shop.debug");
        let other = Shop::compile(&[build_id, "-O1"]);
        other.split_into("shop.debug");
        std::fs::copy(other.path("shop.debug"), shop.path("shop.debug")).expect("copy");
        assert_eq!(shop.frames()[0].function, Err(NoSymbol::Stripped), "{build_id}");

        // What would wait forever when opened.
        std::fs::remove_file(shop.path("shop.debug")).expect("remove");
        run(Command::new("mkfifo").arg(shop.path("shop.debug")));
        assert_eq!(shop.frames()[0].function, Err(NoSymbol::Stripped), "{build_id}");
    }
}

#[test]
fn a_debug_file_is_found_by_build_id_in_each_root_in_turn() {
    let shop = Shop::compile(&["-Wl,--build-id=0xabcdef0123456789"]);
    let mut held = Held::start(&shop.path("shop"));
    let address = call(&mut held);
    let offset = ModuleMap::read(held.pid()).expect("maps").find(address - 1).expect("mapped").1;
    held.end();
    shop.split_into("debug");
    let module = shop.module();

    let empty = tempfile::tempdir().expect("temp dir");
    let full = tempfile::tempdir().expect("temp dir");
    let directory = full.path().join("usr/lib/debug/.build-id/ab");
    std::fs::create_dir_all(&directory).expect("directory");
    let debug = full.path().join("debug");
    std::fs::rename(shop.path("debug"), &debug).expect("rename");
    // Absolute, as in an image whose debug files are links: it must lead to the image's file.
    std::os::unix::fs::symlink("/debug", directory.join("cdef0123456789.debug")).expect("symlink");

    let look_up = |roots: &[&Path]| {
        let roots: Vec<Arc<Root>> = roots.iter().map(|root| Arc::new(Root::at(root))).collect();
        let mut symbols = ModuleSymbols::open(&module, &roots, None).expect("readable");
        let address = symbols.address(offset).expect("in a segment");
        symbols.look_up(address).map(|functions| functions.len())
    };
    assert_eq!(look_up(&[empty.path()]), Err(NoSymbol::Stripped));
    assert_eq!(look_up(&[empty.path(), full.path()]), Ok(3));
}

#[test]
fn a_deleted_or_replaced_program_is_named_by_its_old_file() {
    for replaced in [false, true] {
        let shop = Shop::compile(&[]);
        let mut held = Held::start(&shop.path("shop"));
        let address = call(&mut held);
        std::fs::remove_file(shop.path("shop")).expect("remove");
        if replaced {
            fixture::compile("other.c", fixture::HOLD, &shop.path("shop"), &["-g"]);
        }
        let modules = modules(held.pid());
        held.end();
        // Both the process and its file are gone now.
        shop.assert_named(&stack(&modules, &[address]).frames);
    }
}

#[inline(never)]
fn a_function_of_this_test() -> u32 {
    std::hint::black_box(line!())
}

#[test]
fn rust_functions_are_demangled() {
    let address = a_function_of_this_test as fn() -> u32 as usize as u64;
    let request = Request { exact: ExactFrames::NONE.with(0), ..request(&[address]) };
    let stack = Resolver::new().stack(&request, Some(&modules(std::process::id())));
    let [frame] = &stack.frames[..] else { panic!("{stack:#?}") };
    assert_eq!(frame.function.as_deref(), Ok("leaktrace::symbolize::tests::a_function_of_this_test"));
    assert_eq!(frame.line, Some(a_function_of_this_test() - 1));
    assert!(frame.file.as_deref().expect("file").ends_with("src/symbolize/tests.rs"));
    assert_eq!(frame.address, address);
}

#[test]
fn the_kernels_own_module_is_named() {
    let modules = modules(std::process::id());
    let map = modules.lock().expect("lock");
    let vdso = map.modules().find(|module| &**module.path() == "[vdso]").expect("a vdso");
    let bytes = std::fs::read(vdso.fd_path().expect("copied")).expect("read");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    let function =
        object.dynamic_symbols().find(|symbol| symbol.name() == Ok("__vdso_gettimeofday")).expect("exported").address();
    let base = map.mappings().iter().find(|mapping| map.find(mapping.start).is_some_and(|at| Arc::ptr_eq(at.0, vdso)));
    let address = base.expect("mapped").start + function + 1;
    drop(map);
    let [frame] = stack(&modules, &[address]).frames.try_into().expect("one frame");
    assert!(frame.function.as_deref().is_ok_and(|name| name.ends_with("gettimeofday")), "{frame:?}");
    assert_eq!(frame.module.as_deref(), Some("[vdso]"));
}

#[test]
fn addresses_outside_of_modules_have_their_reasons() {
    let code = memmap2::MmapMut::map_anon(4096).expect("map").make_exec().expect("executable");
    let modules = modules(std::process::id());
    let frames = stack(&modules, &[code.as_ptr() as u64 + 1, 0, 8, u64::MAX]).frames;
    let reasons: Vec<_> = frames.iter().map(|frame| frame.function.clone().expect_err("no name")).collect();
    let unmapped = NoSymbol::Unmapped;
    // The last page of the address space is the kernel's [vsyscall] only from its start.
    assert_eq!(reasons, [NoSymbol::Anonymous, unmapped, unmapped, unmapped]);
    assert_eq!(frames[1].address, 0);
    assert_eq!(Resolver::new().stack(&request(&[8]), None).frames[0].function, Err(unmapped));
}

#[test]
fn files_that_are_no_elf_files_have_no_names() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("text");
    std::fs::write(&path, "no ELF").expect("write");
    let open = |shown: &str| ModuleSymbols::open(&Module::of_file(shown, File::open(&path).expect("open")), &[], None);
    assert_eq!(open("/usr/lib/text").expect_err("unreadable"), NoSymbol::ModuleUnreadable);
    assert_eq!(open("/memfd:doublemapper").expect_err("code made at run time"), NoSymbol::Anonymous);
}

#[test]
fn broken_files_cost_names_and_nothing_else() {
    let shop = Shop::compile(&["-Wl,--build-id=sha1"]);
    let bytes = std::fs::read(shop.path("shop")).expect("read");
    let symbols = run(Command::new("nm").arg(shop.path("shop")));
    let line = symbols.lines().find(|line| line.ends_with("checkoutERNS_4CartE")).expect("checkout");
    let address = parse(line.split(' ').next().expect("a column")) + 8;

    // xorshift64: the same files each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).expect("64 bit") % below
    };
    let mut named_rounds = 0;
    for round in 0..211_usize {
        let mut broken = bytes.clone();
        match round % 3 {
            0 => broken.truncate(random(bytes.len())),
            // Headers, at both ends of the file, hold the sizes and offsets.
            1 => (0..9).for_each(|_| broken[random(0x400)] = 0xff),
            _ => (0..307).for_each(|_| broken[random(bytes.len())] = u8::try_from(random(256)).expect("a byte")),
        }
        let mut file = tempfile::tempfile().expect("temp file");
        file.write_all(&broken).expect("write");
        let module = Module::of_file("/broken", file);
        if let Ok(mut symbols) = ModuleSymbols::open(&module, &[], None) {
            named_rounds += usize::from(symbols.look_up(address).is_ok());
            for address in [address, 0, u64::MAX - 1] {
                let named = symbols.look_up(address).into_iter().flatten();
                for functions in named.filter(|named| named.function.is_ok()) {
                    assert!(functions.function.is_ok_and(|name| name.len() <= name::NAME_BYTES), "round {round}");
                }
            }
        }
    }
    assert!((17..200).contains(&named_rounds), "{named_rounds}: neither all broken nor all well");
}

#[test]
fn the_thread_answers_while_the_caller_goes_on() {
    let symbolizer = Symbolizer::spawn().expect("thread");
    let tgid = Tgid(std::process::id());
    symbolizer.add_process(tgid, 0, modules(tgid.0));
    let address = a_function_of_this_test as fn() -> u32 as usize as u64 + 1;
    for site in 0..17 {
        symbolizer.request(Request { site: SiteId(site), ..request(&[address]) }).expect("room");
    }
    let unknown = Request { site: SiteId(17), tgid: Tgid(1), ..request(&[address]) };
    symbolizer.request(unknown).expect("room");

    let deadline = Instant::now() + Duration::from_secs(60);
    let mut answers = Vec::new();
    while answers.len() < 18 {
        assert!(Instant::now() < deadline, "{} answers", answers.len());
        answers.extend(symbolizer.drain());
        std::thread::yield_now();
    }
    assert_eq!(symbolizer.backlog(), 0);
    let name = "leaktrace::symbolize::tests::a_function_of_this_test";
    for (index, (site, stack)) in answers.iter().enumerate() {
        assert_eq!(site.0 as usize, index);
        let expected = if index < 17 { Ok(name) } else { Err(&NoSymbol::Unmapped) };
        assert_eq!(stack.frames[0].function.as_deref(), expected);
    }
}

#[test]
fn a_library_loaded_after_the_maps_were_read_is_found() {
    let dir = tempfile::tempdir().expect("temp dir");
    let library = dir.path().join("libplugin.so");
    fixture::compile("plugin.c", "int plugin(void) { return 7; }", &library, &["-shared", "-fPIC", "-g"]);
    let program = dir.path().join("loader");
    let source = r#"
        #include <dlfcn.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            char line[64];
            puts("ready");
            fflush(stdout);
            while (fgets(line, sizeof line, stdin)) {
                printf("%p\n", dlsym(dlopen(argv[1], RTLD_NOW), "plugin"));
                fflush(stdout);
            }
        }"#;
    fixture::compile("loader.c", source, &program, &["-ldl"]);
    let mut held = Held::start_with(Command::new(&program).arg(&library));
    let modules = modules(held.pid());
    let address = parse(&held.say("load")) + 1;

    // The maps are read again for it, once they are old enough.
    let mut resolver = Resolver::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let frame = loop {
        let [frame] = resolver.stack(&request(&[address]), Some(&modules)).frames.try_into().expect("one frame");
        if frame.function.is_ok() || Instant::now() > deadline {
            break frame;
        }
        std::thread::yield_now();
    };
    assert_eq!(frame.function.as_deref(), Ok("plugin"));
    assert_eq!(frame.module.as_deref(), library.to_str());
}
