/*
 * Warms its cache for 12 s; only then, with the first real traffic, does a statement handle leak for each query.
 *
 * expect: fill_cache = bounded|steady
 * expect: prepare = leaking
 * rate: prepare = 6000
 */
#include "labelled.h"

SITE char *fill_cache(void) { return malloc(1024); }
SITE char *prepare(void) { return malloc(300); }

int main(int argc, char **argv)
{
    static char *cache[1200];
    begin(argc, argv);
    for (unsigned round = 0;; round++) {
        tick(0.01);
        if (round < COUNT(cache))
            cache[round] = filled(fill_cache(), 1024);
        else if (round % 5 == 0)
            filled(prepare(), 300);
    }
}
