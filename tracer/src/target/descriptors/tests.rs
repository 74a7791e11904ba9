//! A process with one descriptor of each kind, listed exactly; and what happens when it goes.

use std::{collections::HashMap, path::Path, process::Command};

use super::*;
use crate::{
    aggregate::FdLimits,
    target::fixture::{self, Held},
};

/// Closes what it inherited beyond its standard descriptors, opens one of each kind and says which number each has.
const EVERY_KIND: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/signalfd.h>
#include <unistd.h>
static char names[4096];
static void opened(const char *name, int fd) {
    snprintf(names + strlen(names), sizeof names - strlen(names), "%s=%d ", name, fd);
}
int main(int argc, char **argv) {
    char line[64];
    int pipes[2], pair[2];
    struct rlimit limit = {509, 601};
    sigset_t mask;
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_DUMMY};
    struct io_uring_params params = {0};
    sigemptyset(&mask);
    syscall(SYS_close_range, 3, ~0U, 0);
    if (chdir(argv[1]) || pipe(pipes) || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || mkfifo("fifo", 0600) ||
        setrlimit(RLIMIT_NOFILE, &limit))
        return 1;
    opened("pipe_r", pipes[0]);
    opened("pipe_w", pipes[1]);
    opened("pair_a", pair[0]);
    opened("pair_b", pair[1]);
    opened("file", open("a \033[31mfile\n", O_CREAT | O_RDWR, 0600));
    opened("deleted", open("deleted", O_CREAT | O_RDWR, 0600));
    unlink("deleted");
    opened("directory", open(".", O_RDONLY));
    opened("device", open("/dev/null", O_RDONLY));
    opened("fifo", open("fifo", O_RDWR));
    opened("tcp", socket(AF_INET, SOCK_STREAM, 0));
    opened("tcp6", socket(AF_INET6, SOCK_STREAM, 0));
    opened("udp", socket(AF_INET, SOCK_DGRAM, 0));
    opened("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    opened("netlink", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    opened("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    opened("epoll", epoll_create1(0));
    opened("eventfd", eventfd(0, 0));
    opened("timerfd", timerfd_create(CLOCK_MONOTONIC, 0));
    opened("signalfd", signalfd(-1, &mask, 0));
    opened("inotify", inotify_init1(0));
    opened("fanotify", fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
    opened("memfd", memfd_create("a memfd", 0));
    opened("pidfd", syscall(SYS_pidfd_open, getpid(), 0));
    opened("userfaultfd", syscall(SYS_userfaultfd, 0));
    opened("perf_event", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    opened("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
    opened("io_uring", syscall(SYS_io_uring_setup, 1, &params));
    opened("namespace", open("/proc/self/ns/net", O_RDONLY));
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "close ", 6))
            close(strtol(line + 6, 0, 10));
        puts(names);
        fflush(stdout);
    }
}
"#;

fn start(dir: &Path) -> (Held, HashMap<String, u32>) {
    fixture::need_root();
    let program = dir.join("every-kind");
    fixture::compile("every-kind.c", EVERY_KIND, &program, &[]);
    let mut held = Held::start_with(Command::new(&program).arg(dir));
    let names = held.say("names");
    let fds = names.split_whitespace().map(|pair| {
        let (name, fd) = pair.split_once('=').expect("a pair");
        let fd: i32 = fd.parse().expect("a number");
        (name.to_owned(), u32::try_from(fd).unwrap_or_else(|_| panic!("this kernel opens no {name}")))
    });
    let fds = fds.collect();
    (held, fds)
}

fn table(pid: u32) -> FdTable {
    FdTable::of(&ProcDir::open(pid).expect("a child")).expect("its descriptors")
}

#[test]
fn one_of_each_kind_is_told() {
    let temp = tempfile::tempdir().expect("temp dir");
    let (held, fds) = start(temp.path());
    let path = temp.path().to_str().expect("utf8");
    let pid = held.pid();
    let namespace = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let expected = [
        ("pipe_r", FdKind::Pipe, String::new()),
        ("pipe_w", FdKind::Pipe, String::new()),
        ("pair_a", FdKind::Unix, String::new()),
        ("pair_b", FdKind::Unix, String::new()),
        ("file", FdKind::File, format!("{path}/a \x1b[31mfile\n")),
        ("deleted", FdKind::File, format!("{path}/deleted (deleted)")),
        ("directory", FdKind::Directory, path.to_owned()),
        ("device", FdKind::Device, "/dev/null".to_owned()),
        ("fifo", FdKind::Pipe, format!("{path}/fifo")),
        ("tcp", FdKind::Tcp, String::new()),
        ("tcp6", FdKind::Tcp, String::new()),
        ("udp", FdKind::Udp, String::new()),
        ("unix", FdKind::Unix, String::new()),
        ("netlink", FdKind::Netlink, String::new()),
        ("raw", FdKind::Socket, String::new()),
        ("epoll", FdKind::Epoll, String::new()),
        ("eventfd", FdKind::Eventfd, String::new()),
        ("timerfd", FdKind::Timerfd, String::new()),
        ("signalfd", FdKind::Signalfd, String::new()),
        ("inotify", FdKind::Inotify, String::new()),
        ("fanotify", FdKind::Fanotify, String::new()),
        ("memfd", FdKind::Memfd, "a memfd".to_owned()),
        ("pidfd", FdKind::Pidfd, pid.to_string()),
        ("userfaultfd", FdKind::Userfaultfd, String::new()),
        ("perf_event", FdKind::PerfEvent, String::new()),
        ("bpf", FdKind::Bpf, "bpf-map".to_owned()),
        ("io_uring", FdKind::IoUring, String::new()),
        ("namespace", FdKind::Other, namespace.to_str().expect("utf8").to_owned()),
    ];
    let table = table(pid);
    let listed = table.list().expect("alive");
    // Standard input and output are ours, and pipes; its errors go where the test's go.
    assert_eq!(listed.len(), expected.len() + 3);
    assert_eq!((listed[0].kind, listed[1].kind), (FdKind::Pipe, FdKind::Pipe));
    assert!(listed.is_sorted_by_key(|listed| listed.fd));
    let by_fd: HashMap<Fd, &ListedFd> = listed.iter().map(|listed| (listed.fd, listed)).collect();
    for (name, kind, detail) in expected {
        let listed = by_fd[&Fd(fds[name])];
        assert_eq!((listed.kind, &*listed.detail), (kind, detail.as_str()), "{name}");
        assert_eq!(table.describe(listed.fd).as_ref(), Some(listed), "{name}");
    }
    let inode = |name: &str| by_fd[&Fd(fds[name])].inode.expect(name);
    assert_eq!(inode("pipe_r"), inode("pipe_w"));
    assert_ne!(inode("pair_a"), inode("pair_b"));
    let stat = rustix::fs::stat(temp.path()).expect("stat");
    assert_eq!(inode("directory"), stat.st_ino);
}

#[test]
fn what_is_closed_or_gone_is_left_out() {
    let temp = tempfile::tempdir().expect("temp dir");
    let (mut held, fds) = start(temp.path());
    let table = table(held.pid());
    let count = fds.len() as u64 + 3;
    assert_eq!(table.limits().expect("alive"), FdLimits { nofile_soft: 509, nofile_hard: 601, open: count });
    let fd = Fd(fds["eventfd"]);
    held.say(&format!("close {}", fd.0));
    assert_eq!(table.describe(fd), None);
    assert_eq!(table.count().expect("alive"), count - 1);
    assert_eq!(table.numbers().expect("alive").len() as u64, count - 1);
    assert_eq!(table.describe(Fd(u32::MAX)), None);

    held.end();
    assert_eq!(table.describe(Fd(0)), None);
    assert!(matches!(table.list(), Err(TargetError::NoSuchProcess { .. })));
    assert!(matches!(table.limits(), Err(TargetError::NoSuchProcess { .. })));
    assert!(matches!(table.count(), Err(TargetError::NoSuchProcess { .. })));
}

#[test]
fn a_main_thread_that_is_gone_is_no_process_without_descriptors() {
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat starts");
    let table = table(child.id());
    assert!(table.count().expect("alive") >= 3);
    drop(child.stdin.take());
    let pidfd =
        rustix::process::pidfd_open(rustix::process::Pid::from_child(&child), rustix::process::PidfdFlags::empty())
            .expect("not collected");
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).expect("it exits");
    let listed = table.list();
    assert!(matches!(listed, Err(TargetError::Zombie { .. })), "{listed:?}");
    child.wait().expect("wait");
}

/// `cargo test --release -p leaktrace --lib -- --ignored --nocapture many_descriptors` says how long it takes.
#[test]
#[ignore = "measures, with as many descriptors as it may have"]
fn many_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let many = limit.saturating_sub(200).min(100_000);
    let file = tempfile::tempfile().expect("a file");
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).expect("an eventfd");
    let table = table(std::process::id());
    for (name, original) in [("files", file.as_fd()), ("sockets", socket.as_fd()), ("eventfds", event.as_fd())] {
        let held: Vec<_> = (0..many).map(|_| original.try_clone_to_owned().expect("a descriptor")).collect();
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let listed = table.list().expect("alive").len();
            let list = start.elapsed();
            let numbers = table.numbers().expect("alive").len();
            println!("{listed} {name}: list {list:?}, numbers {:?}", start.elapsed() - list);
            assert!(numbers >= held.len());
        }
    }
}
