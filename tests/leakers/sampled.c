/*
 * A leak among many blocks that come and go, and blocks of very different sizes that stay. With an argument, so many
 * blocks in all.
 */
#include "leaker.h"

enum { PLANTED, CHURNED, CACHED, GROWN };

static struct site sites[] = {{"planted"}, {"churned"}, {"cached"}, {"grown"}};
static struct block ring[4001];

SITE void *planted(size_t n) { return malloc(n); }
SITE void *churned(size_t n) { return malloc(n); }
SITE void *cached(size_t n) { return malloc(n); }
SITE void *grown(void *old, size_t n) { return realloc(old, n); }

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void keep(void *p, size_t n, struct site *site)
{
    struct block *block = &ring[next() % COUNT(ring)];
    CHECK(p != NULL);
    took(site, n);
    if (block->p) {
        gave(block->site, block->n);
        free(block->p);
    }
    *block = (struct block){p, n, site};
}

int main(int count, char **arguments)
{
    unsigned long total = count > 1 ? strtoul(arguments[1], NULL, 10) : 1000003;
    void *before[509];
    for (size_t i = 0; i < COUNT(before); i++)
        before[i] = malloc(31);
    ready();
    for (unsigned long i = 0; i < total; i++) {
        if (i % 29 == 0) {
            CHECK(planted(101) != NULL);
            took(&sites[PLANTED], 101);
        } else if (i % 31 == 0) {
            size_t n = 17 + (next() % 61) * (next() % 67);
            CHECK(cached(n) != NULL);
            took(&sites[CACHED], n);
        } else {
            size_t n = 7 + next() % 1009;
            keep(churned(n), n, &sites[CHURNED]);
        }
        if (i % 101 == 0) {
            /* Moves a block that is held. */
            struct block *block = &ring[next() % COUNT(ring)];
            size_t n = 3 + next() % 2003;
            void *p = grown(block->p, n);
            CHECK(p != NULL);
            if (block->p)
                gave(block->site, block->n);
            took(&sites[GROWN], n);
            *block = (struct block){p, n, &sites[GROWN]};
        }
    }
    for (size_t i = 0; i < COUNT(before); i++)
        free(before[i]);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
