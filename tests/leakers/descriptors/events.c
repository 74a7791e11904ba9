/* Descriptors of things that are no files: events, timers, processes, memory, and what only root may have. */
#include "fd.h"
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static sigset_t signals;

static long bpf_call(int command, union bpf_attr *attributes)
{
    return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static long perf_clock(void)
{
    struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes,
                                         .config = PERF_COUNT_SW_CPU_CLOCK, .disabled = 1};
    return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

FD_SITE(an_eventfd, (void), eventfd(0, EFD_CLOEXEC))
FD_SITE(an_eventfd_call, (void), syscall(SYS_eventfd, 3))
FD_SITE(an_epoll, (void), epoll_create(1))
FD_SITE(an_epoll1, (void), epoll_create1(EPOLL_CLOEXEC))
FD_SITE(a_timerfd, (void), timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC))
FD_SITE(a_signalfd, (int fd), signalfd(fd, &signals, SFD_CLOEXEC))
FD_SITE(a_signalfd_call, (int fd), syscall(SYS_signalfd, fd, &signals, 8))
FD_SITE(an_inotify, (void), inotify_init())
FD_SITE(an_inotify1, (void), inotify_init1(IN_CLOEXEC | IN_NONBLOCK))
FD_SITE(a_fanotify, (void), fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY))
FD_SITE(a_memfd, (const char *name), memfd_create(name, MFD_CLOEXEC))
FD_SITE(a_pidfd, (pid_t pid), syscall(SYS_pidfd_open, pid, 0))
FD_SITE(from_process, (int pidfd, int fd), syscall(SYS_pidfd_getfd, pidfd, fd, 0))
FD_SITE(a_userfaultfd, (void), syscall(SYS_userfaultfd, O_CLOEXEC))
FD_SITE(a_perf_event, (void), perf_clock())
FD_SITE(a_bpf_map, (union bpf_attr *attributes), bpf_call(BPF_MAP_CREATE, attributes))
FD_SITE(a_bpf_command, (int command, union bpf_attr *attributes), bpf_call(command, attributes))

static int thing(struct fd_site *site, const char *kind, int fd, int is_kept)
{
    opened(site, kind, fd);
    if (!is_kept)
        close_it(fd);
    return fd;
}

static void events(void)
{
    for (int i = 0; i < 7; i++) {
        thing(&at_an_eventfd, "eventfd", an_eventfd(), i % 3);
        thing(&at_an_epoll, "epoll", an_epoll(), i % 2);
        thing(&at_a_timerfd, "timerfd", a_timerfd(), i != 3);
        thing(&at_a_memfd, "memfd", a_memfd("leaked"), i < 5);
    }
    for (int i = 0; i < 5; i++) {
        thing(&at_an_eventfd_call, "eventfd", an_eventfd_call(), i % 2);
        thing(&at_an_epoll1, "epoll", an_epoll1(), i % 3);
        thing(&at_an_inotify, "inotify", an_inotify(), i % 2);
        thing(&at_an_inotify1, "inotify", an_inotify1(), i > 1);
    }
    for (int i = 0; i < 3; i++) {
        int fd = thing(&at_a_signalfd, "signalfd", a_signalfd(-1), 1);
        /* The same one with other signals: nothing new. */
        CHECK(a_signalfd(fd) == fd && a_signalfd(fd) == fd);
        int call = thing(&at_a_signalfd_call, "signalfd", a_signalfd_call(-1), i != 1);
        if (i != 1)
            CHECK(a_signalfd_call(call) == call);
    }
    refused(&at_an_epoll, EINVAL, epoll_create(0));
    refused(&at_a_timerfd, EINVAL, timerfd_create(99, 0));
    refused(&at_a_signalfd, EINVAL, a_signalfd(0));
    refused(&at_a_memfd, EFAULT, a_memfd((const char *)1));
}

static void processes(void)
{
    int child_end;
    char byte = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* Not the target's: a pipe of the child, from which the parent takes an end. */
        int ends[2];
        CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1 && dup2(ends[0], 77) == 77);
        for (;;)
            pause();
    }
    int pidfd = thing(&at_a_pidfd, "pidfd", a_pidfd(child), 1);
    for (int i = 0; i < 2; i++)
        thing(&at_a_pidfd, "pidfd", a_pidfd(getpid()), i);
    while ((child_end = from_process(pidfd, 77)) == -1)
        CHECK(errno == EBADF);
    opened(&at_from_process, "pipe", child_end);
    CHECK(read(child_end, &byte, 1) == 1 && byte == 'x');
    for (int i = 0; i < 4; i++)
        thing(&at_from_process, "pipe", from_process(pidfd, 77), i % 2);
    refused(&at_from_process, EBADF, from_process(pidfd, 999));
    refused(&at_a_pidfd, EINVAL, a_pidfd(-1));
    int status;
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
    /* It is a descriptor of a process that was. */
    refused(&at_from_process, ESRCH, from_process(pidfd, 77));
}

static void privileged(void)
{
    int fd;
    if ((fd = a_fanotify()) == -1) {
        absent("fanotify");
    } else {
        thing(&at_a_fanotify, "fanotify", fd, 1);
        for (int i = 0; i < 4; i++)
            thing(&at_a_fanotify, "fanotify", a_fanotify(), i % 2);
    }
    if ((fd = a_userfaultfd()) == -1) {
        absent("userfaultfd");
    } else {
        thing(&at_a_userfaultfd, "userfaultfd", fd, 1);
        for (int i = 0; i < 2; i++)
            thing(&at_a_userfaultfd, "userfaultfd", a_userfaultfd(), i % 2);
    }
    if ((fd = a_perf_event()) == -1) {
        absent("perf_event");
    } else {
        thing(&at_a_perf_event, "perf_event", fd, 1);
        for (int i = 0; i < 6; i++)
            thing(&at_a_perf_event, "perf_event", a_perf_event(), i % 2);
    }
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 5};
    if ((fd = a_bpf_map(&map)) == -1) {
        absent("bpf");
        return;
    }
    thing(&at_a_bpf_map, "bpf", fd, 1);
    for (int i = 0; i < 4; i++)
        thing(&at_a_bpf_map, "bpf", a_bpf_map(&map), i % 2);
    /* Commands that return 0, which is no descriptor here although 0 is open. */
    uint32_t key = 3;
    uint64_t value = 1009;
    union bpf_attr element = {.map_fd = (uint32_t)fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
    struct bpf_map_info information = {0};
    union bpf_attr info = {.info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof information,
                                    .info = (uintptr_t)&information}};
    listed(&at_a_bpf_command);
    for (int i = 0; i < 7; i++) {
        CHECK(a_bpf_command(BPF_MAP_UPDATE_ELEM, &element) == 0);
        CHECK(a_bpf_command(BPF_MAP_LOOKUP_ELEM, &element) == 0);
        CHECK(a_bpf_command(BPF_OBJ_GET_INFO_BY_FD, &info) == 0);
    }
    union bpf_attr next = {.start_id = 0};
    CHECK(a_bpf_command(BPF_MAP_GET_NEXT_ID, &next) == 0);
    /* One that returns a descriptor of the map. */
    union bpf_attr same = {.map_id = information.id};
    for (int i = 0; i < 3; i++)
        thing(&at_a_bpf_command, "bpf", a_bpf_command(BPF_MAP_GET_FD_BY_ID, &same), i % 2);
    refused(&at_a_bpf_map, EINVAL, a_bpf_map(&(union bpf_attr){.map_type = 9999}));
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    CHECK(sigemptyset(&signals) == 0 && sigaddset(&signals, SIGUSR2) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
    fd_ready();
    if (strcmp(arguments[1], "events") == 0)
        events();
    else if (strcmp(arguments[1], "processes") == 0)
        processes();
    else
        privileged();
    print_fd_ledger();
    done();
    return 0;
}
