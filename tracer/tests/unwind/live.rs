//! Stacks of living processes, walked over the tables, against gdb's.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use leaktrace::unwind::{FlatTables, Memory, Registers, UnwindTable, Walk, find_mapping, walk};
use tracer_common::{
    stack::{MAX_FRAMES, StackEnd},
    unwind::{Mapping, RuleKind},
};

use crate::tools::{compile, hex, run};

/// A process that ends with the test.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Target {
    /// Starts a program and waits until it has written that it is about to block.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the fixture starts");
        let mut ready = [0];
        child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("the fixture writes a byte");
        let target = Self(child);
        // Between the byte and read(2) it is still running. A blocked system call shows its number, not "running".
        while !target.threads().iter().any(|thread| target.is_reading(*thread)) {
            std::thread::yield_now();
        }
        target
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn threads(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives");
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    fn is_reading(&self, thread: u32) -> bool {
        let call = std::fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", self.pid()));
        call.is_ok_and(|call| call.starts_with("0 0x0 "))
    }
}

/// `/proc/PID/mem`.
struct ProcessMemory(File);

impl Memory for ProcessMemory {
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// The mappings and tables of a process.
fn tables_of(pid: u32, memory: &ProcessMemory) -> (Vec<Mapping>, FlatTables) {
    let (mut mappings, mut flat, mut known) = (Vec::new(), FlatTables::default(), HashMap::new());
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, protection, offset, _, _, path @ ..] = words.as_slice() else { panic!("{line}") };
        let (start, end) = range.split_once('-').expect("start-end");
        let (start, end, offset) = (hex(start), hex(end), hex(offset));
        if !protection.contains('x') {
            continue;
        }
        let path = path.first().copied().unwrap_or_default().to_owned();
        let entry = known.entry(path.clone()).or_insert_with(|| {
            let table = match path.as_str() {
                "[vdso]" => {
                    let mut bytes = vec![0; (end - start) as usize];
                    memory.0.read_exact_at(&mut bytes, start).expect("the vDSO can be read");
                    UnwindTable::from_elf(&bytes).expect("the vDSO has frames")
                }
                path if path.starts_with('/') => {
                    UnwindTable::from_file(&File::open(path).expect("it is mapped")).expect("it has frames")
                }
                _ => return None,
            };
            let place = flat.add(&table, u32::MAX, u32::MAX).expect("there is room");
            Some((table, place))
        });
        mappings.push(match entry {
            Some((table, place)) => {
                let bias = table.bias_for(start, offset).expect("an executable segment is mapped");
                place.mapping(start, end, bias)
            }
            None => Mapping { start, end, ..Mapping::default() },
        });
    }
    (mappings, flat)
}

/// A thread's registers and program counters, by gdb.
#[derive(Debug)]
struct GdbStack {
    thread: u32,
    registers: Registers,
    frames: Vec<u64>,
}

const GDB_SCRIPT: &str = "
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame = gdb.newest_frame()
    print('@thread', thread.ptid[1], *(hex(int(frame.read_register(name)) & (2**64 - 1)) for name in ('rip', 'rsp', 'rbp')))
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):  # these have no return address
            print('@frame', hex(frame.pc()))
        frame = frame.older()
";

fn gdb(target: &Target) -> Vec<GdbStack> {
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stacks-{}.py", target.pid()));
    std::fs::write(&script, GDB_SCRIPT).expect("the script can be written");
    let text = run("gdb", |gdb| {
        gdb.args(["-nx", "-batch", "-p", &target.pid().to_string()]);
        for setting in ["debuginfod enabled off", "backtrace past-main on", "backtrace past-entry on"] {
            gdb.args(["-ex", &format!("set {setting}")]);
        }
        gdb.arg("-x").arg(&script).stdin(Stdio::null());
    });
    std::fs::remove_file(&script).expect("it was written");
    let mut stacks: Vec<GdbStack> = Vec::new();
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["@thread", thread, pc, sp, bp] => stacks.push(GdbStack {
                thread: thread.parse().expect("a thread id"),
                registers: Registers { pc: hex(pc), sp: hex(sp), bp: hex(bp) },
                frames: Vec::new(),
            }),
            ["@frame", pc] => stacks.last_mut().expect("after a thread").frames.push(hex(pc)),
            _ => {}
        }
    }
    assert!(!stacks.is_empty(), "gdb says: {text}");
    stacks
}

/// Walks every thread, by the tables and by gdb; asserts that they agree, and gives the stack of the blocked thread.
fn compare(target: &Target) -> (Walk, Vec<RuleKind>) {
    let memory = ProcessMemory(File::open(format!("/proc/{}/mem", target.pid())).expect("our own child"));
    let (mappings, tables) = tables_of(target.pid(), &memory);
    let reading = target.threads().into_iter().find(|thread| target.is_reading(*thread));
    let mut blocked = None;
    for GdbStack { thread, registers, frames } in gdb(target) {
        let walked = walk(registers, true, &mappings, &tables, &memory);
        let expected = &frames[..frames.len().min(MAX_FRAMES)];
        assert_eq!(
            walked.frames.iter().map(|pc| format!("{pc:#x}")).collect::<Vec<_>>(),
            expected.iter().map(|pc| format!("{pc:#x}")).collect::<Vec<_>>(),
            "thread {thread}: {:?}",
            walked.end
        );
        if Some(thread) == reading {
            blocked = Some(walked);
        }
    }
    let blocked = blocked.expect("a thread is blocked in read");
    let kinds = blocked.frames.iter().enumerate().filter_map(|(index, pc)| {
        let look = pc - u64::from(index > 0);
        RuleKind::try_from(tables.rule_at(find_mapping(&mappings, look)?, look).kind()).ok()
    });
    let kinds = kinds.collect();
    (blocked, kinds)
}

/// Compares the stacks of a shape, in programs built in different ways.
fn shape(name: &str, check: impl Fn(&Walk, &[RuleKind])) {
    let builds: [&[&str]; 4] = [
        &["-O2", "-fomit-frame-pointer"],
        &["-O0"],
        &["-O3", "-fno-omit-frame-pointer", "-no-pie"],
        &["-O2", "-fomit-frame-pointer", "-static"],
    ];
    for (index, flags) in builds.iter().enumerate() {
        let program = compile("stacks.c", &format!("stacks-{name}-{index}"), &[flags, &["-pthread"][..]].concat());
        let target = Target::start(Command::new(program).arg(name));
        let (walked, kinds) = compare(&target);
        check(&walked, &kinds);
    }
}

fn complete(walked: &Walk, kinds: &[RuleKind]) {
    assert_eq!(walked.end, StackEnd::Complete, "{kinds:?}");
}

#[test]
fn recursion() {
    shape("recursion", |walked, kinds| {
        complete(walked, kinds);
        assert!(walked.frames.len() > 22, "{walked:?}");
    });
}

#[test]
fn a_stack_that_is_too_deep_is_cut() {
    shape("deep", |walked, _| {
        assert_eq!((walked.end, walked.frames.len()), (StackEnd::Depth, MAX_FRAMES));
    });
}

#[test]
fn alloca() {
    shape("alloca", |walked, kinds| {
        complete(walked, kinds);
        assert!(kinds.contains(&RuleKind::Rbp));
    });
}

#[test]
fn realigned_frames() {
    shape("aligned", |walked, kinds| {
        complete(walked, kinds);
        assert!(kinds.contains(&RuleKind::DerefRbp) || kinds.contains(&RuleKind::Rbp));
    });
}

#[test]
fn large_frames() {
    shape("large", complete);
}

#[test]
fn signal_handlers() {
    for name in ["signal", "sigaltstack", "trap"] {
        shape(name, |walked, kinds| {
            complete(walked, kinds);
            assert_eq!(kinds.iter().filter(|kind| **kind == RuleKind::Signal).count(), 1, "{kinds:?}");
        });
    }
}

#[test]
fn callbacks() {
    shape("callback", complete);
}

#[test]
fn exit_handlers() {
    shape("exit", complete);
}

#[test]
fn threads() {
    shape("thread", complete);
}

#[test]
fn constructors_run_by_the_dynamic_linker() {
    let program = compile("stacks.c", "stacks-early", &["-O2", "-pthread"]);
    let library = compile("stacks.c", "stacks-early.so", &["-O2", "-pthread", "-shared", "-fPIC"]);
    let target = Target::start(Command::new(program).env("STACKS_EARLY", "1").env("LD_PRELOAD", library));
    let memory = ProcessMemory(File::open(format!("/proc/{}/mem", target.pid())).expect("our own child"));
    let (mappings, tables) = tables_of(target.pid(), &memory);
    let [GdbStack { registers, frames, .. }] = &gdb(&target)[..] else { panic!("one thread") };
    let walked = walk(*registers, true, &mappings, &tables, &memory);
    // Nothing describes the dynamic linker's entry: gdb guesses on, into the arguments of main.
    assert_eq!(walked.end, StackEnd::Complete);
    assert_eq!(walked.frames, frames[..walked.frames.len()]);
    assert!(walked.frames.len() >= 10, "{walked:?}");
}

#[test]
fn interpreters() {
    let python = "import sys, re
def f(n):
    if n == 0:
        sys.stdout.buffer.write(b'x'); sys.stdout.flush(); sys.stdin.buffer.raw.read(1)
    else:
        return sorted([n], key=lambda m: re.sub('1', lambda _: f(n - 1) or '', '1'))
f(3)";
    let target = Target::start(Command::new("python3").args(["-c", python]));
    let (walked, _) = compare(&target);
    assert_eq!(walked.end, StackEnd::Complete);
    assert!(walked.frames.len() > 30, "{walked:?}");
}
