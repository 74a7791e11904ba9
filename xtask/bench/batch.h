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
/* A loop that is paced works in bursts with this much time between them, and says what some of them took. */
#define BURST_NS 1000000ull
#define PACED_BATCH_NS 10000000ull
/* One that is not says what the middle one of so many short slices took: how long the work takes while it has the CPU. The
   others may be longer: whoever is host to this machine may take its CPUs for most of the time, without a word. */
#define SLICES 101
#define SLICE_NS 50000ull
/* Fewer when they take longer than this: the work has become slower. */
#define SLICES_NS 100000000ull

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

static int by_length(const void *left, const void *right)
{
    u64 a = *(const u64 *)left, b = *(const u64 *)right;
    return (a > b) - (a < b);
}

/* As many at a time as take a slice, which changes when a tracer comes or goes. */
static void repeat_unpaced(void (*work)(u64 times))
{
    for (u64 times = 1;;) {
        u64 lengths[SLICES], begun = now(), ended = begun;
        int slices = 0;
        for (u64 last = begun; slices < SLICES && ended - begun < SLICES_NS; last = ended) {
            work(times);
            ended = now();
            lengths[slices++] = ended - last;
        }
        /* Does not allocate for so few. */
        qsort(lengths, slices, sizeof *lengths, by_length);
        u64 typical = lengths[slices / 2];
        report(ended - typical, ended, times);
        times = times * SLICE_NS / typical + 1;
    }
}

static void repeat_paced(void (*work)(u64 times), u64 per_second)
{
    u64 times = per_second / (NS_PER_SECOND / BURST_NS);
    for (u64 burst = now();;) {
        u64 begun = now(), ended, done = 0;
        do {
            work(times);
            done += times;
            sleep_until(burst += BURST_NS);
            ended = now();
        } while (ended - begun < PACED_BATCH_NS);
        report(begun, ended, done);
    }
}

/* Until it is killed; as fast as it goes when `per_second` is 0. */
static void repeat(void (*work)(u64 times), u64 per_second)
{
    if (per_second > 0)
        repeat_paced(work, per_second);
    else
        repeat_unpaced(work);
}

#endif
