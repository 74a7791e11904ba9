/* Many small live blocks at two sites, while others come and go. With an argument, so many live blocks. */
#include "leaker.h"

enum { KEPT, CACHED, CHURNED };

static struct site sites[] = {{"kept"}, {"cached"}, {"churned"}};
static struct block ring[1009];

SITE void *kept(size_t n) { return malloc(n); }
SITE void *cached(size_t n) { return malloc(n); }
SITE void *churned(size_t n) { return malloc(n); }

int main(int count, char **arguments)
{
    unsigned long blocks = count > 1 ? strtoul(arguments[1], NULL, 10) : 1000003;
    ready();
    for (unsigned long i = 0; i < blocks; i++) {
        size_t n = 17 + i % 23;
        if (i % 5 == 0) {
            CHECK(cached(n) != NULL);
            took(&sites[CACHED], n);
        } else {
            CHECK(kept(n) != NULL);
            took(&sites[KEPT], n);
        }
        if (i % 7 == 0) {
            struct block *block = &ring[i / 7 % COUNT(ring)];
            if (block->p) {
                gave(block->site, block->n);
                free(block->p);
            }
            *block = (struct block){churned(61), 61, &sites[CHURNED]};
            CHECK(block->p != NULL);
            took(&sites[CHURNED], 61);
        }
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
