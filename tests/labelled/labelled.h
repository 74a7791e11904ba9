/*
 * What the labelled programs share: the protocol's beginning (see leaker.h), time, chance, and things that are held for
 * a while. Time is compressed, seconds for hours; nothing else is.
 *
 * The comment at the top of each program says what it does, as people would who know it:
 *   expect: function = label|label   the labels that are right for the sites below this function
 *   rate: function = 4800            bytes a second that it truly grows by
 *   before: 8                        runs for so many seconds before it is traced
 * No site of no program may be called leaking unless it is said here.
 */
#ifndef LABELLED_H
#define LABELLED_H

#include "leaker.h"
#include <math.h>
#include <time.h>

/* splitmix64, seeded by the first argument. */
static uint64_t chance = 1;

static inline uint64_t next(void)
{
    uint64_t z = __atomic_add_fetch(&chance, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline double share(void) { return (double)(next() >> 11) / 9007199254740992.0; }
static inline unsigned below(unsigned n) { return (unsigned)(next() % n); }
static inline double between(double low, double high) { return low + (high - low) * share(); }
static inline double exponential(double mean) { return -mean * log(1 - share()); }

/* How many events come at random where this many do on average (Knuth). */
static inline unsigned poisson(double mean)
{
    unsigned n = 0;
    for (double product = share(), end = exp(-mean); product > end; product *= share())
        n++;
    return n;
}

static struct timespec begun;

static inline void begin(int argc, char **argv)
{
    chance = argc > 1 ? strtoull(argv[1], NULL, 10) * 7919 : 1;
    ready();
    clock_gettime(CLOCK_MONOTONIC, &begun);
}

/* Sleeps until `period` seconds after the thread's last tick; a late one is made up for. Returns the seconds since the beginning. */
static inline double tick(double period)
{
    static __thread double at;
    at += period;
    double end = (double)begun.tv_nsec + at * 1e9;
    struct timespec until = {begun.tv_sec + (time_t)(end / 1e9), (long)fmod(end, 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    return at;
}

/* What a program does with memory that it asked for. */
static inline void *filled(void *p, size_t n)
{
    CHECK(p != NULL);
    return memset(p, 0x5a, n);
}

/* Something that is freed at a time. */
struct held {
    void *p;
    double until;
};

static inline void hold(struct held *all, size_t n, void *p, double until)
{
    size_t i = 0;
    while (i < n && all[i].p)
        i++;
    CHECK(i < n);
    all[i] = (struct held){p, until};
}

/* Frees what is due. */
static inline void expire(struct held *all, size_t n, double now)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i].p && all[i].until <= now) {
            free(all[i].p);
            all[i].p = NULL;
        }
    }
}

#endif
