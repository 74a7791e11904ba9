/*
 * A cache that throws out a random entry for a new one, in service for a while when it is traced: what comes in replaces what
 * was there before, so that the tracer sees it fill once more.
 *
 * expect: load_row = bounded|steady|churn
 * before: 8
 */
#include "labelled.h"

SITE char *load_row(void) { return malloc(600); }

int main(int argc, char **argv)
{
    static char *cache[500];
    unsigned inside = 0;
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 100);
        unsigned at = inside < COUNT(cache) ? inside++ : below(COUNT(cache));
        free(cache[at]);
        cache[at] = filled(load_row(), 600);
    }
}
