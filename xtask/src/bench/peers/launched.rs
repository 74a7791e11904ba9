//! Tools that a program has to be started with: heaptrack, valgrind, and the profilers of gperftools and jemalloc.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::plain;
use crate::shell;

/// Debian's places.
const HEAPTRACK: &str = "/usr/lib/heaptrack/libheaptrack_preload.so";
const HEAPTRACK_INTERPRET: &str = "/usr/lib/heaptrack/libexec/heaptrack_interpret";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launched {
    Heaptrack,
    Valgrind,
    Gperftools,
    Jemalloc,
}

impl Launched {
    /// Runs the words in one process, so that what is started is what is measured and what is ended.
    pub(super) fn command(self, words: &[OsString], folder: &Path) -> Command {
        let file = |name: &str| folder.join(name);
        match self {
            // What the script `heaptrack --raw` does: the recording alone, which is interpreted afterwards.
            Self::Heaptrack => {
                let mut command = plain(words);
                command.env("LD_PRELOAD", HEAPTRACK).env("DUMP_HEAPTRACK_OUTPUT", file("heaptrack.raw"));
                command
            }
            Self::Valgrind => {
                let mut command = Command::new("valgrind");
                let mut log = OsString::from("--log-file=");
                log.push(file("valgrind.log"));
                command.args(["--leak-check=full", "--num-callers=50"]).arg(log).args(words);
                command
            }
            Self::Gperftools => {
                let mut command = plain(words);
                command.env("LD_PRELOAD", "libtcmalloc.so.4").env("HEAPPROFILE", file("gperftools"));
                command.stderr(Stdio::null());
                command
            }
            Self::Jemalloc => {
                let mut command = plain(words);
                let options = format!("prof:true,prof_final:true,prof_prefix:{}", file("jemalloc").display());
                command.env("LD_PRELOAD", "libjemalloc.so.2").env("MALLOC_CONF", options);
                command
            }
        }
    }

    /// The profile that the program has left at its end. Without one, it was not watched.
    pub(super) fn profile(self, folder: &Path) -> Result<PathBuf> {
        let (name, extension) = match self {
            Self::Heaptrack => ("heaptrack", "raw"),
            Self::Valgrind => ("valgrind", "log"),
            Self::Gperftools => ("gperftools", "heap"),
            Self::Jemalloc => ("jemalloc", "heap"),
        };
        let mut profiles = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let named = path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
            if named && path.extension().is_some_and(|found| found == extension) {
                profiles.push((path.metadata()?.modified()?, path));
            }
        }
        match profiles.into_iter().max() {
            Some((_, path)) => Ok(path),
            None if self == Self::Jemalloc => {
                bail!("no profile was written: is this jemalloc built without profiling?")
            }
            None => bail!("no profile was written"),
        }
    }

    /// What it says to people, of the blocks that are left.
    pub(super) fn report(self, program: &Path, profile: &Path) -> Result<String> {
        match self {
            Self::Valgrind => fs::read_to_string(profile).with_context(|| format!("cannot read {}", profile.display())),
            Self::Heaptrack => {
                let interpreted = profile.with_extension("interpreted");
                let mut interpret = Command::new(HEAPTRACK_INTERPRET);
                interpret.stdin(File::open(profile)?).stdout(File::create(&interpreted)?).stderr(Stdio::null());
                ensure!(interpret.status()?.success(), "`{}` failed", shell::render(&interpret));
                let mut print = Command::new("heaptrack_print");
                print.args(["--print-peaks=0", "--print-allocators=0", "--print-temporary=0", "--print-leaks=1", "-f"]);
                shell::capture(print.arg(interpreted))
            }
            Self::Gperftools => shell::capture(Command::new("google-pprof").arg("--text").args([program, profile])),
            Self::Jemalloc => shell::capture(Command::new("jeprof").arg("--text").args([program, profile])),
        }
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_tests::folder::Folder;

    use super::*;

    #[test]
    fn the_last_profile_of_a_program_counts() {
        let folder = Folder::new("profiles").unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), name).unwrap();
        let found = || Launched::Gperftools.profile(folder.path());
        // gperftools writes one whenever the heap has grown by so much, and one at the end.
        for name in ["gperftools.0002.heap", "jemalloc.17.0.f.heap", "gperftools.log"] {
            write(name);
        }
        assert_eq!(found().unwrap(), folder.path().join("gperftools.0002.heap"));
        write("gperftools.0003.heap");
        assert_eq!(found().unwrap(), folder.path().join("gperftools.0003.heap"));
        let error = Launched::Valgrind.profile(folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "no profile was written");
    }

    #[test]
    fn a_program_runs_in_the_process_that_is_started() {
        let words = ["/bin/work".into(), "pair".into()];
        let command = Launched::Valgrind.command(&words, Path::new("/tmp/x"));
        let line = "valgrind --leak-check=full --num-callers=50 --log-file=/tmp/x/valgrind.log /bin/work pair";
        assert_eq!(shell::render(&command), line);
        let command = Launched::Heaptrack.command(&words, Path::new("/tmp/x"));
        assert!(shell::render(&command).ends_with(" /bin/work pair"), "{}", shell::render(&command));
    }
}
