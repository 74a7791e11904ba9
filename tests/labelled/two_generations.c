/*
 * A cache of two generations: every ten seconds the older one is thrown away as a whole, and the younger takes its place.
 *
 * expect: cache_answer = steady|churn|bounded
 */
#include "labelled.h"

SITE char *cache_answer(void) { return malloc(380); }

int main(int argc, char **argv)
{
    static char *generations[2][3000];
    size_t counts[2] = {0, 0}, young = 0;
    begin(argc, argv);
    for (unsigned round = 1;; round++) {
        tick(0.05);
        for (unsigned n = poisson(50 * 0.05); n > 0; n--)
            generations[young][counts[young]++] = filled(cache_answer(), 380);
        if (round % 200 == 0) {
            young = !young;
            while (counts[young] > 0)
                free(generations[young][--counts[young]]);
        }
    }
}
