//! Which frame of a stack stands for it in one line: the innermost one that is the program's own, not the
//! allocator's, the system call's stub, the language runtime's or a standard container's.
//!
//! Functions of scripts (`JS:…`, `py::…`) are what their programs are made of, so they come before anything that their
//! runtime is made of; those that the runtime brings along come after the others.

use crate::{
    report::basename,
    symbolize::{Frame, Stack},
};

/// Starts of module file names that are never the program's own. `libc` is spelled out to the next character, or it
/// would take libcurl and libcrypto with it.
const LIBRARY_MODULES: &[&str] = &[
    "libc.",
    "libc-",
    "libc++",
    "libstdc++",
    "libgcc",
    "libpthread",
    "ld-",
    "ld.so",
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
    "libuv.",
    "libnode.",
    "libpython",
    "libruby",
    "libperl",
    "libjvm.",
];

/// Part of a module's path: the modules that CPython brings along.
const PYTHON_MODULES: &str = "/lib-dynload/";

/// Starts of qualified function names that are never the program's own.
const LIBRARY_FUNCTIONS: &[&str] = &[
    "operator new",
    "std::",
    "<std::",
    "__gnu_cxx::",
    "alloc::",
    "<alloc::",
    "core::",
    "<core::",
    "hashbrown::",
    "<hashbrown::",
    "__rust_alloc",
    "__rust_realloc",
    "__rustc",
    "__rdl_",
    "__rg_",
    "uv_",
    "node::",
    "v8::",
    "Builtins_",
    "Builtin:",
    "Interpreter:",
    "runtime.",
    "syscall.",
    "internal/",
    "os.",
    "net.",
];

/// System calls that make descriptors, connect them, or map memory, and what libc makes of them: where it is linked statically, its
/// functions are in the program's own module. Without the underscores, prefixes and suffixes that libc puts around them.
const SYSTEM_CALLS: &[&str] = &[
    "accept",
    "accept4",
    "brk",
    "connect",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "epoll_create",
    "epoll_create1",
    "eventfd",
    "fanotify_init",
    "fcntl",
    "fdopendir",
    "file_fopen",
    "file_open",
    "fopen",
    "fopen_internal",
    "inotify_init",
    "inotify_init1",
    "memfd_create",
    "mkostemp",
    "mkstemp",
    "mmap",
    "mmap64",
    "mremap",
    "new_file_fopen",
    "open",
    "openat",
    "openat2",
    "opendir",
    "opendir_tail",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_open",
    "pipe",
    "pipe2",
    "recvmsg",
    "sbrk",
    "signalfd",
    "signalfd4",
    "socket",
    "socketpair",
    "syscall",
    "syscall_cp",
    "syscall_cp_asm",
    "syscall_cp_c",
    "syscall_ret",
    "timerfd_create",
    "userfaultfd",
];

/// How the names of functions of scripts begin: V8's of all its versions, and CPython's.
const SCRIPTS: &[&str] = &["JS:", "LazyCompile:", "Function:", "Script:", "Eval:", "py::"];

/// Files of scripts that come with the runtime, or are a library's: they begin with, or contain, one of these.
const LIBRARY_SCRIPTS: &[&str] =
    &["node:", "<frozen ", "/node_modules/", "/site-packages/", "/dist-packages/", "/lib/python", "/lib64/python"];

/// Directories of source files that are never the program's own: the Rust and C++ standard libraries, as their debug
/// information names them, and what Node is made of. An inlined function's name may come without its namespace; its file gives it away.
const LIBRARY_SOURCES: &[&str] = &[
    "/rustc/",
    "/rust/deps/",
    "/library/alloc/src/",
    "/library/core/src/",
    "/library/std/src/",
    "/include/c++/",
    "/deps/uv/src/",
    "/deps/v8/src/",
];

/// Library frames from which on they are shown as one line.
pub(crate) const FOLD: usize = 3;

/// The frame to show; `None` only for a stack without frames.
pub(crate) fn call_site(stack: &Stack) -> Option<&Frame> {
    let first = |wanted: fn(&Frame) -> bool| stack.frames.iter().find(|frame| wanted(frame));
    first(is_own_script)
        .or_else(|| first(is_script))
        .or_else(|| first_own(stack))
        // Nothing but runtime: what it was doing says more than how it asked the kernel.
        .or_else(|| first(|frame| !is_libc(frame)))
        .or_else(|| stack.frames.first())
}

/// Where the call site is among the frames.
pub(crate) fn call_site_index(stack: &Stack) -> Option<usize> {
    let own = call_site(stack)?;
    stack.frames.iter().position(|frame| std::ptr::eq(frame, own))
}

/// Runs of frames that a reader can do without, from index to index: what is inside the call site's call, what a runtime
/// does between functions of scripts, what started the thread. Short runs are worth their lines.
pub(crate) fn library_runs(stack: &Stack) -> Vec<std::ops::Range<usize>> {
    let site = call_site_index(stack).unwrap_or(0);
    let library = |index: usize, frame: &Frame| index != site && !is_script(frame) && (index < site || !is_own(frame));
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in stack.frames.iter().enumerate().filter(|(index, frame)| library(*index, frame)) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs.retain(|run| run.len() >= FOLD);
    runs
}

fn first_own(stack: &Stack) -> Option<&Frame> {
    let stubs = stack.frames.iter().take_while(|frame| is_system_call(frame)).count();
    // A stack of nothing else is a program that has functions of these names.
    let beyond = stack.frames.get(stubs..).filter(|frames| !frames.is_empty()).unwrap_or(&stack.frames);
    beyond.iter().find(|frame| is_own(frame))
}

/// Whether it is a function of a script, or of a script's library.
fn is_script(frame: &Frame) -> bool {
    frame.function.as_deref().is_ok_and(|function| SCRIPTS.iter().any(|prefix| function.starts_with(prefix)))
}

fn is_own_script(frame: &Frame) -> bool {
    let library = |file: &str| LIBRARY_SCRIPTS.iter().any(|part| file.starts_with(part) || file.contains(part));
    is_script(frame) && !frame.file.as_deref().is_some_and(library)
}

/// Whether it is in libc's stub of a system call, by its name.
fn is_system_call(frame: &Frame) -> bool {
    let Ok(function) = &frame.function else { return false };
    let mut name = function.trim_start_matches('_');
    for prefix in ["GI_", "libc_", "IO_"] {
        name = name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('_');
    }
    for suffix in ["_2", "_nocancel", "64"] {
        name = name.strip_suffix(suffix).unwrap_or(name);
    }
    SYSTEM_CALLS.contains(&name)
}

fn is_libc(frame: &Frame) -> bool {
    let module = frame.module.as_deref().map_or("", basename);
    ["libc.", "libc-", "libpthread", "ld-"].iter().any(|libc| module.starts_with(libc)) || is_system_call(frame)
}

/// Whether this is CPython's own program, such as `python3.12`.
fn is_python(file: &str) -> bool {
    file.strip_prefix("python").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn is_own(frame: &Frame) -> bool {
    if let Some(module) = &frame.module {
        let file = basename(module);
        let library = LIBRARY_MODULES.iter().any(|library| file.starts_with(library));
        if library || is_python(file) || module.contains(PYTHON_MODULES) {
            return false;
        }
    }
    if let Some(source) = &frame.file
        && LIBRARY_SOURCES.iter().any(|library| source.contains(library))
    {
        return false;
    }
    let Ok(function) = &frame.function else { return true };
    let name = short_name(function);
    !LIBRARY_FUNCTIONS.iter().any(|library| name.starts_with(library)) && !name.contains(" as alloc::vec::spec_")
}

/// A demangled name without the return type and the parameters that C++ puts around it:
/// `std::string ns::join<int>(int, int)` is `ns::join<int>`. Other names come back as they are.
pub(crate) fn short_name(function: &str) -> &str {
    // An operator's own name has spaces, brackets and parentheses.
    if function.contains("operator") {
        return function;
    }
    let mut depth = 0usize;
    let mut start = 0;
    let mut previous = b' ';
    for (index, byte) in function.bytes().enumerate() {
        match byte {
            // Go's methods are `package.(*Type).method`.
            b'(' if depth == 0
                && index > start
                && previous != b'.'
                && !function[index..].starts_with("(anonymous namespace)") =>
            {
                return &function[start..index];
            }
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if previous == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => start = index + 1,
            _ => {}
        }
        previous = byte;
    }
    function
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::symbolize::NoSymbol;

    fn frame(function: Option<&str>, module: &str) -> Frame {
        Frame {
            function: function.map(Arc::from).ok_or(NoSymbol::Stripped),
            module: Some(Arc::from(module)),
            ..Frame::pending(0x1000)
        }
    }

    fn chosen(frames: &[(Option<&str>, &str)]) -> usize {
        let frames = frames.iter().map(|(function, module)| frame(*function, module)).collect();
        let stack = Stack { frames, end: StackEnd::Complete };
        let site = call_site(&stack).expect("has frames");
        stack.frames.iter().position(|frame| std::ptr::eq(frame, site)).expect("from the stack")
    }

    #[test]
    fn library_modules_are_passed_over_but_not_their_namesakes() {
        assert_eq!(chosen(&[(Some("strdup"), "/usr/lib/libc.so.6"), (Some("main"), "/bin/a")]), 1);
        assert_eq!(
            chosen(&[(Some("x"), "/lib/libstdc++.so.6"), (Some("x"), "/lib/ld-musl-x86_64.so.1"), (None, "/bin/a")]),
            2
        );
        assert_eq!(chosen(&[(Some("curl_init"), "/usr/lib/libcurl.so.4"), (Some("main"), "/bin/a")]), 0);
        assert_eq!(chosen(&[(Some("CRYPTO_malloc"), "/usr/lib/libcrypto.so.3"), (Some("main"), "/bin/a")]), 0);
    }

    #[test]
    fn runtime_functions_are_passed_over_in_the_programs_own_module() {
        for runtime in [
            "operator new(unsigned long)",
            "operator new[](unsigned long)",
            "__rustc::__rust_alloc",
            "alloc::raw_vec::RawVecInner<A>::try_allocate_in",
            "<alloc::string::String as core::clone::Clone>::clone",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "std::collections::hash::map::HashMap<K,V,S>::insert",
            "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(int&&)",
        ] {
            assert_eq!(chosen(&[(Some(runtime), "/bin/a"), (Some("app::run"), "/bin/a")]), 1, "{runtime}");
        }
    }

    #[test]
    fn standard_library_sources_are_passed_over_whatever_the_function_is_called() {
        for source in ["/rustc/59807616/library/alloc/src/alloc.rs", "/usr/include/c++/12/bits/new_allocator.h"] {
            let inlined = Frame { file: Some(Arc::from(source)), ..frame(Some("allocate"), "/bin/a") };
            let own = Frame { file: Some(Arc::from("/src/cache.c")), ..frame(Some("cache_add"), "/bin/a") };
            let stack = Stack { frames: vec![inlined, own], end: StackEnd::Complete };
            assert_eq!(
                call_site(&stack).and_then(|frame| frame.function.as_deref().ok()),
                Some("cache_add"),
                "{source}"
            );
        }
    }

    #[test]
    fn what_the_program_returns_or_implements_does_not_make_it_a_library() {
        for own in [
            "std::vector<int> my::make<int>(int)",
            "<app::Cache as core::default::Default>::default",
            "allocate_buffers",
            "stdout_writer",
        ] {
            assert_eq!(chosen(&[(Some(own), "/bin/a"), (Some("main"), "/bin/a")]), 0, "{own}");
        }
    }

    #[test]
    fn a_stack_of_libraries_alone_shows_its_innermost_frame() {
        assert_eq!(chosen(&[(Some("a"), "/lib/libc.so.6"), (Some("b"), "/lib/libc.so.6")]), 0);
        assert!(call_site(&Stack { frames: Vec::new(), end: StackEnd::NoMapping }).is_none());
    }

    #[test]
    fn the_stub_of_a_system_call_is_passed_over_in_a_static_program_too() {
        for stub in ["__libc_open64", "__GI_socket", "__open64_nocancel", "_IO_new_file_fopen", "__connect", "accept4"]
        {
            assert_eq!(chosen(&[(Some(stub), "/bin/a"), (Some("load"), "/bin/a")]), 1, "{stub}");
        }
        let fopen = ["__libc_open64", "_IO_file_open", "_IO_new_file_fopen", "__fopen_internal"];
        let mut frames: Vec<_> = fopen.map(|name| (Some(name), "/bin/a")).to_vec();
        frames.extend([(Some("read_config"), "/bin/a"), (Some("main"), "/bin/a")]);
        assert_eq!(chosen(&frames), 4);
        // Only how a stack begins: further out these are functions of the program.
        assert_eq!(chosen(&[(Some("db_open"), "/bin/a"), (Some("connect"), "/bin/a")]), 0);
        assert_eq!(chosen(&[(Some("socket"), "/lib/libc.so.6"), (Some("accept_loop"), "/bin/a")]), 1);
        assert_eq!(chosen(&[(Some("open"), "/bin/a")]), 0);
        assert_eq!(chosen(&[(Some("__libc_start_main"), "/bin/a"), (Some("main"), "/bin/a")]), 0);
    }

    fn chosen_of(frames: &[(&str, &str, &str)]) -> usize {
        let frames = frames.iter().map(|&(function, module, file)| Frame {
            file: Some(file).filter(|file| !file.is_empty()).map(Arc::from),
            ..frame(Some(function), module)
        });
        let stack = Stack { frames: frames.collect(), end: StackEnd::Complete };
        let site = call_site(&stack).expect("has frames");
        stack.frames.iter().position(|frame| std::ptr::eq(frame, site)).expect("from the stack")
    }

    #[test]
    fn functions_of_scripts_are_preferred_and_their_own_before_their_libraries() {
        let connect = [
            ("__GI_socket", "/lib/libc.so.6", ""),
            ("uv__tcp_connect", "/usr/bin/node", ""),
            ("node::TCPWrap::Connect", "/usr/bin/node", ""),
            ("JS:~internalConnect", "", "node:net"),
            ("JS:~connect", "", "/srv/node_modules/pg/lib/connection.js"),
            ("JS:*auditRecord", "", "/srv/service.js"),
            ("Builtins_AsyncFunctionAwaitResolveClosure", "/usr/bin/node", ""),
        ];
        assert_eq!(chosen_of(&connect), 5);
        assert_eq!(chosen_of(&connect[..5]), 3, "a library's is better than the runtime's");
        let python = [
            ("__GI_connect", "/lib/libc.so.6", ""),
            ("internal_connect", "/usr/lib/python3.12/lib-dynload/_socket.cpython-312-x86_64-linux-gnu.so", ""),
            ("_PyEval_EvalFrameDefault", "/usr/bin/python3.12", ""),
            ("py::create_connection", "", "/usr/lib/python3.12/socket.py"),
            ("py::Orders.load", "", "/srv/orders.py"),
            ("py::<module>", "", "/srv/main.py"),
        ];
        assert_eq!(chosen_of(&python), 4);
        assert_eq!(chosen_of(&python[..3]), 1, "without -X perf, what the runtime was doing");
    }

    #[test]
    fn a_runtime_alone_shows_what_it_was_doing() {
        let opened = [
            ("__libc_open64", "/lib/libc.so.6", ""),
            ("uv__fs_work", "/usr/bin/node", ""),
            ("start_thread", "/lib/libc.so.6", ""),
        ];
        assert_eq!(chosen_of(&opened), 1);
        let go = [("internal/runtime/syscall.Syscall6", "/bin/a", ""), ("os.OpenFile", "/bin/a", "")];
        assert_eq!(chosen_of(&[go[0], go[1], ("main.(*Server).load", "/bin/a", "")]), 2);
    }

    #[test]
    fn short_names_lose_what_surrounds_them() {
        for (function, name) in [
            ("main", "main"),
            ("ns::join<int>(int, int)", "ns::join<int>"),
            ("std::string ns::join<int>(int, int)", "ns::join<int>"),
            ("ns::Cache<std::pair<int, int> >::put(int) const", "ns::Cache<std::pair<int, int> >::put"),
            ("(anonymous namespace)::leak(int)", "(anonymous namespace)::leak"),
            ("<app::A as app::B>::run::{{closure}}", "<app::A as app::B>::run::{{closure}}"),
            ("<F as app::Call<fn(u8) -> u8>>::call", "<F as app::Call<fn(u8) -> u8>>::call"),
            ("operator new(unsigned long)", "operator new(unsigned long)"),
            ("ns::(anonymous namespace)::f(int)", "ns::(anonymous namespace)::f"),
            ("<<<<>>>>>>>> )))(", ")))"),
            ("main.(*Server).load", "main.(*Server).load"),
            ("", ""),
        ] {
            assert_eq!(short_name(function), name, "{function}");
        }
    }
}
