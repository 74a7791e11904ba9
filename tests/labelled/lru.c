/*
 * An LRU cache of 900 pages over 20,000 that are asked for, some far more often than others: fills in less than ten seconds,
 * then evicts for every page that comes in.
 *
 * expect: load_page = bounded|steady|churn
 */
#include "labelled.h"

enum { ENTRIES = 900, KEYS = 20000 };

SITE char *load_page(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static struct { char *page; double used; } cache[KEYS];
    unsigned inside = 0;
    begin(argc, argv);
    for (;;) {
        double now = tick(1.0 / 200);
        unsigned key = (unsigned)(KEYS * pow(share(), 2.5));
        if (!cache[key].page) {
            if (inside == ENTRIES) {
                unsigned oldest = KEYS;
                for (unsigned i = 0; i < KEYS; i++)
                    if (cache[i].page && (oldest == KEYS || cache[i].used < cache[oldest].used))
                        oldest = i;
                free(cache[oldest].page);
                cache[oldest].page = NULL;
                inside--;
            }
            size_t n = 200 + below(1800);
            cache[key].page = filled(load_page(n), n);
            inside++;
        }
        cache[key].used = now;
    }
}
