//! Which frame of a stack stands for it in one line: the innermost one that is the program's own, not the
//! allocator's, the language runtime's or a standard container's.

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
];

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
];

/// Directories of source files that are never the program's own: the Rust and C++ standard libraries, as their debug
/// information names them. An inlined function's name may come without its namespace; its file gives it away.
const LIBRARY_SOURCES: &[&str] =
    &["/rustc/", "/rust/deps/", "/library/alloc/src/", "/library/core/src/", "/library/std/src/", "/include/c++/"];

/// The frame to show; `None` only for a stack without frames.
pub(crate) fn call_site(stack: &Stack) -> Option<&Frame> {
    stack.frames.iter().find(|frame| is_own(frame)).or_else(|| stack.frames.first())
}

fn is_own(frame: &Frame) -> bool {
    if let Some(module) = &frame.module {
        let file = basename(module);
        if LIBRARY_MODULES.iter().any(|library| file.starts_with(library)) {
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
            b'(' if depth == 0 && index > start && !function[index..].starts_with("(anonymous namespace)") => {
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
            ("", ""),
        ] {
            assert_eq!(short_name(function), name, "{function}");
        }
    }
}
