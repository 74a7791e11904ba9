/*
 * Leaks one block for every PERIOD pairs of malloc and free, and works between them; at an even pace, for as many seconds as
 * its argument says. What it falls behind it does not make up for.
 */
#include "leaker.h"
#include <time.h>

enum { PER_MS = 199, PERIOD = 997, HELD = 4001, WORK = 2500 };

enum { LEAKED, PAIRED, CACHED };

static struct site sites[] = {{"leaked"}, {"paired"}, {"cached"}};
static void *ring[HELD];

SITE void *leaked(size_t n) { return malloc(n); }
SITE void *paired(size_t n) { return malloc(n); }
SITE void *cached(size_t n) { return malloc(n); }

SITE unsigned long work(unsigned long n)
{
    unsigned long sum = 0;
    for (unsigned long i = 0; i < n; i++)
        sum += i * n ^ sum >> 3;
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 20;
    struct timespec pause = {0, 200000};
    unsigned long pairs = 0;
    ready();
    uint64_t begun = now_ms(), last = begun;
    while (last < begun + seconds * 1000) {
        uint64_t now = now_ms();
        if (now == last) {
            nanosleep(&pause, NULL);
            continue;
        }
        last = now;
        for (int i = 0; i < PER_MS; i++, pairs++) {
            void *p = paired(31 + pairs % 101);
            took(&sites[PAIRED], 31 + pairs % 101);
            CHECK(p != NULL);
            work(WORK);
            free(p);
            gave(&sites[PAIRED], 31 + pairs % 101);
            if (pairs % PERIOD == 0) {
                CHECK(leaked(211) != NULL);
                took(&sites[LEAKED], 211);
            }
            if (pairs % 97 == 0) {
                void **place = &ring[pairs / 97 % HELD];
                if (*place) {
                    free(*place);
                    gave(&sites[CACHED], 307);
                }
                *place = cached(307);
                CHECK(*place != NULL);
                took(&sites[CACHED], 307);
            }
        }
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
