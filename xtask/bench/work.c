/*
 * What programs do with an allocator, with planted leaks, and how much of it they get done in a given time.
 *
 *   work pair|mixed|deep|threads [THREADS]
 *
 * Prints "ready", reads a line `WARM_UP SECONDS`, works for that long in all, and prints `OPERATIONS NANOSECONDS` of what
 * was done after the warm-up. Then it waits for its input to end, so that it can be looked at, and exits with 0. An
 * operation is a block that is allocated and freed.
 */
#define _GNU_SOURCE
#include "links.h"
#include "planted.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FRAMES 48
/* Operations between two looks at the clock: few enough that the slowest tool looks often. */
#define SLICE 256
#define HELD 1021
#define MOST_THREADS 64

typedef uint64_t u64;

struct worker {
    pthread_t thread;
    bool plants;
    u64 operations, nanoseconds, random;
    void *held[HELD];
};

static struct worker workers[MOST_THREADS];
static double warm_up, seconds;

static u64 now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static u64 next(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void pairs(struct worker *self)
{
    (void)self;
    for (int i = 0; i < SLICE; i++) {
        void *volatile block = malloc(64);
        free(block);
    }
}

/* A thousand blocks of 1 to 4096 bytes, small ones more often; one in eight grows first, one in eight is zeroed. */
static void mixed(struct worker *self)
{
    for (int i = 0; i < SLICE; i++) {
        u64 random = next(&self->random);
        void **slot = &self->held[random % HELD];
        size_t size = 1 + (random >> 20) % (16u << (random >> 40) % 9);
        if (*slot && (random >> 50) % 8 == 0)
            *slot = realloc(*slot, size + 97);
        free(*slot);
        *slot = (random >> 53) % 8 == 0 ? calloc(1, size) : malloc(size);
    }
}

/* A chain of functions with frames of different sizes, entered anew for each block. */
static void (*const links[LINKS])(struct worker *self, int left);
static double share;

#define DEFINE_LINK(i)                                                                    \
    __attribute__((noipa)) static void link_##i(struct worker *self, int left)            \
    {                                                                                     \
        volatile char frame[16 + 24 * i];                                                 \
        frame[0] = (char)left;                                                            \
        if (left > 1) {                                                                   \
            links[(i + 1) % LINKS](self, left - 1);                                       \
        } else if (self->plants) {                                                        \
            planted_until(share);                                                         \
            self->plants = false;                                                         \
        } else {                                                                          \
            void *volatile block = malloc(64);                                            \
            free(block);                                                                  \
        }                                                                                 \
        frame[1] = frame[0];                                                              \
    }
EACH_LINK(DEFINE_LINK)
static void (*const links[LINKS])(struct worker *self, int left) = {EACH_LINK(LINK_NAME)};

static void deep(struct worker *self)
{
    bool plants = self->plants;
    for (int i = 0; i < SLICE; i++) {
        self->plants = plants && i == 0;
        links[i % LINKS](self, FRAMES);
    }
    self->plants = plants;
}

static void (*slice)(struct worker *self);

static void *work(void *argument)
{
    struct worker *self = argument;
    u64 begun = now(), counted = begun + warm_up * 1e9, end = counted + seconds * 1e9, time = begun, first = 0;
    u64 operations = 0;
    while (time < end) {
        if (self->plants) {
            share = (double)(time - begun) / (end - begun);
            /* At the end of its chain, the deep one does this itself. */
            if (slice != deep)
                planted_until(share);
        }
        slice(self);
        operations += SLICE;
        time = now();
        if (first == 0 && time >= counted) {
            first = time;
            operations = 0;
        }
    }
    if (self->plants)
        planted_until(1);
    self->operations = operations;
    self->nanoseconds = time - first;
    return NULL;
}

int main(int count, char **arguments)
{
    const char *kind = count > 1 ? arguments[1] : "";
    int threads = count > 2 ? atoi(arguments[2]) : 1;
    slice = !strcmp(kind, "pair") ? pairs : !strcmp(kind, "mixed") || !strcmp(kind, "threads") ? mixed : deep;
    if ((slice == deep && strcmp(kind, "deep")) || threads < 1 || threads > MOST_THREADS) {
        fprintf(stderr, "usage: work pair|mixed|deep|threads [THREADS]\n");
        return 2;
    }
    puts("ready");
    fflush(stdout);
    if (scanf("%lf %lf", &warm_up, &seconds) != 2)
        return 3;
    for (int i = 0; i < threads; i++) {
        workers[i].plants = i == 0;
        workers[i].random = 88172645463325252u + i;
        if (i > 0 && pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 4;
    }
    work(&workers[0]);
    u64 operations = 0, nanoseconds = 0;
    for (int i = 0; i < threads; i++) {
        if (i > 0)
            pthread_join(workers[i].thread, NULL);
        operations += workers[i].operations;
        if (workers[i].nanoseconds > nanoseconds)
            nanoseconds = workers[i].nanoseconds;
    }
    printf("%llu %llu\n", (unsigned long long)operations, (unsigned long long)nanoseconds);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
