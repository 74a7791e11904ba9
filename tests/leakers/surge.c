/*
 * Allocates and frees as fast as it can, and keeps large blocks meanwhile, at an even pace, whose pages it touches; until it
 * hears a line. Then it is calm, and keeps small ones, until it hears another.
 */
#include "leaker.h"
#include <poll.h>
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

static int heard(void)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    char line[64];
    if (poll(&in, 1, 0) == 0)
        return 0;
    hear(line, sizeof line);
    return 1;
}

int main(void)
{
    ready();
    for (uint64_t last = now_ms(); !heard();) {
        paired(97);
        uint64_t now = now_ms();
        if (now >= last + EACH_MS) {
            grown();
            last = now;
        }
    }
    struct timespec pause = {0, 10000000};
    while (!heard()) {
        nanosleep(&pause, NULL);
        kept();
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
