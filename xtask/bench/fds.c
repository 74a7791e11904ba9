/*
 * Makes system calls in a loop and says how long they took.
 *
 *   fds getppid|open CPU CALLS_PER_SECOND
 *
 * getppid: the cheapest call there is, which only shows what is paid for every call. open: an open and its close, two
 * calls that count as one. CALLS_PER_SECOND 0: as fast as it goes. One line on stdout for each batch: when it began and
 * ended (ns, CLOCK_MONOTONIC), and its calls. Runs until it is killed.
 */
#define _GNU_SOURCE
#include "batch.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noipa)) static void ask_parent(u64 calls)
{
    for (u64 i = 0; i < calls; i++)
        getppid();
}

__attribute__((noipa)) static void open_and_close(u64 calls)
{
    for (u64 i = 0; i < calls; i++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd == -1 || close(fd) == -1)
            exit(1);
    }
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: fds getppid|open CPU CALLS_PER_SECOND\n");
        return 2;
    }
    void (*const make)(u64) = strcmp(arguments[1], "open") == 0 ? open_and_close : ask_parent;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(arguments[2]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        perror("fds: sched_setaffinity");
        return 1;
    }
    repeat(make, strtoull(arguments[3], NULL, 10));
}
