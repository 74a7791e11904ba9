//! `cargo xtask vm`: the core of the integration suite on Debian's kernels, in qemu; of that `cargo xtask test` runs a few
//! tests.
//!
//! Debian's cloud kernels are downloaded once, below the target folder. Each boots to an archive made here, with
//! leaktrace, the suite and the compiled programs in it, runs the suite as its only task and powers off. qemu emulates
//! the processor, which works everywhere; the core is what that leaves time for. `LEAKTRACE_VM_ACCEL=kvm` is faster where
//! it works.

mod cpio;
mod image;
mod kernels;
mod machine;
mod packages;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::image::Base;
use self::kernels::{KERNELS, Kernel, LeftOut};
use self::packages::Unpacked;
use crate::{suite, workspace::Workspace};

pub(crate) use self::kernels::{CORE, FIRST, FIRST_ON};

/// Debian's packages of what this needs, and the program or file by which each is known to be there.
const NEEDS: [(&str, &str); 9] = [
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("busybox-static", "busybox"),
    ("xz-utils", "xz"),
    ("dpkg", "dpkg-deb"),
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    ("util-linux", "setpriv"),
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("libc6-dev", "/usr/include/stdlib.h"),
];

/// Which of the suite's tests run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tests<'a> {
    /// These, but for those that a kernel leaves out.
    Named(&'a [&'a str]),
    /// Those whose names contain one of these.
    Matching(&'a [String]),
}

/// Runs tests on all kernels, or on those named.
pub(crate) fn run(wanted: &[String], tests: Tests<'_>) -> Result<()> {
    machine::require_x86_64()?;
    suite::install_missing(&NEEDS, "the virtual machines")?;
    if let Some(unknown) = wanted.iter().find(|name| KERNELS.iter().all(|kernel| kernel.version != **name)) {
        let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.version).collect();
        bail!("no kernel {unknown}: there are {}", known.join(", "));
    }
    let workspace = Workspace::load()?;
    let folder = workspace.target.join("vm");
    let kernels: Vec<_> =
        KERNELS.iter().filter(|kernel| wanted.is_empty() || wanted.iter().any(|name| name == kernel.version)).collect();
    let unpacked = kernels.iter().map(|kernel| packages::unpacked(&folder, kernel)).collect::<Result<Vec<_>>>()?;
    let base = Base::build(&workspace)?;
    at_once(kernels.iter().zip(&unpacked), |(kernel, files)| {
        let report = test(kernel, files, &base, &folder, tests)
            .with_context(|| format!("Linux {} ({})", kernel.version, files.release))?;
        // In one go: another kernel may have something to say as well.
        print!("{report}");
        Ok(())
    })
}

/// Does that for each, as many at once as there are processors: a machine is emulated on one. What fails ends none of the
/// others.
fn at_once<T>(items: impl Iterator<Item = T> + Send, each: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let items = Mutex::new(items);
    let next = || items.lock().ok()?.next();
    let errors = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = next() {
                    if let Err(error) = each(item)
                        && let Ok(mut errors) = errors.lock()
                    {
                        errors.push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    match errors.into_inner() {
        Ok(errors) if errors.is_empty() => Ok(()),
        Ok(errors) => bail!("{}", errors.join("\n")),
        Err(_) => bail!("a thread panicked"),
    }
}

/// Boots a kernel to the tests, and says what came of them.
fn test(kernel: &Kernel, files: &Unpacked, base: &Base, folder: &Path, tests: Tests<'_>) -> Result<String> {
    let mut report = format!("    {}\n", files.release);
    // What a test prints that passes says what its kernel does not do.
    let mut arguments = vec!["--show-output"];
    let mut expected = None;
    match tests {
        Tests::Named(names) => {
            for LeftOut { tests, reason } in kernel.left_out {
                let left_out: Vec<&str> = tests.iter().copied().filter(|test| names.contains(test)).collect();
                if !left_out.is_empty() {
                    writeln!(report, "      left out: {}: {reason}", left_out.join(", "))?;
                }
            }
            let left_out = |name: &&str| kernel.left_out.iter().any(|left_out| left_out.tests.contains(name));
            let names: Vec<&str> = names.iter().copied().filter(|name| !left_out(name)).collect();
            expected = Some(names.len());
            arguments.push("--exact");
            arguments.extend(names);
        }
        Tests::Matching(filters) => arguments.extend(filters.iter().map(String::as_str)),
    }
    let archive = folder.join(format!("{}.cpio", kernel.version));
    fs::write(&archive, base.for_kernel(files, &arguments)?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    let outcome = boot(kernel, &files.image(), &archive, folder, expected);
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    report.push_str(&outcome?);
    Ok(report)
}

fn boot(kernel: &Kernel, image: &Path, archive: &Path, folder: &Path, expected: Option<usize>) -> Result<String> {
    let begun = Instant::now();
    let file = folder.join(format!("{}.log", kernel.version));
    let log = machine::run(image, archive, &file)?;
    let seconds = begun.elapsed().as_secs_f64();
    if log.after("vm: the suite ended with ") != Some("0") {
        return Err(log.failure("the suite fails", &file));
    }
    let Some(result) = log.after("test result: ok. ") else {
        return Err(log.failure("the suite has no result", &file));
    };
    let passed = result.split(' ').next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
    // A test that has another name by now would otherwise just not run.
    if passed != expected.unwrap_or(passed.max(1)) {
        return Err(log.failure(&format!("{passed} tests ran, not all that were asked for"), &file));
    }
    let mut lines: Vec<_> =
        log.beginning("vm: ").filter(|line| !line.starts_with("vm: the suite ended")).map(str::to_owned).collect();
    let mut absent: Vec<_> = log.beginning("not on this kernel: ").map(str::to_owned).collect();
    absent.sort_unstable();
    absent.dedup();
    lines.append(&mut absent);
    lines.push(format!("{passed} tests passed, {seconds:.1} s"));
    Ok(lines.iter().map(|line| format!("      {line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_fails_is_told_and_ends_none_of_the_others() {
        let done = AtomicUsize::new(0);
        let outcome = at_once(1..=5, |number| {
            done.fetch_add(1, Ordering::Relaxed);
            if number % 2 == 0 { bail!("{number} is even") } else { Ok(()) }
        });
        let text = outcome.unwrap_err().to_string();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["2 is even", "4 is even"]);
        assert_eq!(done.into_inner(), 5);
        assert!(at_once(1..=5, |_| Ok(())).is_ok());
    }
}
