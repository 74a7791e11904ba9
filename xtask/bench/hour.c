/*
 * A server that leaks slowly: pairs of malloc and free at an even pace from several call sites, a cache that turns over,
 * and one leak, a block for every PERIOD pairs, that nothing else points at.
 *
 *   hour PAIRS_PER_SECOND SECONDS
 *
 * It follows the protocol of the suite's leakers. What it falls behind it makes up for, so that it leaks evenly.
 */
#include "leaker.h"
#include <time.h>

enum { PERIOD = 10000, CACHE_PERIOD = 97, HELD = 20011, LEAK_BYTES = 96, CACHE_BYTES = 211 };
/* Rounds of `work` for each pair: a third of a microsecond or so. The less a program does, the less room there is in a
   share of its CPU time. */
enum { WORK = 500 };

enum { PARSED, LOOKED_UP, RENDERED, LOGGED, PAIRS, CACHED = PAIRS, PLANTED };

static struct site sites[] = {{"parsed"}, {"looked_up"}, {"rendered"}, {"logged"}, {"cached"}, {"planted"}};
static void *cache[HELD];

SITE void *parsed(size_t n) { return malloc(n); }
SITE void *looked_up(size_t n) { return malloc(n); }
SITE void *rendered(size_t n) { return malloc(n); }
SITE void *logged(size_t n) { return malloc(n); }
SITE void *cached(size_t n) { return malloc(n); }
SITE void *planted(size_t n) { return malloc(n); }

static void *(*const allocate[PAIRS])(size_t) = {parsed, looked_up, rendered, logged};

SITE unsigned long work(unsigned long rounds)
{
    unsigned long sum = 0;
    for (unsigned long i = 0; i < rounds; i++)
        sum += i * rounds ^ sum >> 3;
    return sum;
}

static void pair(unsigned long i)
{
    struct site *site = &sites[i % PAIRS];
    size_t n = 31 + i % 101;
    void *block = allocate[i % PAIRS](n);
    CHECK(block != NULL);
    took(site, n);
    work(WORK);
    free(block);
    gave(site, n);
}

static void turn_over(void **place)
{
    if (*place) {
        free(*place);
        gave(&sites[CACHED], CACHE_BYTES);
    }
    *place = cached(CACHE_BYTES);
    CHECK(*place != NULL);
    took(&sites[CACHED], CACHE_BYTES);
}

static void leak(void)
{
    CHECK(planted(LEAK_BYTES) != NULL);
    took(&sites[PLANTED], LEAK_BYTES);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    double rate = strtod(arguments[1], NULL), seconds = strtod(arguments[2], NULL);
    struct timespec pause = {0, 1000000};
    unsigned long i = 0;
    ready();
    for (double begun = now(), passed = 0; passed < seconds; passed = now() - begun) {
        for (unsigned long due = passed * rate; i < due; i++) {
            pair(i);
            if (i % CACHE_PERIOD == 0)
                turn_over(&cache[i / CACHE_PERIOD % HELD]);
            if (i % PERIOD == 0)
                leak();
        }
        nanosleep(&pause, NULL);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
