/*
 * Children that are gone before anybody can look at them: what they allocate and open is gone with them. Where they can be
 * given a number, they all have the same one, which the last of them keeps: with the argument "same".
 */
#include "leaker.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { MASTER, CHILD, LAST };

static struct site sites[] = {{"master_leak"}, {"child_leak", .unknown = KNOWS_HISTORY}, {"last_leak"}};

SITE void *master_leak(size_t n) { return malloc(n); }
SITE void *child_leak(size_t n) { return malloc(n); }
SITE void *last_leak(size_t n) { return malloc(n); }
SITE int child_open(void) { return open("/proc/self/exe", O_RDONLY); }
SITE int last_open(void) { return open("/proc/self/exe", O_RDONLY); }

static void work_and_go(void)
{
    for (int i = 0; i < 13; i++)
        CHECK(child_leak(1009) != NULL);
    for (int i = 0; i < 3; i++)
        CHECK(child_open() > 2);
    _exit(0);
}

static void stay(int said)
{
    char line[64];
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    for (int i = 0; i < 11; i++)
        CHECK(last_open() > 2);
    snprintf(line, sizeof line, "last %d\n", getpid());
    say(line);
    hear(line, sizeof line);
    for (int i = 0; i < 101; i++)
        CHECK(last_leak(1013) != NULL);
    CHECK(write(said, "x", 1) == 1);
    for (;;)
        pause();
}

static void wait_for_child(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void leak(void)
{
    CHECK(master_leak(1019) != NULL);
    took(&sites[MASTER], 1019);
}

static void by_the_hundred(void)
{
    for (int i = 0; i < 211; i++) {
        pid_t child = fork();
        if (child == 0)
            work_and_go();
        leak();
        wait_for_child(child);
    }
    /* Until it ends such a child works in this process's memory, and its blocks are those of nobody. */
    for (int i = 0; i < 31; i++) {
        static volatile int opened;
        pid_t child = vfork();
        if (child == 0) {
            opened = child_open();
            _exit(opened < 3);
        }
        leak();
        wait_for_child(child);
    }
}

static unsigned long long milliseconds(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

static void by_the_same_number(int count)
{
    char byte;
    int said[2];
    pid_t same = 0;
    CHECK(pipe(said) == 0);
    for (int i = 0; i < count; i++) {
        struct clone_args with = {.exit_signal = SIGCHLD};
        if (same != 0) {
            with.set_tid = (uintptr_t)&same;
            with.set_tid_size = 1;
        }
        pid_t child = (pid_t)syscall(SYS_clone3, &with, sizeof with);
        if (child == 0) {
            if (i + 1 < count)
                work_and_go();
            stay(said[1]);
        }
        leak();
        /* Two that the kernel numbers alike by itself are further apart than this, which tells them apart. */
        for (unsigned long long then = milliseconds(); milliseconds() < then + 3;)
            sched_yield();
        CHECK(child > 0 && (same == 0 || child == same));
        same = child;
        if (i + 1 < count)
            wait_for_child(child);
    }
    /* The suite's line is for the child. */
    CHECK(read(said[0], &byte, 1) == 1);
    for (int i = 0; i < 101; i++)
        took(&sites[LAST], 1013);
}

int main(int count, char **arguments)
{
    ready();
    if (count > 1 && strcmp(arguments[1], "same") == 0)
        by_the_same_number(7);
    else
        by_the_hundred();
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
