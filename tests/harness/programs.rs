//! The programs that the suite's core runs, so that they can be compiled where there is a compiler, for a machine that
//! has none: one that finds them below [`crate::work_dir`] compiles nothing.

use std::{ffi::OsStr, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::leaker::{Build, Frames, compile, leakers_dir};

/// The library that `late_library.c` opens once it is released.
pub fn late_library() -> Build {
    Build::c(leakers_dir().join("late_library.c"), Frames::Pointers).shared().arg("-DLIBRARY")
}

/// The library that `two_files.c` opens before it is ready.
pub fn second_file() -> Build {
    Build::c(leakers_dir().join("two_files.c"), Frames::Pointers).shared().arg("-DLIBRARY")
}

/// A program of the heap whose allocator is in itself, without symbols: nothing says where.
pub fn static_heap() -> Build {
    Build::c(leakers_dir().join("simple.c"), Frames::Pointers).arg("-static").arg("-s")
}

/// The files' program as distributions build.
pub fn files_without_frame_pointers() -> Build {
    Build::c(leakers_dir().join("descriptors/files.c"), Frames::NoPointers)
}

/// The files' program without libraries.
pub fn static_files() -> Build {
    Build::c(leakers_dir().join("descriptors/files.c"), Frames::Pointers).arg("-static")
}

/// What the program that execs becomes: static, and opens nothing.
pub fn after_exec() -> Build {
    Build::c(leakers_dir().join("descriptors/after_exec.c"), Frames::Pointers).arg("-static")
}

/// A program that is over in a moment.
pub fn short_c() -> Build {
    Build::c(leakers_dir().join("short.c"), Frames::NoPointers)
}

/// The same as C++, with its runtime library.
pub fn short_cpp() -> Build {
    Build::cpp(leakers_dir().join("short.c"), Frames::Pointers).arg("-xc++")
}

/// Compiles every leaker of the heap and of descriptors, in all the ways that the core of the suite has of them.
pub fn compile_core() -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for folder in ["", "descriptors/"] {
        let path = leakers_dir().join(folder);
        for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
            let name = entry?.file_name();
            let name = name.to_str().context("a leaker whose name is not text")?;
            let extension = PathBuf::from(name).extension().and_then(OsStr::to_str).map(str::to_owned);
            if matches!(extension.as_deref(), Some("c" | "cpp" | "rs")) {
                programs.push(compile(&format!("{folder}{name}"))?);
            }
        }
    }
    for build in [
        late_library(),
        second_file(),
        static_heap(),
        files_without_frame_pointers(),
        static_files(),
        after_exec(),
        short_c(),
        short_cpp(),
    ] {
        programs.push(build.compile()?);
    }
    Ok(programs)
}
