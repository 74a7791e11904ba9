use std::fs;

use super::*;

const PID: u32 = 7;

/// A file system with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("write");
    }
    dir
}

const MEMINFO: &str = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\nBuffers:            0 kB\n\
    Cached:             0 kB\nSwapCached:         0 kB\nActive:             0 kB\nInactive:           0 kB\nSwapTotal:       4000 kB\n\
    SwapFree:        3000 kB\nDirty:              0 kB\nWriteback:          0 kB\nAnonPages:          0 kB\nMapped:             0 kB\n\
    Slab:               0 kB\nCommitted_AS:       0 kB\nVmallocTotal:       0 kB\nVmallocUsed:        0 kB\nVmallocChunk:       0 kB\n";

fn rlimits(data: &str, address_space: &str) -> String {
    let lines = [
        ("Max cpu time", "unlimited", "seconds"),
        ("Max file size", "unlimited", "bytes"),
        ("Max data size", data, "bytes"),
        ("Max stack size", "8388608", "bytes"),
        ("Max core file size", "0", "bytes"),
        ("Max resident set", "unlimited", "bytes"),
        ("Max processes", "90000", "processes"),
        ("Max open files", "1024", "files"),
        ("Max locked memory", "8388608", "bytes"),
        ("Max address space", address_space, "bytes"),
        ("Max file locks", "unlimited", "locks"),
        ("Max pending signals", "90000", "signals"),
        ("Max msgqueue size", "819200", "bytes"),
        ("Max nice priority", "0", ""),
        ("Max realtime priority", "0", ""),
        ("Max realtime timeout", "unlimited", "us"),
    ];
    let mut text = format!("{:<26}{:<21}{:<21}{:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, limit, unit) in lines {
        text += &format!("{name:<26}{limit:<21}{limit:<21}{unit:<10}\n");
    }
    text
}

const V2_MOUNT: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn the_tightest_of_a_cgroup_and_its_parents_comes_first() {
    let dir = tree(&[
        ("proc/7/cgroup", "0::/system.slice/web.service\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/memory.stat", "inactive_file 5\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
        ("sys/fs/cgroup/system.slice/memory.high", "max\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "700000\n"),
        ("sys/fs/cgroup/system.slice/memory.stat", "anon 600000\ninactive_file 100000\ninactive_file_other 9\n"),
        ("sys/fs/cgroup/system.slice/web.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/web.service/memory.high", "500000\n"),
        ("sys/fs/cgroup/system.slice/web.service/memory.current", "450000\n"),
        ("proc/meminfo", MEMINFO),
        ("proc/7/limits", &rlimits("unlimited", "9000000")),
        ("proc/7/status", "Name:\tweb\nVmSize:\t    2000 kB\nVmData:\t    1000 kB\n"),
    ]);
    let limits = limits(dir.path(), PID);
    let limit = |kind, bytes, used, cgroup: &str| MemoryLimit { kind, bytes, used, cgroup: cgroup.to_owned() };
    let expected = [
        limit(LimitKind::CgroupHigh, 500_000, 450_000, "/system.slice/web.service"),
        limit(LimitKind::CgroupMax, 1_000_000, 600_000, "/system.slice"),
        limit(LimitKind::AddressSpace, 9_000_000, 2_048_000, ""),
        limit(LimitKind::Machine, 20_000 << 10, 8_000 << 10, ""),
    ];
    assert_eq!((limits.memory.as_slice(), limits.missing.as_slice()), (&expected[..], &[][..]));
    // memory.high kills nobody.
    assert_eq!(limits.tightest(), Some(&expected[1]));
    assert_eq!((expected[1].room(), expected[1].pressure().share()), (400_000, 0.6));
}

#[test]
fn version_1_has_one_limit_for_each_level() {
    let dir = tree(&[
        ("proc/7/cgroup", "9:cpuset:/\n4:memory:/docker/abc\n0::/\n"),
        (
            "proc/self/mountinfo",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "123\n"),
        ("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "65536\n"),
        ("sys/fs/cgroup/memory/docker/memory.usage_in_bytes", "4096\n"),
        ("sys/fs/cgroup/memory/docker/memory.stat", "inactive_file 1\ntotal_inactive_file 96\n"),
    ]);
    let limits = limits(dir.path(), PID);
    let expected = MemoryLimit { kind: LimitKind::CgroupV1, bytes: 65_536, used: 4_000, cgroup: "/docker".to_owned() };
    assert_eq!(limits.memory, [expected]);
    // What is not there is said.
    assert_eq!(limits.missing.len(), 2, "{:?}", limits.missing);
    assert!(limits.missing[0].starts_with("resource limits: cannot read /proc/7/limits: "), "{:?}", limits.missing);
}

/// In a container the hierarchy is mounted from the container's own cgroup on.
#[test]
fn a_part_of_the_hierarchy_may_be_mounted() {
    let mount = "30 24 0:26 /pod/one /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    let files = [
        ("proc/self/mountinfo", mount),
        ("sys/fs/cgroup/memory.max", "2000\n"),
        ("sys/fs/cgroup/memory.current", "500\n"),
    ];
    for (path, found) in
        [("/pod/one", 1), ("/pod/two", 0), ("/../other", 0), ("/pod/one/../two", 0), ("/pod/one/gone", 0)]
    {
        let dir = tree(&[&files[..], &[("proc/7/cgroup", &format!("0::{path}\n"))]].concat());
        let limits = cgroup::limits(dir.path(), PID);
        assert_eq!(limits.as_ref().map_or(0, Vec::len), found, "{path}: {limits:?}");
        assert_eq!(limits.is_err(), found == 0);
    }
}

#[test]
fn a_cgroup_that_makes_no_sense_has_no_limits() {
    for text in ["nonsense", "", "0::\n", "x:memory:/\n"] {
        let dir = tree(&[("proc/7/cgroup", text), ("proc/self/mountinfo", V2_MOUNT)]);
        let limits = limits(dir.path(), PID);
        assert_eq!((limits.memory.len(), limits.missing.len()), (0, 3), "{text}: {limits:?}");
        assert_eq!(limits.tightest(), None);
    }
}

#[test]
fn this_machine_has_limits() {
    let limits = limits(Path::new("/"), std::process::id());
    let machine = limits.memory.iter().find(|limit| limit.kind == LimitKind::Machine).expect("a machine");
    assert!(machine.bytes > 64 << 20 && machine.used > 0 && machine.used < machine.bytes, "{machine:?}");
    assert!(limits.memory.windows(2).all(|pair| pair[0].room() <= pair[1].room()), "{limits:?}");
    assert!(!limits.missing.iter().any(|reason| reason.starts_with("resource")), "{limits:?}");
}
