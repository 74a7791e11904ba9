/*
 * Allocates and frees as fast as it can for as many seconds as its first argument says, and keeps large blocks meanwhile, at an
 * even pace, whose pages it touches. Then it is calm for as many as the second one says, and keeps small ones.
 */
#include "leaker.h"
#include <time.h>

enum { GROWN, KEPT };
enum { PAGE = 4096, PAGES = 11, EACH_MS = 11, SMALL = 211 };

static struct site sites[] = {{"grown"}, {"kept"}};

SITE void paired(unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) {
        void *volatile p = malloc(31 + i % 101);
        free(p);
    }
}

SITE void grown(void)
{
    volatile char *p = malloc(PAGES * PAGE);
    CHECK(p != NULL);
    for (size_t i = 0; i < PAGES * PAGE; i += PAGE)
        p[i] = 1;
    took(&sites[GROWN], PAGES * PAGE);
}

SITE void kept(void)
{
    CHECK(malloc(SMALL) != NULL);
    took(&sites[KEPT], SMALL);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    uint64_t busy = strtoul(argv[1], NULL, 10) * 1000, calm = strtoul(argv[2], NULL, 10) * 1000;
    ready();
    uint64_t begun = now_ms();
    for (uint64_t last = begun, now = begun; now < begun + busy; now = now_ms()) {
        paired(997);
        if (now >= last + EACH_MS) {
            grown();
            last = now;
        }
    }
    struct timespec pause = {0, 10000000};
    for (uint64_t end = now_ms() + calm; now_ms() < end;) {
        nanosleep(&pause, NULL);
        kept();
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
