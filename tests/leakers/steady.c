/*
 * Works without a pause until it is told to stop, and checks every byte it was given: a program to trace, to stop
 * tracing, and to kill the tracer of. Answers `count` with the rounds done so far; `stop` ends the work.
 */
#include "leaker.h"
#include <pthread.h>

enum { HELD, RESIZED };

static struct site sites[] = {{"held_block"}, {"resized"}};

SITE void *held_block(size_t n) { return malloc(n); }
SITE void *resized(void *p, size_t n) { return realloc(p, n); }

#define THREADS 3
#define SLOTS 31

static volatile int over;
static unsigned long rounds;

static void check_bytes(const unsigned char *p, size_t n, unsigned char value)
{
    for (size_t i = 0; i < n; i++)
        CHECK(p[i] == value);
}

static void *work(void *argument)
{
    unsigned char value = (unsigned char)(uintptr_t)argument;
    struct block held[SLOTS] = {{0}};
    for (unsigned i = 0; !over; i++) {
        struct block *b = &held[i % SLOTS];
        if (b->p) {
            check_bytes(b->p, b->n, value);
            gave(b->site, b->n);
            free(b->p);
        }
        size_t n = 11 + (i % 23) * 31;
        *b = (struct block){held_block(n), n, &sites[HELD]};
        CHECK(b->p != NULL);
        took(b->site, n);
        memset(b->p, value, n);
        if (i % 5 == 0) {
            size_t larger = n * 3;
            unsigned char *p = resized(b->p, larger);
            CHECK(p != NULL);
            check_bytes(p, n, value);
            memset(p, value, larger);
            gave(b->site, n);
            *b = (struct block){p, larger, &sites[RESIZED]};
            took(b->site, larger);
        }
        __atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    static char line[64];
    ready();
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i * 71 + 7)) == 0);
    for (;;) {
        hear(line, sizeof line);
        if (!strcmp(line, "stop"))
            break;
        snprintf(line, sizeof line, "%lu\n", __atomic_load_n(&rounds, __ATOMIC_RELAXED));
        say(line);
    }
    over = 1;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
