//! `cargo xtask vm`: the core of the integration suite on Debian's kernels, in qemu.
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

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::kernels::{CORE, KERNELS, Kernel, LeftOut};
use crate::{suite, workspace::Workspace};

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

/// Runs all kernels, or those named; `filters` narrow the tests.
pub(crate) fn run(wanted: &[String], filters: &[String]) -> Result<()> {
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
    let base = image::Base::build(&workspace)?;
    for (kernel, files) in kernels.iter().zip(&unpacked) {
        println!("    {}", files.release);
        for LeftOut { tests, reason } in kernel.left_out {
            println!("      left out: {}: {reason}", tests.join(", "));
        }
        let archive = folder.join(format!("{}.cpio", kernel.version));
        fs::write(&archive, base.for_kernel(files, &arguments(filters, kernel))?)
            .with_context(|| format!("cannot write {}", archive.display()))?;
        let expected = filters.is_empty().then(|| core(kernel).count());
        let outcome = boot(kernel, &files.image(), &archive, &folder, expected);
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        outcome.with_context(|| format!("Linux {} ({})", kernel.version, files.release))?;
    }
    Ok(())
}

/// The tests of the core that a kernel runs.
fn core(kernel: &Kernel) -> impl Iterator<Item = &'static str> {
    CORE.iter().copied().filter(|test| kernel.left_out.iter().all(|left_out| !left_out.tests.contains(test)))
}

/// The suite's arguments.
fn arguments<'a>(filters: &'a [String], kernel: &Kernel) -> Vec<&'a str> {
    // What a test prints that passes says what its kernel does not do.
    let mut arguments = vec!["--show-output"];
    if filters.is_empty() {
        arguments.push("--exact");
        arguments.extend(core(kernel).map(|test| -> &'a str { test }));
    } else {
        arguments.extend(filters.iter().map(String::as_str));
    }
    arguments
}

fn boot(kernel: &Kernel, image: &Path, archive: &Path, folder: &Path, expected: Option<usize>) -> Result<()> {
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
    for line in log.beginning("vm: ").filter(|line| !line.starts_with("vm: the suite ended")) {
        println!("      {line}");
    }
    let mut absent: Vec<_> = log.beginning("not on this kernel: ").collect();
    absent.sort_unstable();
    absent.dedup();
    for line in absent {
        println!("      {line}");
    }
    println!("      {passed} tests passed, {seconds:.1} s");
    Ok(())
}
