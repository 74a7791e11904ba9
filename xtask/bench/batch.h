/*
 * What programs share that do one thing in a loop and say how long it took, batch by batch.
 */
#ifndef BATCH_H
#define BATCH_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000ull
#define BATCH_NS 10000000ull
/* A loop that is paced works in bursts with this much time between them. */
#define BURST_NS 1000000ull

typedef unsigned long long u64;

static u64 now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static void sleep_until(u64 time)
{
    struct timespec until = {.tv_sec = time / NS_PER_SECOND, .tv_nsec = time % NS_PER_SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* No stdio stream: it allocates. */
static void report(u64 begun, u64 ended, u64 done)
{
    char line[80];
    int length = snprintf(line, sizeof line, "%llu %llu %llu\n", begun, ended, done);
    if (write(STDOUT_FILENO, line, length) != length)
        exit(1);
}

#endif
