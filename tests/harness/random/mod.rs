//! Random programs: a seed gives a C program with many sites, several callers of each, threads, and every pattern of
//! use that the suite knows; the program keeps its own ledger, by caller and site.
//!
//! In: a seed and how to build. Out: the source, which is the same for the same seed for ever, and the program.

mod emit;
mod plan;
mod rng;

use std::{fs, path::PathBuf};

use anyhow::Result;

pub use emit::source;
pub use plan::Plan;

use crate::{
    leaker::{Build, Frames},
    work_dir,
};

/// How a random program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// With frame pointers or without.
    pub frames: Frames,
    /// Whether sites, callers and threads are in a shared library, and only `main` in the program.
    pub in_library: bool,
}

impl Options {
    /// The plainest way: one program, with frame pointers.
    pub const PLAIN: Self = Self { frames: Frames::Pointers, in_library: false };
    /// As distributions build: optimized libraries without frame pointers.
    pub const AS_DISTRIBUTED: Self = Self { frames: Frames::NoPointers, in_library: true };
}

/// A random program, compiled.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its source, which stays when a test fails.
    pub source: PathBuf,
}

/// Writes and compiles the program of `seed`.
pub fn program(seed: u64, options: Options) -> Result<Program> {
    let directory = work_dir()?.join("random");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("seed-{seed}.c"));
    let text = source(&Plan::new(seed));
    // Another test may be compiling the same file: it only ever has this content.
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &path)?;
    }
    let build = Build::c(&path, options.frames);
    let program = if options.in_library {
        let library = build.clone().shared().arg("-DLIBRARY").compile()?;
        build.arg("-DMAIN").arg(format!("-Wl,--no-as-needed,{}", library.display())).compile()?
    } else {
        build.arg("-DLIBRARY").arg("-DMAIN").compile()?
    };
    Ok(Program { path: program, source: path })
}

#[cfg(test)]
mod tests {
    use super::{Plan, source};

    #[test]
    fn a_seed_always_gives_the_same_program() {
        assert_eq!(source(&Plan::new(7)), source(&Plan::new(7)));
        assert_ne!(source(&Plan::new(7)), source(&Plan::new(8)));
    }
}
