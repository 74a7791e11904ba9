/*
 * Entries live for six seconds from when they were stored; a sweep every second throws out the expired.
 *
 * expect: store = bounded|steady|churn
 */
#include "labelled.h"

SITE char *store(void) { return malloc(700); }

int main(int argc, char **argv)
{
    static struct held entries[2000];
    begin(argc, argv);
    for (unsigned round = 0;; round++) {
        double now = tick(0.05);
        if (round % 20 == 0)
            expire(entries, COUNT(entries), now);
        for (unsigned n = poisson(40 * 0.05); n > 0; n--)
            hold(entries, COUNT(entries), filled(store(), 700), now + 6);
    }
}
